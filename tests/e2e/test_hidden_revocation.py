"""A service that hides a revocation: it brings an approval by a key that officers have taken away since.

The officers' set goes to the watcher past the service. From then on every lease says so, and no co-signer
goes by the older set, whatever it is brought.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from tests.e2e.taken_over import LIMITS, NAMES, Said, TakenOver, approved, memory, remembered, taken_over
from tests.e2e.test_watcher import remembers, until
from tests.world import Living, living
from workbench.demo.world import WATCHER
from workbench.process.frames import call
from workbench.rules import revocation
from workbench.rules.assertion import APPROVAL, CONSOLE
from workbench.rules.policy import PolicySet
from workbench.service.courier import StepError

GONE, ROLE = "committee-1", "committee"
OFFICERS = (("risk-1", CONSOLE), ("cro-1", APPROVAL))


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """A living world whose key five share."""
    with living(engine="mpc", limits=LIMITS) as built:
        yield built


@pytest.fixture(scope="module")
def intent(world: Living) -> str:
    """An intent that one person has approved."""
    return approved(world, {"it": world.allowance(1_000)}, person=GONE, role=ROLE)["it"]


@pytest.fixture(scope="module")
def liar(world: Living, intent: str) -> Iterator[TakenOver]:
    """The service in the wrong hands."""
    with taken_over(world) as made:
        made.look(intent)
        yield made


@pytest.fixture(scope="module")
def following(world: Living) -> PolicySet:
    """The set in which the key that approved is missing, as two officers have signed it."""
    policy = world.world.policy
    lost = next(each.id for each in policy.people[GONE].credentials if each.path == "approval")
    drafted = revocation.without(policy, GONE, credentials=[lost], activates_at=datetime.now(UTC))
    signatures = [world.officer(person).sign_policy(drafted, path=path) for person, path in OFFICERS]
    return PolicySet(drafted.manifest, drafted.files, signatures)


@pytest.fixture(scope="module")
def older(liar: TakenOver, intent: str) -> Said:
    """A lease from before, under which the first three agreed: nothing else was in the way."""
    for name in NAMES[:3]:
        evidence = liar.evidence(name, intent)
        assert "agreed" in liar.ask(name, evidence)
    lease: Said = evidence["lease"]
    return lease


@pytest.fixture(scope="module")
def revoked(world: Living, older: Said, following: PolicySet) -> Said:
    """The officers' set is brought to the watcher, and each co-signer hears of it; return the older lease."""
    sets = [world.world.policy.dump(), following.dump()]
    adopted = call(
        world.world.places.socket(WATCHER), {"v": 1, "operation": "policy", "sets": sets}, timeout_s=30
    )
    assert adopted["policy"] == following.digest
    for name in NAMES:
        until(lambda name=name: remembers(world, name).revocation_epoch == following.manifest.version)
    return older


def test_no_part_is_given_any_more(world: Living, liar: TakenOver, intent: str, revoked: Said) -> None:
    """Three had agreed before they heard: they give no part of a signature, and know so."""
    with pytest.raises(StepError, match="policy_superseded"):
        liar.signs(intent, NAMES[:3])
    for name in NAMES[:3]:
        ((nonce, record),) = memory(world, name).items()
        assert (nonce, [each["given"] for each in record["bytes"]]) == (0, [False])
        # an older lease takes back what they agreed to
        answer = liar.ask(name, liar.evidence(name, intent) | {"lease": revoked})["answer"]
        assert answer["refused"]["code"] == "lease_behind_what_was_heard"
        assert remembered(world, name) == {}


def no_lease(_: TakenOver, evidence: Said, *__: object) -> Said:
    """The watcher is silent, says the service."""
    return evidence | {"lease": None}


def lease_before(_: TakenOver, evidence: Said, older: Said, __: PolicySet) -> Said:
    """The lease from before."""
    return evidence | {"lease": older}


def rules_before(_: TakenOver, evidence: Said, *__: object) -> Said:
    """Today's lease, and the rules from before."""
    return evidence


def bent_lease(_: TakenOver, evidence: Said, __: Said, ___: PolicySet) -> Said:
    """Today's lease, with yesterday's epoch in it."""
    lease = evidence["lease"]["lease"] | {"revocation_epoch": 0, "policy_version": 1}
    return evidence | {"lease": evidence["lease"] | {"lease": lease}}


def consent_before(liar: TakenOver, evidence: Said, _: Said, following: PolicySet) -> Said:
    """Today's rules, and the consent from before."""
    return evidence | {"policy_chain": [liar.world.world.policy.dump(), following.dump()]}


def consent_by_the_lost_key(liar: TakenOver, evidence: Said, older: Said, following: PolicySet) -> Said:
    """Today's rules, and a new consent by whoever has the lost key."""
    decision = liar.decision(evidence["decisions"][0]["decision"], policy=following.digest)
    return consent_before(liar, evidence, older, following) | {"decisions": [decision]}


Hide = Callable[[TakenOver, Said, Said, PolicySet], Said]
LIES: list[tuple[Hide, int, str]] = [
    (lease_before, 1, "lease_behind_what_was_heard"),
    (no_lease, 1, "lease_missing"),
    (bent_lease, 1, "signature_invalid"),
    (rules_before, 1, "lease_names_another_policy_set"),
    (consent_before, 4, "decision_under_another_policy"),
    (consent_by_the_lost_key, 4, "credential_unknown"),
]


@pytest.mark.parametrize(
    ("hide", "step", "code"), [pytest.param(*each, id=each[0].__name__) for each in LIES]
)
def test_every_co_signer_refuses(  # noqa: PLR0917 - the row of the table
    liar: TakenOver,
    intent: str,
    revoked: Said,
    following: PolicySet,
    hide: Hide,
    step: int,
    code: str,
) -> None:
    """By the same name, all five; nothing is signed, and nothing is remembered."""
    for name in NAMES:
        liar.refuses(name, hide(liar, liar.evidence(name, intent), revoked, following), step, code)
        assert remembered(liar.world, name) == {}
    assert liar.world.transactions() == 0


def test_the_consent_of_somebody_else_counts(
    world: Living, liar: TakenOver, intent: str, revoked: Said, following: PolicySet
) -> None:
    """Under today's rules another person approves the same: three agree, and it is signed."""
    assert revoked
    for name in NAMES[:3]:
        evidence = consent_before(liar, liar.evidence(name, intent), revoked, following)
        before = evidence["decisions"][0]["decision"]
        changes = {"person": "risk-1", "role": "risk_officer", "policy": following.digest}
        evidence["decisions"] = [liar.decision(before, **changes)]
        assert "agreed" in liar.ask(name, evidence)
    signed = liar.signs(intent, NAMES[:3])
    assert len({each["answer"]["raw_tx"] for each in signed.values()}) == 1
    assert world.transactions() == 0
