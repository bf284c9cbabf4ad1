"""Receipts: from a checkpoint to each person's key press, with nothing but the trust root."""

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger import checkpoint as notes
from ledger.checkpoint import Checkpoint
from ledger.encoding import canonical
from ledger.entry import Entry, Event
from ledger.merkle import inclusion_proof, root
from tests.rules.build import NOW, World, digest_of, flip, observer_key, public, refused
from workbench import cli, commands
from workbench.rules.codes import Refusal
from workbench.rules.decision import SignedDecision
from workbench.rules.lifecycle import PROPOSED_EVENT
from workbench.rules.lifecycle import Event as Kind
from workbench.rules.receipt import Line, Receipt, verify_receipt

Json = dict[str, Any]
Fact = tuple[str, str, str, Json]
"""Type, actor, subject, data."""


def story(world: World) -> list[Fact]:
    """Return what the ledger holds of the swap, with a stranger's entry between."""
    subject = world.swap().digest
    return [
        (PROPOSED_EVENT, "pm-1", subject, world.propose(world.swap()).dump()),
        ("request.refused", "trader-1", digest_of("else"), {"code": "expired"}),
        (Kind.DECIDED.value, "cro-1", subject, {"signed": world.decide("cro-1", "cro").dump()}),
        (Kind.RELEASED.value, "service", subject, {"policy": world.policy.digest}),
    ]


def written(facts: Sequence[Fact], *, first: int = 0) -> list[Entry]:
    """Return the entries of a ledger that holds these facts and counts them from `first`."""
    entries: list[Entry] = []
    for seq, (kind, actor, subject, data) in enumerate(facts, first):
        event = Event(f"workbench/{kind}", f"e{seq}", kind, actor, "oms/v1", data, subject)
        salt = hashlib.sha256(b"%d" % seq).digest()
        prev = entries[-1].h if entries else bytes(32)
        entries.append(Entry.write(event, seq=seq, time=NOW + timedelta(seconds=seq), salt=salt, prev=prev))
    return entries


def receipt_of(
    world: World,
    facts: Sequence[Fact],
    *,
    signer: str = "service",
    first: int = 0,
    subject: str | None = None,
    **changes: Any,
) -> Json:
    """Return the receipt that a service with this ledger would hand out."""
    entries = written(facts, first=first)
    leaves = [entry.leaf for entry in entries]
    body = Checkpoint("desk.test/ledger", len(leaves), root(leaves), entries[-1].h)
    key = observer_key(signer)
    note = notes.sign(body, "service", bytes.fromhex(public(signer)), key.sign)
    subject = subject or world.swap().digest
    return {
        "v": 1,
        "intent": subject,
        "checkpoint": note,
        "entries": [
            {
                "seq": place,
                "head": entry.head.decode(),
                "data": canonical(entry.data).decode(),
                "salt": (entry.salt or b"").hex(),
                "proof": [node.hex() for node in inclusion_proof(leaves, place)],
            }
            for place, entry in enumerate(entries)
            if entry.subject == subject
        ],
        "policy_chain": [world.policy.dump()],
    } | changes


def check(world: World, document: Json) -> list[Line]:
    """Verify a receipt an hour later."""
    later = NOW + timedelta(hours=1)
    return verify_receipt(Receipt.load(document), trust_root=world.trust_root, now=later)


def test_a_receipt_tells_the_story(world: World) -> None:
    """The entries about the intent come back verified, oldest first, whatever order they travel in."""
    document = receipt_of(world, story(world))
    lines = check(world, document | {"entries": document["entries"][::-1]})
    assert [(line.seq, line.type, line.actor) for line in lines] == [
        (0, PROPOSED_EVENT, "pm-1"),
        (2, Kind.DECIDED.value, "cro-1"),
        (3, Kind.RELEASED.value, "service"),
    ]
    assert lines[0].at == NOW


def _entry(index: int, **changes: Any) -> Callable[[World, Json], Json]:
    def attack(_: World, document: Json) -> Json:
        entries = [dict(each) for each in document["entries"]]
        entries[index] |= changes
        return document | {"entries": entries}

    return attack


def _flipped(name: str) -> Callable[[World, Json], Json]:
    def attack(_: World, document: Json) -> Json:
        entries = [dict(each) for each in document["entries"]]
        value = entries[1][name]
        entries[1][name] = [flip(value[0]), *value[1:]] if name == "proof" else flip(value)
        return document | {"entries": entries}

    return attack


def _data(_: World, document: Json) -> Json:
    entries = [dict(each) for each in document["entries"]]
    entries[2]["data"] = canonical({"policy": digest_of("mine")}).decode()
    return document | {"entries": entries}


def _swapped(_: World, document: Json) -> Json:
    entries = [dict(each) for each in document["entries"]]
    entries[1]["head"], entries[2]["head"] = entries[2]["head"], entries[1]["head"]
    return document | {"entries": entries}


def _other_intent(world: World, document: Json) -> Json:
    return document | {"intent": world.approval().digest}


def _other_signer(world: World, _: Json) -> Json:
    return receipt_of(world, story(world), signer="somebody")


def _misnumbered(world: World, _: Json) -> Json:
    return receipt_of(world, story(world), first=5)


def _other_ledger(world: World, document: Json) -> Json:
    shorter = receipt_of(world, story(world)[:3])
    return document | {"checkpoint": shorter["checkpoint"]}


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        pytest.param(_other_signer, Refusal.CHECKPOINT, id="(1) a checkpoint of another key"),
        pytest.param(_entry(0, seq=1), Refusal.CHECKPOINT, id="(2) another place"),
        pytest.param(_entry(0, proof=[]), Refusal.CHECKPOINT, id="(2) no proof"),
        pytest.param(_flipped("proof"), Refusal.CHECKPOINT, id="(2) a tampered proof"),
        pytest.param(_flipped("salt"), Refusal.CHECKPOINT, id="(2) another salt"),
        pytest.param(_data, Refusal.CHECKPOINT, id="(2) tampered data"),
        pytest.param(_swapped, Refusal.CHECKPOINT, id="(2) two heads exchanged"),
        pytest.param(_entry(1, head="{}"), Refusal.CHECKPOINT, id="(2) no head"),
        pytest.param(_entry(1, data="[]"), Refusal.CHECKPOINT, id="(2) data that is no object"),
        pytest.param(_entry(1, data="{ }"), Refusal.CHECKPOINT, id="(2) data in another spelling"),
        pytest.param(_other_ledger, Refusal.CHECKPOINT, id="(2) a shorter ledger's checkpoint"),
        pytest.param(_misnumbered, Refusal.CHECKPOINT, id="(2) entries that name another place than theirs"),
        pytest.param(_other_intent, Refusal.CHECKPOINT, id="(2) entries about something else"),
        pytest.param(
            lambda _, document: document | {"entries": []}, Refusal.CHECKPOINT, id="(2) no entry at all"
        ),
        pytest.param(
            lambda _, document: document | {"entries": [*document["entries"], document["entries"][-1]]},
            Refusal.CHECKPOINT,
            id="(2) a decision shown twice",
        ),
        pytest.param(
            lambda _, document: document | {"policy_chain": []}, Refusal.MALFORMED, id="(3) no policy set"
        ),
        pytest.param(
            lambda _, document: document | {"policy_chain": document["policy_chain"] * 2},
            Refusal.POLICY_CHAIN,
            id="(3) the first set twice",
        ),
        pytest.param(
            lambda _, document: document | {"checkpoint": "x"}, Refusal.CHECKPOINT, id="no checkpoint"
        ),
        pytest.param(lambda _, document: document | {"extra": 1}, Refusal.MALFORMED, id="an unknown field"),
    ],
)
def test_a_receipt_that_proves_nothing(
    world: World, attack: Callable[[World, Json], Json], code: Refusal
) -> None:
    """Every step from the checkpoint to the entry is taken, and each can fail."""
    document = receipt_of(world, story(world))
    with refused(code):
        check(world, attack(world, document))
    check(world, document)


def _decided(world: World, data: Any, *, kind: Kind = Kind.DECIDED) -> list[Fact]:
    facts = story(world)
    facts[2] = (kind.value, "cro-1", world.swap().digest, data)
    return facts


def _signed(world: World, **changes: Any) -> Json:
    return {"signed": world.decide("cro-1", "cro", **changes).dump()}


def _forged(world: World) -> Json:
    signed = world.decide("cro-1", "cro")
    assertion = signed.assertion.model_copy(update={"signature": flip(signed.assertion.signature)})
    return {"signed": SignedDecision(decision=signed.decision, assertion=assertion).dump()}


def _altered(world: World) -> Json:
    value = _signed(world)
    value["signed"]["decision"]["reason"] = "something else"
    return value


@pytest.mark.parametrize(
    ("make", "code"),
    [
        pytest.param(
            lambda world: _decided(world, _signed(world, intent=world.approval().digest)),
            Refusal.DECISION_OTHER_INTENT,
            id="consent to another intent",
        ),
        pytest.param(lambda world: _decided(world, _forged(world)), Refusal.ASSERTION, id="a forged consent"),
        pytest.param(
            lambda world: _decided(world, _altered(world)), Refusal.ASSERTION_OTHER, id="a consent altered"
        ),
        pytest.param(
            lambda world: _decided(world, _signed(world, verb="reject")),
            Refusal.DECISION_OTHER_INTENT,
            id="a rejection told as a decision",
        ),
        pytest.param(
            lambda world: _decided(world, _signed(world), kind=Kind.REJECTED),
            Refusal.DECISION_OTHER_INTENT,
            id="a consent told as a rejection",
        ),
        pytest.param(
            lambda world: _decided(world, _signed(world, policy=digest_of("old"))),
            Refusal.DECISION_OTHER_POLICY,
            id="consent under a set that is not in the chain",
        ),
        pytest.param(lambda world: _decided(world, {"signed": {}}), Refusal.MALFORMED, id="no consent in it"),
        pytest.param(lambda world: _decided(world, {}), Refusal.MALFORMED, id="nothing in it"),
    ],
)
def test_entries_that_a_service_made_up(
    world: World, make: Callable[[World], list[Fact]], code: Refusal
) -> None:
    """The service signs its ledger, so an entry is only as good as the person's signature in it."""
    with refused(code):
        check(world, receipt_of(world, make(world)))


def _proposed(world: World, data: Json) -> list[Fact]:
    return [(PROPOSED_EVENT, "pm-1", world.swap().digest, data), *story(world)[1:]]


def test_proposals_that_a_service_made_up(world: World) -> None:
    """Another intent under this name, another's signature, another's login."""
    good = world.propose(world.swap()).dump()
    other = world.propose(world.approval()).dump()
    with refused(Refusal.DECISION_OTHER_INTENT):
        check(world, receipt_of(world, _proposed(world, other)))
    with refused(Refusal.SIGNATURE):
        check(world, receipt_of(world, _proposed(world, good | {"signature": flip(good["signature"])})))
    with refused(Refusal.SIGNATURE):
        check(world, receipt_of(world, _proposed(world, good | {"session": other["session"]})))
    theirs = world.propose(world.swap(), "trader-1").dump()
    with refused(Refusal.SESSION_FOREIGN):
        check(world, receipt_of(world, _proposed(world, theirs)))


def test_a_receipt_outlives_the_people_in_it(world: World) -> None:
    """Who has left since was of the desk then: consent is verified under the set that it names."""
    files = world.with_file("people.json", lambda value: [each for each in value if each["id"] != "pm-1"])
    after = NOW + timedelta(minutes=30)
    later = world.sign_set(files, after=world.policy, activates_at=after.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    document = receipt_of(world, story(world)) | {"policy_chain": [world.policy.dump(), later.dump()]}
    assert len(check(world, document)) == 3


def superseded(world: World, kind: str, *, at: int) -> Json:
    """Return a receipt of a ledger in which a set without the proposer, of an hour ago, begins at a place."""
    files = world.with_file("people.json", lambda value: [each for each in value if each["id"] != "pm-1"])
    hour = (NOW - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    later = world.sign_set(files, after=world.policy, activates_at=hour)
    facts = story(world)
    facts.insert(at, (kind, "service", world.swap().digest, {"policy": later.digest}))
    document = receipt_of(world, facts)
    begun = [each for each in document["entries"] if each["seq"] == at]
    entries = [each for each in document["entries"] if each["seq"] != at]
    chain = [world.policy.dump(), later.dump()]
    return document | {"policy_chain": chain, "entries": entries, "activations": begun}


def test_a_set_that_was_activated_after_its_time(world: World) -> None:
    """Signatures may come after `activates_at`: the older set was in force until the entry."""
    document = superseded(world, "policy.activated", at=4)
    assert len(check(world, document)) == 3
    with refused(Refusal.PERSON_UNKNOWN):
        check(world, document | {"activations": []})
    for bent in ({"seq": 3}, {"salt": "00" * 32}, {"proof": []}):
        with refused(Refusal.CHECKPOINT):
            check(world, document | {"activations": [document["activations"][0] | bent]})


@pytest.mark.parametrize(
    ("kind", "at"),
    [
        pytest.param("policy.activated", 0, id="before the proposal"),
        pytest.param("policy.proposed", 4, id="an entry that activates nothing"),
    ],
)
def test_a_set_that_had_begun(world: World, kind: str, at: int) -> None:
    """Who had left when he proposed was not of the desk."""
    with refused(Refusal.PERSON_UNKNOWN):
        check(world, superseded(world, kind, at=at))


def test_an_entry_of_the_policys_first_second(world: World) -> None:
    """A set is in force from its time on, that moment included."""
    born = world.sign_set(world.files)
    about = {"signed": world.decide("cro-1", "cro", policy=born.digest).dump()}
    document = receipt_of(world, _decided(world, about)) | {"policy_chain": [born.dump()]}
    root_ = world.root(genesis_policy=born.digest)
    later = NOW + timedelta(hours=1)
    assert len(verify_receipt(Receipt.load(document), trust_root=root_, now=later)) == 3


def test_an_entry_older_than_every_policy(world: World) -> None:
    """Nobody was of the desk before there was one."""
    start = NOW + timedelta(minutes=1)
    young = world.sign_set(world.files, activates_at=start.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    document = receipt_of(world, story(world)) | {"policy_chain": [young.dump()]}
    with refused(Refusal.POLICY_CHAIN):
        verify_receipt(
            Receipt.load(document),
            trust_root=world.root(genesis_policy=young.digest),
            now=NOW + timedelta(hours=1),
        )


def test_the_command(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A receipt that was handed out is verified with nothing running; the exit code says how it went."""
    root, file = tmp_path / "trust-root.json", tmp_path / "receipt.json"
    root.write_bytes(world.trust_root.canonical())
    document = receipt_of(world, story(world))
    file.write_bytes(canonical(document, limit=1 << 22))
    command = ["audit", "receipt", str(file), "--trust-root", str(root)]
    assert cli.main(command) == commands.DONE
    told = capsys.readouterr().out
    assert told.startswith(f"intent {document['intent']}\n")
    assert "approve as cro" in told
    assert cli.main([*command, "--json"]) == commands.DONE
    found = json.loads(capsys.readouterr().out)
    assert (found["proven"], len(found["entries"])) == (True, len(document["entries"]))
    file.write_bytes(canonical(_data(world, document), limit=1 << 22))
    assert cli.main(command) == commands.REFUSED
    assert capsys.readouterr().out.startswith("NOT PROVEN: checkpoint_invalid")
    assert cli.main([*command, "--json"]) == commands.REFUSED
    assert json.loads(capsys.readouterr().out)["code"] == "checkpoint_invalid"
    for broken in ("nowhere.json", "receipt.json"):
        wrong = ["audit", "receipt", str(file), "--trust-root", str(tmp_path / broken)]
        assert cli.main(wrong) == commands.COULD_NOT_RUN
        assert capsys.readouterr().out == ""
