"""What contracts say of single tokens: the events of ERC-721 and ERC-1155, read strictly.

(1) ERC-721 moves one token: `Transfer` with its number as fourth topic and no data. With three topics and a
    word of data it is ERC-20's, and none of ours.
(2) ERC-1155 moves amounts: `TransferSingle`, and `TransferBatch`, whose two lists must be encoded in the one
    way there is and be of one length.
(3) Rights: `Approval` of one token, and `ApprovalForAll`.
(4) What carries such a name and has another shape raises, and so does a flood: an event that two readers
    understand in two ways tells neither of them what happened. A `Transfer` or `Approval` without indexed
    arguments, as tokens from before the standards have it, raises where its contract keeps single tokens.

An event is a contract's own word. `items` holds it against what the contract answers.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from workbench.chain.errors import SimulationError
from workbench.chain.traced import WORD, Log
from workbench.evm.calldata import Fragment, decode_arguments
from workbench.evm.errors import CalldataError
from workbench.evm.fields import checksummed

# More than any honest batch, and few enough to ask about.
EVENTS_MAX: Final = 256
_UPPER: Final = 12
_ITEM_TOPICS: Final = 4
_ERC20_SHAPE: Final = (3, WORD)

TRANSFER: Final = keccak(b"Transfer(address,address,uint256)")
APPROVAL: Final = keccak(b"Approval(address,address,uint256)")
APPROVAL_FOR_ALL: Final = keccak(b"ApprovalForAll(address,address,bool)")
SINGLE: Final = keccak(b"TransferSingle(address,address,address,uint256,uint256)")
BATCH: Final = keccak(b"TransferBatch(address,address,address,uint256[],uint256[])")
# how many topics, and how many bytes of data (None: checked by decoding)
_SHAPES: Final = {
    TRANSFER: ("Transfer", 4, 0),
    APPROVAL: ("Approval", 4, 0),
    APPROVAL_FOR_ALL: ("ApprovalForAll", 3, WORD),
    SINGLE: ("TransferSingle", 4, 2 * WORD),
    BATCH: ("TransferBatch", 4, None),
}
_LISTS: Final[Fragment] = {
    "type": "function",
    "name": "TransferBatch",
    "inputs": [{"name": "ids", "type": "uint256[]"}, {"name": "values", "type": "uint256[]"}],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """An event that says that a token, or an amount of it, went from one to another."""

    standard: str
    asset: str
    giver: str
    taker: str
    number: int
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """An event that says who may take one token, or (without a number) all of an owner's."""

    asset: str
    owner: str
    spender: str
    number: int | None
    given: bool


Event = Moved | Approved


def read(logs: Sequence[Log], keepers: Collection[str]) -> list[Event]:
    """Return the events of single tokens in their order; `keepers` are contracts that keep such tokens."""
    events = [event for log in logs if _speaks(log, keepers) for event in _read(log)]
    if len(events) > EVENTS_MAX:
        raise SimulationError(f"{len(events)} events of single tokens, at most {EVENTS_MAX}")  # (4)
    return events


def _speaks(log: Log, keepers: Collection[str]) -> bool:
    if not log.topics or log.topics[0] not in _SHAPES:
        return False
    if log.topics[0] in (TRANSFER, APPROVAL):
        indexed = len(log.topics) == _ITEM_TOPICS
        erc20 = (len(log.topics), len(log.data)) == _ERC20_SHAPE  # (1)
        return indexed or (log.address in keepers and not erc20)
    return True


def _read(log: Log) -> Iterator[Event]:
    name, topics, size = _SHAPES[log.topics[0]]
    if len(log.topics) != topics or (size is not None and len(log.data) != size):
        shape = f"{len(log.topics)} topics and {len(log.data)} bytes"
        raise SimulationError(f"{log.address}: a {name} of {shape} cannot be told")  # (4)
    if log.topics[0] == APPROVAL_FOR_ALL:
        yield _for_all(log)
    elif log.topics[0] in (SINGLE, BATCH):
        yield from _amounts(log)
    else:
        first, second = _party(log, 1), _party(log, 2)
        number = int.from_bytes(log.topics[3])
        if log.topics[0] == TRANSFER:
            yield Moved(
                standard="erc721", asset=log.address, giver=first, taker=second, number=number, amount=1
            )
        else:
            given = any(log.topics[2])
            yield Approved(asset=log.address, owner=first, spender=second, number=number, given=given)


def _for_all(log: Log) -> Approved:  # (3)
    given = int.from_bytes(log.data)
    if given > 1:
        raise SimulationError(f"{log.address}: an ApprovalForAll that is neither true nor false")
    return Approved(
        asset=log.address, owner=_party(log, 1), spender=_party(log, 2), number=None, given=bool(given)
    )


def _amounts(log: Log) -> Iterator[Moved]:  # (2)
    if log.topics[0] == SINGLE:
        pairs = [(int.from_bytes(log.data[:WORD]), int.from_bytes(log.data[WORD:]))]
    else:
        pairs = _lists(log)
    for number, amount in pairs:
        yield Moved(
            standard="erc1155",
            asset=log.address,
            giver=_party(log, 2),
            taker=_party(log, 3),
            number=number,
            amount=amount,
        )


def _lists(log: Log) -> list[tuple[int, int]]:
    try:
        told = decode_arguments(_LISTS, log.data)
    except CalldataError as error:
        raise SimulationError(f"{log.address}: a TransferBatch cannot be read: {error}"[:300]) from error
    ids, values = told["ids"], told["values"]
    if len(ids) != len(values):
        raise SimulationError(f"{log.address}: a TransferBatch of {len(ids)} tokens, {len(values)} amounts")
    return [(int(number), int(amount)) for number, amount in zip(ids, values, strict=True)]


def _party(log: Log, place: int) -> str:
    topic = log.topics[place]
    if any(topic[:_UPPER]):
        raise SimulationError(f"{log.address}: an event names {topic.hex()}, which is no address")
    return checksummed(topic[_UPPER:])
