"""Tables and charts for a notebook: static HTML and SVG that a report keeps as they are.

Colours come from the page (`currentColor`, transparent grounds), so that they read in light
and in dark; long hexadecimal breaks instead of being cut off. No script, no request.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import cycle
from pathlib import Path

import altair as alt
import pandas as pd
import vl_convert

from ledger import verifier
from workbench.client import Client, IntentView
from workbench.desk.drafts import Market
from workbench.rules.attestation import Loss, Simulation
from workbench.rules.documents import printable
from workbench.rules.receipt import verify_receipt
from workbench.rules.trust import TrustRoot

PPM_A_PERCENT = 10_000
WIDTH, HEIGHT = 520, 200
ACCENT = "#b4530f"
DAY = re.compile(r">(\d{4}-\d\d-\d\d(?: \d\d:\d\d)?)<")
LAST = re.compile(r'<td style="text-align: left">(?=[^<]*</td>\s*</tr>)')


@dataclass(frozen=True, slots=True)
class Shown:
    """Something a cell shows."""

    markup: str

    def _repr_html_(self) -> str:
        return self.markup


def table(title: str, rows: Sequence[Mapping[str, object]]) -> Shown:
    """Return rows as a table; an empty one says so."""
    if not rows:
        return Shown(f"<p><strong>{html.escape(title)}</strong>: nothing.</p>")
    with pd.option_context("display.max_colwidth", None):
        body = pd.DataFrame(list(rows)).to_html(index=False, border=0, escape=True, justify="left")
    # JupyterLab has an alignment of its own, and cuts off what does not break; a report has its own style
    body = body.replace("<td>", '<td style="text-align: left">').replace(
        "<th>", '<th style="text-align: left">'
    )
    body = LAST.sub('<td style="text-align: left; overflow-wrap: anywhere">', body)
    # a day is not broken at its hyphens
    body = DAY.sub(r'><span style="white-space: nowrap">\1</span><', body)
    # where a page is too narrow for a head, each value says what it is
    columns = cycle(f'<td data-label="{html.escape(str(name), quote=True)}"' for name in rows[0])
    body = re.sub("<td(?= style)", lambda _: next(columns), body)
    return Shown(f'<div class="workbench"><p><strong>{html.escape(title)}</strong></p>{body}</div>')


def facts(title: str, values: Mapping[str, object]) -> Shown:
    """Return names and values as a table of two columns."""
    return table(title, [{"": name, " ": str(value)} for name, value in values.items()])


def intent(view: IntentView, market: Market) -> Shown:
    """Return what an intent is and what stands between it and the chain."""
    return facts(
        view.intent.purpose,
        {
            "digest": view.digest,
            "proposer": view.intent.proposer,
            "to": view.intent.to,
            "moves": ", ".join(_amount(each.asset, each.amount, market) for each in view.intent.deltas)
            or "nothing",
            "leaves allowed": ", ".join(
                _amount(each.asset, each.amount, market) + f" to {each.spender}"
                for each in view.intent.allowances
            )
            or "nothing",
            "state": view.state,
            "outstanding": ", ".join(view.needs) or "nothing",
            "expires": view.intent.expires_at,
        },
    )


def simulation(simulated: Simulation, market: Market) -> Shown:
    """Return what the observer attests of an intent: state diff, slippage, cost."""
    return facts(
        "Simulated on a private fork",
        {
            "at block": f"{simulated.block.number} ({simulated.block.hash})",
            "moves": ", ".join(_amount(each.asset, each.amount, market) for each in simulated.deltas)
            or "nothing",
            **_single(simulated),
            "slippage": percent(simulated.slippage_ppm),
            "cost": _dollars(simulated.loss, market),
            "reverts": printable(simulated.revert or "no"),
        },
    )


def _single(simulated: Simulation) -> dict[str, str]:
    if not simulated.items and not simulated.rights:
        return {}
    told = f"{len(simulated.items)} move, {len(simulated.rights)} rights over them change"
    return {"single tokens": f"{told}: the transaction's review names them"}


def decisions(view: IntentView) -> Shown:
    """Return who said what."""
    return table(
        "Decisions",
        [
            {
                "person": each.decision.person,
                "role": each.decision.role,
                "said": each.decision.verb,
                "reason": each.decision.reason,
            }
            for each in view.decisions
        ],
    )


def sequence(simulated: Simulation, market: Market) -> Shown:
    """Return a sequence's swaps: each one's slippage on the state that the one before left, and the total."""
    swaps = _swaps(simulated)
    rows = [
        {"tranche": number, "slippage": percent(ppm), "cost": f"${_whole(amount, market):,.0f}"}
        for number, (ppm, amount) in enumerate(swaps, 1)
    ]
    total = simulated.sequence
    if total is not None:
        together = {"slippage": percent(total.slippage_ppm), "cost": _dollars(total.loss, market)}
        rows.append({"tranche": "together", **together})
    return table("Five times $1M, back to back", rows)


def sequence_chart(simulated: Simulation, market: Market) -> Shown:
    """Return the cost of each tranche as bars."""
    data = pd.DataFrame(
        [
            {"tranche": str(number), "cost in USD": float(_whole(amount, market)), "label": percent(ppm)}
            for number, (ppm, amount) in enumerate(_swaps(simulated), 1)
        ]
    )
    base = alt.Chart(data, title="Each tranche pays for the ones before it").encode(
        x=alt.X("tranche:N", axis=alt.Axis(labelAngle=0)), y=alt.Y("cost in USD:Q")
    )
    chart = (base.mark_bar(color=ACCENT) + base.mark_text(dy=-6).encode(text="label:N")).properties(
        width=WIDTH, height=HEIGHT
    )
    ink = "currentColor"
    styled = (
        chart.configure(background="transparent", font="sans-serif")
        .configure_axis(labelColor=ink, titleColor=ink, domainColor=ink, tickColor=ink, gridOpacity=0.3)
        .configure_text(color=ink)
        .configure_title(color=ink, anchor="start")
        .configure_view(stroke=None)
    )
    return Shown(vl_convert.vegalite_to_svg(styled.to_json()))


def verification(bundle: Path, trust_root: Path) -> Shown:
    """Verify a bundle in this kernel; raises when it is not sound."""
    report = verifier.verify(bundle, trust_root)
    return facts(
        "The ledger verifies",
        {
            "entries": report.size,
            "root": report.root.hex(),
            "head": report.h.hex(),
            "checkpoints": len(report.checkpoints),
        },
    )


def receipt(client: Client, digest: str, trust_root: Path | TrustRoot) -> Shown:
    """Fetch a receipt, verify it under the trust root, and return its lines."""
    believed = trust_root if isinstance(trust_root, TrustRoot) else TrustRoot.read(trust_root.read_bytes())
    lines = verify_receipt(client.receipt(digest), trust_root=believed, now=datetime.now(UTC))
    return table(
        "Decision receipt: every line proven under a signed checkpoint",
        [
            {
                "entry": line.seq,
                "at": f"{line.at:%H:%M:%S}",
                "what": line.type,
                "by": line.actor,
                "says": _says(line.data),
            }
            for line in lines
        ],
    )


def cost(simulated: Simulation, market: Market) -> str:
    """Return slippage and cost of an intent in one phrase."""
    return f"{percent(simulated.slippage_ppm)}, {_dollars(simulated.loss, market)}"


def sequence_cost(simulated: Simulation, market: Market) -> str:
    """Return slippage and cost of a whole sequence in one phrase."""
    run = simulated.sequence
    return "none" if run is None else f"{percent(run.slippage_ppm)}, {_dollars(run.loss, market)}"


def percent(ppm: int | None) -> str:
    """Return parts per million as percent with four digits."""
    return "none" if ppm is None else f"{ppm / PPM_A_PERCENT:.4f} %"


def _says(data: Mapping[str, object]) -> str:
    signed = data.get("signed")
    if isinstance(signed, dict):
        decision = signed["decision"]
        return f"{decision['verb']}: {decision['reason']}".removesuffix(": ")
    if "nonce" in data:
        return f"nonce {data['nonce']}"
    if "block_number" in data:
        return f"block {data['block_number']}, {data.get('tx_hash', '')}".removesuffix(", ")
    return str(data.get("tx_hash", ""))


def _swaps(simulated: Simulation) -> list[tuple[int, str]]:
    run = simulated.sequence
    steps = run.steps if run is not None else []
    return [
        (step.slippage_ppm, step.loss.amount) for step in steps if step.slippage_ppm is not None and step.loss
    ]


def _dollars(loss: Loss | None, market: Market) -> str:
    return "none" if loss is None else f"${_whole(loss.amount, market):,.0f}"


def _whole(amount: str, market: Market) -> float:
    return float(Decimal(amount).scaleb(-market.decimals_in))


def _amount(asset: str, amount: str, market: Market) -> str:
    known = {market.token_in: ("USDC", market.decimals_in), market.token_out: ("WETH", market.decimals_out)}
    symbol, decimals = known.get(asset, (asset, 0))
    return f"{int(amount) / 10**decimals:+,.4f} {symbol}".replace(".0000 ", " ")
