"""Two of five co-signers and the service in the wrong hands: what a third has to agree to is not signed.

The two run modified code over their own tokens, keys and shares (`corrupt`), the service is `taken_over`.
Each honest one is tried by itself, since it would be the third.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import coincurve
import pytest

from ledger import checkpoint as notes
from ledger.checkpoint import Checkpoint, CheckpointError
from ledger.trust import TrustRoot as LedgerTrustRoot
from tests.e2e import stolen
from tests.e2e.taken_over import (
    KEY,
    LIMITS,
    NAMES,
    Said,
    TakenOver,
    approved,
    memory,
    mined,
    remembered,
    taken_over,
)
from tests.world import Living, living
from workbench.demo.world import SERVICE
from workbench.evm.transaction import UnsignedTransaction, address_of, assemble, signature_for
from workbench.rules.codes import Refusal, RefusedError

HONEST, CORRUPT = NAMES[:3], NAMES[3:]
CHECKOUT = Path(__file__).resolve().parents[2]
USD = 100_000
CENTS = 100 * USD
RISK = ("risk-1", "risk_officer")
STEPS_MAX = 8
LAST_ROUND = 3
"""In which each has told its part to all."""


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """A living world whose key five share, and in which a day's limit is one and a half intents."""
    with living(engine="mpc", limits=LIMITS) as built:
        yield built


@pytest.fixture(scope="module")
def intents(world: Living) -> dict[str, str]:
    """What people have approved: one, one more that is too much for the day, one too large; and one not."""
    amounts = {"approved": USD, "second": USD + 1, "over": 2_000_000}
    digests = approved(world, {name: world.allowance(amount) for name, amount in amounts.items()})
    unapproved = world.outstanding(world.allowance(20)).digest
    world.officer("risk-1").speaks.ask(unapproved)
    assert world.pm.intent(digests["over"]).state == "outstanding"
    return digests | {"unapproved": unapproved}


@pytest.fixture(scope="module")
def liar(world: Living, intents: dict[str, str]) -> Iterator[TakenOver]:
    """The service, and the last two co-signers, in the wrong hands."""
    with taken_over(world) as made:
        for digest in intents.values():
            made.look(digest)
        for name in CORRUPT:
            bribed(world, name)
        yield made


def bribed(world: Living, name: str) -> None:
    """Start modified code in a co-signer's place, over everything that it has."""
    stack = world.stack
    stack.stop_one(name)
    command = [part if part != "workbench.cosigner" else "tests.e2e.corrupt" for part in stack.command(name)]
    with stack.log(name).open("ab") as log:
        stack._running[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd=CHECKOUT)
    stack.await_ready(name, stack._running[name])


def told(liar: TakenOver, name: str, operation: str, **rest: object) -> Said:
    """Tell a corrupt one what to do."""
    return liar.ask(name, {"v": 1, "operation": operation, **rest})


def opened(liar: TakenOver, honest: str, intent: str) -> Said:
    """Have an honest one open a run with the two; it must have agreed."""
    signers = sorted(NAMES.index(name) + 1 for name in (honest, *CORRUPT))
    said = liar.ask(honest, {"v": 1, "operation": "open", "intent": intent, "signers": signers})
    opening: Said = said["opening"]
    return opening


def begun(
    liar: TakenOver, honest: str, opening: Said, digest: str, terms: Said | None = None
) -> dict[str, Said]:
    """Have the two open on the honest one's terms, or others, to sign a digest; return what all say first."""
    on = terms or opening["opening"]["terms"]
    theirs = [told(liar, name, "corrupt-open", terms=on, digest=digest)["opening"] for name in CORRUPT]
    request = {"v": 1, "operation": "begin", "openings": [opening, *theirs]}
    return {name: liar.ask(name, request) for name in (honest, *CORRUPT)}


def carried(liar: TakenOver, said: dict[str, Said], *, withheld: bool = False) -> dict[str, Said]:
    """Carry a run as far as it goes; `withheld`: the honest one, the first, is kept from how it ends."""
    run, names = next(iter(said.values()))["run"], list(said)
    for _ in range(STEPS_MAX):
        if any("envelopes" not in said[name] for name in names):
            return said
        sent = [each for name in said for each in said[name]["envelopes"]]
        last = sent[0]["envelope"]
        if withheld and (last["round"], last["kind"]) == (LAST_ROUND, "echo"):
            names = list(CORRUPT)
        said = said | {name: taken(liar, name, run, sent) for name in names}
    raise AssertionError("the run does not end")


def taken(liar: TakenOver, name: str, run: str, sent: list[Said]) -> Said:
    """Bring one what the others have sent it, or all."""
    number = NAMES.index(name) + 1
    mail = [
        each
        for each in sent
        if each["envelope"]["sender"] != number and each["envelope"]["to"] in {None, number}
    ]
    return liar.ask(name, {"v": 1, "operation": "take", "key": KEY, "run": run, "envelopes": mail})


def swapped(liar: TakenOver, digest: str) -> UnsignedTransaction:
    """Return an intent's bytes with another spender's amount."""
    unsigned = liar.unsigned(digest)
    return replace(unsigned, data=unsigned.data[:-1] + b"\xff")


def elsewhere(liar: TakenOver, digest: str) -> UnsignedTransaction:
    """Return an intent's bytes to another contract."""
    return replace(liar.unsigned(digest), to=liar.world.world.deployment.weth)


def borrowed(liar: TakenOver, name: str, intents: dict[str, str]) -> Said:
    """Bring what nobody approved with the consent to something else."""
    consent = [each.dump() for each in liar.matter(intents["approved"]).decisions]
    return liar.evidence(name, intents["unapproved"]) | {"decisions": consent}


Bring = Callable[[TakenOver, str, dict[str, str]], Said]
CASES: dict[str, tuple[Bring, int, str]] = {
    "an intent that nobody approved": (
        lambda liar, name, intents: liar.evidence(name, intents["unapproved"]),
        4,
        "no_approval_counts",
    ),
    "the consent to something else": (borrowed, 4, "decision_over_another_intent"),
    "calldata that was swapped after approval": (
        lambda liar, name, intents: liar.evidence(
            name, intents["approved"], swapped(liar, intents["approved"])
        ),
        5,
        "bytes_differ_from_intent",
    ),
    "another destination": (
        lambda liar, name, intents: liar.evidence(
            name, intents["approved"], elsewhere(liar, intents["approved"])
        ),
        5,
        "bytes_differ_from_intent",
    ),
    "above the limit of one transaction": (
        lambda liar, name, intents: liar.evidence(name, intents["over"]),
        6,
        "policy_denied",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_no_honest_one_is_the_third(liar: TakenOver, intents: dict[str, str], case: str) -> None:
    """The two say yes; each of the others says no, opens nothing, and remembers nothing of it."""
    bring, step, code = CASES[case]
    for name in HONEST:
        evidence = bring(liar, name, intents)
        assert [liar.ask(each, evidence)["agreed"]["intent"] for each in CORRUPT] == [evidence["intent"]] * 2
        liar.refuses(name, evidence, step, code)
        assert memory(liar.world, name) == {}
    assert liar.world.transactions() == 0


def test_two_alone(liar: TakenOver, intents: dict[str, str]) -> None:
    """The engine makes nothing of two shares, and two shares that are put together are another key's."""
    digest = liar.unsigned(intents["unapproved"]).digest().hex()
    for name in CORRUPT:
        said = told(liar, name, "corrupt-alone", key=KEY, signers=[4, 5], digest=digest)
        assert said["refused"]["code"] == "engine", said
        # with a third it would begin, and wait for what the third has to say
        assert told(liar, name, "corrupt-alone", key=KEY, signers=[1, 4, 5], digest=digest)["begun"]
    leaked = dict(leak(liar, name) for name in CORRUPT)
    assert sorted(leaked) == [4, 5]
    assert address_of(stolen.point(stolen.whole(leaked))) != liar.world.world.treasury


def leak(liar: TakenOver, name: str) -> tuple[int, int]:
    """Have a corrupt one hand out its share."""
    key = os.urandom(32)
    said = told(liar, name, "corrupt-share", key=KEY, to=key.hex())
    secret = stolen.opened(bytes.fromhex(said["sealed"]), key, b"stolen")
    index = json.loads((liar.world.world.places.root(name) / "shares" / KEY / "index.json").read_text())
    point = index["current"]["points"][said["party"] - 1]
    assert coincurve.PrivateKey(secret.to_bytes(32)).public_key.format().hex() == point
    return said["party"], secret


def test_a_run_for_one_thing_signs_nothing_else(liar: TakenOver, intents: dict[str, str]) -> None:
    """An honest one has agreed to an intent: on other terms it does not begin, and nothing is given."""
    wanted = liar.unsigned(intents["unapproved"]).digest().hex()
    for name in HONEST:
        assert "agreed" in liar.ask(name, liar.evidence(name, intents["approved"]))
        before = memory(liar.world, name)
        opening = opened(liar, name, intents["approved"])
        terms = opening["opening"]["terms"] | {"digest": wanted}
        said = begun(liar, name, opening, wanted, terms)
        assert said[name]["refused"]["code"] == "run_not_as_agreed"
        assert "opens another run: digest" in said[name]["refused"]["detail"]
        assert memory(liar.world, name) == before
        assert [(each["raw_tx"], each["given"]) for each in before[0]["bytes"]] == [(None, False)]


def test_one_who_speaks_for_another(liar: TakenOver, intents: dict[str, str]) -> None:
    """A corrupt one opens as an honest one, with its own key: the third is not there, and is missed."""
    name, absent, one = HONEST[0], HONEST[1], CORRUPT[0]
    before = memory(liar.world, name)
    signers = sorted(NAMES.index(each) + 1 for each in (name, absent, one))
    request = {"v": 1, "operation": "open", "intent": intents["approved"], "signers": signers}
    mine = liar.ask(name, request)["opening"]
    digest = mine["opening"]["terms"]["digest"]
    theirs = told(liar, one, "corrupt-open", terms=mine["opening"]["terms"], digest=digest)["opening"]
    forged = mine["opening"] | {"party": NAMES.index(absent) + 1, "counter": 10**6}
    faked = told(liar, one, "corrupt-opening", opening=forged)["opening"]
    said = liar.ask(name, {"v": 1, "operation": "begin", "openings": [mine, faked, theirs]})
    assert said["refused"]["code"] == "signature_invalid"
    assert f"opening of {absent}" in said["refused"]["detail"]
    assert memory(liar.world, name) == before


def test_engines_over_another_digest(liar: TakenOver, intents: dict[str, str]) -> None:
    """The two begin on the right terms and sign something else: the first round ends it, before any part."""
    name, wanted = HONEST[1], liar.unsigned(intents["unapproved"]).digest().hex()
    before = memory(liar.world, name)
    said = carried(liar, begun(liar, name, opened(liar, name, intents["approved"]), wanted))
    assert {each["refused"]["code"] for each in said.values()} == {"run_aborted"}
    assert said[name]["refused"]["detail"].endswith("belongs to a different signing session")
    assert memory(liar.world, name) == before
    assert [(each["raw_tx"], each["given"]) for each in before[0]["bytes"]] == [(None, False)]


def test_they_get_what_was_approved(world: Living, liar: TakenOver, intents: dict[str, str]) -> None:
    """With one honest one the two sign what people approved, and keep it from that one; it counts there."""
    name, unsigned = HONEST[0], liar.unsigned(intents["approved"])
    opening = opened(liar, name, intents["approved"])
    said = carried(liar, begun(liar, name, opening, unsigned.digest().hex()), withheld=True)
    (raw,) = {said[each]["signature"] for each in CORRUPT}
    public_key = bytes.fromhex(world.world.policy.key(KEY).public_key)
    r, s, parity = signature_for(unsigned.digest(), bytes.fromhex(raw)[:64], public_key)
    assert remembered(world, name) == {0: (intents["approved"], CENTS)}
    (bytes_,) = memory(world, name)[0]["bytes"]
    assert (bytes_["raw_tx"], bytes_["given"]) == (None, True)
    an_old_nonce(liar, intents, 7, "nonce_used")
    mined(world, assemble(unsigned, r, s, parity).hex())
    liar.look(intents["second"])
    an_old_nonce(liar, intents, 6, "policy_denied")


def an_old_nonce(liar: TakenOver, intents: dict[str, str], step: int, code: str) -> None:
    """Have people approve the second intent under the nonce of the first: no honest one signs it for that."""
    for name in HONEST:
        liar.refuses(name, liar.reserved(name, intents["second"], 0, RISK), step, code)


def test_no_more_than_the_day_allows(liar: TakenOver, intents: dict[str, str]) -> None:
    """The second intent would be over the day's limit, by what each has given its part to or agreed to."""
    for name in HONEST:
        liar.refuses(name, liar.evidence(name, intents["second"]), 7, "own_limit_exceeded")
    assert liar.world.transactions() == 1


def test_two_witnesses_are_no_quorum(world: Living, liar: TakenOver, intents: dict[str, str]) -> None:
    """They cosign another history; nobody honest does, and no honest one goes on from it."""
    lane = liar.desk.lane
    genuine, _ = notes.split(lane.recorder.checkpoint())
    key = lane.recorder.key
    forked = Checkpoint(genuine.origin, genuine.size, os.urandom(32), os.urandom(32))
    note = notes.sign(forked, SERVICE, key.public_key, key.sign)
    for name in CORRUPT:
        note = told(liar, name, "corrupt-cosign", note=note)["note"]
    trust_root = LedgerTrustRoot.parse(world.world.places.trust_root.read_bytes())
    with pytest.raises(CheckpointError):
        trust_root.verify(note)
    with pytest.raises(RefusedError) as refused:
        lane.recorder.witnesses.cosigned(note, lane.recorder.ledger)
    assert refused.value.code is Refusal.UNAVAILABLE
    update = {"from": genuine.size, "leaves": ["ab" * 32], "checkpoint": note, "consistency": {}}
    for name in HONEST:
        before = memory(world, name)
        said = liar.ask(name, {"v": 1, "operation": "advance", "head": update})
        assert said["refused"]["code"] == "checkpoint_invalid"
        assert memory(world, name) == before
        liar.refuses(name, liar.evidence(name, intents["second"]) | {"head": update}, 2, "checkpoint_invalid")
