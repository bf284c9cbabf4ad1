"""The approval page full to the brim: long calldata, many moves, every alarm, at any width."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode as abi_encode
from eth_utils.address import to_checksum_address
from playwright.sync_api import Browser

from tests.approver.test_page import CLIPPED, page_at
from tests.evm.plans import Plan, multicall, router
from tests.rules.build import DEPLOYMENT, NOW, World, attest, build
from tests.rules.test_calls import DELEGATED, ROUTER, STRANGER, TRANSFER, USDC, approve, batch, swap
from tests.rules.test_shown_calls import asked
from workbench.approver.web import PAGES, STATIC
from workbench.demo import charter
from workbench.evm.known import CALLER
from workbench.rules import approval, shown
from workbench.rules.approval import Asked

MOVES = 10
WETH = DEPLOYMENT.weth


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return a desk without processes."""
    return build(tmp_path_factory.mktemp("officers"))


def crowded(desk: World) -> str:
    """Return the page of an intent in which everything is long, many and wrong."""
    account = desk.policy.keys["treasury"].address
    assets = [each.asset for each in desk.policy.assets.values()]
    strangers = [address(f"token {number}") for number in range(MOVES)]
    moves = [
        {"account": account, "asset": asset, "amount": str(-(10**27) + number)}
        for number, asset in enumerate([*assets, *strangers])
    ]
    spent = [
        {"owner": account, "spender": address(f"spender {number}"), "asset": assets[1], "amount": str(2**255)}
        for number in range(3)
    ]
    intent = desk.swap(data=desk.swap().data + "ab" * 3000, purpose="W" * 500 + " " + "0x" + "ab" * 300)
    simulation = desk.simulation(
        intent,
        deltas=moves,
        allowances=spent,
        admin_changes=[
            {"kind": "owner", "contract": address("c"), "before": address("a"), "after": address("b")}
        ],
        tokens=[
            {"asset": assets[1], "symbol": "\\u202e" * 32, "decimals": 255},
            *({"asset": each, "symbol": "\\U0001f600" * 32, "decimals": 255} for each in strangers[:5]),
            *({"asset": each, "symbol": "USDC", "decimals": 6} for each in strangers[5:]),
            {"asset": address("collection"), "symbol": "W" * 32, "decimals": None},
        ],
        items=[
            {
                "standard": standard,
                "asset": address("collection"),
                "id": str(2**256 - 1 - number),
                "from": account if number % 2 else address("giver"),
                "to": address("taker") if number % 2 else account,
                "amount": amount,
            }
            for standard, amount in (("erc721", "1"), ("erc1155", str(2**256 - 1)))
            for number in range(3)
        ],
        rights=[
            {
                "owner": account,
                "spender": address("operator"),
                "asset": address("collection"),
                "id": number,
                "approved": given,
            }
            for number in (None, str(2**256 - 1))
            for given in (True, False)
        ],
        slippage_bps=9000,
        slippage_ppm=900_000,
        revert="E" * 400,
    )
    before = desk.simulation(intent, gas=1)
    request = desk.request(
        "cro-1",
        intent,
        simulations=[attest(simulation).dump()],
        before=[attest(before).dump()],
        decisions=[desk.decide("risk-1", "risk_officer", reason="R" * 300).dump()],
    )
    return rendered(approval.verify(request, trust_root=desk.trust_root, now=NOW))


def nested(desk: World) -> str:
    """Return the page of a Safe's batch that holds everything which can be hidden in one."""
    path = b"".join(bytes.fromhex(each[2:]) + (500).to_bytes(3) for each in (USDC, WETH)) + b"\xff" * 20
    swapped = abi_encode(
        ["address", "uint256", "uint256", "bytes", "bool"], [CALLER, 5 * 10**11, 10**20, path, True]
    )
    inner = [
        swap(desk),
        approve(desk),
        Plan(ROUTER, multicall(swap(desk, recipient=STRANGER), Plan(ROUTER, TRANSFER))),
        Plan(ROUTER, router(Plan(ROUTER, swapped, command=0), Plan(ROUTER, b"", command=0x10))),
        Plan(STRANGER, TRANSFER, operation=DELEGATED),
        Plan(USDC, b"\xde\xad\xbe\xef" + bytes(range(250)), value=10**18),
    ]
    return rendered(asked(desk, batch(*inner)))


def rendered(asked: Asked) -> str:
    """Return the page of a question, with its style in it."""
    markup = PAGES.get_template("review.html").render(
        act="/looks/00/decision",
        answer="/looks/00/assertion",
        title=shown.title(asked),
        person=asked.person,
        roles=asked.roles,
        verbs=asked.verbs,
        sections=shown.sections(asked, now=NOW),
        rp=charter.APPROVAL,
    )
    style = f"<style>{(STATIC / 'page.css').read_text()}</style>"
    return markup.replace('<link rel="stylesheet" href="/static/page.css">', style)


def address(name: str) -> str:
    """Return an address of nobody's, with its checksum."""
    return to_checksum_address(hashlib.sha256(name.encode()).digest()[:20])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 700, 1400])
@pytest.mark.parametrize("make", [crowded, nested])
def test_nothing_is_clipped(
    desk: World, browser: Browser, tmp_path: Path, *, make: Callable[[World], str], scheme: Any, width: int
) -> None:
    """Whatever stands there breaks; no element is wider than its box, and nothing scrolls sideways."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    page = context.new_page()
    with page_at("approve.localhost", make(desk)) as url:
        page.goto(url)
        assert page.locator("tr.alarm").count() > MOVES
        assert page.evaluate(CLIPPED) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=str(tmp_path / f"{scheme}-{width}.png"), full_page=True)
    context.close()


def test_contrast_and_labels(desk: World, browser: Browser) -> None:
    """What is marked is marked for who does not see colours, too; every row has a header of its own."""
    context = browser.new_context()
    page = context.new_page()
    with page_at("approve.localhost", crowded(desk)) as url:
        page.goto(url)
        alarms = page.locator("tr.alarm")
        assert alarms.count() == page.locator("tr.alarm [role=img][aria-label=stop]").count()
        assert page.locator("tr").count() == page.locator("tr > th[scope=row]").count()
        assert page.locator("button:enabled").count() == 0
    context.close()
