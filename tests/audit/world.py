"""A small desk's ledger for the auditor: policy set, witnesses, anchor, blobs, a redaction; and an insider.

The insider holds every key of the ledger's: what he rewrites is signed and cosigned again, so that only what
the signatures do not say can give him away.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ledger import checkpoint, redaction, store
from ledger.bundle import Line
from ledger.chain import Genesis, link
from ledger.checkpoint import Checkpoint
from ledger.encoding import canonical, parse
from ledger.entry import Event, datahash_of, leaf_of
from ledger.merkle import Frontier
from ledger.trust import TrustRoot
from tests.ledger.test_anchor import CHAIN, CONTRACT, SENDER, document, log, receipt
from tests.ledger.world import Folder, key, public, salts
from tests.rules import build
from workbench.audit.head import Head

ORIGIN, SERVICE = "desk.test/ledger", "service"
WITNESSES = ("witness-1", "witness-2", "witness-3")
OFFICERS = ("officer-a", "officer-b", "officer-c")
EVIDENCE, INCLUSION = b"what the co-signer saw", b"where the transaction is"
LATER = timedelta(days=33)
ANCHORED, SIZE = 5, 12

Draft = list[dict[str, Any]]


def name_of(blob: bytes) -> str:
    """Return the name of a blob."""
    return hashlib.sha256(blob).hexdigest()


def trust_of(desk: build.World) -> dict[str, Any]:
    """Return the desk's trust root with witnesses, an anchor and rules for redaction."""
    return desk.trust_root.dump() | {
        "origin": ORIGIN,
        "checkpoint_keys": {SERVICE: public(SERVICE).hex()},
        "witnesses": {name: public(name).hex() for name in WITNESSES},
        "witness_quorum": 2,
        "anchor": {"chain_id": CHAIN, "contract": CONTRACT.hex(), "sender": SENDER.hex()},
        "redaction": {
            "keys": {name: public(name).hex() for name in OFFICERS},
            "quorum": 2,
            "types": {"external.note": 30},
        },
    }


def noted(state: Checkpoint, now: datetime, *, witnesses: tuple[str, ...] = WITNESSES[:2]) -> str:
    """Sign a state as the service, and cosign it."""
    note = checkpoint.sign(state, SERVICE, public(SERVICE), key(SERVICE).sign)
    for name in witnesses:
        note = checkpoint.cosign(note, name, public(name), key(name).sign, at=now)
    return note


def event(kind: str, actor: str, data: dict[str, Any] | None = None, *, source: str = "workbench") -> Event:
    """Return an event under a name made of what it says."""
    said = data or {}
    name = hashlib.sha256(canonical([kind, actor, said])).hexdigest()[:32]
    return Event(source=f"{source}/{kind}", id=name, type=kind, actor=actor, dataschema="oms/v1", data=said)


@dataclass
class Desk:
    """A ledger under the desk's own trust root; `step` passes between entries."""

    folder: Path
    desk: build.World
    step: timedelta = timedelta(minutes=7)
    at: datetime = build.NOW
    trust: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.trust = trust_of(self.desk)
        self.folder.mkdir(exist_ok=True)
        self.trust_root = self.folder / "trust-root.json"
        self.trust_root.write_bytes(canonical(self.trust, limit=1 << 20))
        genesis = {
            "v": 1,
            "ledger_id": self.trust["ledger_id"],
            "created": "2026-11-21T00:00:00.000000Z",
            "trust_root": hashlib.sha256(canonical(self.trust, limit=1 << 20)).hexdigest(),
        }
        path = self.folder / "ledger.duckdb"
        options = {"now": lambda: self.at, "salt": salts().__next__}
        store.open(path, **options, genesis=genesis).close()
        self.ledger = store.open(path, **options, trust_root=TrustRoot.of(self.trust))

    def append(self, *events: Event) -> None:
        """Append events, each later than the one before."""
        for each in events:
            self.at += self.step
            self.ledger.append([each])

    def check_point(self) -> Head:
        """Record a checkpoint that the witnesses have cosigned."""
        head = self.ledger.head()
        self.ledger.record_checkpoint(noted(Checkpoint(ORIGIN, head.size, head.root, head.h), self.at))
        return Head(head.size, head.root, head.h)

    def anchor(self) -> str:
        """Record the proof that the newest checkpoint stands in a block; return the block's hash."""
        head = self.ledger.head()
        state = Checkpoint(ORIGIN, head.size, head.root, head.h)
        said = document(receipt(log(ledger=self.ledger.genesis.hash(), wanted=state))) | {"size": head.size}
        self.ledger.record_anchor(head.size, canonical(said, limit=1 << 20))
        return said["header"]

    def live(self) -> None:
        """Write twelve entries: what a desk does, a note that is redacted later, a refusal."""
        policy = self.desk.policy
        self.append(
            event("policy.adopted", "service", {"manifest": policy.manifest.dump()}),
            event("session.started", "pm-1"),
            event(
                "external.note", "pm-1", {"private": "a name", "evidence": ["no blob"]}, source="client/pm-1"
            ),
            event("intent.proposed", "pm-1", {"purpose": "a test"}),
            event("simulation.attested", "pm-1"),
        )
        self.check_point()
        self.anchor()
        self.append(
            event("decision.recorded", "risk-1", {"verb": "approve"}),
            event("transaction.signed", "cosigner-1", {"evidence": name_of(EVIDENCE)}),
            event("transaction.broadcast", "service"),
            event("transaction.confirmed", "observer", {"inclusion": name_of(INCLUSION)}),
        )
        self.check_point()
        self.at += LATER
        self.append(event("request.refused", "trader-1", {"code": "role"}))
        self.redact(2)
        self.append(event("external.note", "cro-1", {"text": "<b>größer</b>"}, source="client/cro-1"))
        self.check_point()

    def redact(self, seq: int) -> None:
        """Take an entry's data away under two officers' signatures."""
        self.at += self.step
        leaf = self.ledger.leaves(seq, seq)[0]
        statement = redaction.redact(self.trust["ledger_id"], {seq: leaf}, reason="erasure request 7")
        signed = {name: key(name).sign(redaction.message(statement)).hex() for name in OFFICERS[:2]}
        self.ledger.rule(redaction.REDACTION, statement, signed, actor=OFFICERS[0])

    def bundle(self, name: str = "bundle", **options: Any) -> Folder:
        """Write a bundle with policy set and blobs."""
        files = {
            "policies/000001.json": canonical(self.desk.policy.dump(), limit=1 << 20),
            f"blobs/{name_of(EVIDENCE)}": EVIDENCE,
            f"blobs/{name_of(INCLUSION)}": INCLUSION,
        }
        path = self.folder / name
        self.ledger.bundle(path, trust_root=canonical(self.trust, limit=1 << 20), files=files, **options)
        return Folder(path)


def rewritten(edit: Callable[[Draft], None]) -> Callable[[Folder], None]:
    """Return what an insider does who holds all keys: edit heads and data, have all signed again."""

    def attack(folder: Folder) -> None:
        drafts: Draft = []
        for raw in folder.lines():
            line = Line.parse(raw)
            drafts.append({"head": parse(line.head), "data": line.data, "salt": line.salt})
        edit(drafts)
        h, frontier, lines = Genesis.parse(folder.read("genesis.json")).hash(), Frontier(), []
        for seq, draft in enumerate(drafts):
            head, data, salt = draft["head"] | {"seq": seq}, draft["data"], draft["salt"]
            if data is not None:
                head["datahash"] = datahash_of(salt, data).hex()
            leaf = leaf_of(canonical(head))
            h = link(h, seq, leaf)
            frontier.append(leaf)
            lines.append(Line(seq=seq, head=canonical(head), data=data, salt=salt, h=h).encode())
        for path in [*folder.path.glob("checkpoints/*"), *folder.path.glob("anchors/*")]:
            path.unlink()
        state = Checkpoint(ORIGIN, frontier.size, frontier.root(), h)
        folder.write(f"checkpoints/{frontier.size}.txt", noted(state, build.NOW).encode(), reindex=False)
        folder.write_lines(lines)

    return attack
