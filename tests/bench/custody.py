"""`make bench-custody`: what a signature costs, by whom the key is held, as times and ratios within one run.

(1) Five processes make a key (DKG), as their founders: from the first message to the last word.
(2) In a living world of five co-signers, whole transactions, from their release to the signed bytes in the
    ledger: a lease, a checkpoint that seven witnesses are asked to cosign, three gates, the run, the entry.
    Then a refresh by order of officers: from the order's entry to the last word's.
(3) The gate alone: the evidence of one transaction, decided again and again by the same code over the memory
    that the co-signer had (policy, approvals, proofs, and so on; nothing is signed).
(4) A whole key in a token: a bare signature; one by the co-signer's own way to it, which has looked
    at the key's attributes before; and, for scale, the whole answer of a co-signer process to evidence.

Nothing is gated on these figures; all processes share this machine's cores with what measures them.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ledger.chain import Genesis
from ledger.trust import TrustRoot as LedgerTrustRoot
from tests.cosigner.test_gate import UNHURRIED, Courier
from tests.e2e.test_key_operations import done, operation
from tests.hsm import no_token_open
from tests.world import COSIGNER, living
from workbench.cosigner.blocks import Blocks
from workbench.cosigner.gate import decide
from workbench.cosigner.ground import Identity
from workbench.cosigner.memory import Memory
from workbench.cosigner.orders import Heard
from workbench.custody.token import Token, WholeKeys, opened
from workbench.demo import charter
from workbench.demo.founding import bring, carry, founders
from workbench.demo.provision import provision
from workbench.process.config import StateRoot
from workbench.rules.documents import read_time
from workbench.rules.evidence import Evidence
from workbench.rules.trust import TrustRoot

INTENTS, ROUNDS = 15, 100

Row = tuple[str, float, float, str]


def main() -> int:
    """Measure and print one table."""
    rows = [_generation(), *_shared(), *_whole()]
    print(f"{'':44} {'p50':>10} {'p95':>10}")
    for name, median, worst, remark in rows:
        print(f"{name:44} {median:10.2f} {worst:10.2f}  {remark}")
    print(f"\n{os.cpu_count()} cores; milliseconds unless said otherwise")
    return 0


def _row(name: str, found: list[float], remark: str) -> Row:
    worst = sorted(found)[max(0, round(0.95 * len(found)) - 1)]
    return (name, statistics.median(found), worst, remark)


def _timed(work: Callable[[], object], rounds: int) -> list[float]:
    found = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - begun))
    return found


def _generation() -> Row:
    """(1) Make a key, by founders."""
    with tempfile.TemporaryDirectory(prefix="wbb-") as folder:
        roots = {name: Path(folder) / name for name in charter.COSIGNERS}
        sockets = {name: Path(folder) / f"{name}.sock" for name in roots}
        keys = {name: provision(root, name, sealing="seal/1") for name, root in roots.items()}
        bring(roots.__getitem__, charter.KEY_ID, keys, charter.THRESHOLD)
        with founders(roots.__getitem__, sockets.__getitem__, list(roots)):
            begun = time.perf_counter()
            carry(sockets.__getitem__, list(roots))
            took = time.perf_counter() - begun
    return ("key of five, made by five processes, s", took, took, "one run; at most 20 s is asked for")


def _shared() -> list[Row]:
    """(2) Sign with a shared key, and renew it."""
    with living(engine="mpc") as world:
        for number in range(INTENTS):
            world.push(world.allowance(1_000 + number))
        done(world, operation(world, "refresh"))
        entries = world.entries()
    found = []
    for digest in {each["id"] for each in entries if each["type"] == "transaction.signed"}:
        times = {each["type"]: _at(each) for each in entries if each.get("subject") == digest}
        found.append(1000 * (times["transaction.signed"] - times["intent.released"]).total_seconds())
    made = {each["type"]: _at(each) for each in entries if each["type"].startswith("key.")}
    took = (made["key.made"] - made["key.ordered"]).total_seconds()
    return [
        _row("3 of 5: released to signed", found, "at most 400 ms is asked for"),
        ("refresh of five, ordered to held by all, s", took, took, "one run"),
    ]


def _whole() -> list[Row]:
    """(3) (4) Decide, and sign with a whole key."""
    with living(second_key=("risk-1",), limits=UNHURRIED) as world, tempfile.TemporaryDirectory() as folder:
        courier = Courier(world)
        root = world.world.places.root(COSIGNER)
        copy = Path(folder) / COSIGNER
        shutil.copytree(root, copy)
        evidence = courier.evidence | {"lease": courier.lease()}
        decided = _gate(copy, evidence, world.world.places.trust_root)
        begun = time.perf_counter()
        answer = courier.hand_over(courier.evidence).answer
        whole = 1000 * (time.perf_counter() - begun)
        assert answer.raw_tx is not None, answer.refused
        config = copy / "softhsm2.conf"
        config.write_text(config.read_text().replace(str(root), str(copy)))
        bare, through = _signatures(copy, world.world.policy.key(charter.KEY_ID).public_key)
    ratio = statistics.median(through) / statistics.median(bare)
    return [
        _row("gate: policy, approvals, proofs", decided, "at most 15 ms is asked for"),
        _row("token: a bare signature", bare, ""),
        _row("token: a signature as a co-signer makes it", through, f"{ratio:.2f} x bare; 1.3 is asked for"),
        ("co-signer: evidence to answer, one", whole, whole, "gate, four files on disk, signature, answer"),
    ]


def _gate(root: Path, evidence: dict[str, Any], trust_root: Path) -> list[float]:
    pinned = trust_root.read_bytes()
    genesis = Genesis.parse((root / "genesis.json").read_bytes())
    ledger_root = LedgerTrustRoot.parse(pinned)
    identity = Identity(name=COSIGNER, trust_root=TrustRoot.read(pinned), ledger_trust_root=ledger_root)
    memory = Memory(root, genesis_hash=genesis.hash()).snapshot()
    seen, orders = Blocks(root).seen, Heard(root).orders
    now = read_time(evidence["lease"]["lease"]["at"])

    def once() -> None:
        decide(Evidence.load(evidence), memory=memory, orders=orders, seen=seen, identity=identity, now=now)

    return _timed(once, ROUNDS)


def _signatures(root: Path, public_key: str) -> tuple[list[float], list[float]]:
    no_token_open()
    token = _token(root)
    key = token.secp256k1(bytes.fromhex(public_key))
    digest = bytes(range(32))
    bare = _timed(lambda: key.sign_digest(digest), ROUNDS)
    whole = WholeKeys(token)
    through = _timed(lambda: whole.of(bytes.fromhex(public_key)).sign_digest(digest), ROUNDS)
    token.close()
    return bare, through


def _token(root: Path) -> Token:
    config = json.loads((root / "config.json").read_text())
    return opened(root, config["token"], pin=StateRoot(root).pin, clock=lambda: datetime.now(UTC))


def _at(entry: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(entry["time"])


if __name__ == "__main__":
    sys.exit(main())
