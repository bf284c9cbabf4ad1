"""Single values: each spelling that Python would read, and that nobody writes, is refused."""

from __future__ import annotations

import pytest

from workbench.evm.fields import checksummed, from_hex, from_rpc_hex

ODD = {
    "a blank inside": "0a 0b",
    "a blank before": " 0a",
    "a line end": "0a\n",
    "half a byte": "0a0",
    "an underscore": "0a_0b",
    "no digits": "0g",
    "digits of another script": "٣٣",
    "a wide letter": "０ａ",
}


@pytest.mark.parametrize("digits", ODD.values(), ids=ODD)
def test_no_other_spelling_is_hex(digits: str) -> None:
    """Neither in our documents nor from a node."""
    with pytest.raises(ValueError, match="not lower-case hex"):
        from_hex(digits)
    with pytest.raises(ValueError, match="not JSON-RPC data"):
        from_rpc_hex("0x" + digits)


def test_capitals_are_a_nodes_affair() -> None:
    """A node may write them, our documents may not."""
    assert from_rpc_hex("0xAb") == from_hex("ab") == b"\xab"
    with pytest.raises(ValueError, match="not lower-case hex"):
        from_hex("Ab")


@pytest.mark.parametrize("value", [None, 7, b"0xab", "ab", "0Xab", ["0xab"]])
def test_what_is_no_data(value: object) -> None:
    """A prefix in lower case is part of it, and nothing but text has one."""
    with pytest.raises(ValueError, match="not JSON-RPC data"):
        from_rpc_hex(value)


def test_an_address_is_spelled_the_same_each_time() -> None:
    """Also when the spelling is remembered, and of twenty bytes only."""
    spelled = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
    assert [checksummed(bytes.fromhex(spelled[2:])) for _ in range(2)] == [spelled] * 2
    for size in (19, 21):
        with pytest.raises(ValueError, match="an address has 20 bytes"):
            checksummed(bytes(size))
