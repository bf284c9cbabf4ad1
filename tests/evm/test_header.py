"""Headers: hashed again, and only with exactly the fields of the known fork."""

from typing import Any

import pytest
import rlp

from workbench.evm.errors import HeaderError
from workbench.evm.header import Header

HEADER = Header(
    parent_hash=b"\1" * 32,
    ommers_hash=b"\2" * 32,
    beneficiary=b"\3" * 20,
    state_root=b"\4" * 32,
    transactions_root=b"\5" * 32,
    receipts_root=b"\6" * 32,
    logs_bloom=bytes(256),
    difficulty=0,
    number=7,
    gas_limit=30_000_000,
    gas_used=21_000,
    timestamp=1_800_000_000,
    extra_data=b"",
    mix_hash=b"\7" * 32,
    nonce=bytes(8),
    base_fee_per_gas=10**9,
    withdrawals_root=b"\x08" * 32,
    blob_gas_used=0,
    excess_blob_gas=0,
    parent_beacon_block_root=b"\x09" * 32,
    requests_hash=b"\x0a" * 32,
)
RAW = HEADER.encode()
ITEMS = rlp.decode(RAW)
RPC = {
    "parentHash": "0x" + "01" * 32,
    "sha3Uncles": "0x" + "02" * 32,
    "miner": "0x" + "03" * 20,
    "stateRoot": "0x" + "04" * 32,
    "transactionsRoot": "0x" + "05" * 32,
    "receiptsRoot": "0x" + "06" * 32,
    "logsBloom": "0x" + "00" * 256,
    "difficulty": "0x0",
    "number": "0x7",
    "gasLimit": hex(30_000_000),
    "gasUsed": hex(21_000),
    "timestamp": hex(1_800_000_000),
    "extraData": "0x",
    "mixHash": "0x" + "07" * 32,
    "nonce": "0x" + "00" * 8,
    "baseFeePerGas": hex(10**9),
    "withdrawalsRoot": "0x" + "08" * 32,
    "blobGasUsed": "0x0",
    "excessBlobGas": "0x0",
    "parentBeaconBlockRoot": "0x" + "09" * 32,
    "requestsHash": "0x" + "0a" * 32,
    "hash": "0x" + HEADER.hash().hex(),
    "size": "0x1",
    "totalDifficulty": "0x0",
    "uncles": [],
    "transactions": [],
    "withdrawals": [],
}


def without(name: str) -> dict[str, Any]:
    """Return the block without one field."""
    return {key: value for key, value in RPC.items() if key != name}


def with_item(index: int, item: object) -> bytes:
    """Return the header's bytes with one item replaced."""
    return rlp.encode([*ITEMS[:index], item, *ITEMS[index + 1 :]])


def test_a_header_survives_the_round_trip() -> None:
    """Bytes and JSON-RPC describe the same header."""
    assert Header.parse(RAW) == HEADER == Header.from_rpc(RPC)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xc0", id="an empty list"),
        pytest.param(b"\xc1" * 900, id="a nesting bomb"),
        pytest.param(RAW + b"\0", id="a trailing byte"),
        pytest.param(RAW[:-1], id="cut short"),
        pytest.param(RAW + bytes(1024), id="too long"),
        pytest.param(rlp.encode(ITEMS[:-1]), id="a fork earlier: no requests hash"),
        pytest.param(rlp.encode([*ITEMS, bytes(32)]), id="a fork later: a field more"),
        pytest.param(with_item(3, bytes(31)), id="a short state root"),
        pytest.param(with_item(8, b"\0\7"), id="a number with a leading zero"),
        pytest.param(with_item(8, [b"\7"]), id="a list as number"),
        pytest.param(with_item(6, bytes(255)), id="a short bloom"),
        pytest.param(with_item(12, [b""]), id="a list as extra data"),
    ],
)
def test_bytes_that_are_no_header(raw: bytes) -> None:
    """A header in any other shape is refused."""
    with pytest.raises(HeaderError):
        Header.parse(raw)


@pytest.mark.parametrize(
    "block",
    [
        pytest.param({**RPC, "stateRoot": "0x" + "05" * 32}, id="a false state root"),
        pytest.param({**RPC, "number": "0x8"}, id="a false number"),
        pytest.param({**RPC, "hash": "0x" + "00" * 32}, id="a false hash"),
        pytest.param({**RPC, "blockAccessListHash": "0x" + "00" * 32}, id="a field of a later fork"),
        pytest.param(without("requestsHash"), id="a field missing"),
        pytest.param(without("hash"), id="no hash"),
        pytest.param({**RPC, "number": "0x07"}, id="a quantity with a leading zero"),
        pytest.param({**RPC, "number": 7}, id="a number instead of a quantity"),
        pytest.param({**RPC, "number": "0x_7"}, id="an underscore"),
        pytest.param({**RPC, "stateRoot": None}, id="null"),
        pytest.param({**RPC, "nonce": "0x00"}, id="a short nonce"),
    ],
)
def test_blocks_that_are_not_what_they_claim(block: dict[str, Any]) -> None:
    """A node's block is believed only as far as it hashes to what it claims."""
    with pytest.raises(HeaderError):
        Header.from_rpc(block)
