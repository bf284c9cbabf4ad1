"""How many logs a second become columns: `PYTHONPATH=. python -m tests.bench.logs`.

Logs as a node sends them, parsed from JSON as the transport does it, then decoded and checked.
"""

import json
import time

from workbench.chain.logs import logs_to_columns, union

LOGS = 100_000
RUNS = 5


def made(number: int) -> dict[str, object]:
    """Return a transfer."""
    word = "0x" + number.to_bytes(32).hex()
    topics = ["0x" + "dd" * 32, word, word]
    place = {"blockNumber": hex(number // 100), "logIndex": hex(number % 100), "transactionHash": word}
    return {"address": "0x" + "11" * 20, "topics": topics, "data": word, "removed": False, **place}


def main() -> None:
    """Print logs a second: decoded, with JSON's own share, and three nodes' together."""
    raw = json.dumps([made(number) for number in range(LOGS)])
    for _ in range(RUNS):
        began = time.perf_counter()
        told = json.loads(raw)
        parsed = time.perf_counter()
        frame = logs_to_columns(told)
        decoded = time.perf_counter()
        union([frame, frame, frame])
        joined = time.perf_counter()
        print(
            f"decoded {LOGS / (decoded - parsed):,.0f}/s, from JSON {LOGS / (decoded - began):,.0f}/s, "
            f"three nodes together {LOGS / (joined - decoded):,.0f}/s"
        )


if __name__ == "__main__":
    main()
