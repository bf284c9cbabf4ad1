"""What a swap costs against the pool's middle price, in exact arithmetic.

slippage = 1 − out / (in · mid), fee included, with mid from the pool's price *before the first transaction of
the sequence*. Against the price before each step, five tranches would look cheap although each pushes the
price for the next; against the first price their sum is the whole cost.

ppm is rounded half up; bps is ppm / 100 rounded up, so a limit in bps never passes what it should not; the
loss in base units of the token paid is rounded up likewise.

The pool is the one that the router's own factory names. That the router is what it seems is a whitelist's
fact, not this module's. A call that has a swap's selector but no such pool raises: "no slippage" must not
come to mean "slippage unknown".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Final, Self

from workbench.chain.errors import NodeError, RpcError, SimulationError
from workbench.chain.node import Node
from workbench.evm.calldata import EXACT_INPUT_SINGLE, Fragment, decode, encode, selector
from workbench.evm.errors import CalldataError, EvmError
from workbench.evm.fields import UINT256_MAX, address_bytes, checksummed

WORD: Final = 32
_SWAP_SELECTOR: Final = bytes.fromhex(selector(EXACT_INPUT_SINGLE))
_FACTORY: Final[Fragment] = {"type": "function", "name": "factory", "inputs": []}
_SLOT0: Final[Fragment] = {"type": "function", "name": "slot0", "inputs": []}
_GET_POOL: Final[Fragment] = {
    "type": "function",
    "name": "getPool",
    "inputs": [
        {"name": "tokenA", "type": "address"},
        {"name": "tokenB", "type": "address"},
        {"name": "fee", "type": "uint24"},
    ],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """A swap that a call makes, and the middle price to measure it by."""

    token_in: str
    token_out: str
    fee_ppm: int
    mid: Fraction  # base units of token_out for one base unit of token_in

    @property
    def fee(self) -> Fraction:
        """What the pool keeps of the amount paid."""
        return Fraction(self.fee_ppm, 1_000_000)

    def back(self, *, sender: str, amount: int) -> bytes:
        """Return the calldata that sells this much of what was bought by the same pool, at any price."""
        params = {
            "tokenIn": self.token_out,
            "tokenOut": self.token_in,
            "fee": str(self.fee_ppm),
            "recipient": sender,
            "deadline": str(UINT256_MAX),
            "amountIn": str(amount),
            "amountOutMinimum": "0",
            "sqrtPriceLimitX96": "0",
        }
        return encode(EXACT_INPUT_SINGLE, {"params": params})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one swap, or a sequence of them in one direction, costs against the middle price."""

    asset: str
    paid: int
    lost: Fraction

    @classmethod
    def of(cls, swap: Swap, *, paid: int, received: int) -> "Cost":
        """Return the cost of paying and receiving these base units."""
        if paid <= 0:
            raise SimulationError(f"a swap that pays {paid} {swap.token_in}")
        return cls(asset=swap.token_in, paid=paid, lost=paid - received / swap.mid)

    def plus(self, other: Self) -> "Cost":
        """Return the cost of both."""
        if other.asset != self.asset:
            raise SimulationError("costs in two assets have no sum")
        return Cost(asset=self.asset, paid=self.paid + other.paid, lost=self.lost + other.lost)

    @property
    def slippage_ppm(self) -> int:
        """Parts per million of what was paid, rounded half up."""
        return floor(self.lost / self.paid * 1_000_000 + Fraction(1, 2))

    @property
    def slippage_bps(self) -> int:
        """Basis points, rounded up."""
        return -(-self.slippage_ppm // 100)

    def loss(self) -> dict[str, str]:
        """Return the loss in base units of the token paid, rounded up."""
        return {"asset": self.asset, "amount": str(ceil(self.lost))}


def swaps_of(node: Node, calls: Sequence[tuple[str, bytes]], *, block: str) -> list[Swap | None]:
    """Return the swap that each call (whom, calldata) would make, priced at `block`; None if it is no swap.

    The calls of a sequence that swap alike by one router have one pool and, at one block, one price.
    """
    priced: dict[tuple[str, ...], Swap] = {}
    swaps: list[Swap | None] = []
    for to, data in calls:
        asked = _asked(data)
        if asked is not None and (to, *asked) not in priced:
            priced[to, *asked] = _priced(node, to, *asked, block=block)
        swaps.append(None if asked is None else priced[to, *asked])
    return swaps


def _asked(data: bytes) -> tuple[str, str, str] | None:
    if data[:4] != _SWAP_SELECTOR:
        return None
    try:
        params = decode(data, [EXACT_INPUT_SINGLE]).arguments["params"]
    except CalldataError as error:
        raise SimulationError(f"a swap whose pool cannot be read: {error}") from error
    return params["tokenIn"], params["tokenOut"], params["fee"]


def _priced(node: Node, to: str, token_in: str, token_out: str, fee: str, *, block: str) -> Swap:
    try:
        factory = _address(node.eth_call(to, encode(_FACTORY, {}), block))
        tokens = {"tokenA": token_in, "tokenB": token_out, "fee": fee}
        pool = _address(node.eth_call(factory, encode(_GET_POOL, tokens), block))
        sqrt_price = _word(node.eth_call(pool, encode(_SLOT0, {}), block), 0)
    except (CalldataError, RpcError, NodeError, EvmError) as error:
        raise SimulationError(f"a swap whose pool cannot be read: {error}") from error
    if sqrt_price == 0:
        raise SimulationError(f"the pool {pool} has no price")
    price = Fraction(sqrt_price**2, 2**192)  # token1 for one token0
    zero_for_one = address_bytes(token_in) < address_bytes(token_out)
    return Swap(
        token_in=token_in,
        token_out=token_out,
        fee_ppm=int(fee),
        mid=price if zero_for_one else 1 / price,
    )


def _word(answer: bytes, index: int) -> int:
    word = answer[WORD * index : WORD * (index + 1)]
    if len(word) != WORD:
        raise NodeError(f"an answer of {len(answer)} bytes")
    return int.from_bytes(word)


def _address(answer: bytes) -> str:
    value = _word(answer, 0)
    if len(answer) != WORD or not 0 < value < 2**160:
        raise NodeError("an answer that is no address")
    return checksummed(value.to_bytes(20))
