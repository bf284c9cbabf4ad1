"""Rights of others at the desk: the worst first, what they expose, and drafts that end them."""

from decimal import Decimal
from typing import Any

from tests.desk.conftest import Put
from workbench.desk import allowances
from workbench.desk.allowances import Asset, Rights
from workbench.desk.drafts import Market
from workbench.evm.calldata import APPROVE, encode
from workbench.evm.fields import checksummed
from workbench.rules.allowances import Allowances
from workbench.rules.intent import Allowance

US, USDC, ART, THIEF, FRIEND = (checksummed(bytes([each]) * 20) for each in (0x11, 0x22, 0x33, 0x66, 0x77))
MOST = str(2**256 - 1)
ASSETS = {USDC: Asset(symbol="USDC", decimals=6, price=Decimal("0.9998"))}
MARKET = Market(
    chain_id=31337,
    key="hot-1",
    account=US,
    router=FRIEND,
    token_in=USDC,
    token_out=ART,
    decimals_in=6,
    decimals_out=18,
    pool_fee=500,
)


def grant(**changed: Any) -> dict[str, Any]:
    """Return a right as it is told."""
    usual: dict[str, Any] = {"kind": "erc20", "owner": US, "asset": USDC, "spender": FRIEND}
    usual |= {"allowed": "5000000", "balance": "20000000000000", "granted_at_block": 90, "expires_at": None}
    return usual | changed


def seen() -> Rights:
    """Return rights of every kind."""
    told = {
        "v": 1,
        "chain_id": 31337,
        "block": {"number": 100, "hash": "ab" * 32},
        "asked": {"owners": [US], "tokens": [USDC, ART], "since": 10, "spenders": [THIEF]},
        "grants": [
            grant(),
            grant(allowed=MOST, spender=THIEF, granted_at_block=None),
            grant(kind="operator", asset=ART, allowed=MOST, balance="7", spender=THIEF),
            grant(kind="permit2", allowed="9", expires_at=2_000_000_000),
            grant(kind="permit2", allowed="9", expires_at=1_000_000_000, spender=THIEF),
            grant(kind="permit2", allowed="8", expires_at=2**48 - 1, spender=ART),
            grant(
                kind="delegation", asset=US, allowed=MOST, balance="1", spender=THIEF, granted_at_block=None
            ),
        ],
        "permit_nonces": [],
        "at": "2026-11-26T12:00:00.000000Z",
    }
    return allowances.of(Allowances.load(told), ASSETS)


def test_what_it_says() -> None:
    """The worst first, what has run out not at all, and what the list cannot know in so many words."""
    rights = seen()
    kinds = [(each.kind, each.spender) for each in rights.grants]
    assert kinds[0] == ("delegation", THIEF)
    assert kinds[1:3] == [("erc20", THIEF), ("operator", THIEF)]
    assert ("permit2", THIEF) not in kinds
    markup = rights._repr_html_()
    for text in (
        "UNLIMITED",
        "19,996,000.00",
        "not\u00a0known",
        "10\u00a0blocks",
        "no\u00a0event",
        "for ever",
        "0.000009",
    ):
        assert text in markup, text
    assert "6 rights of others in 1 accounts over 2 tokens, 3 of them without limit." in markup
    assert "is not in this list" in markup


def test_drafts_end_allowances_of_tokens_that_may_be_called() -> None:
    """One draft for each plain allowance: approve(spender, 0), nothing moved, nothing left allowed."""
    made = allowances.revocations(seen(), MARKET, "pm-1", callable_tokens={USDC})
    assert [each.to for each in made] == [USDC, USDC]
    assert {each.data for each in made} == {
        encode(APPROVE, {"spender": spender, "amount": "0"}).hex() for spender in (THIEF, FRIEND)
    }
    assert made[0].allowances == [Allowance(owner=US, spender=THIEF, asset=USDC, amount="0")]
    assert made[0].deltas == []
    assert len({each.id for each in made}) == 2
    assert allowances.revocations(seen(), MARKET, "pm-1", callable_tokens={ART}) == []


def test_on_a_page(put: Put) -> None:
    """Nothing is wider than the page, and the table's ink is the page's own."""
    page = put(seen()._repr_html_())
    assert page.locator("td").count() > 0
