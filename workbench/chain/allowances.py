"""What others may take from our accounts: found by hints, and every value proven.

(1) Who might have a right is told by events (`Approval`, `ApprovalForAll`, Permit2's `Approval` and `Permit`)
    since a block, of the tokens that are asked about. Each agreeing node is asked and all their logs are
    taken together: one that withholds a log hides nothing unless all of them do.
(2) Further spenders can be named. A token that approves without an event is found only by them: no log, and
    no function of the standard, lists an allowance.
(3) What each right is worth is read by proven calls at the agreed header: `allowance`, `isApprovedForAll`,
    Permit2's `allowance`, and the balance. What a token does not answer is left out as no right of that kind.
(4) An account that runs other code (EIP-7702) is told by the account's own proof: its code hash is that of
    `0xef0100 ‖ address`.
(5) A permit that was signed and not used yet leaves no trace on the chain. Told is the number that the next
    one must carry (`nonces`): it stands still while one is outstanding, and moves when one is used.

A token answers what it likes: one that lies in `allowance`, or reverts, shows no right; only a trial would.
A log forged by a token costs a call, and nothing else: tokens that nobody asked about are not listened to.
Left out: approvals of single tokens (ERC-721 `getApproved`), how many of each ERC-1155 token an operator
could take, and rebuilding every block's receipts, which would prove that no log is missing and is too much
for a long range.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import polars as pl
from eth_hash.auto import keccak

from workbench.chain.errors import ChainError, NodeError, RpcError
from workbench.chain.fork import Forks
from workbench.chain.logs import logs_to_columns, union
from workbench.chain.node import Node
from workbench.chain.nodes import Agreed, Nodes
from workbench.chain.proven_call import CALLS_MAX, View, proven_calls
from workbench.chain.state import proven_account
from workbench.evm.fields import HASH_BYTES, address_bytes, checksummed, to_rpc
from workbench.risk.allowances import Grant

OWNERS_MAX: Final = 16
TOKENS_MAX: Final = 32
SPENDERS_MAX: Final = 64
BLOCKS_AT_ONCE: Final = 10_000
RANGES_MAX: Final = 200
RIGHTS_MAX: Final = 1024
CALL_S: Final = 30.0
PERMIT2: Final = "0x000000000022D473030F116dDEE9F6B43aC78BA3"
DELEGATED: Final = bytes.fromhex("ef0100")
_DELEGATION_BYTES: Final = 23

Kind = Literal["erc20", "operator", "permit2"]
APPROVAL: Final = keccak(b"Approval(address,address,uint256)")
APPROVAL_FOR_ALL: Final = keccak(b"ApprovalForAll(address,address,bool)")
PERMIT2_APPROVAL: Final = keccak(b"Approval(address,address,address,uint160,uint48)")
PERMIT2_PERMIT: Final = keccak(b"Permit(address,address,address,uint160,uint48,uint48)")
_OWN: Final = (APPROVAL, APPROVAL_FOR_ALL)
_BY_PERMIT2: Final = (PERMIT2_APPROVAL, PERMIT2_PERMIT)
_ALLOWANCE: Final = keccak(b"allowance(address,address)")[:4]
_FOR_ALL: Final = keccak(b"isApprovedForAll(address,address)")[:4]
_PERMIT2_ALLOWANCE: Final = keccak(b"allowance(address,address,address)")[:4]
_BALANCE: Final = keccak(b"balanceOf(address)")[:4]
_NONCES: Final = keccak(b"nonces(address)")[:4]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whose accounts, which tokens, since which block, and who is looked at without any event."""

    owners: tuple[str, ...]
    tokens: tuple[str, ...]
    since: int
    spenders: tuple[str, ...] = ()
    permit2: str = PERMIT2

    def __post_init__(self) -> None:
        """Refuse what would ask too much, or of no address."""
        most = ((self.owners, OWNERS_MAX), (self.tokens, TOKENS_MAX), (self.spenders, SPENDERS_MAX))
        for addresses, limit in most:
            if len(set(addresses)) != len(addresses) or len(addresses) > limit:
                raise ChainError(f"{len(addresses)} addresses, at most {limit} different ones")
            for each in addresses:
                _address(each)
        _address(self.permit2)
        if not self.owners or self.since < 0:
            raise ChainError(f"{len(self.owners)} owners since block {self.since}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Every right that was found, and the permit numbers, at one block."""

    grants: tuple[Grant, ...]
    permit_nonces: dict[tuple[str, str], int]  # (owner, token); tokens without permits are left out


@dataclass(frozen=True, slots=True)
class _Right:
    """Something to be read: a mechanism, whose, of what, for whom."""

    kind: Kind
    owner: str
    token: str
    spender: str


def inventory(nodes: Nodes, agreed: Agreed, forks: Forks, asked: Asked) -> Inventory:
    """Return what others may take, as proven at the agreed block."""
    hints = _hints(nodes, agreed, asked)
    rights = dict(hints)
    for owner in asked.owners:  # (2)
        for token in asked.tokens:
            for spender in asked.spenders:
                for kind in get_args(Kind):
                    rights.setdefault(_Right(kind, owner, token, spender), None)
    if len(rights) > RIGHTS_MAX:
        # cut off, the list would look whole
        raise ChainError(f"{len(rights)} rights to be read, at most {RIGHTS_MAX}: ask about fewer tokens")
    grants, nonces = _proven(nodes, agreed, forks, asked, rights)
    return Inventory(grants=(*_delegations(nodes, agreed, asked), *grants), permit_nonces=nonces)


def _hints(nodes: Nodes, agreed: Agreed, asked: Asked) -> dict[_Right, int | None]:  # (1)
    last = agreed.header.number
    starts = range(asked.since, last + 1, BLOCKS_AT_ONCE)
    if len(starts) > RANGES_MAX:
        raise ChainError(f"{last - asked.since} blocks, at most {RANGES_MAX * BLOCKS_AT_ONCE}")
    found: dict[_Right, int | None] = {}
    for start in starts:
        query = _query(asked, start, min(start + BLOCKS_AT_ONCE - 1, last))
        told = nodes.each(agreed, lambda node, query=query: _logs(node, query))  # type: ignore[misc]
        frames = [each for each in told.values() if each is not None]
        if len(frames) < nodes.quorum:
            raise ChainError(f"{len(frames)} of {nodes.quorum} nodes tell their logs from block {start} on")
        frame = union(frames)
        for row in frame.iter_rows(named=True):
            if (right := _right(row, asked)) is not None:
                found[right] = max(found.get(right) or 0, row["block"])
    return found


def _query(asked: Asked, first: int, last: int) -> dict[str, object]:
    owners = [to_rpc(bytes(12) + address_bytes(each)) for each in asked.owners]
    kinds = [to_rpc(each) for each in (*_OWN, *_BY_PERMIT2)]
    return {
        "fromBlock": hex(first),
        "toBlock": hex(last),
        "address": [*asked.tokens, asked.permit2],
        "topics": [kinds, owners],
    }


def _logs(node: Node, query: dict[str, object]) -> pl.DataFrame | None:
    try:
        told = node.call("eth_getLogs", query)
    except RpcError:
        # too wide for this node: no lie, and whoever asks must not be able to have nodes sent away by it
        return None
    frame = logs_to_columns(told)
    outside = (frame["block"] < int(str(query["fromBlock"]), 16)) | (
        frame["block"] > int(str(query["toBlock"]), 16)
    )
    if outside.any():
        raise NodeError("logs of blocks that were not asked for")
    return frame


def _right(row: dict[str, bytes], asked: Asked) -> _Right | None:
    """Return what a log hints at; one that has not its event's shape hints at nothing."""
    topic, address = row["topic0"], checksummed(row["address"])
    indexed = [row[name] for name in ("topic1", "topic2", "topic3")]
    if None in indexed[:2] or any(any(each[:12]) for each in indexed[:2]):
        return None
    owner, second = (checksummed(each[12:]) for each in indexed[:2])
    if owner not in asked.owners:
        return None
    if topic in _BY_PERMIT2 and address == asked.permit2 and indexed[2] is not None:
        return (
            _Right("permit2", owner, second, checksummed(indexed[2][12:])) if second in asked.tokens else None
        )
    if address not in asked.tokens:
        return None
    if topic == APPROVAL_FOR_ALL:
        return _Right("operator", owner, address, second)
    return _Right("erc20", owner, address, second) if topic == APPROVAL and indexed[2] is None else None


def _proven(
    nodes: Nodes, agreed: Agreed, forks: Forks, asked: Asked, rights: dict[_Right, int | None]
) -> tuple[list[Grant], dict[tuple[str, str], int]]:  # (3)
    pairs = [(owner, token) for owner in asked.owners for token in asked.tokens]
    views = [View(token, _BALANCE + _word(owner)) for owner, token in pairs]
    views += [View(token, _NONCES + _word(owner)) for owner, token in pairs]
    views += [_view(right, asked) for right in rights]
    answers: list[bytes | None] = []
    for start in range(0, len(views), CALLS_MAX):
        part = views[start : start + CALLS_MAX]

        def read(node: Node, part: Sequence[View] = part) -> list[bytes | None]:
            return proven_calls(forks, node, agreed.header, part)

        answers += nodes.first(agreed, read, seconds=CALL_S)
    balances = dict(zip(pairs, (_number(each) or 0 for each in answers), strict=False))
    counted = zip(pairs, answers[len(pairs) : 2 * len(pairs)], strict=True)
    nonces = {pair: number for pair, each in counted if (number := _number(each)) is not None}
    grants = []
    for (right, block), answer in zip(rights.items(), answers[2 * len(pairs) :], strict=True):
        grant = _grant(right, answer, balances[right.owner, right.token], block)
        if grant is not None and grant.allowed:
            grants.append(grant)
    return grants, nonces


def _view(right: _Right, asked: Asked) -> View:
    owner, spender = _word(right.owner), _word(right.spender)
    if right.kind == "permit2":
        return View(asked.permit2, _PERMIT2_ALLOWANCE + owner + _word(right.token) + spender)
    return View(right.token, (_ALLOWANCE if right.kind == "erc20" else _FOR_ALL) + owner + spender)


def _grant(right: _Right, answer: bytes | None, balance: int, block: int | None) -> Grant | None:
    words = [] if answer is None else [answer[at : at + 32] for at in range(0, len(answer), HASH_BYTES)]
    if len(words) != (3 if right.kind == "permit2" else 1) or len(words[-1]) != HASH_BYTES:
        return None
    allowed = int.from_bytes(words[0])
    if right.kind == "operator":
        allowed = 2**256 - 1 if allowed else 0
    return Grant(
        kind=right.kind,
        owner=right.owner,
        asset=right.token,
        spender=right.spender,
        allowed=allowed,
        balance=balance,
        granted_at_block=block,
        expires_at=int.from_bytes(words[1]) if right.kind == "permit2" else None,
    )


def _delegations(nodes: Nodes, agreed: Agreed, asked: Asked) -> list[Grant]:  # (4)
    def read(node: Node) -> list[Grant]:
        found = []
        for owner in asked.owners:
            account = proven_account(node, agreed.header, owner).account
            code = node.read_hex(node.call("eth_getCode", owner, hex(agreed.header.number)))
            if keccak(code) != account.code_hash:
                raise NodeError(f"{owner}: code that its account does not have")
            if code[:3] == DELEGATED and len(code) == _DELEGATION_BYTES:
                found.append(
                    Grant(
                        kind="delegation",
                        owner=owner,
                        asset=owner,
                        spender=checksummed(code[3:]),
                        allowed=2**256 - 1,
                        balance=account.balance,
                        granted_at_block=None,
                    )
                )
        return found

    return nodes.first(agreed, read, seconds=CALL_S)


def _number(answer: bytes | None) -> int | None:
    return int.from_bytes(answer) if answer is not None and len(answer) == HASH_BYTES else None


def _word(address: str) -> bytes:
    return bytes(12) + address_bytes(address)


def _address(text: str) -> None:
    try:
        address_bytes(text)
    except ValueError as error:
        raise ChainError(str(error)) from error
