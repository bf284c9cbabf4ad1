"""The lifecycle: the table is what it should be, and nothing else happens."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rules.build import refused
from workbench.rules.codes import Refusal
from workbench.rules.lifecycle import FINAL, HOLDS_NONCE, TABLE, Event, State, after, free_nonce

S, E = State, Event
EXPECTED = {
    # (1) (2) (3)
    (S.PROPOSED, E.SIMULATED): S.PROPOSED,
    (S.PROPOSED, E.RESERVED): S.OUTSTANDING,
    (S.PROPOSED, E.EXPIRED): S.EXPIRED,
    (S.OUTSTANDING, E.SIMULATED): S.OUTSTANDING,
    (S.OUTSTANDING, E.DECIDED): S.OUTSTANDING,
    (S.OUTSTANDING, E.REJECTED): S.REJECTED,
    (S.OUTSTANDING, E.RELEASED): S.APPROVED,
    (S.OUTSTANDING, E.EXPIRED): S.EXPIRED,
    # (4)
    (S.APPROVED, E.SIMULATED): S.APPROVED,
    (S.APPROVED, E.OWNER_SIGNED): S.APPROVED,
    (S.APPROVED, E.SIGNED): S.SIGNED,
    (S.APPROVED, E.CANCEL_SIGNED): S.SIGNED,
    (S.APPROVED, E.SIGNING_REFUSED): S.REFUSED,
    # (5) (6)
    (S.SIGNED, E.BROADCAST): S.BROADCAST,
    (S.BROADCAST, E.BROADCAST): S.BROADCAST,
    (S.BROADCAST, E.DROPPED): S.BROADCAST,
    (S.BROADCAST, E.RECALLED): S.BROADCAST,
    (S.BROADCAST, E.SIMULATED): S.BROADCAST,
    (S.BROADCAST, E.REPLACED): S.BROADCAST,
    (S.BROADCAST, E.REJECTED): S.BROADCAST,
    (S.BROADCAST, E.OWNER_SIGNED): S.BROADCAST,
    (S.BROADCAST, E.CANCEL_SIGNED): S.BROADCAST,
    (S.BROADCAST, E.NONCE_TAKEN): S.TAKEN,
    (S.BROADCAST, E.INCLUDED): S.INCLUDED,
    (S.INCLUDED, E.SAFE): S.INCLUDED,
    (S.INCLUDED, E.DISPLACED): S.BROADCAST,
    (S.INCLUDED, E.UNEXECUTED): S.APPROVED,
    (S.INCLUDED, E.NONCE_TAKEN): S.TAKEN,
    (S.INCLUDED, E.CONFIRMED): S.CONFIRMED,
    (S.INCLUDED, E.REVERTED): S.REVERTED,
    (S.INCLUDED, E.CANCELLED): S.CANCELLED,
}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_the_table(state: State, event: Event) -> None:
    """What is listed happens; every other pair of state and event is refused."""
    if (state, event) in EXPECTED:
        assert after(state, event) is EXPECTED[state, event]
    else:
        with refused(Refusal.STATE) as caught:
            after(state, event)
        assert caught.detail == f"{event.value} while {state.value}"


def test_nothing_leads_out_of_an_end() -> None:
    """Final states are those without a way out, and every other one has one."""
    assert {state for state, _ in TABLE} == set(State) - FINAL


def test_every_state_is_reached_and_no_approval_is_skipped() -> None:
    """From PROPOSED all states are reached; SIGNED only through APPROVED, and that first by release.

    An executor's transaction that failed leads back there, from a block.
    """
    reached = {S.PROPOSED}
    for _ in State:
        reached |= {to for (state, _), to in TABLE.items() if state in reached}
    assert reached == set(State)
    assert [pair for pair, to in TABLE.items() if to is S.SIGNED] == [
        (S.APPROVED, E.SIGNED),
        (S.APPROVED, E.CANCEL_SIGNED),
    ]
    assert [state for (state, event), to in TABLE.items() if to is S.APPROVED and state is not to] == [
        S.OUTSTANDING,
        S.INCLUDED,
    ]


def test_an_approved_intent_does_not_expire() -> None:
    """A co-signer may have signed although its answer was lost: only its own word leads on."""
    for state in (S.APPROVED, S.SIGNED, S.BROADCAST, S.INCLUDED):
        with refused(Refusal.STATE):
            after(state, E.EXPIRED)


def test_who_holds_a_nonce() -> None:
    """From the reservation on, for ever if it reached the chain; not when nothing was signed."""
    assert set(State) - {S.PROPOSED, S.REJECTED, S.EXPIRED, S.REFUSED} == HOLDS_NONCE


@pytest.mark.parametrize(
    ("first", "held", "expected"),
    [
        pytest.param(0, [], 0, id="an empty lane"),
        pytest.param(7, [], 7, id="the chain's next"),
        pytest.param(7, [7, 8], 9, id="behind those held"),
        pytest.param(7, [8, 9], 7, id="the gap first: it would stop the lane"),
        pytest.param(7, [7, 9], 8, id="a gap in the middle"),
        pytest.param(7, [1, 2, 3], 7, id="those spent do not matter"),
        pytest.param(7, [8, 7, 7], 9, id="in any order, told twice"),
    ],
)
def test_the_free_nonce(first: int, held: list[int], expected: int) -> None:
    """The lowest that nobody holds."""
    assert free_nonce(first, held) == expected
    assert free_nonce(first, iter(held)) == expected


@given(st.integers(0, 20), st.sets(st.integers(0, 30)))
def test_the_free_nonce_is_free_and_leaves_no_gap(first: int, held: set[int]) -> None:
    """It is held by nobody, and everything from the first on below it is."""
    nonce = free_nonce(first, held)
    assert nonce not in held
    assert set(range(first, nonce)) <= held
