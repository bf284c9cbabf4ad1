"""Advice as it is shown: every word and every mark comes from the figures, on any page and without one."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.desk.conftest import Put, ink
from tests.risk.build import MILLION, pool_of
from workbench.client import ProvenPool
from workbench.desk import split
from workbench.desk.drafts import Market
from workbench.risk.split import advise
from workbench.rules.attestation import State

MARKET = Market(
    chain_id=31337,
    key="desk",
    account="0x",
    router="0x",
    token_in="0xin",
    token_out="0xout",
    decimals_in=6,
    decimals_out=18,
    pool_fee=500,
)
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
STATE = State(7, "00" * 32, NOON, NOON, 0, {})


def advised(tranches: int = 5, limit_bps: int = 50, millions: float = 5) -> split.Split:
    """Return the advice for selling so many million dollars."""
    amount = int(millions * MILLION)
    pool = pool_of()
    advice = advise(pool, amount_in=amount, zero_for_one=True, limit_bps=limit_bps, tranches=tranches)
    return split.Split(advice=advice, seen=ProvenPool(pool, STATE), market=MARKET)


ONE_GO = "In one go this costs 3.0000 % ($150,000)"
SAID = {
    "five tranches": (
        advised(),
        [
            f"{ONE_GO}; in 5 tranches back to back 3.0000 % ($150,000): splitting alone saves nothing.",
            (
                "Fewest tranches that meet the limit of 0.50 %: "
                "back to back: no number up to 16; to the fee band: 3; in full: 3."
            ),
            (
                "If the pool recovers in between, 0.2399 % ($11,995) where arbitrage brings the price back "
                "to its fee band (and earns $7,041), 0.2000 % ($10,000) where it comes back in full."
            ),
            "Send a tranche only once the price is back within 9.98 bp of the first one.",
        ],
    ),
    "one": (
        advised(1, 300),
        [
            f"{ONE_GO}; one tranche is one go.",
            "Fewest tranches that meet the limit of 3.00 %: back to back: 1; to the fee band: 1; in full: 1.",
        ],
    ),
    "as many as there may be, under a limit that arbitrage does not reach": (
        advised(16, 10),
        [
            f"{ONE_GO}; in 16 tranches back to back 3.0000 % ($150,000): splitting alone saves nothing.",
            (
                "Fewest tranches that meet the limit of 0.10 %: back to back: no number up to 16; "
                "to the fee band: no number up to 16; in full: 16."
            ),
            (
                "If the pool recovers in between, 0.1437 % ($7,187) where arbitrage brings the price back "
                "to its fee band (and earns $2,231), 0.0969 % ($4,846) where it comes back in full. "
                "In full it comes back for other reasons than profit: that would cost an arbitrageur $153."
            ),
            (
                "Send a tranche only once the price is back within 0.30 bp of the first one. "
                "That is inside the fee band: arbitrage alone does not bring it so near."
            ),
        ],
    ),
    "too few": (
        advised(2, 30),
        [
            f"{ONE_GO}; in 2 tranches back to back 3.0000 % ($150,000): splitting alone saves nothing.",
            (
                "Fewest tranches that meet the limit of 0.30 %: "
                "back to back: no number up to 16; to the fee band: 4; in full: 4."
            ),
            (
                "If the pool recovers in between, 0.9849 % ($49,244) where arbitrage brings the price back "
                "to its fee band (and earns $44,309), 0.8902 % ($44,511) where it comes back in full."
            ),
            "A tranche of this size misses the limit even from the first price: take more tranches.",
        ],
    ),
}


@pytest.mark.parametrize(("made", "said"), SAID.values(), ids=SAID)
def test_what_is_said(made: split.Split, said: list[str]) -> None:
    """Each sentence has its figures, and says no more than they do."""
    assert split.sentences(made) == [*said, "From the pool as block 7 of 12:00:00 UTC has it, proven here."]


def test_a_saving_would_be_said() -> None:
    """The sentence about splitting alone follows the figures: with others it says something else."""
    made = advised()
    dearer = replace(made.advice, once=advised(millions=5.1).advice.once)
    told = split.sentences(replace(made, advice=dearer))[0]
    assert re.search(r"splitting alone saves \$[1-9][0-9,]*\.[0-9]{2}\.$", told), told


def text(markup: str) -> str:
    """Return what stands in the markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", markup).replace("\u00a0", " "))


def test_the_tables() -> None:
    """Cases with cost and arbitrage, each tranche's slippage, and the terms that it is sent with."""
    made = advised()
    cases = text(split.cases(made).markup)
    assert "against a limit of 0.50 %, $25,000" in cases
    assert "in one go 3.0000 % $150,000 NO -" in cases
    assert "back to back 3.0000 % $150,000 NO $0" in cases
    assert "to the fee band 0.2399 % $11,995 yes $7,041" in cases
    assert "in full 0.2000 % $10,000 yes $5,004" in cases
    tranches = text(split.tranches(made).markup)
    assert "5 6.4995 % 0.2499 % 0.2000 %" in tranches
    terms = text(split.terms(made).markup)
    assert "2 $1,000,000 398.801049 9.98 bp" in terms
    assert made.advice.terms[1].minimum_out == 398_801_049_503_452_210_484


def test_the_drawing_is_told_too() -> None:
    """Whoever cannot see it hears the same numbers; nothing in it asks for anything from elsewhere."""
    markup = split.chart(advised()).markup
    (label,) = re.findall(r'role="img" aria-label="([^"]*)"', markup)
    assert label == (
        "Cumulative cost by tranche. back to back: $2,000, $10,881, $38,448, $85,005, $150,000. "
        "to the fee band: $2,000, $4,499, $6,997, $9,496, $11,995. "
        "in full: $2,000, $4,000, $6,000, $8,000, $10,000. limit 0.50 %: $25,000."
    )
    assert "currentColor" in markup
    assert not re.search(r"<script|href=|url\(", markup)


def test_on_a_page(put: Put) -> None:
    """On a telephone and a wide page, in light and in dark: nothing wider than it, ink is the page's own."""
    for tranches in (1, 5, 16):
        page = put(advised(tranches)._repr_html_())
        drawn = page.evaluate("[...document.querySelectorAll('svg text')].map(t => getComputedStyle(t).fill)")
        assert set(drawn) == {ink(page)}
        drawing, *labels = page.evaluate(
            "[...document.querySelectorAll('svg, svg text')].map(t => t.getBoundingClientRect())"
            ".map(t => [t.left, t.right, t.top, t.bottom])"
        )
        assert [each for each in labels if not within(each, drawing)] == []
        assert overlapping(labels) == []


def within(text: list[float], drawing: list[float]) -> bool:
    """Whether a text lies inside the drawing, to a pixel: a box is a little higher than its letters."""
    left, right, top, bottom = text
    return drawing[0] <= left and right <= drawing[1] and drawing[2] - 1 <= top and bottom <= drawing[3] + 1


def overlapping(boxes: list[list[float]]) -> list[tuple[list[float], list[float]]]:
    """Return the pairs of texts that lie on one another."""
    return [
        (one, other)
        for place, one in enumerate(boxes)
        for other in boxes[:place]
        if one[0] < other[1] and other[0] < one[1] and one[2] + 1 < other[3] and other[2] + 1 < one[3]
    ]
