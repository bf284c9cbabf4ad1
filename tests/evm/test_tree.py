"""Calls within calls that somebody wrote to be misread."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode as abi_encode

from tests.evm.plans import (
    COMMANDS,
    NONE,
    ROOT,
    Packed,
    Plan,
    aggregate3,
    command,
    fragment_of,
    multi_send,
    multicall,
    packed,
    path,
    router,
    safe,
)
from workbench.evm import calldata, known
from workbench.evm.carriers import CARRIERS, PATHS, Hop, Operation
from workbench.evm.fields import checksummed
from workbench.evm.tree import DEPTH_MAX, NODES_MAX, Abi, Node, Source, encode, read

MODULES = Path(__file__).parents[2] / "binder" / "node_modules"
TOKEN = "0x2222222222222222222222222222222222222222"
OTHER = "0x3333333333333333333333333333333333333333"
TRANSFER = Packed("a9059cbb", ["address", "uint256"], [OTHER, 7]).data()
PERMIT = Packed(
    "d505accf",
    ["address", "address", "uint256", "uint256", "uint8", "bytes32", "bytes32"],
    [ROOT, OTHER, 2**256 - 1, 2**64, 27, b"\1" * 32, b"\2" * 32],
).data()
CARRYING = ["8d80ff0a", "6a761202", "ac9650d8", "82ad56cb", "3593564c"]


def reviewed(*addresses: str, functions: list[Any] | None = None) -> dict[str, Abi]:
    """Return the carriers, as the whitelist has them, for these contracts."""
    fragments = [fragment_of(each) for each in CARRYING] if functions is None else functions
    return dict.fromkeys(addresses, Abi(Source.WHITELIST, fragments))


def of(data: bytes, **abis: Any) -> Node:
    """Read a call on a contract whose carriers are reviewed, and check that nothing of it is lost."""
    node = read(ROOT, data, value="0", abis=reviewed(ROOT) | abis)
    assert encode(node) == data
    return node


def leaf(data: bytes, to: str = TOKEN, *, operation: Operation = Operation.CALL, value: int = 0) -> Plan:
    """Return a call that carries nothing."""
    return Plan(to, data, value=value, operation=operation)


def swap(way: bytes) -> Plan:
    """Return a router's swap over a path."""
    types = ["address", "uint256", "uint256", "bytes", "bool"]
    return Plan(ROOT, abi_encode(types, [ROOT, 1, 1, way, True]), command=0)


def deep(levels: int) -> bytes:
    """Return a call within so many multicalls."""
    data = TRANSFER
    for _ in range(levels):
        data = multicall(leaf(data))
    return data


def overlapping() -> bytes:
    """Return a multicall whose two calls are the same bytes."""
    body = abi_encode(["bytes[]"], [[TRANSFER, TRANSFER]])
    word = 32
    second = body[3 * word : 4 * word]
    assert int.from_bytes(second) > int.from_bytes(body[2 * word : 3 * word])
    return bytes.fromhex("ac9650d8") + body[: 3 * word] + body[2 * word : 3 * word] + body[4 * word :]


GOOD = packed([leaf(TRANSFER)])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "no calldata", id="nothing"),
        pytest.param(b"\xac\x96\x50", "3 bytes are no selector", id="three bytes of a selector"),
        pytest.param(TRANSFER, "names 0 functions", id="a well-known function that the entry does not have"),
        pytest.param(multicall(leaf(TRANSFER)) + b"\0", "own encoding", id="a byte behind a multicall"),
        pytest.param(overlapping(), "own encoding", id="two offsets to one call"),
        pytest.param(
            Packed("8d80ff0a", ["bytes"], [GOOD + b"\0"]).data(),
            "1 bytes at 153 are no packed call",
            id="a byte behind a packed call",
        ),
        pytest.param(
            Packed("8d80ff0a", ["bytes"], [GOOD[:-1]]).data(),
            "says 68 bytes, 67 are left",
            id="a packed call cut short",
        ),
        pytest.param(
            Packed("8d80ff0a", ["bytes"], [GOOD[:70]]).data(),
            "70 bytes at 0 are no packed call",
            id="a length word cut short",
        ),
        pytest.param(
            Packed("8d80ff0a", ["bytes"], [GOOD[:53] + b"\xff" * 32 + GOOD[85:]]).data(),
            "68 are left",
            id="a length that would wrap around",
        ),
        pytest.param(
            Packed("8d80ff0a", ["bytes"], [b"\2" + GOOD[1:]]).data(),
            "operation 2 is neither",
            id="a packed call of a third kind",
        ),
        pytest.param(multi_send(leaf(TRANSFER, NONE)), "goes to nobody", id="a packed call to nobody"),
        pytest.param(
            Packed(
                "6a761202",
                ["address", "uint256", "bytes", "uint8", *["uint256"] * 3, "address", "address", "bytes"],
                [TOKEN, 0, TRANSFER, 2, 0, 0, 0, NONE, NONE, b""],
            ).data(),
            "operation 2 is neither",
            id="a Safe's call of a third kind",
        ),
        pytest.param(
            Packed("3593564c", ["bytes", "bytes[]", "uint256"], [b"\4\4", [b""], 9]).data(),
            "2 commands with 1 inputs",
            id="a command without an input",
        ),
        pytest.param(b"\xde\xad\xbe\xef" + bytes(20_000), "names 0 functions", id="a long call of nothing"),
        pytest.param(multicall(leaf(bytes(17_000))), "bytes, expected", id="more bytes than a call has"),
        pytest.param(
            multicall(*[leaf(b"")] * NODES_MAX), f"{NODES_MAX} more calls", id="more calls than are read"
        ),
        pytest.param(multicall(*[leaf(b"")] * 10_000), "expected 4 to", id="ten thousand calls"),
    ],
)
def test_an_outermost_call_that_cannot_be_read(data: bytes, reason: str) -> None:
    """It is one leaf that says why, and keeps every byte."""
    node = of(data)
    assert (node.call, node.source, node.children) == (None, None, ())
    assert reason in node.reason, node.reason


@pytest.mark.parametrize(
    ("data", "place", "reason"),
    [
        pytest.param(
            multicall(leaf(TRANSFER), leaf(multicall(leaf(b"\xde\xad\xbe\xef")))),
            [1, 0],
            "deadbeef names 0 functions",
            id="an unknown selector two deep",
        ),
        pytest.param(
            multi_send(leaf(TRANSFER), leaf(TRANSFER[:-1])), [1], "InsufficientDataBytes", id="a short call"
        ),
        pytest.param(
            multi_send(leaf(TRANSFER + b"\0"), leaf(TRANSFER)), [0], "own encoding", id="a long call"
        ),
        pytest.param(
            multi_send(leaf(b"", value=9), leaf(TRANSFER)), [0], "no calldata", id="ether sent without a call"
        ),
        pytest.param(deep(DEPTH_MAX + 1), [0] * (DEPTH_MAX + 1), "more than 8 deep", id="a bomb of depth"),
        pytest.param(router(swap(path(1)[:42])), [0], "42 bytes are no path", id="a path of 42 bytes"),
        pytest.param(router(swap(path(1)[:20])), [0], "20 bytes are no path", id="a path of one token"),
        pytest.param(router(swap(b"")), [0], "0 bytes are no path", id="no path"),
        pytest.param(
            router(Plan(ROOT, b"", command=0x10)), [0], "command 0x10", id="a command that is not known"
        ),
        pytest.param(
            router(Plan(ROOT, b"", command=0x44)), [0], "command 0x44", id="a bit that some versions ignore"
        ),
        pytest.param(
            router(Plan(ROOT, command(0x04, ROOT).data + bytes(32), command=0x04)),
            [0],
            "own encoding",
            id="a command with an input more",
        ),
        pytest.param(
            multicall(*[leaf(multicall(*[leaf(b"")] * 40))] * 4),
            [3],
            "40 more calls, at most 128 in all",
            id="few calls of many each",
        ),
    ],
)
def test_an_inner_call_that_cannot_be_read(data: bytes, place: list[int], reason: str) -> None:
    """The leaf says why; what stands beside and above it is read all the same."""
    root = node = of(data)
    for number in place:
        node = node.children[number]
    assert node.call is None
    assert reason in node.reason, node.reason
    above = root
    for number in place:
        assert above.call is not None
        above = above.children[number]


def test_as_many_calls_as_are_read() -> None:
    """The last one that there may be is read; one more, and none is (above)."""
    node = of(multicall(*[leaf(b"")] * (NODES_MAX - 1)))
    assert len(list(node.walk())) == NODES_MAX


def test_an_abi_without_end() -> None:
    """Too many fragments are no ABI."""
    many = [calldata_fragment(f"f{number}()") for number in range(calldata.FRAGMENTS_MAX + 1)]
    node = read(ROOT, TRANSFER, value="0", abis=reviewed(ROOT, functions=many))
    assert node.reason == "257 fragments, at most 256"


def test_what_stands_beside_a_leaf_is_read() -> None:
    """One call that nobody can read does not hide the next."""
    node = of(multi_send(leaf(b"\xde\xad\xbe\xef"), leaf(TRANSFER)))
    assert [each.call and each.call.signature for each in node.children] == [
        None,
        "transfer(address,uint256)",
    ]


def test_a_delegatecall_three_deep() -> None:
    """It says what it is, where it lay and what it carries."""
    inner = multi_send(leaf(TRANSFER, OTHER, operation=Operation.DELEGATECALL, value=5))
    node = of(aggregate3(leaf(safe(leaf(inner, ROOT, operation=Operation.DELEGATECALL)), ROOT)))
    walked = list(node.walk())
    assert [(each.part.carried_by, each.to, each.operation) for each in walked] == [
        ("", ROOT, Operation.CALL),
        ("a0[0].b2", ROOT, Operation.CALL),
        ("a2", ROOT, Operation.DELEGATECALL),
        ("a0[0]", OTHER, Operation.DELEGATECALL),
    ]
    assert walked[-1].part.value == "5"
    assert [each.source for each in walked] == [Source.WHITELIST] * 3 + [Source.SELECTOR]


def test_a_permit_in_a_multicall() -> None:
    """What a token's own function would be is read as a guess, with its arguments named."""
    (node,) = of(multicall(leaf(PERMIT))).children
    assert node.call is not None
    assert (node.to, node.source, node.operation) == (ROOT, Source.SELECTOR, Operation.SELF)
    assert node.call.signature == "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)"
    assert node.call.arguments["spender"] == OTHER


def test_two_well_known_functions_of_one_selector() -> None:
    """Four bytes that two functions answer to are no reading at all."""
    texts = ("transfer(address to, uint256 amount)", "many_msg_babbage(bytes1 what)")
    fragments = [calldata_fragment(text) for text in texts]
    assert {calldata.selector(each) for each in fragments} == {"a9059cbb"}
    data = multicall(leaf(TRANSFER))
    node = read(ROOT, data, value="0", abis=reviewed(ROOT), guesses=known.by_selector(fragments))
    assert "names 2 functions" in node.children[0].reason
    assert encode(node) == data


def calldata_fragment(text: str) -> calldata.Fragment:
    """Return a fragment; names as compilers would not write them are no matter here."""
    return known.fragment(text)


def test_two_functions_of_one_selector_in_an_entry() -> None:
    """An ABI that is given twofold is no reading either, and no guess takes its place."""
    twice = [calldata_fragment("transfer(address to, uint256 amount)")] * 2
    node = of(multi_send(leaf(TRANSFER)), **{TOKEN: Abi(Source.WHITELIST, twice)})
    assert "names 2 functions" in node.children[0].reason


def test_the_entry_comes_before_the_guess() -> None:
    """A contract's own ABI names the arguments; the guess is for those that have none."""
    own = calldata_fragment("transfer(address payee, uint256 wad)")
    data = multi_send(leaf(TRANSFER, TOKEN), leaf(TRANSFER, OTHER))
    first, second = of(data, **{TOKEN: Abi(Source.VERIFIED, [own])}).children
    assert first.call is not None
    assert second.call is not None
    assert (first.source, list(first.call.arguments)) == (Source.VERIFIED, ["payee", "wad"])
    assert (second.source, list(second.call.arguments)) == (Source.SELECTOR, ["to", "amount"])


def test_without_an_abi_the_outermost_call_is_not_guessed() -> None:
    """Who calls a contract that nobody gave an ABI for is told nothing."""
    node = read(TOKEN, TRANSFER, value="0", abis={})
    assert (node.call, node.reason) == (None, f"no ABI is given for {TOKEN}")


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        pytest.param(0, [(1, 2), (2, 255)], id="in: from the first token to the last"),
        pytest.param(1, [(255, 2), (2, 1)], id="out: from the last to the first"),
    ],
)
def test_the_pools_of_a_path(number: int, expected: list[tuple[int, int]]) -> None:
    """A swap for an exact amount out writes its path backwards; it is told in the order of the trade."""
    (node,) = of(router(Plan(ROOT, swap(path(2)).data, command=number))).children
    tokens = {each: checksummed(bytes([each]) * 20) for each in (1, 2, 255)}
    assert node.hops == tuple(Hop(tokens[a], 500, tokens[b]) for a, b in expected)


@pytest.mark.parametrize("number", sorted(COMMANDS))
def test_every_command(number: int) -> None:
    """Each has the inputs that the router's reference gives it."""
    (node,) = of(router(command(number, ROOT))).children
    assert node.call is not None, node.reason
    assert calldata.signature(known.COMMANDS[number]).endswith(f"({','.join(COMMANDS[number])})")
    assert (node.source, node.operation) == (Source.SELECTOR, Operation.COMMAND)


def test_what_may_fail_says_so() -> None:
    """A call or a command whose failure does not stop the rest is marked."""
    batch = of(aggregate3(leaf(TRANSFER), leaf(TRANSFER)))
    plan = of(router(command(0x04, ROOT), command(0x05, ROOT)))
    assert [each.part.may_fail for each in batch.children] == [False, True]
    assert [each.part.may_fail for each in plan.children] == [False, True]


CALL = [TOKEN, TRANSFER]
SAFE_TAIL = [0, 0, 0, NONE, NONE, b""]


@pytest.mark.parametrize(
    ("signature", "values", "expected"),
    [
        ("multicall(bytes[])", [[TRANSFER]], ("data[0]", ROOT, "7", Operation.SELF, False)),
        ("multicall(uint256,bytes[])", [1, [TRANSFER]], ("data[0]", ROOT, "7", Operation.SELF, False)),
        (
            "multicall(bytes32,bytes[])",
            [b"\1" * 32, [TRANSFER]],
            ("data[0]", ROOT, "7", Operation.SELF, False),
        ),
        (
            "aggregate((address,bytes)[])",
            [[CALL]],
            ("calls[0].callData", TOKEN, "0", Operation.CALL, False),
        ),
        (
            "tryAggregate(bool,(address,bytes)[])",
            [True, [CALL]],
            ("calls[0].callData", TOKEN, "0", Operation.CALL, False),
        ),
        (
            "tryAggregate(bool,(address,bytes)[])",
            [False, [CALL]],
            ("calls[0].callData", TOKEN, "0", Operation.CALL, True),
        ),
        (
            "aggregate3((address,bool,bytes)[])",
            [[[TOKEN, True, TRANSFER]]],
            ("calls[0].callData", TOKEN, "0", Operation.CALL, True),
        ),
        (
            "aggregate3Value((address,bool,uint256,bytes)[])",
            [[[TOKEN, False, 9, TRANSFER]]],
            ("calls[0].callData", TOKEN, "9", Operation.CALL, False),
        ),
        (
            "multiSend(bytes)",
            [packed([leaf(TRANSFER, operation=Operation.DELEGATECALL, value=9)])],
            ("transactions[0]", TOKEN, "9", Operation.DELEGATECALL, False),
        ),
        (
            "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)",
            [TOKEN, 9, TRANSFER, 1, *SAFE_TAIL],
            ("data", TOKEN, "9", Operation.DELEGATECALL, False),
        ),
        (
            "execTransactionFromModule(address,uint256,bytes,uint8)",
            [TOKEN, 9, TRANSFER, 0],
            ("data", TOKEN, "9", Operation.CALL, False),
        ),
        (
            "execute(bytes,bytes[])",
            [b"\x84", [command(4, ROOT).data]],
            ("inputs[0]", ROOT, "0", Operation.COMMAND, True),
        ),
        (
            "execute(bytes,bytes[],uint256)",
            [b"\x04", [command(4, ROOT).data], 1],
            ("inputs[0]", ROOT, "0", Operation.COMMAND, False),
        ),
    ],
    ids=str,
)
def test_every_carrier(signature: str, values: list[Any], expected: tuple[Any, ...]) -> None:
    """What is carried, where it goes, how much it sends, how it is run, and whether it may fail alone."""
    (fragment,) = [f for (f,) in known.KNOWN.values() if calldata.signature(f) == signature]
    types = signature[signature.index("(") + 1 : -1]
    data = bytes.fromhex(calldata.selector(fragment)) + abi_encode(_split(types), values)
    node = read(ROOT, data, value="7", abis=reviewed(ROOT, functions=[fragment]))
    (child,) = node.children
    part = child.part
    assert (part.carried_by, part.to, part.value, part.operation, part.may_fail) == expected
    assert child.call is not None, child.reason
    assert encode(node) == data


def _split(types: str) -> list[str]:
    depth, found = 0, [""]
    for character in types:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and not depth:
            found.append("")
        else:
            found[-1] += character
    return found


@pytest.mark.parametrize(
    ("artifact", "names"),
    [
        ("@uniswap/v3-periphery/artifacts/contracts/SwapRouter.sol/SwapRouter.json", 10),
        ("@openzeppelin/contracts/build/contracts/IERC20.json", 3),
        ("@openzeppelin/contracts/build/contracts/IERC20Permit.json", 1),
        ("@openzeppelin/contracts/build/contracts/IERC721.json", 5),
        ("@openzeppelin/contracts/build/contracts/IERC1155.json", 3),
    ],
)
def test_the_guesses_are_what_compilers_wrote(artifact: str, names: int) -> None:
    """What was compiled from the sources has our selectors, with the same types in the same places."""
    abi = json.loads((MODULES / artifact).read_text())["abi"]
    functions = [
        each for each in abi if each["type"] == "function" and all(part["name"] for part in each["inputs"])
    ]
    ours = [each for each in functions if calldata.selector(each) in known.KNOWN]
    assert len(ours) >= names
    for each in ours:
        (mine,) = known.KNOWN[calldata.selector(each)]
        assert calldata.signature(mine) == calldata.signature(each)


def test_every_selector_is_known_once() -> None:
    """No two of the well-known functions collide, and every carrier and path belongs to one of them."""
    assert all(len(each) == 1 for each in known.KNOWN.values())
    signatures = {calldata.signature(each) for (each,) in known.KNOWN.values()}
    signatures |= {calldata.signature(each) for each in known.COMMANDS.values()}
    assert CARRIERS.keys() | PATHS.keys() <= signatures
