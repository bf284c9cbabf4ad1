"""What people read of a call and of the calls inside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode as abi_encode

from tests.evm.plans import NONE, ROOT, Packed, Plan, aggregate3, multi_send, multicall, path, router
from tests.rules.build import DEPLOYMENT, NOW, TREASURY, World
from tests.rules.test_calls import (
    BATCHES,
    DELEGATED,
    MANY,
    ROUTER,
    STRANGER,
    TRANSFER,
    USDC,
    approve,
    batch,
    carrying,
    swap,
)
from workbench.evm import calldata, known
from workbench.rules import approval, shown_calls
from workbench.rules.approval import Asked
from workbench.rules.rows import Row

WETH = DEPLOYMENT.weth
CALLER, ITSELF = known.CALLER, known.ROUTER


def read(world: World, plan: Plan) -> list[Row]:
    """Return the rows of a call that the treasury is asked to make."""
    return list(shown_calls.rows(asked(world, plan)))


def asked(world: World, plan: Plan) -> Asked:
    """Return a verified question about a call, under a set that knows the carriers."""
    swapped = approval.verify(world.request("cro-1"), trust_root=world.trust_root, now=NOW)
    allowances = world.approval().dump()["allowances"]
    intent = world.swap(to=plan.to, data=plan.data.hex(), allowances=allowances)
    return replace(swapped, intent=intent, policy=carrying(world).policy)


def by_label(rows: list[Row]) -> dict[str, Row]:
    """Return rows by label, each of which stands once."""
    assert len({row.label for row in rows}) == len(rows)
    return {row.label: row for row in rows}


def swap_of(kind: int, way: bytes, *, amounts: tuple[int, int] = (10**6, 10**18)) -> Plan:
    """Return a router's swap of USDC along a path."""
    types = ["address", "uint256", "uint256", "bytes", "bool"]
    return Plan(ROUTER, abi_encode(types, [CALLER, *amounts, way, True]), command=kind)


def way(*tokens: str) -> bytes:
    """Return a path over these tokens, each pool with a fee of 0.05 %."""
    fee = (500).to_bytes(3)
    return fee.join(bytes.fromhex(token[2:]) for token in tokens)


def test_a_call_alone_reads_as_before(world: World) -> None:
    """Nothing is numbered where nothing is carried."""
    rows = by_label(read(world, swap(world)))
    assert list(rows)[:2] == ["Function", "params.tokenIn"]
    assert rows["Function"].remark == "ABI of the whitelist entry · every argument within its bounds"
    assert rows["params.amountIn"].says == "1,000,000 USDC"
    assert rows["params.amountOutMinimum"].says == "399 WETH"
    assert not [row for row in rows.values() if row.alarm]


def test_a_batch_reads_from_the_outside_in(world: World) -> None:
    """Contract, how it is run, by which ABI, and every argument; numbers say what lies in what."""
    rows = by_label(read(world, batch(swap(world), approve(world))))
    assert [label for label in rows if label.startswith("Call")] == ["Call 1", "Call 1.1", "Call 1.2"]
    assert (rows["Call 1"].hex, rows["Call 1.1"].hex, rows["Call 1.2"].hex) == (BATCHES, ROUTER, USDC)
    assert rows["Call 1"].says.startswith("DELEGATECALL of ")
    # the Safe's refund goes to somebody; its gas token is nobody, which means ether
    assert [row.label for row in rows.values() if row.alarm] == ["a8", "Call 1"]
    assert rows["a2"].says == "1 call, below"
    assert rows["1 a0"].says == "2 calls, below"
    assert rows["1.1 params.amountIn"].says == "1,000,000 USDC"
    assert rows["1.2 amount"].says == "1,000,000 USDC"
    assert rows["1.1 function"].remark.startswith("ABI of the whitelist entry")


MARKED: list[Any] = [
    pytest.param(
        lambda _: batch(Plan(STRANGER, TRANSFER)), "Call 1.1", "UNNAMED CONTRACT", id="a contract of nobody's"
    ),
    pytest.param(
        lambda _: Plan(ROUTER, multicall(Plan(ROUTER, TRANSFER))),
        "1 function",
        "GUESSED by its selector",
        id="a guess",
    ),
    pytest.param(
        lambda _: batch(Plan(STRANGER, TRANSFER, operation=DELEGATED)),
        "Call 1.1",
        "DELEGATECALL",
        id="a stranger's code in the Safe's place",
    ),
    pytest.param(
        lambda _: batch(Plan(USDC, TRANSFER, value=10**18)), "Call 1.1", "SENDS 1 ETH", id="ether sent along"
    ),
    pytest.param(
        lambda w: Plan(MANY, aggregate3(swap(w), approve(w))), "Call 2", "MAY FAIL", id="a call that may fail"
    ),
    pytest.param(
        lambda w: Plan(ROUTER, multicall(swap(w, recipient=STRANGER))),
        "1 function",
        "OUT OF BOUNDS",
        id="an inner argument out of bounds",
    ),
    pytest.param(
        lambda w: Plan(ROUTER, multicall(swap(w, recipient=STRANGER))),
        "1 params.recipient",
        "nobody has named",
        id="an inner address of nobody's",
    ),
    pytest.param(
        lambda w: Plan(ROUTER, multicall(swap(w), swap(w))),
        "All calls together",
        "declares once",
        id="the declared outflow twice",
    ),
    pytest.param(
        lambda _: batch(Plan(USDC, b"\xde\xad\xbe\xef")),
        "1.1 function",
        "cannot be read: selector deadbeef",
        id="a function of nobody's",
    ),
    pytest.param(
        lambda _: Plan(STRANGER, TRANSFER), "Function", "cannot be read: no ABI", id="the outermost call"
    ),
    pytest.param(
        lambda _: Plan(ROUTER, router(swap_of(0, way(USDC, STRANGER)))),
        "1 pool 1",
        "a token that nobody has named",
        id="a token of nobody's in a path",
    ),
    pytest.param(
        lambda _: Plan(
            ROUTER,
            multicall(Plan(USDC, Packed("095ea7b3", ["address", "uint256"], [ROOT, 2**256 - 1]).data())),
        ),
        "1 spender",
        "nobody has named",
        id="a spender of nobody's",
    ),
    pytest.param(
        lambda _: batch(
            Plan(USDC, Packed("39509351", ["address", "uint256"], [STRANGER, 2**256 - 1]).data())
        ),
        "1.1 addedValue",
        "WITHOUT LIMIT",
        id="an allowance without limit",
    ),
]


@pytest.mark.parametrize(("make", "label", "said"), MARKED)
def test_what_is_wrong_is_marked(world: World, make: Any, label: str, said: str) -> None:
    """The row says it, in words, and is an alarm."""
    row = by_label(read(world, make(carrying(world))))[label]
    assert said in f"{row.says} {row.remark}"
    assert row.alarm


def test_bytes_that_nobody_reads_stand_there_in_full(world: World) -> None:
    """What cannot be read is shown to the last byte, beside what can."""
    odd = b"\xde\xad\xbe\xef" + bytes(range(200))
    rows = by_label(read(world, batch(Plan(USDC, odd), swap(world))))
    assert rows["1.1 function"].hex == "0x" + odd.hex()
    assert rows["1.2 params.amountIn"].says == "1,000,000 USDC"


@pytest.mark.parametrize(
    ("command", "label", "says"),
    [
        pytest.param(swap_of(0, way(USDC, WETH)), "amountIn", "1 USDC", id="what goes in first"),
        pytest.param(swap_of(0, way(USDC, WETH)), "amountOutMinimum", "1 WETH", id="what comes out last"),
        pytest.param(
            swap_of(1, way(WETH, USDC), amounts=(10**18, 10**6)), "amountOut", "1 WETH", id="out: backwards"
        ),
        pytest.param(swap_of(0, way(USDC, WETH)), "pool 1", "USDC → WETH, fee 0.05 %", id="a pool"),
        pytest.param(
            swap_of(0, way(USDC, WETH, USDC)), "pool 2", "WETH → USDC, fee 0.05 %", id="a second pool"
        ),
        pytest.param(
            swap_of(0, way(USDC, WETH), amounts=(2**255, 1)),
            "amountIn",
            "all that the contract holds then",
            id="the router's whole balance",
        ),
        pytest.param(swap_of(0, way(USDC, WETH)), "recipient", "whoever calls the contract", id="the caller"),
        pytest.param(
            Plan(ROUTER, abi_encode(["address", "address", "uint256"], [NONE, ITSELF, 10**18]), command=0x04),
            "amountMinimum",
            "1 ETH",
            id="ether swept",
        ),
        pytest.param(
            Plan(
                ROUTER,
                abi_encode(
                    ["address", "uint256", "uint256", "address[]", "bool"],
                    [TREASURY, 10**6, 10**18, [USDC, WETH], True],
                ),
                command=0x08,
            ),
            "amountOutMinimum",
            "1 WETH",
            id="an older pool's path",
        ),
    ],
)
def test_commands_in_human_units(world: World, command: Plan, label: str, says: str) -> None:
    """A router's command counts tokens of the signed set in their units, and names what it means."""
    rows = by_label(read(world, Plan(ROUTER, router(command))))
    assert rows[f"1 {label}"].says == says
    assert rows["1 function"].alarm
    assert rows["a0"].hex == "0x" + bytes([command.command or 0]).hex()
    assert rows["a1"].says == "1 call, below"


def test_every_amount_that_is_counted_is_a_known_function() -> None:
    """The table names whole signatures of well-known functions, and places that they have."""
    fragments = [each for (each,) in known.KNOWN.values()] + list(known.COMMANDS.values())
    signatures = {calldata.signature(each) for each in fragments}
    assert shown_calls.COUNTED.keys() <= signatures


def test_an_empty_batch_says_so(world: World) -> None:
    """Nothing carried is said, not shown as nothing."""
    rows = by_label(read(world, Plan(BATCHES, multi_send())))
    assert rows["a0"].says == "0 calls, below"


def test_bytes_that_are_not_calls(world: World) -> None:
    """They stand there in full, with their length, and say whether anything reads them."""
    rows = by_label(read(world, batch(swap(world))))
    assert (rows["a9"].hex, rows["a9"].remark) == ("0x" + "01" * 65, "65 bytes, read no further")
    rows = by_label(read(world, Plan(ROUTER, router(swap_of(0, way(USDC, WETH))))))
    assert rows["1 path"].remark == "43 bytes, read as the pools below"


def test_a_path_that_is_none_is_not_half_read(world: World) -> None:
    """A swap over 42 bytes is shown whole, as bytes."""
    plan = swap_of(0, path(1)[:42])
    row = by_label(read(world, Plan(ROUTER, router(plan))))["1 function"]
    assert (row.hex, row.alarm) == ("0x" + plan.data.hex(), True)
    assert "42 bytes are no path" in row.says
