"""What others may take from the desk's accounts, the worst first, and drafts that end it.

(1) Rights are an observer's signed word, each value proven to it; the kernel verifies the signature and
    computes what they expose.
(2) Age counts in blocks from the last event that a node told of. A right without an event was found because
    its spender was named; where nobody named one, a token that hides its events shows nothing here.
(3) A draft revokes one allowance of a token that the desk may call: `approve(spender, 0)`. It is proposed,
    simulated, approved and signed like any intent. Operators, Permit2 and delegations are ended by other
    calls, which no draft of ours makes.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from workbench.client import Client
from workbench.desk import drafts
from workbench.desk.drafts import Market
from workbench.desk.show import Shown, table
from workbench.risk.allowances import Grant, Valued, live, valued
from workbench.rules.allowances import Allowances, AllowancesQuestion
from workbench.rules.documents import read_time
from workbench.rules.intent import Intent
from workbench.rules.trust import TrustRoot

BESIDE = "\u00a0"
LITTLE = Decimal("0.0001")
MECHANISMS = {
    "erc20": "allowance",
    "operator": "operator of all",
    "permit2": "Permit2",
    "delegation": "RUNS OTHER CODE",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """How an asset is shown: its symbol, decimals, and the price of a whole unit where one is known."""

    symbol: str
    decimals: int
    price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Rights:
    """Live rights, the worst first, from the statement that they stand in."""

    told: Allowances
    grants: tuple[Grant, ...]
    assets: Mapping[str, Asset]

    def _repr_html_(self) -> str:
        return shown(self).markup


def rights(
    client: Client, question: AllowancesQuestion, *, trust_root: Path | TrustRoot, assets: Mapping[str, Asset]
) -> Rights:
    """Return the live rights of others in these accounts."""
    believed = trust_root if isinstance(trust_root, TrustRoot) else TrustRoot.read(trust_root.read_bytes())
    return of(client.allowances(question, trust_root=believed), assets)


def of(told: Allowances, assets: Mapping[str, Asset]) -> Rights:
    """Return what a verified statement says, as rights."""
    found = [
        Grant(
            kind=each.kind,
            owner=each.owner,
            asset=each.asset,
            spender=each.spender,
            allowed=int(each.allowed),
            balance=int(each.balance),
            granted_at_block=each.granted_at_block,
            expires_at=each.expires_at,
        )
        for each in told.grants
    ]
    now_s = int(read_time(told.at).timestamp())
    return Rights(told, tuple(live(found, now_s=now_s)), assets)


def shown(seen: Rights) -> Shown:
    """Return what there is, and a row for each right."""
    prices = {
        address: (each.price, each.decimals)
        for address, each in seen.assets.items()
        if each.price is not None
    }
    rows = [_row(seen, each) for each in valued(seen.grants, prices=prices)]
    body = table("What others may take", rows).markup
    # the table scrolls where a page is narrow; an address in full, in the last column, breaks
    body = body.replace("overflow-wrap: anywhere", "overflow-wrap: anywhere; min-width: 13em")
    return Shown(f'<p>{html.escape(sentence(seen))}</p><div style="overflow-x: auto">{body}</div>')


def sentence(seen: Rights) -> str:
    """Return how many rights there are, of what was asked, and what an empty list does not say."""
    asked, endless = seen.told.asked, sum(each.is_unlimited for each in seen.grants)
    accounts, tokens, named = (len(each) for each in (asked.owners, asked.tokens, asked.spenders))
    return (
        f"{len(seen.grants)} rights of others in {accounts} accounts over {tokens} tokens, {endless} of them "
        f"without limit. Read at block {seen.told.block.number}, by events since block {asked.since} and "
        f"{named} named spenders: a right that left no event, and whose holder was not named, is not in this "
        "list; nor is a permit that was signed and not used."
    )


def revocations(
    seen: Rights, market: Market, proposer: str, *, callable_tokens: Collection[str]
) -> list[Intent]:
    """Draft the end of each allowance of the market's account over a token that the desk may call (3)."""
    return [
        drafts.draft_revocation(market, proposer, asset=each.asset, spender=each.spender)
        for each in seen.grants
        if each.kind == "erc20" and each.owner == market.account and each.asset in callable_tokens
    ]


def _row(seen: Rights, row: Valued) -> dict[str, object]:
    grant, asset = row.grant, seen.assets.get(row.grant.asset)
    symbol = asset.symbol if asset else _short(grant.asset)
    owner = {"owner": _short(grant.owner)} if len(seen.told.asked.owners) > 1 else {}
    return {
        "what": f"{MECHANISMS[grant.kind]}, {symbol}",
        "allowed": "UNLIMITED" if grant.is_unlimited else _whole(grant.allowed, asset),
        "exposed": _whole(grant.exposed, asset),
        "worth": f"not{BESIDE}known" if row.value is None else f"{row.value:,.2f}",
        "age": _age(seen, grant),
        "until": _until(grant.expires_at),
        **owner,
        "spender": grant.spender,
    }


def _age(seen: Rights, grant: Grant) -> str:
    if grant.granted_at_block is None:
        return f"no{BESIDE}event"
    return f"{seen.told.block.number - grant.granted_at_block}{BESIDE}blocks"


def _until(second: int | None) -> str:
    if second is None:
        return "no end"
    try:
        moment = datetime.fromtimestamp(second, tz=UTC)
    except (OverflowError, ValueError, OSError):
        return "for ever"  # a second that no calendar has
    return f"{moment:%Y-%m-%d %H:%M}".replace("-", "\u2011").replace(" ", BESIDE)


def _whole(amount: int, asset: Asset | None) -> str:
    if asset is None:
        return f"{amount:,}{BESIDE}units"
    whole = Decimal(amount).scaleb(-asset.decimals)
    # little is not nothing
    return f"{whole:,.4f}" if not whole or whole >= LITTLE else f"{whole:f}"


def _short(address: str) -> str:
    return f"{address[:8]}…{address[-6:]}"
