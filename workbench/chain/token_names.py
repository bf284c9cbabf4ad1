"""What the tokens of a simulation call themselves, and how many decimals they say they have.

(1) Both are asked at the block that the simulation starts from, on its fork, and everything that the answers
    read goes into the proof of the prestate: an answer follows from the header, not from a node's word.
(2) Little gas: a name that needs more is none. One that hangs on the hash of an older block is none, either,
    since that has no proof; nor is one that comes with a revert.
(3) A contract that is not there yet says nothing.

What is said is the contract's own word. Which token is which is in the policy set.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from workbench.chain.errors import SimulationError
from workbench.chain.node import Node
from workbench.chain.proven_call import Ran, View, look
from workbench.chain.traced import Found
from workbench.evm import token_words
from workbench.evm.calldata import encode
from workbench.evm.header import Header

# Readers of a simulation accept this many.
TOKENS_MAX: Final = 64
# Two proxies behind each other and a string of 32 characters are below a quarter of it.
GAS: Final = 200_000
_ASKED: Final = tuple(
    encode(each, {})
    for each in (
        {"type": "function", "name": "symbol", "inputs": []},
        {"type": "function", "name": "decimals", "inputs": []},
    )
)

Told = dict[str, str | int | None]


def token_names(
    fork: Node, node: Node, header: Header, assets: Sequence[str]
) -> tuple[list[Told], list[Mapping[str, Found]]]:
    """Return what these contracts say of themselves at the header's block, and what their answers read."""
    if len(assets) > TOKENS_MAX:
        raise SimulationError(f"{len(assets)} tokens, at most {TOKENS_MAX}")
    ran = look(fork, node, header, [View(each, data) for each in assets for data in _ASKED], gas=GAS)
    told: list[Told] = [
        {
            "asset": asset,
            "symbol": token_words.symbol(_answer(symbol)),
            "decimals": token_words.decimals(_answer(decimals)),
        }
        for asset, symbol, decimals in zip(assets, ran[::2], ran[1::2], strict=True)
    ]
    return told, [each.found for each in ran]


def _answer(ran: Ran) -> bytes:  # (2)
    return b"" if ran.output is None or ran.asks_for_hashes else ran.output
