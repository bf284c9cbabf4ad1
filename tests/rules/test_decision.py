"""Decisions: who counts, and who does not, by name."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rules.build import NONCE, NOW, World, digest_of, flip, refused
from workbench.rules.codes import Refusal
from workbench.rules.decision import (
    DECISIONS_MAX,
    SKEW_S,
    Approvals,
    Decision,
    SignedDecision,
    count,
    verify_approval,
    verify_decision,
)
from workbench.rules.documents import write_time

Make = Callable[[World], SignedDecision]
LIFE_S = 900


def at(**delta: float) -> str:
    """Return a time relative to noon."""
    return write_time(NOW + timedelta(**delta))


def by(person: str, role: str, **changes: Any) -> Make:
    """Return how a decision is made in a world."""
    return lambda world: world.decide(person, role, **changes)


def counted(world: World, decisions: Sequence[SignedDecision]) -> Approvals:
    """Count decisions on the swap, at noon."""
    return count(
        decisions,
        subject=world.subject(world.swap()),
        policy=world.policy,
        trust_root=world.trust_root,
        now=NOW,
    )


def altered(person: str, role: str, /, **changes: Any) -> Make:
    """Return a decision whose document was changed after the person had signed it."""

    def make(world: World) -> SignedDecision:
        signed = world.decide(person, role)
        return SignedDecision(
            decision=Decision.load(signed.decision.dump() | changes), assertion=signed.assertion
        )

    return make


def forged(person: str, role: str) -> Make:
    """Return a decision with a character of the signature changed."""

    def make(world: World) -> SignedDecision:
        signed = world.decide(person, role)
        assertion = signed.assertion.model_copy(update={"signature": flip(signed.assertion.signature)})
        return SignedDecision(decision=signed.decision, assertion=assertion)

    return make


def by_hand_of(other: str, person: str, role: str) -> Make:
    """Return a decision in a person's name, signed by another's key."""
    return lambda world: SignedDecision(
        decision=world.decision(person, role),
        assertion=world.sign_as(other, world.decision(person, role).challenge),
    )


def twice(make: Make) -> list[Make]:
    """Return the same signed decision two times."""
    made: list[SignedDecision] = []

    def once(world: World) -> SignedDecision:
        if not made:
            made.append(make(world))
        return made[0]

    return [once, once]


CRO, RISK, MEMBER = by("cro-1", "cro"), by("risk-1", "risk_officer"), by("committee-1", "committee")
GOOD = {"committee-1": "committee"}


@pytest.mark.parametrize(
    ("decisions", "expected", "skipped"),
    [
        pytest.param([], {}, [], id="nobody"),
        pytest.param([CRO, MEMBER], {"cro-1": "cro", **GOOD}, [], id="two people"),
        pytest.param(
            [by("cro-1", "committee")], {"cro-1": "committee"}, [], id="a person under his other role"
        ),
        pytest.param([MEMBER, MEMBER], GOOD, [Refusal.DECISION_REPEATED], id="one person twice"),
        pytest.param(twice(MEMBER), GOOD, [Refusal.DECISION_REPEATED], id="the same assertion twice"),
        pytest.param(
            [MEMBER, by("committee-1", "committee", key=1, reason="again")],
            GOOD,
            [Refusal.DECISION_REPEATED],
            id="one person with two keys",
        ),
        pytest.param([by("committee-1", "committee", key=1)], GOOD, [], id="a person's second key alone"),
        pytest.param(
            [MEMBER, by("pm-1", "committee")], GOOD, [Refusal.DECISION_BY_PROPOSER], id="the proposer"
        ),
        pytest.param(
            [by("cro-1", "cro", intent=digest_of("other"))],
            {},
            [Refusal.DECISION_OTHER_INTENT],
            id="another intent",
        ),
        pytest.param(
            [by("cro-1", "cro", proposer="trader-1")],
            {},
            [Refusal.DECISION_OTHER_INTENT],
            id="another proposer",
        ),
        pytest.param(
            [by("cro-1", "cro", nonce=NONCE + 1)], {}, [Refusal.DECISION_OTHER_NONCE], id="another nonce"
        ),
        pytest.param(
            [by("cro-1", "cro", policy=digest_of("old"))],
            {},
            [Refusal.DECISION_OTHER_POLICY],
            id="a superseded policy",
        ),
        pytest.param(
            [by("cro-1", "cro", simulation=digest_of("old"))],
            {},
            [Refusal.DECISION_OTHER_SIMULATION],
            id="another simulation",
        ),
        pytest.param(
            [by("cro-1", "cro", tolerance={"inflow_bps": 26})],
            {},
            [Refusal.TOLERANCE],
            id="a tolerance over the policy's",
        ),
        pytest.param([by("cro-1", "cro", expires_at=at())], {}, [Refusal.EXPIRED], id="expired this second"),
        pytest.param(
            [by("cro-1", "cro", expires_at=at(seconds=LIFE_S + SKEW_S + 1))],
            {},
            [Refusal.EXPIRED],
            id="consent for longer than the policy's",
        ),
        pytest.param(
            [by("cro-1", "cro", expires_at="9999-12-31T00:00:00.000000Z")],
            {},
            [Refusal.EXPIRED],
            id="consent for ever",
        ),
        pytest.param(
            [by("cro-1", "cro", verb="abstain")], {}, [Refusal.DECISION_NOT_APPROVAL], id="an abstention"
        ),
        pytest.param(
            [altered("cro-1", "cro", verb="abstain")],
            {},
            [Refusal.DECISION_NOT_APPROVAL],
            id="an approval turned into an abstention",
        ),
        pytest.param(
            [lambda world: _turned(world, "reject", "approve")],
            {},
            [Refusal.ASSERTION_OTHER],
            id="a rejection presented as approval",
        ),
        pytest.param(
            [lambda world: _turned(world, "abstain", "approve")],
            {},
            [Refusal.ASSERTION_OTHER],
            id="an abstention presented as approval",
        ),
        pytest.param(
            [altered("cro-1", "cro", tolerance={"inflow_bps": 25})],
            {},
            [Refusal.ASSERTION_OTHER],
            id="a tolerance widened afterwards",
        ),
        pytest.param(
            [altered("cro-1", "cro", expires_at=at(seconds=700))],
            {},
            [Refusal.ASSERTION_OTHER],
            id="a life lengthened afterwards",
        ),
        pytest.param(
            [altered("cro-1", "cro", role="committee")],
            {},
            [Refusal.ASSERTION_OTHER],
            id="a role changed afterwards",
        ),
        pytest.param(
            [altered("cro-1", "cro", person="risk-1", role="risk_officer")],
            {},
            [Refusal.CREDENTIAL_UNKNOWN],
            id="a person changed afterwards",
        ),
        pytest.param(
            [by_hand_of("pm-1", "cro-1", "cro")], {}, [Refusal.CREDENTIAL_UNKNOWN], id="another's key"
        ),
        pytest.param([forged("cro-1", "cro")], {}, [Refusal.ASSERTION], id="a forgery"),
        pytest.param([by("risk-1", "cro")], {}, [Refusal.ROLE_NOT_HELD], id="a role not held"),
        pytest.param(
            [by("auditor-1", "auditor")], {}, [Refusal.ROLE_NOT_HELD], id="an auditor approves nothing"
        ),
        pytest.param([by("trader-1", "trader")], {}, [Refusal.ROLE_NOT_HELD], id="a trader approves nothing"),
        pytest.param(
            [by("trader-1", "cro")], {}, [Refusal.ROLE_NOT_HELD], id="a trader who calls himself officer"
        ),
        pytest.param(
            [by("cro-1", "cro", path="login")], {}, [Refusal.CREDENTIAL_UNKNOWN], id="a login credential"
        ),
        pytest.param(
            [altered("cro-1", "cro", person="nobody")],
            {},
            [Refusal.PERSON_UNKNOWN],
            id="a person who is not there",
        ),
        pytest.param(
            [forged("cro-1", "cro"), by("auditor-1", "auditor"), by("pm-1", "portfolio_manager"), MEMBER],
            GOOD,
            [Refusal.ASSERTION, Refusal.ROLE_NOT_HELD, Refusal.DECISION_BY_PROPOSER],
            id="junk does not veto",
        ),
        pytest.param(
            [altered("cro-1", "cro", verb="reject"), MEMBER],
            GOOD,
            [Refusal.ASSERTION_OTHER],
            id="an approval turned into a rejection does not veto",
        ),
        pytest.param(
            [by_hand_of("pm-1", "cro-1", "cro"), MEMBER],
            GOOD,
            [Refusal.CREDENTIAL_UNKNOWN],
            id="a rejection by another's hand does not veto",
        ),
        pytest.param(
            [by("cro-1", "cro", verb="reject", intent=digest_of("other")), MEMBER],
            GOOD,
            [Refusal.DECISION_OTHER_INTENT],
            id="a rejection of another intent does not veto",
        ),
        pytest.param(
            [by("cro-1", "cro", verb="reject", expires_at=at()), MEMBER],
            GOOD,
            [Refusal.EXPIRED],
            id="an expired rejection does not veto",
        ),
    ],
)
def test_who_counts(
    world: World, decisions: list[Make], expected: dict[str, str], skipped: list[Refusal]
) -> None:
    """Each person once, under the role he signed; everything else is skipped and named."""
    made = [make(world) for make in decisions]
    before = [signed.canonical() for signed in made]
    approvals = counted(world, made)
    assert dict(approvals.roles) == expected
    assert sorted(approvals.skipped.values()) == sorted(skipped)
    assert approvals.tolerance_inflow_bps == (10 if expected else 0)
    assert [signed.canonical() for signed in made] == before


def _turned(world: World, said: str, shown: str) -> SignedDecision:
    signed = world.decide("cro-1", "cro", verb=said)
    return SignedDecision(
        decision=Decision.load(signed.decision.dump() | {"verb": shown}), assertion=signed.assertion
    )


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_valid_rejection_ends_the_matter(world: World, place: int) -> None:
    """However many approve, and wherever the courier puts it."""
    made = [CRO(world), MEMBER(world)]
    made.insert(place, world.decide("risk-1", "risk_officer", verb="reject", reason="slippage"))
    with refused(Refusal.REJECTED) as caught:
        counted(world, made)
    assert caught.detail == "risk-1: slippage"


@pytest.mark.parametrize(("person", "role"), [("auditor-1", "auditor"), ("trader-1", "trader")])
def test_who_cannot_consent_cannot_reject(world: World, person: str, role: str) -> None:
    """Otherwise everybody with a key would hold a veto over the desk."""
    approvals = counted(world, [MEMBER(world), world.decide(person, role, verb="reject")])
    assert dict(approvals.roles) == GOOD
    assert list(approvals.skipped.values()) == [Refusal.ROLE_NOT_HELD]


def test_a_proposer_may_withdraw(world: World) -> None:
    """He consents to nothing of his own, and may still stop it."""
    with refused(Refusal.REJECTED):
        counted(world, [MEMBER(world), world.decide("pm-1", "portfolio_manager", verb="reject")])


def test_a_person_who_changes_his_mind_has_rejected(world: World) -> None:
    """An approval does not outweigh the same person's rejection, before or after."""
    with refused(Refusal.REJECTED):
        counted(world, [CRO(world), world.decide("cro-1", "cro", verb="reject")])


def test_the_strictest_tolerance_binds(world: World) -> None:
    """Nobody widens what another person consented to."""
    made = [
        world.decide("cro-1", "cro", tolerance={"inflow_bps": 25}),
        world.decide("risk-1", "risk_officer", tolerance={"inflow_bps": 3}),
    ]
    assert counted(world, made).tolerance_inflow_bps == 3
    assert counted(world, made[:1]).tolerance_inflow_bps == 25
    assert (
        counted(
            world, [world.decide("cro-1", "cro", tolerance={"inflow_bps": 0}), *made]
        ).tolerance_inflow_bps
        == 0
    )


def test_a_junk_tolerance_binds_nobody(world: World) -> None:
    """What does not count does not make the others stricter either."""
    junk = world.decide("auditor-1", "auditor", tolerance={"inflow_bps": 0})
    assert counted(world, [CRO(world), junk]).tolerance_inflow_bps == 10


def test_who_holds_which_role(world: World) -> None:
    """A person counts under the role of the document, and once."""
    approvals = counted(world, [CRO(world), MEMBER(world), by("cro-1", "committee")(world)])
    assert approvals.holding("cro") + approvals.holding("committee") == len(approvals.roles) == 2
    assert approvals.holding("auditor") == 0


def test_a_persons_first_word_counts(world: World) -> None:
    """Two approvals under two roles: the earlier document, in whichever order they arrive."""
    early = world.decide("cro-1", "cro", expires_at=at(seconds=100))
    late = world.decide("cro-1", "committee", expires_at=at(seconds=200))
    assert (
        dict(counted(world, [early, late]).roles)
        == dict(counted(world, [late, early]).roles)
        == {"cro-1": "cro"}
    )


def test_a_bent_copy_does_not_hide_a_decision(world: World) -> None:
    """Junk under the same id marks the id as skipped; what counted is still there to be looked at."""
    good = MEMBER(world)
    copies = [
        SignedDecision(
            decision=Decision.load(good.decision.dump() | {"reason": "bent"}), assertion=good.assertion
        ),
        good,
    ]
    approvals = counted(world, [*copies, good])
    assert good.decision.id in approvals.skipped
    assert list(approvals.counted) == [good]


def test_too_many_decisions(world: World) -> None:
    """A flood is refused before anything is verified; the limit itself is not."""
    one = MEMBER(world)
    assert len(counted(world, [one] * DECISIONS_MAX).roles) == 1
    with refused(Refusal.DECISION_LIMIT):
        counted(world, [one] * (DECISIONS_MAX + 1))


def test_an_approval_lives_as_long_as_the_policy_says(world: World) -> None:
    """The longest life is admitted, with two clocks' difference."""
    for seconds in (1, LIFE_S, LIFE_S + SKEW_S):
        assert counted(world, [world.decide("cro-1", "cro", expires_at=at(seconds=seconds))]).roles


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_order_and_duplication_never_matter(world: World, data: st.DataObject) -> None:
    """Whatever the courier repeats or shuffles, the same people count, under the same role and tolerance."""
    pool = _pool(world)
    chosen = data.draw(st.lists(st.integers(0, len(pool) - 1), min_size=1, max_size=12))
    again = data.draw(st.permutations(chosen + data.draw(st.lists(st.sampled_from(chosen), max_size=6))))
    one, other = (counted(world, [pool[index] for index in each]) for each in (chosen, again))
    assert dict(one.roles) == dict(other.roles)
    assert one.tolerance_inflow_bps == other.tolerance_inflow_bps


_MADE: list[SignedDecision] = []


def _pool(world: World) -> list[SignedDecision]:
    if not _MADE:
        makes = [CRO, by("cro-1", "committee"), by("cro-1", "cro", tolerance={"inflow_bps": 2})]
        makes += [RISK, MEMBER, by("committee-1", "committee", key=1), by("pm-1", "portfolio_manager")]
        makes += [by("auditor-1", "auditor"), forged("cro-1", "cro"), by("cro-1", "cro", verb="abstain")]
        _MADE.extend(make(world) for make in makes)
    return _MADE


def test_each_check_alone(world: World) -> None:
    """`verify_decision` is about any verb; only `verify_approval` says that it may count."""
    about: dict[str, Any] = {
        "subject": world.subject(world.swap()),
        "policy": world.policy,
        "trust_root": world.trust_root,
        "now": NOW,
    }
    rejection = world.decide("cro-1", "cro", verb="reject")
    verify_decision(rejection, **about)
    verify_decision(world.decide("auditor-1", "auditor", verb="abstain"), **about)
    with refused(Refusal.DECISION_NOT_APPROVAL):
        verify_approval(rejection, **about)
    verify_approval(CRO(world), **about)
