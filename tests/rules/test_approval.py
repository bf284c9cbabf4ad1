"""What a person is asked is believed only when every part of it verifies; what he signs follows from that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.rules.build import NONCE, NOW, Json, World, attest, digest_of, flip, note, refused
from workbench.rules import approval, shown
from workbench.rules.approval import ApprovalRequest, Asked
from workbench.rules.codes import Refusal
from workbench.rules.documents import write_time
from workbench.rules.rows import Row, amount
from workbench.rules.words import WORDS, words

Bend = Callable[[World], Json]


def asked(world: World, person: str = "cro-1", /, **changes: Any) -> Asked:
    """Verify what this person is asked."""
    return approval.verify(world.request(person, **changes), trust_root=world.trust_root, now=NOW)


def rows(seen: Asked) -> dict[str, Row]:
    """Return what is shown, by label."""
    return {row.label: row for section in shown.sections(seen, now=NOW) for row in section.rows}


def test_a_decision_follows_from_what_was_shown(world: World) -> None:
    """Every field of it is from the verified request, and nothing of it is the service's to choose."""
    seen = asked(world)
    made = approval.decide(seen, verb="approve", role="cro", reason="", decision_id="ab" * 16, now=NOW)
    intent = world.swap()
    assert (made.intent, made.nonce, made.proposer) == (intent.digest, NONCE, "pm-1")
    assert (made.policy, made.simulation) == (world.policy.digest, world.simulation(intent).digest)
    assert (made.ledger.size, made.ledger.root, made.ledger.h) == (9, "01" * 32, "02" * 32)
    assert made.expires_at == write_time(NOW + timedelta(seconds=900))
    assert world.subject(intent).simulation == made.simulation


def test_it_lives_no_longer_than_its_intent(world: World) -> None:
    """A consent to what is over in a minute is over in a minute."""
    soon = write_time(NOW + timedelta(seconds=60))
    request = world.request("cro-1", world.swap(expires_at=soon))
    seen = approval.verify(request, trust_root=world.trust_root, now=NOW)
    made = approval.decide(seen, verb="approve", role="cro", reason="", decision_id="ab" * 16, now=NOW)
    assert made.expires_at == soon


LIES: dict[str, tuple[Bend, Refusal]] = {
    "another intent under the same signature": (
        lambda w: {"proposal": {**w.propose(w.swap()).dump(), "intent": w.approval().dump()}},
        Refusal.SIGNATURE,
    ),
    "another intent, well proposed, over the old simulation": (
        lambda w: {"proposal": w.propose(w.approval()).dump()},
        Refusal.SIMULATION_OTHER,
    ),
    "another simulation": (
        lambda w: {"simulations": [attest(w.simulation(w.approval())).dump()]},
        Refusal.SIMULATION_OTHER,
    ),
    "a simulation that nobody attests": (
        lambda w: {"simulations": [{**attest(w.simulation(w.swap())).dump(), "observer": "service"}]},
        Refusal.OBSERVER_UNKNOWN,
    ),
    "a simulation that was altered": (
        lambda w: {
            "simulations": [
                {
                    **attest(w.simulation(w.swap())).dump(),
                    "document": w.simulation(w.swap(), slippage_bps=1).dump(),
                }
            ]
        },
        Refusal.SIGNATURE,
    ),
    "a simulation of an hour ago": (
        lambda w: {
            "simulations": [attest(w.simulation(w.swap(), at=write_time(NOW - timedelta(hours=1)))).dump()]
        },
        Refusal.ATTESTATION_STALE,
    ),
    "an older simulation of something else": (
        lambda w: {"before": [attest(w.simulation(w.approval())).dump()]},
        Refusal.SIMULATION_OTHER,
    ),
    "a state that is not proven": (
        lambda w: {"states": [{**w.state().dump(), "accounts": [flipped(w.state().dump()["accounts"][0])]}]},
        Refusal.PROOF,
    ),
    "a policy set that nobody signed": (
        lambda w: {
            "policy_chain": [w.policy_with("limits.json", lambda x: {**x, "slippage_bps_max": 900}).dump()]
        },
        Refusal.POLICY_CHAIN,
    ),
    "a person of no policy set": (lambda _: {"person": "mallory-1"}, Refusal.PERSON_UNKNOWN),
    "a checkpoint of another key": (lambda _: {"checkpoint": note("mallory")}, Refusal.CHECKPOINT),
    "a checkpoint of another ledger": (
        lambda _: {"checkpoint": note(origin="desk.fork/ledger")},
        Refusal.CHECKPOINT,
    ),
    "no checkpoint": (lambda _: {"checkpoint": ""}, Refusal.CHECKPOINT),
}


def flipped(account: Json) -> Json:
    """Return a proven account that claims more than its proof."""
    return {**account, "balance": account["balance"] + "0"}


@pytest.mark.parametrize("name", LIES)
def test_a_lying_service(world: World, name: str) -> None:
    """What it hands out for something else is not shown at all."""
    bend, code = LIES[name]
    with refused(code):
        asked(world, **bend(world))


def test_an_intent_that_is_over(world: World) -> None:
    """Nobody is asked about what cannot be done any more."""
    request = world.request("cro-1")
    with refused(Refusal.EXPIRED):
        approval.verify(request, trust_root=world.trust_root, now=NOW + timedelta(hours=3))


@pytest.mark.parametrize("field", list(ApprovalRequest.model_fields))
def test_a_field_that_is_missing(world: World, field: str) -> None:
    """A request that leaves something out is malformed, not shorter."""
    whole = world.request("cro-1").dump()
    del whole[field]
    with refused(Refusal.MALFORMED, f"/{field}"):
        ApprovalRequest.load(whole)


def test_what_a_person_may_say(world: World) -> None:
    """A proposer withdraws; others decide under a role that may approve, and that they hold."""
    chief, proposer, auditor = (asked(world, person) for person in ("cro-1", "pm-1", "auditor-1"))
    assert (chief.roles, chief.verbs) == (["cro", "committee"], ["approve", "reject", "abstain"])
    assert (proposer.roles, proposer.verbs) == (["portfolio_manager"], ["reject"])
    assert auditor.roles == []
    for seen, verb, role, code in (
        (proposer, "approve", "portfolio_manager", Refusal.DECISION_BY_PROPOSER),
        (proposer, "abstain", "portfolio_manager", Refusal.DECISION_BY_PROPOSER),
        (chief, "approve", "risk_officer", Refusal.ROLE_NOT_HELD),
        (auditor, "approve", "auditor", Refusal.ROLE_NOT_HELD),
    ):
        with refused(code):
            approval.decide(seen, verb=verb, role=role, reason="", decision_id="ab" * 16, now=NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize("verb", ["reject", "abstain"])
def test_a_no_has_a_reason(world: World, verb: approval.Verb) -> None:
    """Who does not consent says why."""
    with refused(Refusal.MALFORMED, "/reason"):
        approval.decide(asked(world), verb=verb, role="cro", reason="", decision_id="ab" * 16, now=NOW)


def test_the_rules_are_asked_again(world: World) -> None:
    """What is outstanding is computed here; a junk decision lifts nothing."""
    over = asked(world)
    assert set(over.outstanding.needs) == {"approve:any:1"}
    junk = world.decide("risk-1", "risk_officer", nonce=NONCE + 1)
    assert asked(world, decisions=[junk.dump()]).outstanding.needs == over.outstanding.needs
    one = asked(world, decisions=[world.decide("risk-1", "risk_officer").dump()])
    assert one.outstanding.needs == ()
    assert rows(one)["risk-1 (risk_officer)"].says == "approved: as declared"
    assert "does not count" in rows(asked(world, decisions=[junk.dump()]))["risk-1 (risk_officer)"].remark


def test_who_is_asked(world: World) -> None:
    """Whoever may consent is asked by name, as anybody, or for the second path; nobody else is."""
    assert (asked(world, "cro-1").asks_person, asked(world, "auditor-1").asks_person) == (True, False)
    assert not asked(world, "pm-1").asks_person
    done = [world.decide("risk-1", "risk_officer").dump()]
    assert not asked(world, "cro-1", decisions=done).asks_person
    limits = world.with_file("limits.json", lambda limits: {**limits, "second_path_usd_cents_min": 1})
    policy = world.sign_set(limits, after=world.policy)
    chain = [world.policy.dump(), policy.dump()]
    seen = asked(world, "cro-1", policy_chain=chain)
    assert set(seen.outstanding.needs) == {"approve:any:1", "approve:console:1"}
    consents = "the consent of anybody who may approve, the consent of somebody by the second path"
    assert rows(seen)["Why you"].says == f"the rules ask for {consents}"


def test_what_is_shown(world: World) -> None:
    """Names, human units, every argument, every address in full."""
    seen = asked(world)
    found = rows(seen)
    assert shown.title(seen) == "\u22121,000,000 USDC, +399 WETH · NewSwap router"
    assert found["params.amountIn"].says == "1,000,000 USDC"
    assert found["params.amountOutMinimum"].says == "399 WETH"
    assert found["params.deadline"].says == "2026-11-21 13:00:00 UTC"
    assert found["params.recipient"].says == "our key treasury"
    assert found["params.recipient"].hex == seen.key.address
    assert found["Value at stake"].says == "$1,000,000.00"
    assert found["Slippage"].says == "0.2000 %"
    assert found["All the bytes"].hex == "0x" + seen.intent.data
    assert found["Read these aloud"].says == words(seen.intent.digest)
    assert not [row for row in found.values() if row.alarm]


ALARMS: dict[str, tuple[Callable[[World], Asked], str]] = {
    "a contract that nobody reviewed": (
        lambda w: of(w, w.swap(to=w.policy.keys["treasury"].address)),
        "To contract",
    ),
    "arguments out of bounds": (lambda w: of(w, w.approval(data=w.approval().data[:-2] + "ff")), "Function"),
    "money that nobody declared": (
        lambda w: of(
            w,
            w.approval(),
            deltas=[{"account": w.policy.keys["treasury"].address, "asset": "ETH", "amount": "-5"}],
        ),
        "Against what was declared",
    ),
    "a change of who is in charge": (
        lambda w: of(w, w.swap(), admin_changes=[{"kind": "owner", "to": "0x" + "22" * 20}]),
        "Changes who is in charge",
    ),
    "slippage over the limit": (lambda w: of(w, w.swap(), slippage_bps=300, slippage_ppm=30_000), "Slippage"),
    "slippage that nobody could price": (
        lambda w: of(w, w.swap(), slippage_bps=None, slippage_ppm=None, loss=None),
        "Slippage",
    ),
    "a call that fails": (lambda w: of(w, w.swap(), revert="paused\u202egnp"), "Result"),
    "one's own proposal": (lambda w: asked(w, "pm-1"), "Why you"),
}


def of(world: World, intent: Any, **simulated: Any) -> Asked:
    """Verify what is asked of an intent whose simulation says this."""
    statement = attest(world.simulation(intent, **simulated)).dump()
    request = world.request("cro-1", intent, simulations=[statement])
    return approval.verify(request, trust_root=world.trust_root, now=NOW)


@pytest.mark.parametrize("name", ALARMS)
def test_what_should_make_somebody_stop(world: World, name: str) -> None:
    """It is shown and marked, not left out."""
    make, label = ALARMS[name]
    row = rows(make(world))[label]
    assert row.alarm
    assert "\u202e" not in row.says


def test_a_simulation_that_changed(world: World) -> None:
    """What differs since the last decision is said, figure by figure."""
    before = attest(world.simulation(world.swap(), slippage_bps=10, slippage_ppm=1000, gas=1)).dump()
    found = rows(asked(world, before=[before]))
    assert found["Slippage"].says == "0.1000 % → 0.2000 %"
    same = rows(asked(world, before=[attest(world.simulation(world.swap(), gas=150_000)).dump()]))
    assert same["Changed"].says.startswith("nothing that counts")


def test_amounts_are_not_rounded(world: World) -> None:
    """The last digit of the largest amount is shown."""
    seen = asked(world)
    asset = world.policy.assets["ETH"]
    largest = 2**256 - 1
    text = amount(seen, asset.asset, str(largest))
    assert text.replace(",", "").replace(".", "").removesuffix(" ETH") == str(largest)


def test_words_are_told_apart() -> None:
    """No two words begin alike or differ in one letter; a byte of difference is another word."""
    assert len({word[:4] for word in WORDS}) == len(WORDS) == 256
    assert not [
        (one, other)
        for one in WORDS
        for other in WORDS
        if one < other and len(one) == len(other) and sum(a != b for a, b in zip(one, other, strict=True)) < 2
    ]
    digest = digest_of("a")
    assert len(words(digest).split()) == 8
    assert words(digest) != words(flip(digest, 0))
