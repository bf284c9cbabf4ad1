"""Fees: the first ones, those that replace, those that cancel; and the step that is left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.rules.fees import FEE_HEADROOM, Fees, cancelling, first, raised, replacing

GWEI = 10**9


def fees(fee: int, tip: int) -> Fees:
    """Return both fees."""
    return Fees(max_fee_per_gas=fee, max_priority_fee_per_gas=tip)


CAPS = fees(50 * GWEI, GWEI)


@pytest.mark.parametrize(
    ("caps", "base_fee", "expected"),
    [
        pytest.param(
            CAPS, GWEI, fees(2 * GWEI + GWEI // 2, GWEI // 2), id="twice the base fee and half the tip"
        ),
        pytest.param(CAPS, 0, fees(GWEI // 2, GWEI // 2), id="a base fee of nothing"),
        pytest.param(
            CAPS, 24 * GWEI, fees(48 * GWEI, GWEI // 2), id="the headroom before the step for a cancel"
        ),
        pytest.param(CAPS, 22 * GWEI, fees(400 * GWEI // 9, GWEI // 2), id="the step before the tip"),
        pytest.param(CAPS, 40 * GWEI, fees(50 * GWEI, GWEI // 2), id="never above the cap"),
        pytest.param(fees(9, 0), 1, fees(2, 0), id="no tip"),
        pytest.param(fees(9, 1), 1, fees(2, 0), id="a tip of one wei leaves the step"),
        pytest.param(fees(0, 0), 0, fees(0, 0), id="nothing at all"),
    ],
)
def test_the_first_fees(caps: Fees, base_fee: int, expected: Fees) -> None:
    """Twice the base fee and the tip, below the caps."""
    assert first(caps, base_fee_per_gas=base_fee) == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(fees(8, 8), fees(9, 9), id="an eighth"),
        pytest.param(fees(9, 8), fees(11, 9), id="rounded up"),
        pytest.param(fees(1, 0), fees(2, 1), id="a wei at least"),
        pytest.param(fees(16 * GWEI, 8 * GWEI), fees(18 * GWEI, 9 * GWEI), id="112.5 %"),
    ],
)
def test_what_replaces(before: Fees, after: Fees) -> None:
    """An eighth more on both; one wei less on either is no replacement."""
    assert raised(before) == after
    assert after.outbids(before)
    assert not fees(after.max_fee_per_gas - 1, after.max_priority_fee_per_gas).outbids(before)
    assert not fees(after.max_fee_per_gas, after.max_priority_fee_per_gas - 1).outbids(before)


def test_a_replacement_leaves_the_last_step_to_a_cancel() -> None:
    """Where only one step is left under the caps, a cancel has it and a replacement does not."""
    before = fees(40 * GWEI, 8 * GWEI // 10)
    assert replacing(before, CAPS, base_fee_per_gas=30 * GWEI) is None
    assert cancelling(before, CAPS, base_fee_per_gas=30 * GWEI) == fees(50 * GWEI, 9 * GWEI // 10)
    assert cancelling(fees(45 * GWEI, GWEI // 2), CAPS, base_fee_per_gas=GWEI) is None


def test_a_replacement_pays_what_the_chain_asks_now() -> None:
    """Twice the base fee and the tip where that is more than the step."""
    before = fees(2 * GWEI, GWEI // 2)
    assert replacing(before, CAPS, base_fee_per_gas=10 * GWEI) == fees(
        20 * GWEI + 9 * GWEI // 16, 9 * GWEI // 16
    )


amounts = st.integers(0, 10**12)


@given(amounts, amounts, amounts)
def test_properties(cap: int, tip: int, base_fee: int) -> None:
    """All are within the caps and valid; each outbids the one before; there is room for a cancel."""
    caps = fees(max(cap, tip), min(cap, tip))
    paid = first(caps, base_fee_per_gas=base_fee)
    roomy = (
        caps.max_priority_fee_per_gas >= 1
        and raised(fees(max(FEE_HEADROOM * base_fee, 1), 0)).max_fee_per_gas <= caps.max_fee_per_gas
    )
    for _ in range(300):
        assert paid.within(caps)
        assert paid.max_priority_fee_per_gas <= paid.max_fee_per_gas
        cancel = cancelling(paid, caps, base_fee_per_gas=base_fee)
        assert cancel is not None or not roomy
        if cancel is not None:
            assert cancel.within(caps)
            assert cancel.outbids(paid)
        higher = replacing(paid, caps, base_fee_per_gas=base_fee)
        if higher is None:
            break
        assert higher.outbids(paid)
        paid = higher
    if FEE_HEADROOM * base_fee <= caps.max_fee_per_gas:
        assert first(caps, base_fee_per_gas=base_fee).max_fee_per_gas >= FEE_HEADROOM * base_fee
