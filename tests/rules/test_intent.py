"""Proposals: who proposes, whether he may, and whether this desk can speak of the intent at all."""

from datetime import timedelta
from typing import Any

import pytest

from tests.rules.build import (
    CHAIN_ID,
    DEPLOYMENT,
    NONCE,
    NOW,
    TREASURY,
    World,
    address,
    flip,
    refused,
)
from workbench.evm.transaction import UnsignedTransaction
from workbench.rules.codes import Refusal
from workbench.rules.documents import signed_bytes, write_time
from workbench.rules.fees import Fees
from workbench.rules.intent import INTENT_LINE, INTENT_MAX, Intent, Proposal, verify_proposal

USDC, WETH, ROUTER = DEPLOYMENT.usdc, DEPLOYMENT.weth, DEPLOYMENT.router
OUT = {"account": TREASURY, "asset": USDC, "amount": "-1"}
IN = {"account": TREASURY, "asset": WETH, "amount": "1"}
GRANT = {"owner": TREASURY, "spender": ROUTER, "asset": USDC, "amount": "0"}


def at(**delta: float) -> str:
    """Return a time relative to noon."""
    return write_time(NOW + timedelta(**delta))


def check(world: World, proposal: Proposal) -> None:
    """Verify a proposal at noon."""
    verify_proposal(proposal, policy=world.policy, trust_root=world.trust_root, now=NOW)


def test_good_proposals(world: World) -> None:
    """Those who may propose do."""
    check(world, world.propose(world.swap()))
    check(world, world.propose(world.approval()))
    check(world, world.propose(world.swap(proposer="trader-1"), "trader-1"))


@pytest.mark.parametrize(
    ("changes", "code", "path"),
    [
        pytest.param({"proposer": "trader-1"}, Refusal.SESSION_FOREIGN, "/proposer", id="in another's name"),
        pytest.param({"key": "other"}, Refusal.KEY_UNKNOWN, "/key", id="a key we do not have"),
        pytest.param({"chain_id": 1}, Refusal.CHAIN_OTHER, "/chain_id", id="another chain"),
        pytest.param({"expires_at": at()}, Refusal.EXPIRED, "/expires_at", id="expired this second"),
        pytest.param({"expires_at": at(hours=-1)}, Refusal.EXPIRED, "/expires_at", id="expired"),
        pytest.param(
            {"expires_at": at(hours=4, seconds=1)}, Refusal.EXPIRED, "/expires_at", id="too long a life"
        ),
        pytest.param(
            {"deltas": [{**OUT, "asset": address("x")}]},
            Refusal.ASSET_UNKNOWN,
            "/deltas/0/asset",
            id="an asset we do not know",
        ),
        pytest.param(
            {"allowances": [{**GRANT, "asset": address("x")}]},
            Refusal.ASSET_UNKNOWN,
            "/allowances/0/asset",
            id="an allowance of it",
        ),
        pytest.param(
            {"deltas": [IN, {**OUT, "account": ROUTER}]},
            Refusal.MALFORMED,
            "/deltas/1",
            id="a delta of another account",
        ),
        pytest.param(
            {"deltas": [{**OUT, "amount": "0"}]}, Refusal.MALFORMED, "/deltas/0", id="a delta of nothing"
        ),
        pytest.param(
            {"allowances": [{**GRANT, "owner": ROUTER}]},
            Refusal.MALFORMED,
            "/allowances/0/owner",
            id="an allowance of another",
        ),
        pytest.param({"deltas": [OUT, OUT]}, Refusal.MALFORMED, "/deltas", id="an asset twice"),
        pytest.param(
            {"deltas": [OUT, {**OUT, "amount": "5"}]}, Refusal.MALFORMED, "/deltas", id="an asset out and in"
        ),
        pytest.param(
            {"allowances": [GRANT, {**GRANT, "amount": "9"}]},
            Refusal.MALFORMED,
            "/deltas",
            id="an allowance twice",
        ),
        pytest.param({"gas_max": 1_000_001}, Refusal.OWN_LIMIT, "/gas_max", id="gas over the cap"),
        pytest.param(
            {"max_fee_per_gas": 500 * 10**9 + 1}, Refusal.OWN_LIMIT, "/gas_max", id="a fee over the cap"
        ),
        pytest.param(
            {"max_priority_fee_per_gas": 100 * 10**9 + 1},
            Refusal.MALFORMED,
            "/max_priority_fee_per_gas",
            id="a priority fee over the fee",
        ),
        pytest.param({"gas_max": 0}, Refusal.MALFORMED, "", id="no gas: no transaction carries it out"),
        pytest.param({"value": str(2**256)}, Refusal.MALFORMED, "", id="more wei than there can be"),
    ],
)
def test_what_is_refused(world: World, changes: dict[str, Any], code: Refusal, path: str) -> None:
    """Rightly signed by a certified session, and refused with the field at fault."""
    proposal = world.propose(world.swap(**changes))
    before = proposal.canonical()
    with refused(code, path):
        check(world, proposal)
    assert proposal.canonical() == before


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"gas_max": 1_000_000, "max_fee_per_gas": 500 * 10**9}, id="gas and fee at their caps"),
        pytest.param({"max_priority_fee_per_gas": 100 * 10**9}, id="the whole fee as priority"),
        pytest.param({"expires_at": at(hours=4)}, id="the longest life"),
        pytest.param({"expires_at": at(seconds=1)}, id="a last second"),
        pytest.param({"value": str(2**256 - 1)}, id="all the wei there can be"),
        pytest.param({"deltas": [IN, OUT], "allowances": []}, id="deltas in either order"),
        pytest.param({"allowances": [GRANT, {**GRANT, "spender": WETH}]}, id="two spenders"),
        pytest.param({"programme": {"id": "0a" * 16, "index": 0, "count": 5}}, id="part of a programme"),
    ],
)
def test_what_is_just_within(world: World, changes: dict[str, Any]) -> None:
    """The bounds themselves are admitted."""
    check(world, world.propose(world.swap(**changes)))


@pytest.mark.parametrize(
    ("person", "session", "code"),
    [
        pytest.param("auditor-1", {}, Refusal.NOT_PERMITTED_TO_PROPOSE, id="an auditor"),
        pytest.param("cro-1", {}, Refusal.NOT_PERMITTED_TO_PROPOSE, id="the chief risk officer"),
        pytest.param(
            "pm-1", {"roles": ["portfolio_manager", "cro"]}, Refusal.ROLE_NOT_HELD, id="with a role more"
        ),
        pytest.param(
            "pm-1", {"expires_at": at(hours=1)}, Refusal.EXPIRED, id="an intent that outlives its session"
        ),
        pytest.param(
            "pm-1",
            {"issued_at": at(minutes=1), "expires_at": at(hours=3)},
            Refusal.EXPIRED,
            id="a session that has not begun",
        ),
    ],
)
def test_who_may_not_propose(world: World, person: str, session: dict[str, Any], code: Refusal) -> None:
    """The session's person, roles and time decide, not what the intent says of itself."""
    with refused(code):
        check(world, world.propose(world.swap(proposer=person), person, **session))


def test_an_intent_may_end_with_its_session(world: World) -> None:
    """Both in the same second: it does not outlive it."""
    check(world, world.propose(world.swap(expires_at=at(hours=2)), "pm-1", expires_at=at(hours=2)))


def test_an_ended_session_proposes_nothing(world: World) -> None:
    """A key that leaks after its session cannot date a proposal back."""
    ended = {"issued_at": at(hours=-8), "expires_at": at(seconds=-1)}
    with refused(Refusal.EXPIRED):
        check(world, world.propose(world.swap(expires_at=at(seconds=-2)), "pm-1", **ended))
    with refused(Refusal.EXPIRED):
        check(world, world.propose(world.swap(expires_at=at(seconds=5)), "pm-1", **ended))


def test_the_signature_of_another_session(world: World) -> None:
    """The service cannot carry one session's intent under another's login."""
    mine, other = world.propose(world.swap()), world.propose(world.swap())
    with refused(Refusal.SIGNATURE):
        check(world, Proposal(intent=mine.intent, signature=mine.signature, session=other.session))
    with refused(Refusal.SIGNATURE):
        check(world, Proposal(intent=mine.intent, signature=flip(mine.signature), session=mine.session))
    with refused(Refusal.SIGNATURE):
        check(world, Proposal(intent=world.approval(), signature=mine.signature, session=mine.session))


def test_an_intent_over_its_limit(world: World) -> None:
    """An intent has at most 32 KiB, whatever the evidence around it may have."""
    small, large = world.swap(data="00" * 15_000), world.swap(data="00" * 16_300)
    assert len(small.canonical()) < INTENT_MAX < len(large.canonical())
    proposal = world.propose(small)
    assert Proposal.sized(proposal.dump()) == proposal
    spare = INTENT_MAX - len(large.canonical()) + 1000
    full = world.swap(data="00" * 15_800, purpose="x" * (len("rebalance") + spare))
    assert len(full.canonical()) == INTENT_MAX
    Proposal.sized(world.propose(full).dump())
    with refused(Refusal.TOO_LARGE, "/proposal/intent"):
        Proposal.sized(world.propose(large).dump(), at="/proposal")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"v": 2}, id="another version"),
        pytest.param({"to": ROUTER.lower()}, id="a destination without checksum"),
        pytest.param({"to": None}, id="no destination: contract creation"),
        pytest.param({"value": "0x1"}, id="a value in hex"),
        pytest.param({"data": "0x"}, id="calldata with 0x"),
        pytest.param({"purpose": ""}, id="no purpose"),
        pytest.param({"purpose": "swap \u202egnihtyreve"}, id="a purpose that runs backwards"),
        pytest.param({"deltas": [OUT] * 33}, id="too many deltas"),
        pytest.param({"nonce": 7}, id="a nonce: the ledger gives it"),
        pytest.param({"programme": {"id": "0a" * 16, "index": 0, "count": 0}}, id="a programme of none"),
    ],
)
def test_what_is_no_intent(world: World, changes: dict[str, Any]) -> None:
    """Malformed before anybody asks who proposes."""
    with refused(Refusal.MALFORMED):
        world.swap(**changes)


def test_the_transaction_is_the_intent_under_its_nonce(world: World) -> None:
    """Every field of the transaction comes from the intent; only nonce and fees come from elsewhere."""
    intent = world.swap(value="3")
    assert intent.caps == Fees(max_fee_per_gas=100 * 10**9, max_priority_fee_per_gas=10**9)
    fees = Fees(max_fee_per_gas=7, max_priority_fee_per_gas=3)
    assert intent.transaction(NONCE, fees) == UnsignedTransaction(
        chain_id=CHAIN_ID,
        nonce=NONCE,
        max_priority_fee_per_gas=3,
        max_fee_per_gas=7,
        gas=400_000,
        to=ROUTER,
        value=3,
        data=bytes.fromhex(intent.data),
    )


def test_the_digest_names_every_byte(world: World) -> None:
    """Another field, another digest; the same fields, the same."""
    assert Intent.load(world.swap().dump()).digest == world.swap().digest
    others = {
        world.swap(**changes).digest for changes in ({"id": "ac" * 16}, {"purpose": "x"}, {"value": "1"})
    }
    assert len(others | {world.swap().digest}) == 4
    assert signed_bytes(INTENT_LINE, world.swap().canonical()).startswith(b"oms-intent/v1\n{")
