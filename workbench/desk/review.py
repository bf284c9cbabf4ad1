"""One transaction, laid open for somebody who has to judge it: read and verified in this kernel.

(1) Policy set and simulation are verified under the trust root that the caller names; the call is read here,
    by the ABIs of the whitelist, as everybody reads it who decides or signs.
(2) What a contract did in the simulation, and what was declared, stand beside each other.
(3) The history of the destination is what this session may read of the desk's own intents.

It shows and decides nothing. Whoever approves reads the same again on the approver's page, which is not this
kernel's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from workbench.client import Client, IntentView
from workbench.desk import split
from workbench.desk.drafts import Market
from workbench.desk.show import Shown, facts, percent
from workbench.desk.show import table as plain
from workbench.evm.tree import Node
from workbench.rules import (
    attestation,
    calls,
    execution,
    items,
    shown_items,
    shown_tokens,
    shown_worth,
    worth,
)
from workbench.rules.attestation import Simulation
from workbench.rules.codes import RefusedError
from workbench.rules.documents import printable
from workbench.rules.facts import contradictions, ours, steady
from workbench.rules.policy import PolicySet, verify_chain
from workbench.rules.tokens import unlisted
from workbench.rules.trust import TrustRoot

ANY_AGE_S = 10**9
ADDRESS = re.compile(r'<td style="text-align: left">(?=[^<]*0x[0-9A-Fa-f]{40})')
HISTORY_MAX = 200
"""Each is a question to the service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """An intent, the policy set in force, what the observers attest of it, and what went before."""

    view: IntentView
    policy: PolicySet
    simulation: Simulation
    client: Client
    trust_root: TrustRoot

    def call(self) -> Shown:
        """Show the call and every call inside it."""
        root = calls.read(self.view.intent, self.policy)
        return table("The call, and every call inside it", list(self._rows(root, "1")))

    def moves(self) -> Shown:
        """Show what the simulation moves beside what was declared."""
        intent = self.view.intent
        said = {(each.account, each.asset): int(each.amount) for each in intent.deltas}
        made = {(each.account, each.asset): int(each.amount) for each in self.simulation.deltas}
        rows = [
            {
                "account": self._named(account),
                "declared": self._amount(asset, said.get((account, asset), 0)),
                "simulated": self._amount(asset, made.get((account, asset), 0)),
            }
            for account, asset in sorted(said.keys() | made.keys())
        ]
        rows += [
            {
                "account": f"allowance of {self._named(each.spender)}",
                "declared": self._amount(each.asset, self._declared(each.spender, each.asset)),
                "simulated": self._amount(each.asset, int(each.amount)),
            }
            for each in self.simulation.allowances
        ]
        rows += [
            {
                "account": each.says,
                "declared": "no, it cannot be" if each.alarm else "",
                "simulated": each.label,
            }
            for each in shown_items.rows(self.policy, self.simulation)
        ]
        return table("What it moves", rows)

    def outcome(self) -> Shown:
        """Show what else the simulation found."""
        simulation, named = self.simulation, self._named
        found = [f"{each.kind} at {named(each.contract)}: {each.detail}" for each in simulation.findings]
        changed = [f"{each['change']} of {named(each['contract'])}" for each in simulation.admin_changes]
        return facts(
            "What else was found",
            {
                "result": f"FAILS: {printable(simulation.revert)}" if simulation.revert else "succeeds",
                "findings": printable("; ".join(found)) or "none",
                "tokens": "; ".join(
                    f"{each.label}: {each.says}" for each in shown_tokens.rows(self.policy, simulation)
                )
                or "as they are listed",
                "who is in charge": printable(", ".join(changed)) or "unchanged",
                "one block later": "the same" if steady(simulation) else "SOMETHING ELSE",
                "slippage": percent(simulation.slippage_ppm),
                **self._worth(),
                "gas": f"{simulation.gas:,} of at most {self.view.intent.gas_max:,}",
                "at block": f"{simulation.block.number:,}, {simulation.at}",
            },
        )

    def advice(self, market: Market, *, factory: str, tranches: int) -> Shown | split.Split:
        """Show what tranches would change, where the intent pays into the market's pool."""
        paid = [int(each.amount) for each in self.view.intent.deltas if each.asset == market.token_in]
        if self.view.intent.to != market.router or len(paid) != 1 or paid[0] >= 0:
            return facts("Tranches", {"advice": "none: this is no exchange in the market's pool"})
        return split.advise(
            self.client,
            market,
            factory=factory,
            trust_root=self.trust_root,
            amount_in=Decimal(-paid[0]).scaleb(-market.decimals_in),
            tranches=tranches,
            limit_bps=self.policy.limits.slippage_bps_max,
        )

    def history(self) -> Shown:
        """Show what the desk did with this destination before."""
        rows = [
            {
                "purpose": printable(each.intent.purpose),
                "proposer": each.intent.proposer,
                "state": each.state,
                "moves": ", ".join(
                    self._amount(delta.asset, int(delta.amount)) for delta in each.intent.deltas
                ),
            }
            for each in self._earlier()
        ]
        return table(f"Before, with {self._named(self.view.intent.to)}", rows)

    def conclusion(self) -> Shown:
        """Say in a few lines what there is to know."""
        understood = calls.understood(
            calls.read(self.view.intent, self.policy),
            intent=self.view.intent,
            policy=self.policy,
            now=datetime.now(UTC),
        )
        clean = not self.simulation.findings and steady(self.simulation) and not self.simulation.admin_changes
        clean = clean and not items.undeclared(self.simulation, ours(self.simulation, self.policy))
        clean = clean and not contradictions(self.simulation, self.policy)
        return facts(
            "Conclusion",
            {
                "transaction": f"{printable(self.view.intent.purpose)} ({self.view.state})",
                "every call is read by its contract's own entry": "yes" if understood else "NO",
                "the simulation found nothing": "yes" if clean else "NO",
                "denied by": ", ".join(self.view.denying) or "no rule, as far as is known",
                "outstanding": ", ".join(self.view.needs) or "nothing",
            },
        )

    def _worth(self) -> dict[str, str]:
        """Say what the exchange loses by prices from outside the pool, where the policy set demands them."""
        limits = self.policy.limits
        try:
            weighed = worth.weigh(
                self.view.intent,
                self.simulation,
                self.view.quotes,
                policy=self.policy,
                trust_root=self.trust_root,
                now=datetime.now(UTC),
                age_s_max=ANY_AGE_S,
            )
        except RefusedError as error:
            return {shown_worth.LABEL: f"NOT KNOWN: {printable(error.detail)}"}
        if limits.worth is None or weighed is None:
            return {}
        said = f"{weighed.loss_bps / 100:.2f} %, limit {limits.worth.loss_bps_max / 100:.2f} %"
        return {shown_worth.LABEL: said if weighed.prices else "nothing is exchanged"}

    def _earlier(self) -> Iterator[IntentView]:
        others = [digest for digest, _ in self.client.intents() if digest != self.view.digest]
        for digest in others[-HISTORY_MAX:]:
            each = self.client.intent(digest)
            if each.intent.to == self.view.intent.to:
                yield each

    def _rows(self, node: Node, number: str) -> Iterator[dict[str, object]]:
        called = node.call
        arguments = calls.flatten(called.arguments) if called else {}
        yield {
            "": number,
            "contract": self._named(node.to),
            "read by": node.source.value if node.source and called else "NOT READ",
            "function": called.function if called else printable(node.reason),
            "arguments": ", ".join(f"{name} {printable(str(value))}" for name, value in arguments.items()),
        }
        for place, child in enumerate(node.children, start=1):
            yield from self._rows(child, f"{number}.{place}")

    def _named(self, address: str) -> str:
        keys = {key.address: f"key {key.id}" for key in self.policy.keys.values()}
        entry = self.policy.whitelist.get(address)
        name = entry.name if entry else keys.get(address)
        return f"{name} ({address})" if name else address

    def _declared(self, spender: str, asset: str) -> int:
        allowances = self.view.intent.allowances
        wanted = [each for each in allowances if (each.spender, each.asset) == (spender, asset)]
        return int(wanted[0].amount) if wanted else 0

    def _amount(self, asset: str, base_units: int) -> str:
        known = self.policy.assets.get(asset)
        if known is None:
            what = unlisted(self.simulation.tokens, asset, self.policy.assets)
            return f"{base_units} base units of {asset}, {what}"
        return f"{Decimal(base_units).scaleb(-known.decimals):,f} {known.symbol}"


def table(title: str, rows: Sequence[Mapping[str, object]]) -> Shown:
    """Return rows as a table in which addresses break, in whichever column they stand."""
    shown = plain(title, rows)
    return Shown(ADDRESS.sub('<td style="text-align: left; overflow-wrap: anywhere">', shown.markup))


def transaction(client: Client, digest: str, trust_root: Path) -> Review:
    """Read one simulated intent and verify what can be verified of it; what does not hold raises."""
    believed, now = TrustRoot.read(trust_root.read_bytes()), datetime.now(UTC)
    policy = verify_chain(client.policy_chain(), trust_root=believed, now=now)
    view = client.intent(digest)
    if view.intent.digest != digest:
        raise LookupError(f"asked for {digest}, got {view.intent.digest}")
    if not view.simulations:
        raise LookupError("this intent has not been simulated")
    simulation = attestation.verify_simulation(
        view.simulations,
        intent=view.intent,
        call=execution.simulated(view.intent, policy),
        trust_root=believed,
        now=now,
        age_s_max=ANY_AGE_S,
    )
    return Review(view=view, policy=policy, simulation=simulation, client=client, trust_root=believed)
