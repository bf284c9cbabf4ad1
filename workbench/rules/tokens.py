"""What a token is to us and what its contract says of itself: symbol and decimals, held against each other.

(1) The policy set decides what people see: a token that it lists has the set's symbol and decimals.
(2) A listed token whose contract answers other decimals, or none, is a finding: every amount that people
    read, and every limit, would be wrong by powers of ten. An upgrade can change them after the set was made.
(3) Each token that an effect names must be told once. An observer that leaves one out has not looked.
(4) A token that is not listed is never shown by a bare symbol, and its amounts are base units: it is said
    what it calls itself, and that it is not ours where it calls itself like one of ours.

A listed token that calls itself otherwise is shown and denied by nothing: symbols are the desk's own words.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Final

from pydantic import Field

from workbench.evm.token_words import DECIMALS_MAX, WRITTEN
from workbench.rules.documents import Address, Document
from workbench.rules.policy import AssetFacts

TOKENS_MAX: Final = 64
ETHER: Final = "ETH"


class TokenName(Document):
    """What a contract calls itself, written so that it can be shown, and the decimals that it answers."""

    asset: Address
    symbol: Annotated[str, Field(pattern=f"^{WRITTEN}$", max_length=320)] | None
    decimals: Annotated[int, Field(ge=0, le=DECIMALS_MAX)] | None


TokenNames = Annotated[list[TokenName], Field(max_length=TOKENS_MAX)]


def contradictions(
    names: list[TokenName], assets: Collection[str], listed: Mapping[str, AssetFacts]
) -> dict[str, str]:
    """Return what is wrong with what tokens of these effects say of themselves, by token (2) (3)."""
    return dict(_contradictions(names, assets, listed))


def _contradictions(
    names: list[TokenName], assets: Collection[str], listed: Mapping[str, AssetFacts]
) -> Iterator[tuple[str, str]]:
    told = {each.asset: each for each in names}
    counts = [each.asset for each in names]
    for asset in sorted({*assets} - {ETHER}):
        if counts.count(asset) != 1:
            yield asset, "nobody asked it what it is"
            continue
        facts, says = listed.get(asset), told[asset].decimals
        if facts is not None and facts.decimals != says:
            answers = "answers none" if says is None else f"answers {says}"
            yield (
                asset,
                f"{facts.symbol}: the policy set says {facts.decimals} decimals, its contract {answers}",
            )


def unlisted(
    names: list[TokenName], asset: str, listed: Mapping[str, AssetFacts], *, kind: str = "token"
) -> str:
    """Say what a token that is not listed calls itself (4)."""
    told = next((each for each in names if each.asset == asset), None)
    if told is None or told.symbol is None:
        return f"an unlisted {kind} that does not say what it is"
    ours = [each.symbol for each in listed.values() if each.symbol.upper() == told.symbol.strip().upper()]
    like = f" and is NOT our {ours[0]}" if ours else ""
    decimals = "" if told.decimals is None else f" (with {told.decimals} decimals)"
    return f"an unlisted {kind} that calls itself '{told.symbol}'{decimals}{like}"
