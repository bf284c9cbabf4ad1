"""Draft intents and wait for people.

A draft is a claim: the service, the observer and the co-signers compute everything again
from the bytes. Nothing here decides, and waiting never approves.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from workbench.client import Client, IntentView
from workbench.evm.calldata import APPROVE, EXACT_INPUT_SINGLE, encode
from workbench.rules.documents import write_time
from workbench.rules.intent import Intent
from workbench.rules.lifecycle import FINAL, State

INTENT_LIFE = timedelta(hours=2)
GAS_APPROVE, GAS_SWAP = 100_000, 400_000
FEE_PER_GAS_WEI, TIP_PER_GAS_WEI = 50 * 10**9, 10**9
BPS = 10_000
POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """The pool that is traded: contracts, decimals, and the key that trades."""

    chain_id: int
    key: str
    account: str
    router: str
    token_in: str
    token_out: str
    decimals_in: int
    decimals_out: int
    pool_fee: int

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Market:
        """Read a notebook's parameter."""
        return cls(**value)


@dataclass(frozen=True, slots=True)
class Tranche:
    """A swap and the allowance of exactly its amount that has to come first."""

    allowance: Intent
    swap: Intent


def draft_swap(
    market: Market,
    proposer: str,
    *,
    amount_in: Decimal,
    mid: Decimal,
    slippage_bps_max: int,
    purpose: str,
    programme: tuple[str, int, int] | None = None,
) -> Tranche:
    """Draft a swap and its allowance; `amount_in` in whole units, `mid` in input units an output unit.

    The swap's minimum output and deadline stand in its calldata, so that the chain itself
    refuses a worse or a later exchange.
    """
    expires = datetime.now(UTC) + INTENT_LIFE
    amount = int(amount_in.scaleb(market.decimals_in))
    minimum = int((amount_in / mid).scaleb(market.decimals_out)) * (BPS - slippage_bps_max) // BPS
    place = (
        {}
        if programme is None
        else {"programme": dict(zip(("id", "index", "count"), programme, strict=True))}
    )
    common: dict[str, Any] = {
        "v": 1,
        "proposer": proposer,
        "key": market.key,
        "chain_id": market.chain_id,
        "value": "0",
        "max_fee_per_gas": FEE_PER_GAS_WEI,
        "max_priority_fee_per_gas": TIP_PER_GAS_WEI,
        "expires_at": write_time(expires),
        **place,
    }
    spent = {"owner": market.account, "spender": market.router, "asset": market.token_in}
    allowance = {
        **common,
        "id": secrets.token_hex(16),
        "to": market.token_in,
        "data": encode(APPROVE, {"spender": market.router, "amount": str(amount)}).hex(),
        "gas_max": GAS_APPROVE,
        "deltas": [],
        "allowances": [{**spent, "amount": str(amount)}],
        "purpose": f"allowance of exactly {amount_in:,} for: {purpose}",
    }
    params = {
        "tokenIn": market.token_in,
        "tokenOut": market.token_out,
        "fee": str(market.pool_fee),
        "recipient": market.account,
        "deadline": str(int(expires.timestamp())),
        "amountIn": str(amount),
        "amountOutMinimum": str(minimum),
        "sqrtPriceLimitX96": "0",
    }
    swap = {
        **common,
        "id": secrets.token_hex(16),
        "to": market.router,
        "data": encode(EXACT_INPUT_SINGLE, {"params": params}).hex(),
        "gas_max": GAS_SWAP,
        "deltas": [
            {"account": market.account, "asset": market.token_in, "amount": str(-amount)},
            {"account": market.account, "asset": market.token_out, "amount": str(minimum)},
        ],
        "allowances": [{**spent, "amount": "0"}],
        "purpose": purpose,
    }
    return Tranche(Intent.load(allowance), Intent.load(swap))


def draft_revocation(market: Market, proposer: str, *, asset: str, spender: str) -> Intent:
    """Draft the end of an allowance: `approve(spender, 0)`, which moves nothing."""
    revoked = {"owner": market.account, "spender": spender, "asset": asset, "amount": "0"}
    return Intent.load(
        {
            "v": 1,
            "id": secrets.token_hex(16),
            "proposer": proposer,
            "key": market.key,
            "chain_id": market.chain_id,
            "to": asset,
            "value": "0",
            "data": encode(APPROVE, {"spender": spender, "amount": "0"}).hex(),
            "gas_max": GAS_APPROVE,
            "max_fee_per_gas": FEE_PER_GAS_WEI,
            "max_priority_fee_per_gas": TIP_PER_GAS_WEI,
            "deltas": [],
            "allowances": [revoked],
            "purpose": f"revoke the allowance of {spender}",
            "expires_at": write_time(datetime.now(UTC) + INTENT_LIFE),
        }
    )


def draft_programme(
    market: Market, proposer: str, *, count: int, amount_in: Decimal, mid: Decimal, slippage_bps_max: int
) -> list[Tranche]:
    """Draft a swap in `count` equal tranches that are planned as one."""
    name = secrets.token_hex(16)
    return [
        draft_swap(
            market,
            proposer,
            amount_in=amount_in,
            mid=mid,
            slippage_bps_max=slippage_bps_max,
            purpose=f"what-if: tranche {index + 1} of {count}",
            programme=(name, index, count),
        )
        for index in range(count)
    ]


def wait(client: Client, digest: str, *, seconds: float = 120.0) -> IntentView:
    """Wait until people have decided and an intent has come to its end; never decides itself."""
    deadline = time.monotonic() + seconds
    while True:
        view = client.intent(digest)
        if view.state in {state.value for state in FINAL}:
            return view
        if time.monotonic() > deadline:
            raise TimeoutError(f"{view.state} after {seconds:.0f} s; outstanding: {', '.join(view.needs)}")
        time.sleep(POLL_S)


def carry_out(client: Client, intent: Intent) -> IntentView:
    """Propose an intent, have it simulated, and wait until it is confirmed; anything else raises."""
    view = client.simulate(client.propose(intent).digest)
    view = wait(client, view.digest)
    if view.state != State.CONFIRMED.value:
        raise NotConfirmedError(f"{intent.purpose}: {view.state} {view.outcome}")
    return view


class NotConfirmedError(Exception):
    """An intent came to another end than confirmation."""
