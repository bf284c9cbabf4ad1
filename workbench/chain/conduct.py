"""What the code that a transaction ran does that honest code rarely does, found in its traces.

(1) Borrowed code: a contract that runs another's code as its own gives it everything that it owns. The code
    it borrows must be fixed: named by a constant of its own code, or by its own storage (or its beacon's) as
    the transaction found it and left it. Code that a caller may choose is how ownership is grabbed.
(2) Re-entry: a contract that another calls, not just reads, while it is being executed. Known callbacks of
    pools are how swaps are paid for, and ether without a word is how wrapped ether is paid out; nothing else
    is expected.
(3) Code that ends itself, or is another after the transaction: also an account of ours that delegates its
    code away (EIP-7702).

Each is a finding: said with the contract, shown to people, and denied by the rules. What a whitelisted
contract is expected to do beyond that, its reviewers have to settle before it is listed.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from eth_hash.auto import keccak

from workbench.chain.effects import BEACON_SLOT
from workbench.chain.errors import SimulationError
from workbench.chain.finding import Finding
from workbench.chain.traced import WORD, Found, Frame, Traced
from workbench.evm.fields import address_bytes, checksummed
from workbench.rules.attestation import borrowed

FINDINGS_MAX: Final = 64

_CALLBACKS: Final = {
    keccak(each)[:4]
    for each in (
        b"uniswapV3SwapCallback(int256,int256,bytes)",
        b"uniswapV2Call(address,uint256,uint256,bytes)",
    )
}
_PRECOMPILES: Final = 0x200


def findings(transactions: Iterable[Traced]) -> list[Finding]:
    """Return what is found in these transactions, each thing once."""
    found: set[Finding] = set()
    for traced in transactions:
        for frame in traced.frames:
            found.update(_of_frame(traced, frame))
        found.update(Finding("code", each, "its code is another afterwards") for each in traced.recoded)
    if len(found) > FINDINGS_MAX:
        raise SimulationError(f"{len(found)} findings, at most {FINDINGS_MAX}")
    return sorted(found)


def _of_frame(traced: Traced, frame: Frame) -> Iterator[Finding]:
    if frame.kind in ("DELEGATECALL", "CALLCODE"):
        if not _fixed(traced, frame.caller, frame.to):  # (1)
            yield Finding("borrowed_code", frame.caller, borrowed(frame.to))
    elif frame.kind == "CALL":
        expected = not frame.data or frame.data[:4] in _CALLBACKS
        if frame.to in frame.around and frame.to != frame.caller and not expected:  # (2)
            detail = f"entered again by {frame.caller}, calling {frame.data[:4].hex()}"
            yield Finding("reentered", frame.to, detail)
    elif frame.kind == "SELFDESTRUCT":  # (3)
        yield Finding("ended", frame.caller, f"ends itself in favour of {frame.to}")


def _fixed(traced: Traced, borrower: str, code: str) -> bool:
    raw = address_bytes(code)
    if code == borrower or int.from_bytes(raw) < _PRECOMPILES:
        return True
    found = traced.found.get(borrower)
    if found is None:
        return False
    if raw in found.code:
        return True
    return any(
        raw in value.to_bytes(WORD) and (holder, slot) not in traced.slots
        for holder in (borrower, *_beacon(found))
        if holder in traced.found
        for slot, value in traced.found[holder].slots.items()
    )


def _beacon(found: Found) -> Iterator[str]:
    named = found.slots.get(BEACON_SLOT, 0)
    if 0 < named < 2**160:
        yield checksummed(named.to_bytes(20))
