"""What an owner of a Safe may sign; asked before any owner signs, by each for itself.

(1) It is for our chain and our Safe, and the Safe is proven to be what was pinned: its code, singleton,
    owners, threshold, guard, fallback handler, modules. A module moves funds without any owner.
(2) Its nonce is the Safe's next: an earlier one is spent, a later one would lie about, signed, for whenever
    the ones before are used up.
(3) No refund: gas price, gas token and receiver let whoever carries it out pay himself from the Safe. No gas
    of its own either: with it, what fails uses its nonce up and is recorded as done.
(4) Foreign code runs in the Safe's place only as a batch of the one pinned MultiSend. In it, and in whatever
    else it carries, each operation is a call; a batch that cannot be opened is refused.
(5) What changes who may move funds, or calls the Safe itself, is critical, wherever it stands; known by its
    four bytes, since the contract ignores what follows the arguments. It is denied unless the pins state a
    quorum above the threshold, and so many have approved. The chain demands the threshold only: this quorum
    holds because each owner asks here.
(6) An empty call of the Safe to itself, by itself, is the cancel of its nonce. It changes nothing.

Left to others: whether the calls are whitelisted and within bounds (`calls`), who the approvers are and
whether they count (`approval`), and that one nonce is signed for once (the co-signer's memory). Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from workbench.evm import known, tree
from workbench.evm import safe as safes
from workbench.evm.calldata import SELECTOR_BYTES, Fragment, selector, signature
from workbench.evm.carriers import CARRIERS, Operation
from workbench.evm.errors import SafeError
from workbench.evm.proof import Account
from workbench.evm.safe import OwnerSignature, SafeTx
from workbench.evm.safe_storage import Holding
from workbench.evm.tree import Abi, Node, Source
from workbench.rules.attestation import State
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.safe_pins import Pinned

_BATCH: Final = known.fragment("multiSend(bytes transactions)")
_CHANGES: Final = tuple(
    known.fragment(text)
    for text in (
        "setGuard(address guard)",
        "setModuleGuard(address moduleGuard)",
        "setFallbackHandler(address handler)",
        "enableModule(address module)",
        "disableModule(address prevModule, address module)",
        "addOwnerWithThreshold(address owner, uint256 threshold)",
        "removeOwner(address prevOwner, address owner, uint256 threshold)",
        "swapOwner(address prevOwner, address oldOwner, address newOwner)",
        "changeThreshold(uint256 threshold)",
    )
)
CRITICAL: Final[Mapping[str, Fragment]] = {selector(each): each for each in _CHANGES}
"""The functions that change who may move funds, by selector."""
SELF_CALL: Final = "call to itself"
_CARRYING: Final = frozenset(
    chosen for chosen, each in known.KNOWN.items() if any(signature(one) in CARRIERS for one in each)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """What the Safe holds at an attested block, and the accounts that are proven there."""

    holding: Holding
    accounts: Mapping[str, Account]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """A transaction as it is put before an owner, for a named Safe on a named chain."""

    chain_id: int
    safe: str
    tx: SafeTx

    def digest(self) -> bytes:
        """Return what owners sign."""
        return self.tx.digest(chain_id=self.chain_id, safe=self.safe)

    def encode(self, signatures: bytes = b"") -> bytes:
        """Return it as processes hand it on and remember it, with the signatures that there are."""
        return safes.carried(self.tx, signatures, chain_id=self.chain_id, safe=self.safe)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What may be signed: its calls, and what of them is critical."""

    root: Node
    critical: tuple[str, ...]
    cancels: bool


def proven(state: State, address: str) -> Proven:
    """Return what an attested state, with its slots, proves of the Safe at this address."""
    values = {slot: value for (account, slot), value in state.slots.items() if account == address}
    try:
        return Proven(holding=Holding.read(values), accounts=state.accounts)
    except SafeError as error:
        raise RefusedError(Refusal.PROOF, str(error)) from error


def verify_may_sign(
    proposed: Proposed,
    *,
    pinned: Pinned,
    proven: Proven,
    approvals: Collection[str],
    abis: Mapping[str, Abi],
) -> Judged:
    """Return what the transaction is, if an owner may sign it; `approvals` are the people who count."""
    verify_ours(proposed, pinned)
    verify_pinned(proven, pinned)
    _verify_nonce(proposed.tx, proven.holding)
    root = verify_runs(proposed, pinned, abis=abis)
    found = critical(proposed, root)
    if found and (pinned.critical_quorum is None or len(set(approvals)) < pinned.critical_quorum):  # (5)
        wanted = "no quorum" if pinned.critical_quorum is None else f"a quorum of {pinned.critical_quorum}"
        raise RefusedError(
            Refusal.SAFE_CRITICAL, f"{', '.join(found)}: {wanted} for it, {len(set(approvals))} approve"
        )
    return Judged(root=root, critical=found, cancels=cancels(proposed))


def verify_runs(proposed: Proposed, pinned: Pinned, *, abis: Mapping[str, Abi]) -> Node:
    """(3) (4) Verify how it would run, whatever the Safe holds; return its calls."""
    _verify_no_refund(proposed.tx)
    root = read(proposed, pinned=pinned, abis=abis)
    _verify_operations(proposed.tx, root, pinned)
    return root


def verify_ours(proposed: Proposed, pinned: Pinned) -> None:
    """(1) Verify that it is for the pinned Safe on the pinned chain."""
    if proposed.chain_id != pinned.chain_id:
        raise RefusedError(
            Refusal.CHAIN_OTHER, f"chain {proposed.chain_id}, ours is {pinned.chain_id}", path="/chain_id"
        )
    if proposed.safe != pinned.safe:
        raise RefusedError(Refusal.SAFE_OTHER, f"Safe {proposed.safe}, ours is {pinned.safe}", path="/safe")


def verify_pinned(proven: Proven, pinned: Pinned) -> None:
    """(1) Verify that the Safe is proven to be as it was pinned."""
    holding = proven.holding
    pairs = {
        "singleton": (holding.singleton, pinned.singleton),
        "owners": (frozenset(holding.owners), pinned.owners),
        "threshold": (holding.threshold, pinned.threshold),
        "guard": (holding.guard, pinned.guard),
        "fallback handler": (holding.fallback_handler, pinned.fallback_handler),
        "modules": (frozenset(holding.modules), pinned.modules),
    }
    other = [name for name, (seen, wanted) in pairs.items() if seen != wanted]
    for address, code_hash in pinned.code_hashes.items():
        account = proven.accounts.get(address)
        # code of which nothing is proven is not as pinned
        if account is None or account.code_hash != code_hash:
            other.append(f"code of {address}")
    if other:
        raise RefusedError(Refusal.SAFE_CHANGED, f"not as pinned: {', '.join(other)}")


def read(proposed: Proposed, *, pinned: Pinned, abis: Mapping[str, Abi]) -> Node:
    """Return the transaction as a call with all that it carries; the whitelist's ABIs read the rest."""
    ours = {
        # what a list of contracts says of the Safe or of MultiSend does not count: both are pinned
        proposed.safe: Abi(Source.VERIFIED, (safes.EXECUTE, *_CHANGES)),
        pinned.multi_send: Abi(Source.VERIFIED, (_BATCH,)),
    }
    whole = tree.read(proposed.safe, safes.execution(proposed.tx, b""), value="0", abis={**abis, **ours})
    if len(whole.children) != 1:
        raise RefusedError(Refusal.CALLDATA, f"the transaction cannot be read: {whole.reason}")
    return whole.children[0]


def critical(proposed: Proposed, root: Node) -> tuple[str, ...]:
    """Return what of a transaction is critical, in the order of its bytes; empty where nothing is."""
    if cancels(proposed):
        return ()
    return tuple(name for node in root.walk() for name in critical_of(node, proposed.safe))


def cancels(proposed: Proposed) -> bool:
    """(6) Whether a transaction does nothing but use its nonce up."""
    tx = proposed.tx
    plain = SafeTx(to=proposed.safe, value=0, data=b"", operation=Operation.CALL, nonce=tx.nonce)
    return tx == plain


def verify_signatures(blob: bytes, proposed: Proposed, pinned: Pinned) -> tuple[OwnerSignature, ...]:
    """Verify that as many owners have signed as the Safe demands, in the form that it reads."""
    try:
        return safes.read_signatures(
            blob, proposed.digest(), owners=pinned.owners, threshold=pinned.threshold
        )
    except SafeError as error:
        raise RefusedError(Refusal.SAFE_SIGNATURES, str(error)) from error


def _verify_nonce(tx: SafeTx, holding: Holding) -> None:
    # (2)
    if tx.nonce < holding.nonce:
        raise RefusedError(
            Refusal.NONCE_USED, f"nonce {tx.nonce}, the next is {holding.nonce}", path="/nonce"
        )
    if tx.nonce > holding.nonce:
        raise RefusedError(Refusal.NONCE_GAP, f"nonce {tx.nonce}, the next is {holding.nonce}", path="/nonce")


def _verify_no_refund(tx: SafeTx) -> None:
    # (3)
    plain = SafeTx(to=tx.to, value=tx.value, data=tx.data, operation=tx.operation, nonce=tx.nonce)
    for name in ("gas_price", "gas_token", "refund_receiver", "base_gas"):
        if getattr(tx, name) != getattr(plain, name):
            raise RefusedError(Refusal.SAFE_REFUND, f"{name} is {getattr(tx, name)}", path=f"/{name}")
    if tx.safe_tx_gas:
        raise RefusedError(Refusal.SAFE_MAY_FAIL, f"safe_tx_gas is {tx.safe_tx_gas}", path="/safe_tx_gas")


def _verify_operations(tx: SafeTx, root: Node, pinned: Pinned) -> None:
    # (4)
    if tx.operation is Operation.DELEGATECALL:
        if tx.to != pinned.multi_send or _selector(root) != selector(_BATCH):
            raise RefusedError(Refusal.SAFE_DELEGATECALL, f"code of {tx.to}, not a batch", path="/operation")
        if tx.value:
            raise RefusedError(
                Refusal.ARGUMENT,
                f"a value of {tx.value}, which a delegated call does not send",
                path="/value",
            )
    for node in root.walk():
        if node is not root and node.operation is Operation.DELEGATECALL:
            raise RefusedError(
                Refusal.SAFE_DELEGATECALL, f"code of {node.to}, within {node.part.carried_by}", path="/data"
            )
        if node.call is None and _selector(node) in _CARRYING:
            raise RefusedError(
                Refusal.CALLDATA, f"{node.to}: calls that cannot be opened: {node.reason}", path="/data"
            )


def critical_of(node: Node, safe: str) -> list[str]:
    """Return what of one call is critical, by the contract's own name for it."""
    found = CRITICAL.get(_selector(node))
    if found is not None:
        return [signature(found)]
    return [SELF_CALL] if node.to == safe else []


def _selector(node: Node) -> str:
    return node.part.data[:SELECTOR_BYTES].hex()
