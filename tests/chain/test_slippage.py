"""Slippage: exact arithmetic, rounded against us."""

from fractions import Fraction

import pytest

from workbench.chain.errors import SimulationError
from workbench.chain.slippage import Cost, Swap

USDC = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
WETH = "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"
ONE_TO_ONE = Swap(token_in=USDC, token_out=WETH, fee_ppm=500, mid=Fraction(1))


@pytest.mark.parametrize(
    ("paid", "received", "ppm", "bps", "loss"),
    [
        pytest.param(10**6, 970_000, 30_000, 300, "30000", id="three percent"),
        pytest.param(10**6, 10**6, 0, 0, "0", id="nothing lost"),
        pytest.param(10**6, 0, 10**6, 10_000, "1000000", id="everything lost"),
        pytest.param(10**6, 10**6 - 1, 1, 1, "1", id="a ppm is a whole bps"),
        pytest.param(10**6, 10**6 - 101, 101, 2, "101", id="bps round up"),
        pytest.param(2 * 10**6, 2 * 10**6 - 1, 1, 1, "1", id="half a ppm rounds up"),
        pytest.param(4 * 10**6, 4 * 10**6 - 1, 0, 0, "1", id="a quarter ppm is none, the loss stays"),
        pytest.param(10**6, 10**6 + 250, -250, -2, "-250", id="a gain"),
    ],
)
def test_one_swap(paid: int, received: int, ppm: int, bps: int, loss: str) -> None:
    """Parts per million half up, basis points and loss up."""
    cost = Cost.of(ONE_TO_ONE, paid=paid, received=received)
    assert (cost.slippage_ppm, cost.slippage_bps, cost.loss()) == (ppm, bps, {"asset": USDC, "amount": loss})


def test_the_sum_weighs_by_what_was_paid() -> None:
    """A sequence's slippage is its whole loss over all that it paid."""
    total = Cost.of(ONE_TO_ONE, paid=10**6, received=10**6).plus(
        Cost.of(ONE_TO_ONE, paid=3 * 10**6, received=0)
    )
    assert (total.slippage_ppm, total.paid) == (750_000, 4 * 10**6)


@pytest.mark.parametrize("paid", [0, -1])
def test_a_swap_that_pays_nothing(paid: int) -> None:
    """Without a payment there is no slippage, and no zero that could pass for one."""
    with pytest.raises(SimulationError):
        Cost.of(ONE_TO_ONE, paid=paid, received=1)


def test_two_assets_have_no_sum() -> None:
    """Losses in two tokens are not added."""
    other = Swap(token_in=WETH, token_out=USDC, fee_ppm=500, mid=Fraction(1))
    with pytest.raises(SimulationError):
        Cost.of(ONE_TO_ONE, paid=1, received=1).plus(Cost.of(other, paid=1, received=1))
