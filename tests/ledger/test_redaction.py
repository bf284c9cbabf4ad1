"""Redaction: data goes only under a quorum, after its days, outside every hold; then it is really gone."""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ledger import redaction, store
from ledger.encoding import canonical, parse
from ledger.redaction import HOLD, LIFTED, REDACTION, Redacted, RedactionError, Register, Target
from ledger.store import StoreError
from ledger.trust import TrustRoot, TrustRootError
from ledger.verifier import Step, VerificationError, verify
from tests.ledger.world import START, World, event, key, public, trust_root

KEYS = ("officer/a", "officer/b", "officer/c")
DAYS = 30
SECRET = hashlib.sha256(b"incompressible").hexdigest() * 4
LATER = START + timedelta(days=DAYS + 1)


def rules(**changes: Any) -> dict[str, Any]:
    """Return the trust root's rules: two of three keys, notes after 30 days."""
    keys = {name: public(name).hex() for name in KEYS}
    return {"keys": keys, "quorum": 2, "types": {"example.note": DAYS}} | changes


class Redacting(World):
    """A world whose clock the test turns, and whose trust root permits redaction."""

    at: datetime = START

    def __post_init__(self) -> None:
        """Open with a trust root, as every store that may redact."""
        super().__post_init__()
        self.now = lambda: self.at
        self.reopen()

    def reopen(self, **options: Any) -> store.Ledger:
        """Open again under the trust root."""
        return super().reopen(trust_root=TrustRoot.of(self.trust), **options)

    def statement(self, *seqs: int, **changes: Any) -> dict[str, Any]:
        """Return the statement that redacts these entries."""
        leaves = {seq: self.ledger.leaves(seq, seq)[0] for seq in seqs}
        return redaction.redact("example", leaves, reason="erasure request 7") | changes

    def redact(self, *seqs: int, signers: tuple[str, ...] = KEYS[:2], **changes: Any) -> store.Receipt:
        """Have these entries redacted."""
        statement = self.statement(*seqs, **changes)
        return self.ledger.rule(REDACTION, statement, sign(statement, *signers), actor="compliance")

    def hold(self, name: str = "case-1", **matches: Any) -> None:
        """Place a hold."""
        statement = {"v": 1, "kind": "hold", "ledger_id": "example", "id": name, "reason": "litigation"}
        statement |= {"actors": [], "subjects": [], "types": []} | matches
        self.ledger.rule(HOLD, statement, sign(statement, KEYS[2]), actor="legal")

    def lift(self, *signers: str, name: str = "case-1") -> None:
        """Lift a hold."""
        statement = {"v": 1, "kind": "lift", "ledger_id": "example", "id": name, "reason": "settled"}
        self.ledger.rule(LIFTED, statement, sign(statement, *signers), actor="legal")


def sign(statement: dict[str, Any], *signers: str) -> dict[str, str]:
    """Sign a statement with these keys."""
    return {name: key(name).sign(redaction.message(statement)).hex() for name in signers}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Redacting]:
    """Return a ledger of four notes and one decision, 31 days later."""
    world = Redacting(tmp_path, trust=trust_root(redaction=rules()))
    world.ledger.append([event(number, data={"private": SECRET, "n": number}) for number in range(4)])
    world.ledger.append([event(4, type="decision.recorded")])
    world.at = LATER
    yield world
    world.ledger.close()


def test_redacted(ledger: Redacting) -> None:
    """The data is gone, the chain is whole, and store and verifier say by which entry and why."""
    heads = [(entry.head, entry.leaf, entry.h) for entry in ledger.ledger.entries()]
    receipt = ledger.redact(1, 2)
    assert receipt.seq == 5
    entries = list(ledger.ledger.entries())
    assert [(entry.head, entry.leaf, entry.h) for entry in entries[:5]] == heads
    assert [entry.data is None for entry in entries] == [False, True, True, False, False, False]
    expected = [Redacted(1, 5, "erasure request 7"), Redacted(2, 5, "erasure request 7")]
    assert ledger.ledger.redacted() == expected
    ledger.check_point()
    assert verify(ledger.write_bundle().path, ledger.trust).redacted == tuple(expected)
    assert ledger.reopen().redacted() == expected


def test_said_twice(ledger: Redacting) -> None:
    """The same statement again gives the first receipt."""
    assert ledger.redact(1) == ledger.redact(1)
    assert ledger.ledger.head().size == 6


def test_no_byte_of_it_is_left(ledger: Redacting) -> None:
    """Neither the file nor its WAL nor a sealed segment holds what was redacted; the rest is there."""
    ledger.ledger.seal(4)

    def holding() -> set[str]:
        files = (path for path in ledger.folder.rglob("*") if path.is_file())
        return {path.name for path in files if SECRET[:64].encode() in path.read_bytes()}

    ledger.ledger.snapshot(ledger.folder / "before")
    assert "before" in holding()
    (ledger.folder / "before").unlink()
    ledger.redact(0, 1, 2, 3)
    assert holding() == set()
    rows = f"select data from read_parquet('{ledger.folder}/segments/*.parquet') order by seq"  # noqa: S608 - ours
    with duckdb.connect() as reader:
        assert [data is None for (data,) in reader.execute(rows).fetchall()] == [True] * 4 + [False]
    assert ledger.reopen().head().size == 6


@pytest.mark.parametrize("seq", [pytest.param(1, id="the last one"), pytest.param(2, id="the first one")])
def test_at_the_border_of_a_segment(ledger: Redacting, seq: int) -> None:
    """The segment that holds the entry is written anew, the other one is left alone."""
    folder = ledger.folder / "segments"
    ledger.ledger.seal(1)
    ledger.ledger.seal(3)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    ledger.redact(seq)
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    end = f"-{1 if seq == 1 else 3:012}"
    assert {name.split(".")[0][-13:] for name in before if before[name] != after[name]} == {end}
    rows = f"select seq from read_parquet('{folder}/*.parquet') where data is null"  # noqa: S608 - ours
    with duckdb.connect() as reader:
        assert reader.execute(rows).fetchall() == [(seq,)]


def test_after_a_commit_of_unknown_outcome(ledger: Redacting) -> None:
    """Once a commit has failed no rule is recorded until the store is opened again."""
    ledger.reopen(testing_only_before_commit=lambda: ledger.ledger._database.connection.execute("rollback"))
    with pytest.raises(StoreError, match="unknown"):
        ledger.hold(actors=["bob"])
    with pytest.raises(StoreError, match="open the store again"):
        ledger.hold(actors=["bob"])
    assert ledger.reopen().head().size == 5


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "one signature of two": ({"signers": KEYS[:1]}, "1 of 2"),
    "no signature": ({"signers": ()}, "0 of 2"),
    "strangers' signatures": ({"signers": ("mallory", "eve")}, "0 of 2"),
    "evidence": ({"seqs": (4,)}, "never redacted"),
    "one of two is evidence": ({"seqs": (1, 4)}, "never redacted"),
    "an entry that is not there": ({"entries": [{"seq": 9, "leaf": "00" * 32}]}, "not there"),
    "another leaf": ({"entries": [{"seq": 1, "leaf": "00" * 32}]}, "another leaf"),
    "another ledger's statement": ({"ledger_id": "other"}, "another ledger"),
    "no reason": ({"reason": " "}, "reason"),
    "no entries": ({"entries": []}, "names 1 to"),
    "entries out of order": (
        {"entries": [{"seq": 2, "leaf": "00" * 32}, {"seq": 1, "leaf": "00" * 32}]},
        "rising order",
    ),
    "an entry twice": ({"entries": [{"seq": 1, "leaf": "00" * 32}] * 2}, "rising order"),
    "a number that is a truth": ({"entries": [{"seq": True, "leaf": "00" * 32}]}, "by seq and leaf"),
    "a negative number": ({"entries": [{"seq": -1, "leaf": "00" * 32}]}, "no entry's number"),
    "a short leaf": ({"entries": [{"seq": 1, "leaf": "00"}]}, "not 32 bytes"),
    "too many entries": (
        {"entries": [{"seq": n, "leaf": "00" * 32} for n in range(501)]},
        "names 1 to",
    ),
    "a field too many": ({"more": 1}, "fields"),
    "another version": ({"v": 2}, "version"),
    "a version that is a truth": ({"v": True}, "version"),
    "another kind": ({"kind": "hold"}, "version 1 to redact"),
}


STATEMENT = redaction.redact("example", {1: bytes(32)}, reason="erasure request 7")
SIGNATURES = sign(STATEMENT, *KEYS[:2])
NO_DATA: dict[str, Any] = {
    "an array": [STATEMENT, SIGNATURES],
    "no signatures": {"statement": STATEMENT},
    "a field more": {"statement": STATEMENT, "signatures": SIGNATURES, "more": 1},
    "a statement that is an array": {"statement": [STATEMENT], "signatures": SIGNATURES},
    "signatures that are an array": {"statement": STATEMENT, "signatures": [*SIGNATURES]},
    "signatures that are text": {"statement": STATEMENT, "signatures": "ab"},
    "a signature that is a number": {"statement": STATEMENT, "signatures": SIGNATURES | {KEYS[2]: 1}},
}


@pytest.mark.parametrize("name", NO_DATA)
def test_no_statement(name: str) -> None:
    """What is not exactly a statement and its signatures is refused, and never by a crash."""
    trust = TrustRoot.of(trust_root(redaction=rules()))
    assert redaction.read(REDACTION, {"statement": STATEMENT, "signatures": SIGNATURES}, trust) == STATEMENT
    with pytest.raises(RedactionError):
        redaction.read(REDACTION, NO_DATA[name], trust)


def test_a_statement_of_many_entries() -> None:
    """Five hundred entries are one statement."""
    made = redaction.redact("example", dict.fromkeys(range(500), bytes(32)), reason="erasure request 8")
    data = {"statement": made, "signatures": sign(made, *KEYS[:2])}
    assert redaction.read(REDACTION, data, TrustRoot.of(trust_root(redaction=rules()))) == made


def target(seq: int, **changes: Any) -> Target:
    """Return what the rules look at in an entry."""
    fields: dict[str, Any] = {"time": START, "type": "example.note", "subject": None, "actor": "alice"}
    return Target(seq=seq, **({"leaf": bytes(32)} | fields | changes))


def seen(*entries: tuple[Target, Any]) -> tuple[list[Redacted], list[tuple[int, str]]]:
    """Return what is redacted and what is lost once these entries, with their data, were seen."""
    register = Register(TrustRoot.of(trust_root(redaction=rules())))
    for entry, data in entries:
        register.see(entry, data)
    return register.redacted(), list(register.lost())


DATA = {"statement": STATEMENT, "signatures": SIGNATURES}
HOLDS = {"v": 1, "kind": "hold", "ledger_id": "example", "id": "case-1", "reason": "litigation"}
HOLDS |= {"actors": ["alice"], "subjects": [], "types": []}
HELD = (target(4, type=HOLD), {"statement": HOLDS, "signatures": sign(HOLDS, KEYS[2])})
BY = target(5, type=REDACTION, time=LATER)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        pytest.param([(target(1), None), (BY, DATA)], None, id="a redaction that counts"),
        pytest.param(
            [(target(1), None), (target(5, type=REDACTION, time=START + timedelta(days=DAYS - 1)), DATA)],
            "must be kept",
            id="one that came before the days were over",
        ),
        pytest.param(
            [(target(1, type="decision.recorded"), None), (BY, DATA)], "never redacted", id="one of evidence"
        ),
        pytest.param(
            [(target(1, leaf=b"x" * 32), None), (BY, DATA)], "another leaf", id="one of another leaf"
        ),
        pytest.param([(target(1), None), HELD, (BY, DATA)], "under hold case-1", id="one under a hold"),
        pytest.param(
            [(target(1), None), (BY, DATA | {"signatures": sign(STATEMENT, KEYS[0])})], "1 of 2", id="of one"
        ),
        pytest.param(
            [(target(1), None), (BY, {"statement": {"entries": [1, {"seq": "1"}, {"seq": 1}]}})],
            "data is not a statement",
            id="one that is none, and still says which entry it meant",
        ),
        pytest.param([(target(1), None)], "no redaction names it", id="none"),
    ],
)
def test_what_a_recorded_redaction_permits(entries: list[tuple[Target, Any]], reason: str | None) -> None:
    """Store and verifier judge what was recorded by the rules that it was to be recorded under."""
    redacted, lost = seen(*entries)
    if reason is None:
        assert (redacted, lost) == ([Redacted(1, 5, "erasure request 7")], [])
    else:
        assert (redacted, [seq for seq, _ in lost]) == ([], [1])
        assert reason in lost[0][1]


def test_a_redaction_that_was_not_carried_out() -> None:
    """An entry that is named and still there is not redacted, and not lost."""
    assert seen((target(1), {"private": SECRET}), (BY, DATA)) == ([], [])


def test_how_much_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries without data are remembered up to a number, and those beyond it are lost all the same."""
    monkeypatch.setattr(redaction, "MISSING_MAX", 2)
    lost = [seen(*((target(seq), None) for seq in range(number)))[1] for number in range(5)]
    assert [len(each) for each in lost] == [0, 1, 2, 3, 3]
    assert lost[4][2] == (2, "2 more entries are without data")


@pytest.mark.parametrize("name", REFUSALS)
def test_refused(ledger: Redacting, name: str) -> None:
    """What does not count is refused before anything is written."""
    changes, message = REFUSALS[name]
    before = ledger.ledger.head()
    with pytest.raises(RedactionError, match=message):
        ledger.redact(*changes.get("seqs", (1,)), **{k: v for k, v in changes.items() if k != "seqs"})
    assert ledger.ledger.head() == before
    assert all(entry.data for entry in ledger.ledger.entries())
    assert not list(ledger.folder.glob("*.erase"))


@pytest.mark.parametrize(
    ("days", "seconds", "legal"),
    [
        pytest.param(DAYS, 0, True, id="to the second"),
        pytest.param(DAYS, -1, False, id="a second early"),
        pytest.param(0, 0, False, id="at once"),
    ],
)
def test_retention(ledger: Redacting, days: int, seconds: int, *, legal: bool) -> None:
    """An entry is kept for its days, counted from its own time to the redaction's."""
    time = next(ledger.ledger.entries(1, 1)).time
    ledger.at = time + timedelta(days=days, seconds=seconds)
    if legal:
        ledger.redact(1)
        return
    with pytest.raises(RedactionError, match="must be kept"):
        ledger.redact(1)


@pytest.mark.parametrize(
    ("matches", "covered"),
    [
        pytest.param({"actors": ["alice"]}, True, id="its actor"),
        pytest.param({"subjects": ["note-3"]}, True, id="its subject"),
        pytest.param({"types": ["example.note"]}, True, id="its type"),
        pytest.param({"actors": ["bob"], "subjects": ["note-0"], "types": ["x"]}, False, id="others"),
    ],
)
def test_holds(ledger: Redacting, matches: dict[str, Any], *, covered: bool) -> None:
    """What a hold covers stays, across restarts, until a quorum lifts the hold."""
    ledger.hold(**matches)
    ledger.reopen()
    if not covered:
        ledger.redact(3)
        return
    with pytest.raises(RedactionError, match="under hold case-1"):
        ledger.redact(3)
    with pytest.raises(RedactionError, match="1 of 2"):
        ledger.lift(KEYS[0])
    with pytest.raises(RedactionError, match="under hold"):
        ledger.redact(3)
    ledger.lift(*KEYS[:2])
    assert ledger.redact(3).seq > 5


def test_a_hold_names_something(ledger: Redacting) -> None:
    """A hold over nothing, and one that nobody signed, are refused."""
    with pytest.raises(RedactionError, match="actors, subjects or types"):
        ledger.hold()
    statement = {"v": 1, "kind": "hold", "ledger_id": "example", "id": "x", "reason": "r"}
    statement |= {"actors": ["alice"], "subjects": [], "types": []}
    for signatures, message in (({}, "0 of 1"), (sign(statement, "mallory"), "0 of 1")):
        with pytest.raises(RedactionError, match=message):
            ledger.ledger.rule(HOLD, statement, signatures, actor="legal")
    forged = {KEYS[0]: "00" * 64}
    with pytest.raises(RedactionError, match="does not verify"):
        ledger.ledger.rule(HOLD, statement, forged, actor="legal")
    nameless = statement | {"id": " "}
    with pytest.raises(RedactionError, match="a hold an id"):
        ledger.ledger.rule(HOLD, nameless, sign(nameless, KEYS[2]), actor="legal")
    assert ledger.ledger.head().size == 5


def test_reserved_types(ledger: Redacting) -> None:
    """Nobody appends the ledger's own types past their rules."""
    for kind in (REDACTION, HOLD, LIFTED, "ledger.other"):
        with pytest.raises(StoreError, match="ledger's own"):
            ledger.ledger.append([event(9, type=kind)])
    assert ledger.ledger.head().size == 5


def test_without_rules(tmp_path: Path) -> None:
    """Under a trust root without the rules, and in a store without its trust root, nothing is redacted."""
    world = Redacting(tmp_path, trust=trust_root())
    world.append(0, 1)
    world.at = LATER
    with pytest.raises(RedactionError, match="permits no redaction"):
        world.redact(1)
    world.ledger.close()
    plain = store.open(world.path, now=world.now, salt=world.salt)
    statement = redaction.redact("example", {1: plain.leaves(1, 1)[0]}, reason="r")
    with pytest.raises(RedactionError, match="without a trust root"):
        plain.rule(REDACTION, statement, {}, actor="x")
    assert plain.head().size == 2
    plain.close()


TAKEN = "update entry set data = null, salt = null where seq = {}"


def test_a_hold_is_not_narrowed(ledger: Redacting) -> None:
    """A second hold of the same id stands beside the first, which one key alone could else replace."""
    ledger.hold(subjects=["note-3"])
    ledger.hold(subjects=["note-0"])
    for seq in (0, 3):
        with pytest.raises(RedactionError, match="under hold"):
            ledger.redact(seq)


@pytest.mark.parametrize("seq", [pytest.param(3, id="not named"), pytest.param(4, id="evidence")])
def test_lost_data(ledger: Redacting, seq: int) -> None:
    """Data that is missing beside a redaction, not under it, makes store and bundle unsound."""
    ledger.redact(1)
    ledger.check_point()
    bundle = ledger.write_bundle()
    raw = bundle.lines()
    raw[seq] = canonical({**parse(raw[seq][:-1]), "data": None, "salt": None}) + b"\n"
    bundle.write_lines(raw)
    with pytest.raises(VerificationError) as caught:
        verify(bundle.path, ledger.trust)
    findings = caught.value.report.findings
    assert [(found.step, found.place) for found in findings] == [(Step.DATA, f"entry {seq}")]
    ledger.ledger.close()
    with duckdb.connect(ledger.path) as tampered:
        tampered.execute(TAKEN.format(seq))
    with pytest.raises(StoreError, match=f"entry {seq}: its data is missing: no redaction names it"):
        ledger.reopen()


def test_a_redaction_that_does_not_count_permits_nothing(ledger: Redacting) -> None:
    """A store's owner who writes his own redaction entry, without the quorum, is found by everybody."""
    statement = ledger.statement(1)
    data = {"statement": statement, "signatures": sign(statement, KEYS[0])}
    original, store.RESERVED = store.RESERVED, "nothing"
    try:
        ledger.ledger.append([event(9, type=REDACTION, data=data)])
    finally:
        store.RESERVED = original
    ledger.check_point()
    ledger.ledger.close()
    with duckdb.connect(ledger.path) as tampered:
        tampered.execute(TAKEN.format(1))
    with pytest.raises(StoreError, match="entry 1: its data is missing: entry 5: 1 of 2"):
        ledger.reopen()


class PowerError(Exception):
    """The power went."""


def fail() -> None:
    """Fail where a hook stands."""
    raise PowerError


@pytest.mark.parametrize(
    ("hook", "gone"),
    [
        pytest.param("testing_only_before_commit", False, id="before the commit"),
        pytest.param("testing_only_after_commit", True, id="after the commit, before erasing"),
    ],
)
def test_a_crash_while_redacting(ledger: Redacting, hook: str, *, gone: bool) -> None:
    """Entry and erasure are one: after a crash both are there or neither, and the file is written anew."""
    ledger.reopen(**{hook: fail})
    with pytest.raises(PowerError):
        ledger.redact(1)
    assert (ledger.folder / "ledger.duckdb.erase").exists()
    assert ledger.reopen().head().size == 5 + gone
    assert (next(ledger.ledger.entries(1, 1)).data is None) is gone
    assert not (ledger.folder / "ledger.duckdb.erase").exists()
    assert ledger.redact(1).seq == 5


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"quorum": 1}, id="one person alone"),
        pytest.param({"quorum": 4}, id="more than there are"),
        pytest.param({"quorum": True}, id="a truth"),
        pytest.param({"keys": {"a": "00" * 32, "b": "00" * 32}}, id="one key under two names"),
        pytest.param({"types": {"example.note": -1}}, id="negative days"),
        pytest.param({"types": {"example.note": True}}, id="days that are a truth"),
        pytest.param({"types": ["example.note"]}, id="types without days"),
        pytest.param({"more": 1}, id="a field too many"),
    ],
)
def test_rules_that_are_refused(changes: dict[str, Any]) -> None:
    """A trust root with rules that make no sense is no trust root."""
    with pytest.raises(TrustRootError):
        TrustRoot.of(trust_root(redaction=rules(**changes)))


def test_rules_at_their_bounds() -> None:
    """All keys together, and no day to wait, are rules."""
    made = TrustRoot.of(trust_root(redaction=rules(quorum=3, types={"example.note": 0}))).redaction
    assert made is not None
    assert (made.quorum, made.days) == (3, {"example.note": 0})
