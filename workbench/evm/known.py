"""Functions that many contracts share, and the commands of Uniswap's universal router.

(1) A fragment here is a *guess*: it says what the four bytes mean wherever people keep to the usual meaning,
    and nothing of the contract that is called. Whoever uses one says so: `Source.SELECTOR` in `tree`.
(2) Two fragments of one selector are no reading at all; `tree` refuses them.
(3) A command is written as a function without a selector: its number in `COMMANDS` takes the place.
(4) A universal router of another version may read other commands, or these with other inputs. Inputs that
    are not their own encoding are refused, and so is every number from 0x40 on: older versions ignore that
    bit, newer ones do not.

Where the figures come from, each compared in November 2026: v3 swap router, payments, self permit and
`multicall(bytes[])` with the artifacts of the npm package @uniswap/v3-periphery 1.4.4; ERC-20, 721, 1155 and
EIP-2612 with @openzeppelin/contracts 5.7.0; the second swap router, Permit2 (IAllowanceTransfer,
ISignatureTransfer), the router's commands (Commands.sol, Dispatcher.sol) and its technical reference with
Uniswap's public repositories and docs.uniswap.org; Multicall3 with its published interface; Safe with
safe-smart-account and docs.safe.global. Pure data.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

from workbench.evm.calldata import Fragment, selector, signature
from workbench.evm.errors import CalldataError

ALLOW_REVERT: Final = 0x80
"""The router goes on when this command fails."""
COMMAND_MASK: Final = 0x7F
ETHER: Final = "0x0000000000000000000000000000000000000000"
CALLER: Final = "0x0000000000000000000000000000000000000001"
ROUTER: Final = "0x0000000000000000000000000000000000000002"
"""What addresses mean in a command: ether for a token, whoever calls the router, the router itself."""
WHOLE_BALANCE: Final = str(2**255)
"""What an amount means in a command of the newer routers: all that the router holds."""

_DETAILS: Final = "(address token, uint160 amount, uint48 expiration, uint48 nonce)"
_SINGLE: Final = f"({_DETAILS} details, address spender, uint256 sigDeadline)"
_BATCH: Final = f"({_DETAILS}[] details, address spender, uint256 sigDeadline)"
_TRANSFERS: Final = "(address from, address to, uint160 amount, address token)[]"
_SIGNED: Final = "uint8 v, bytes32 r, bytes32 s"
_POOL: Final = "address tokenIn, address tokenOut, uint24 fee, address recipient"
_TOKEN: Final = "(address token, uint256 amount)"  # noqa: S105 - an ABI type

FUNCTIONS: Final = (
    # ERC-20 and ERC-721: one selector serves an amount and a token's number
    "transfer(address to, uint256 amount)",
    "transferFrom(address from, address to, uint256 amountOrTokenId)",
    "approve(address spender, uint256 amountOrTokenId)",
    "increaseAllowance(address spender, uint256 addedValue)",
    "decreaseAllowance(address spender, uint256 subtractedValue)",
    "safeTransferFrom(address from, address to, uint256 tokenId)",
    "safeTransferFrom(address from, address to, uint256 tokenId, bytes data)",
    "setApprovalForAll(address operator, bool approved)",
    # ERC-1155
    "safeTransferFrom(address from, address to, uint256 id, uint256 amount, bytes data)",
    "safeBatchTransferFrom(address from, address to, uint256[] ids, uint256[] amounts, bytes data)",
    # EIP-2612, and DAI's
    f"permit(address owner, address spender, uint256 value, uint256 deadline, {_SIGNED})",
    f"permit(address holder, address spender, uint256 nonce, uint256 expiry, bool allowed, {_SIGNED})",
    # Permit2
    "approve(address token, address spender, uint160 amount, uint48 expiration)",
    f"permit(address owner, {_SINGLE} permitSingle, bytes signature)",
    f"permit(address owner, {_BATCH} permitBatch, bytes signature)",
    "transferFrom(address from, address to, uint160 amount, address token)",
    f"transferFrom({_TRANSFERS} transferDetails)",
    (
        f"permitTransferFrom(({_TOKEN} permitted, uint256 nonce, uint256 deadline) permit, "
        "(address to, uint256 requestedAmount) transferDetails, address owner, bytes signature)"
    ),
    (
        f"permitTransferFrom(({_TOKEN}[] permitted, uint256 nonce, uint256 deadline) permit, "
        "(address to, uint256 requestedAmount)[] transferDetails, address owner, bytes signature)"
    ),
    # wrapped ether
    "deposit()",
    "withdraw(uint256 amount)",
    # Uniswap's v3 swap router, and the second one, whose swaps carry no deadline
    (
        f"exactInputSingle(({_POOL}, uint256 deadline, "
        "uint256 amountIn, uint256 amountOutMinimum, uint160 sqrtPriceLimitX96) params)"
    ),
    (
        f"exactOutputSingle(({_POOL}, uint256 deadline, "
        "uint256 amountOut, uint256 amountInMaximum, uint160 sqrtPriceLimitX96) params)"
    ),
    (
        "exactInput((bytes path, address recipient, uint256 deadline, uint256 amountIn, "
        "uint256 amountOutMinimum) params)"
    ),
    (
        "exactOutput((bytes path, address recipient, uint256 deadline, uint256 amountOut, "
        "uint256 amountInMaximum) params)"
    ),
    (
        f"exactInputSingle(({_POOL}, "
        "uint256 amountIn, uint256 amountOutMinimum, uint160 sqrtPriceLimitX96) params)"
    ),
    (
        f"exactOutputSingle(({_POOL}, "
        "uint256 amountOut, uint256 amountInMaximum, uint160 sqrtPriceLimitX96) params)"
    ),
    "exactInput((bytes path, address recipient, uint256 amountIn, uint256 amountOutMinimum) params)",
    "exactOutput((bytes path, address recipient, uint256 amountOut, uint256 amountInMaximum) params)",
    "refundETH()",
    "sweepToken(address token, uint256 amountMinimum, address recipient)",
    "unwrapWETH9(uint256 amountMinimum, address recipient)",
    f"selfPermit(address token, uint256 value, uint256 deadline, {_SIGNED})",
    f"selfPermitAllowed(address token, uint256 nonce, uint256 expiry, {_SIGNED})",
    # calls that carry calls
    "multicall(bytes[] data)",
    "multicall(uint256 deadline, bytes[] data)",
    "multicall(bytes32 previousBlockhash, bytes[] data)",
    "aggregate((address target, bytes callData)[] calls)",
    "tryAggregate(bool requireSuccess, (address target, bytes callData)[] calls)",
    "aggregate3((address target, bool allowFailure, bytes callData)[] calls)",
    "aggregate3Value((address target, bool allowFailure, uint256 value, bytes callData)[] calls)",
    "multiSend(bytes transactions)",
    (
        "execTransaction(address to, uint256 value, bytes data, uint8 operation, uint256 safeTxGas, "
        "uint256 baseGas, uint256 gasPrice, address gasToken, address refundReceiver, bytes signatures)"
    ),
    "execTransactionFromModule(address to, uint256 value, bytes data, uint8 operation)",
    "execute(bytes commands, bytes[] inputs)",
    "execute(bytes commands, bytes[] inputs, uint256 deadline)",
)

_SWAP_IN: Final = "(address recipient, uint256 amountIn, uint256 amountOutMinimum, {} path, bool payerIsUser)"
_SWAP_OUT: Final = (
    "(address recipient, uint256 amountOut, uint256 amountInMaximum, {} path, bool payerIsUser)"
)

_COMMANDS: Final = {
    0x00: "V3_SWAP_EXACT_IN" + _SWAP_IN.format("bytes"),
    0x01: "V3_SWAP_EXACT_OUT" + _SWAP_OUT.format("bytes"),
    0x02: "PERMIT2_TRANSFER_FROM(address token, address recipient, uint160 amount)",
    0x03: f"PERMIT2_PERMIT_BATCH({_BATCH} permitBatch, bytes signature)",
    0x04: "SWEEP(address token, address recipient, uint256 amountMinimum)",
    0x05: "TRANSFER(address token, address recipient, uint256 value)",
    0x06: "PAY_PORTION(address token, address recipient, uint256 bips)",
    0x08: "V2_SWAP_EXACT_IN" + _SWAP_IN.format("address[]"),
    0x09: "V2_SWAP_EXACT_OUT" + _SWAP_OUT.format("address[]"),
    0x0A: f"PERMIT2_PERMIT({_SINGLE} permitSingle, bytes signature)",
    0x0B: "WRAP_ETH(address recipient, uint256 amount)",
    0x0C: "UNWRAP_WETH(address recipient, uint256 amountMinimum)",
    0x0D: f"PERMIT2_TRANSFER_FROM_BATCH({_TRANSFERS} transferDetails)",
    0x0E: "BALANCE_CHECK_ERC20(address owner, address token, uint256 minBalance)",
    0x21: "EXECUTE_SUB_PLAN(bytes commands, bytes[] inputs)",
}

_PARAMETER = re.compile(r"\s*(?P<type>[a-z0-9]+)?(?P<arrays>(?:\[\])*) (?P<name>[A-Za-z0-9]+)\s*(?:,|$)")


def fragment(text: str) -> Fragment:
    """Return the fragment of a function written as `name(type name, (type name) name)`."""
    name, _, rest = text.partition("(")
    return {"type": "function", "name": name, "inputs": _inputs(rest.removesuffix(")"))}


def by_selector(fragments: Iterable[Fragment]) -> dict[str, tuple[Fragment, ...]]:
    """Return fragments by the selector they answer to."""
    found: dict[str, tuple[Fragment, ...]] = {}
    for each in fragments:
        found[selector(each)] = (*found.get(selector(each), ()), each)
    return found


def _inputs(text: str) -> list[dict[str, Any]]:
    inputs = []
    while text:
        inner, tail = _tuple(text) if text.startswith("(") else ("", text)
        match = _PARAMETER.match(tail)
        if match is None:
            raise CalldataError(f"not a parameter: {tail!r:.60}")
        declared: dict[str, Any] = {
            "name": match["name"],
            "type": (match["type"] or "tuple") + match["arrays"],
        }
        inputs.append({**declared, "components": _inputs(inner)} if inner else declared)
        text = tail[match.end() :].strip()
    return inputs


def _tuple(text: str) -> tuple[str, str]:
    """Split after the bracket that closes the first one."""
    depth = 0
    for place, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return text[1:place], text[place + 1 :]
    raise CalldataError("a bracket that nothing closes")


KNOWN: Final = by_selector(fragment(text) for text in FUNCTIONS)
SIGNATURES: Final = frozenset(signature(each) for found in KNOWN.values() for each in found)
COMMANDS: Final = {number: fragment(text) for number, text in _COMMANDS.items()}
