"""What an exchange is worth: what comes in against what goes out, at prices that no pool makes alone.

A pool's slippage is measured against its own price: where somebody has pushed that, it says nothing is lost.

(1) A policy set demands it (`limits.worth`); under one that does not, nothing is asked and there is no fact.
(2) What moves is what the observers simulated for the accounts of the set's keys, net, by asset.
(3) In an exchange something goes out, and something comes in or was declared to. What is none (an allowance,
    a payment, a claim) loses nothing in exchange and needs no price: whether it may be given away is for the
    limits, the whitelist and people. One base unit that comes in makes an exchange of a payment: refused.
(4) The set says which pair an asset is priced as, never an observer; stablecoins have one, too. Of an asset
    without a pair nobody knows what it is worth: there is no fact.
(5) Of each pair as many observers as the trust root demands attest what the sources say, and those of each
    observer agree by the set's gates (`risk.prices`): too few, too old, too far apart, or of another pair is
    no price; and neither is it where observers differ (`price_feed.agreed`).
(6) The loss is (out - in) / out at the medians, exact, in basis points, rounded up; a gain is no loss. Of
    several observers' medians the one that makes the loss greater counts: what goes out at the highest, what
    comes in at the lowest. Whoever lies can only have it refused.
(7) Whatever is missing refuses, and says which pair and which source. The service may show an absent fact;
    the rules refuse it by name.

Left out: gas, which simulations keep apart from what moves and the fee caps bound. What comes in undeclared
counts, since the rules deny it by itself (`simulation.floor`). Who chose sources that depend on each other is
not found out by arithmetic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from math import ceil

from workbench.risk.errors import PriceError
from workbench.risk.prices import Gates
from workbench.rules.attestation import Simulation, Statement
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.intent import Intent
from workbench.rules.policy import BPS, PolicySet, WorthLimit
from workbench.rules.price_feed import Attested, PriceQuestion, agreed, verify_quotes
from workbench.rules.trust import TrustRoot

FACT = "worth_loss_bps"
STATEMENTS_MAX = 64
"""Eight observers of eight pairs; an intent touches a few assets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What an exchange loses, and the prices of each observer that say so, by the base of their pair."""

    loss_bps: int
    prices: Mapping[str, tuple[Attested, ...]]


def questions(intent: Intent, simulation: Simulation, policy: PolicySet) -> list[PriceQuestion]:
    """Return the pairs whose prices the policy set demands for what this simulation moves."""
    limit = policy.limits.worth
    if limit is None:
        return []
    assets = [policy.assets.get(asset) for asset in exchanged(intent, simulation, policy)]
    bases = {each.priced_as for each in assets if each is not None and each.priced_as is not None}
    return [PriceQuestion(base=base, quote=limit.quote) for base in sorted(bases)]


def weigh(
    intent: Intent,
    simulation: Simulation,
    statements: Sequence[Statement],
    *,
    policy: PolicySet,
    trust_root: TrustRoot,
    now: datetime,
    age_s_max: int,
) -> Worth | None:
    """Return what the exchange loses, or refuse; None where the policy set does not ask (1).

    Args:
        intent: what was declared.
        simulation: what the observers attest that it moves.
        statements: what observers attest of pairs, perhaps of others than are needed.
        policy: names the pairs, the gates and whose accounts count.
        trust_root: whose observers count, and how many.
        now: quotes and statements must be fresh then.
        age_s_max: of a statement; a quote's own age is the policy set's gate.

    """
    limit = policy.limits.worth
    if limit is None:
        return None
    moved = exchanged(intent, simulation, policy)
    bases = {asset: _base(asset, policy) for asset in moved}
    prices = {
        base: _agreed(
            PriceQuestion(base=base, quote=limit.quote),
            statements,
            limit=limit,
            trust_root=trust_root,
            now=now,
            age_s_max=age_s_max,
        )
        for base in sorted(set(bases.values()))
    }
    worths = [
        Fraction(amount, 10 ** policy.assets[asset].decimals) * _against_us(amount, prices[bases[asset]])
        for asset, amount in moved.items()
    ]
    return Worth(loss_bps=loss_bps(worths), prices=prices)


def exchanged(intent: Intent, simulation: Simulation, policy: PolicySet) -> dict[str, int]:
    """(2) (3) Return what moves in an exchange, net, by asset; nothing where it is none."""
    ours = {key.address for key in policy.keys.values()}
    net: Counter[str] = Counter()
    for delta in simulation.deltas:
        if delta.account in ours:
            net[delta.asset] += int(delta.amount)
    promised = any(int(delta.amount) > 0 and delta.account in ours for delta in intent.deltas)
    moved = {asset: amount for asset, amount in sorted(net.items()) if amount}
    gives = any(amount < 0 for amount in moved.values())
    gets = promised or any(amount > 0 for amount in moved.values())
    return moved if gives and gets else {}


def gates(limit: WorthLimit) -> Gates:
    """Return the gates of a policy set's limit."""
    return Gates(
        age_s_max=limit.age_s_max,
        deviation_bps_max=limit.deviation_bps_max,
        sources_min=limit.sources_min,
    )


def loss_bps(worths: Collection[Fraction]) -> int:
    """(6) Return the loss of what moves, each with its sign and in one currency."""
    out = -sum(each for each in worths if each < 0)
    if not out:
        return 0
    return max(0, ceil(-sum(worths) / out * BPS))


def _against_us(amount: int, told: Sequence[Attested]) -> Fraction:
    # (6)
    medians = [Fraction(each.price.median) for each in told]
    return max(medians) if amount < 0 else min(medians)


def _base(asset: str, policy: PolicySet) -> str:
    # (4)
    facts = policy.assets.get(asset)
    if facts is None or facts.priced_as is None:
        raise RefusedError(
            Refusal.FACT_MISSING, f"{FACT}: the policy set prices no {asset}", path=f"/facts/{FACT}"
        )
    return facts.priced_as


def _agreed(
    question: PriceQuestion,
    statements: Sequence[Statement],
    *,
    limit: WorthLimit,
    trust_root: TrustRoot,
    now: datetime,
    age_s_max: int,
) -> tuple[Attested, ...]:
    # (5)
    pair = (question.base, question.quote)
    said = [each for each in statements if (each.document.get("base"), each.document.get("quote")) == pair]
    try:
        told = verify_quotes(said, question=question, trust_root=trust_root, now=now, age_s_max=age_s_max)
        return agreed(told, now=now, gates=gates(limit))
    except RefusedError as error:
        detail = f"{FACT}: {question.base}/{question.quote}: {error.detail}"
        raise RefusedError(error.code, detail, path=f"/facts/{FACT}") from error
    except PriceError as error:
        detail = f"{FACT}: {question.base}/{question.quote}: {error}"
        raise RefusedError(Refusal.FACT_MISSING, detail[:500], path=f"/facts/{FACT}") from error
