"""How many logs a second become columns of a DuckDB table, for `make bench-chain`.

Logs as a node sends them: parsed from JSON as the transport does it, decoded and checked as a whole, and
written into a table.
"""

from __future__ import annotations

import json
import tempfile
import time

import duckdb

from workbench.chain.logs import logs_to_columns

LOGS = 100_000


def made(number: int) -> dict[str, object]:
    """Return a transfer."""
    word = "0x" + number.to_bytes(32).hex()
    topics = ["0x" + "dd" * 32, word, word]
    place = {"blockNumber": hex(number // 100), "logIndex": hex(number % 100), "transactionHash": word}
    return {"address": "0x" + "11" * 20, "topics": topics, "data": word, "removed": False, **place}


def written() -> str:
    """Return the logs as a node's answer."""
    return json.dumps([made(number) for number in range(LOGS)])


def into_table(raw: str) -> tuple[float, float]:
    """Bring them into a table; return the seconds that parsing took, and decoding with writing."""
    began = time.perf_counter()
    told = json.loads(raw)
    parsed = time.perf_counter()
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file, duckdb.connect() as database:
        # polars and DuckDB have no other way to each other here: there is no pyarrow
        logs_to_columns(told).write_parquet(file.name)
        database.execute("create table log as select * from read_parquet(?)", [file.name])
        (count,) = database.execute("select count(*) from log").fetchone() or (0,)
    if count != LOGS:
        raise ValueError(f"{count} of {LOGS} logs are in the table")
    return parsed - began, time.perf_counter() - parsed
