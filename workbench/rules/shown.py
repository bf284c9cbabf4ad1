"""What a verified request says, in words and human units: the same for the page and the command line.

Every row is computed from what `approval.verify` has verified. Three things are claims and
say so: the purpose is the proposer's own text, the day's total and the session are the
service's word. What is wrong or unusual is marked, never left out. The call and the calls
inside it are `shown_calls`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from workbench.rules import calls, facts, shown_calls, shown_items, shown_safe, shown_tokens, shown_worth
from workbench.rules.account import ServiceAccount
from workbench.rules.approval import ANYBODY, ASKS, Asked
from workbench.rules.assertion import CONSOLE
from workbench.rules.attestation import FindingKind, Outcome, Simulation
from workbench.rules.documents import printable, read_time
from workbench.rules.enrolment import AskedRegistration, Registered
from workbench.rules.rows import Row, Section, amount, grouped, named, scaled
from workbench.rules.session import AskedLogin
from workbench.rules.words import words

PPM_A_PERCENT: Final = 10_000
WEI: Final = 18
GWEI: Final = 9
PURPOSES: Final = {
    "login": "log in, and nothing else",
    "approval": "decide about transactions and policy sets on a page",
    "console": "decide at a terminal, by the second path",
}
FOUND: Final[Mapping[FindingKind, str]] = {
    "borrowed_code": "RUNS OTHERS' CODE",
    "code": "ANOTHER CODE AFTERWARDS",
    "ended": "A CONTRACT ENDS ITSELF",
    "false_event": "SAYS SOMETHING ELSE THAN IT DOES",
    "held_fast": "CANNOT BE PASSED ON",
    "no_event": "DOES IT WITHOUT A WORD",
    "reentered": "ENTERED AGAIN",
    "sold_at_a_loss": "SELLS AT A LOSS",
    "transfer_fee": "KEEPS PART OF A TRANSFER",
    "unsaleable": "CANNOT BE SOLD AGAIN",
}
NEEDS: Final = {
    "session:renew": "the proposer's session has ended, or the account's time: propose again",
    "review:contract": "the contract has to be reviewed and whitelisted as it is now",
    "review:function": "this function has to be reviewed",
    "review:calls": "a call inside this one is a guess, cannot be read, or goes where no entry allows it",
    "propose:within-bounds": "an argument is out of its bounds: propose again",
    "propose:again": "the bytes are not the intent: propose again",
    "propose:declare": "the simulation moves what nobody declared: declare it, or do not do it",
    "review:findings": "a contract does what honest code does not, or a single token leaves: let it be",
    "propose:smaller": "the slippage is over the limit: propose less",
    "propose:elsewhere": "what comes in is worth too little by prices from outside: propose another trade",
    "propose:tighter": "the minimum output leaves room for others: propose a tighter one",
    "reserve:nonce": "the nonce is not the reserved one, or is spent",
    "fund:gas": "the account cannot pay for it, or the fee is too low",
    "simulate:again": "the simulation fails, is old, or was made behind others: simulate again",
    "approve:console:1": "one consent has to come by the second path: a key at a terminal of one's own",
    "approve:again": "the simulation has changed since it was approved: approve again",
}


def sections(asked: Asked, *, now: datetime) -> list[Section]:
    """Return everything that this person is to read, in the order in which it matters."""
    return [
        Section("What is asked", list(_asked(asked))),
        Section("The transaction", list(_transaction(asked, now))),
        Section("The call, argument by argument", list(shown_calls.rows(asked))),
        Section("Simulated on a private fork", list(_simulated(asked, now))),
        Section("What the rules say", list(_rules(asked))),
        Section("Since the last decision", list(_changes(asked))),
        Section("What your key signs", list(_signed(asked))),
    ]


def title(asked: Asked) -> str:
    """Return the whole matter in one line."""
    own = asked.policy.key(asked.intent.key).address
    moved = [
        amount(asked, delta.asset, delta.amount, sign=True)
        + ("" if delta.account == own else f" for {named(asked, delta.account) or 'an unnamed account'}")
        for delta in asked.intent.deltas
    ]
    left = [
        f"Allowance of {amount(asked, each.asset, each.amount)}"
        f" to {named(asked, each.spender) or 'an unnamed spender'}"
        for each in asked.intent.allowances
        if each.amount != "0"
    ]
    return f"{', '.join(moved + left) or 'Nothing moves'} · {_to(asked)[0]}"


def login(asked: AskedLogin, *, now: datetime) -> list[Section]:
    """Return everything that a person is to read before logging in."""
    session, limits = asked.session, asked.policy.limits
    idle = timedelta(seconds=limits.session_idle_s)
    rows = [
        Row(label="You are", says=f"{asked.person.name} ({asked.person.id})"),
        Row(label="As", says=", ".join(session.roles)),
        Row(
            label="For a program of",
            says=f"OS user {session.os_user} on this machine",
            remark="it will propose and read in your name; it cannot approve",
        ),
        Row(
            label="Until",
            says=moment(session.expires_at),
            remark=f"{until(read_time(session.expires_at), now)}, or idle for {idle}",
        ),
        Row(
            label="The same words there",
            says=words(session.digest),
            remark="a login that somebody else asked for has other words",
        ),
        Row(label="Its key", hex=session.public_key),
        Row(label="Session", hex=session.digest),
    ]
    return [Section("What is asked", rows)]


def registration(asked: AskedRegistration, *, now: datetime) -> list[Section]:
    """Return everything that a person is to read before a key is registered."""
    person = asked.person
    newcomer = "nobody of this name is in the policy set yet"
    rows = [
        Row(
            label="Whose key",
            says=f"{person.name} ({person.id})" if person else asked.name,
            remark=", ".join(person.roles) if person else newcomer,
        ),
        Row(label="It will be used to", says=PURPOSES[asked.path]),
        Row(label="Asked for by", says=asked.asked_by, remark="the service's word"),
        Row(
            label="Until",
            says=moment(asked.expires_at),
            remark=until(read_time(asked.expires_at), now),
        ),
        Row(
            label="Keys for this already",
            says=str(len(asked.own)),
            remark="one of these cannot be registered again" if asked.own else "",
        ),
        Row(
            label="What follows",
            says="a policy set has to list the key before it counts",
            remark="the committee signs that, it lies open for a while, and its owner can veto it",
        ),
    ]
    return [Section("What is asked", rows)]


def registered(made: Registered) -> str:
    """Return what is said of a key that was just registered: the same words stand where it is enrolled."""
    credential = made.credential
    vouched = f"edition {made.metadata.number} of the vendors' metadata" if made.metadata else "NOBODY"
    return (
        f"Registered: {credential.id}, model {credential.aaguid}, vouched for by {vouched}. "
        "Compare this name with the one in the policy set that enrols it."
    )


def _asked(asked: Asked) -> Iterator[Row]:
    person = asked.person
    yield Row(label="You are", says=f"{person.name} ({person.id})", remark=", ".join(person.roles))
    if asked.person.id == asked.proposer.id:
        why, alarm = "this is your own proposal: you can only withdraw it", True
    elif asked.own:
        why, alarm = "you answer for the account that proposes this: you can only withdraw it", True
    elif asked.asks_person:
        why, alarm = f"the rules ask for {_consents(asked)}", False
    else:
        why, alarm = "the rules do not ask for you: your word is recorded, and lifts nothing more", False
    yield Row(label="Why you", says=why, alarm=alarm)
    yield _proposer(asked)
    yield Row(label="Purpose", says=asked.intent.purpose, remark="the proposer's own words")
    if asked.intent.programme is not None:
        part = asked.intent.programme
        yield Row(
            label="Part of", says=f"tranche {part.index + 1} of {part.count} of one programme", hex=part.id
        )


def _proposer(asked: Asked) -> Row:
    proposer = asked.proposer
    if isinstance(proposer, ServiceAccount):
        owner = asked.policy.person(proposer.owner)
        return Row(
            label="Who proposes",
            says=f"a program, the service account {proposer.id}: {proposer.purpose}",
            remark=f"{owner.name} ({owner.id}) answers for it",
        )
    return Row(
        label="Who proposes",
        says=f"{proposer.name} ({proposer.id})",
        remark=f"{', '.join(proposer.roles)} · team {proposer.team}, {proposer.site}",
    )


def _transaction(asked: Asked, now: datetime) -> Iterator[Row]:
    intent, key = asked.intent, asked.key
    yield Row(
        label="From key",
        says=f"{key.id}: {key.purpose}",
        hex=key.address,
        remark=f"{key.tier}, {key.engine}, held by {', '.join(key.cosigners)}",
    )
    yield from shown_safe.rows(asked)
    name, known = _to(asked)
    entry = asked.policy.whitelist.get(intent.to)
    yield Row(
        label="To contract",
        says=name,
        hex=intent.to,
        remark="on the whitelist" if known else "",
        alarm=not known,
    )
    if entry is not None:
        yield Row(label="Its review", says=entry.audit, remark=f"valid until {moment(entry.expires_at)}")
        unchanged = asked.facts.get("code_unchanged") is True
        yield Row(
            label="Its code",
            says="as reviewed" if unchanged else "NOT what was reviewed",
            hex=entry.code_hash,
            remark=f"proven at block {asked.state.block_number:,}",
            alarm=not unchanged,
        )
    yield Row(label="Sends along", says=amount(asked, "ETH", intent.value), alarm=intent.value != "0")
    cents = facts.amount_usd_cents(intent, asked.policy)
    yield Row(
        label="Value at stake",
        says=f"${grouped(scaled(cents, 2), 2)}",
        remark="what leaves and what is left allowed, at the policy set's reference prices",
    )
    fee = scaled(intent.gas_max * intent.max_fee_per_gas, WEI)
    yield Row(
        label="Fee at most",
        says=f"{grouped(fee)} ETH",
        remark=f"{intent.gas_max:,} gas, {grouped(scaled(intent.max_fee_per_gas, GWEI))} gwei each",
    )
    yield Row(label="Nonce", says=f"{asked.nonce}", remark=f"chain {intent.chain_id}")
    yield Row(label="Ends", says=moment(intent.expires_at), remark=until(read_time(intent.expires_at), now))


def _simulated(asked: Asked, now: datetime) -> Iterator[Row]:
    simulation, limits = asked.simulation, asked.policy.limits
    if simulation.revert is not None:
        yield Row(label="Result", says=f"FAILS: {printable(simulation.revert)}", alarm=True)
    declared = asked.facts.get("state_diff_declared") is True
    yield Row(
        label="Against what was declared",
        says="exactly what the proposer declared" if declared else "NOT what the proposer declared",
        alarm=not declared,
    )
    yield from _moves(asked)
    yield from shown_items.rows(asked.policy, simulation)
    for change in simulation.admin_changes:
        says = ", ".join(f"{name} {value}" for name, value in sorted(change.items()))
        yield Row(label="Changes who is in charge", says=printable(says), alarm=True)
    yield from _found(asked)
    slippage = _loses(asked, simulation)
    over = slippage is None or slippage > limits.slippage_bps_max
    yield Row(
        label="Slippage",
        says=_slippage(simulation, slippage),
        remark=f"limit {limits.slippage_bps_max / 100:.2f} %"
        + (
            f", costs {amount(asked, simulation.loss.asset, simulation.loss.amount)}"
            if simulation.loss
            else ""
        ),
        alarm=over,
    )
    yield from shown_worth.rows(asked)
    if simulation.sequence is not None:
        steps = len(simulation.sequence.steps)
        yield Row(label="Behind others", says=f"simulated as the last of {steps}, not alone", alarm=True)
    yield Row(label="Gas", says=f"{simulation.gas:,}", remark=f"at most {asked.intent.gas_max:,}")
    age = facts.age_s(now, read_time(simulation.at))
    yield Row(
        label="At block",
        says=f"{simulation.block.number:,}",
        hex=f"0x{simulation.block.hash}",
        remark=f"{age} s ago; simulated again before it is signed",
        alarm=age > limits.simulation_age_s_max,
    )


def _found(asked: Asked) -> Iterator[Row]:
    simulation = asked.simulation
    wrong = facts.unexpected(simulation, asked.intent, asked.policy)
    for each in simulation.findings:
        expected = each not in wrong
        yield Row(
            label=FOUND[each.kind],
            says=printable(each.detail),
            hex=each.contract,
            remark="the Safe's own batch, as pinned" if expected else "",
            alarm=not expected,
        )
    yield from shown_tokens.rows(asked.policy, simulation)
    same = facts.steady(simulation)
    yield Row(
        label="One block later",
        says="the same" if same else f"SOMETHING ELSE: {_outcome(asked, simulation.again)}",
        alarm=not same,
    )


def _outcome(asked: Asked, again: Outcome) -> str:
    if again.revert is not None:
        return f"fails: {printable(again.revert)}"
    moved = [amount(asked, each.asset, each.amount, sign=True) for each in again.deltas]
    left = [
        f"allowance of {amount(asked, each.asset, each.amount)} to {each.spender}"
        for each in again.allowances
    ]
    single = [shown_items.moved(asked.policy, asked.simulation, each) for each in again.items]
    single += [shown_items.allowed(asked.policy, asked.simulation, each) for each in again.rights]
    changed = [printable(" ".join(map(str, each.values()))) for each in again.admin_changes]
    return ", ".join(moved + left + single + changed) or "nothing moves"


def _moves(asked: Asked) -> Iterator[Row]:
    promised = {(each.account, each.asset): each.amount for each in asked.intent.deltas}
    simulated = {(each.account, each.asset): each.amount for each in asked.simulation.deltas}
    for place in sorted(promised.keys() | simulated.keys()):
        account, asset = place
        got, said = simulated.get(place, "0"), promised.get(place)
        exact = got.startswith("-") or (said or "").startswith("-")
        remark = "declared by nobody"
        if said is not None:
            remark = f"declared {'exactly' if exact else 'at least'} {amount(asked, asset, said)}"
        fits = said is not None and (got == said if exact else int(got) >= int(said))
        yield Row(
            label=f"{named(asked, account) or 'An unnamed account'}",
            says=amount(asked, asset, got, sign=True),
            hex=account,
            remark=remark,
            alarm=not fits,
        )
    wanted = {(each.owner, each.asset, each.spender): each.amount for each in asked.intent.allowances}
    made = {(each.owner, each.asset, each.spender): each.amount for each in asked.simulation.allowances}
    for pair in sorted(wanted.keys() | made.keys()):
        _, asset, spender = pair
        got, said = made.get(pair, "0"), wanted.get(pair)
        yield Row(
            label="May take afterwards",
            says=f"{named(asked, spender) or 'an unnamed spender'}: {amount(asked, asset, got)}",
            hex=spender,
            remark="declared by nobody" if said is None else f"declared {amount(asked, asset, said)}",
            alarm=got != said,
        )


def _rules(asked: Asked) -> Iterator[Row]:
    outstanding = asked.outstanding
    if outstanding.denying:
        for need in outstanding.needs:
            consent = need.startswith(f"{ASKS}:")
            says = f"waits for {_consent(need)}" if consent and need not in NEEDS else NEEDS.get(need, need)
            yield Row(label="Outstanding", says=says, alarm=need in NEEDS)
        yield Row(label="Rules that deny", says=", ".join(outstanding.denying))
    else:
        yield Row(label="Outstanding", says="nothing: one more decision changes nothing")
    for signed in asked.decisions:
        made = signed.decision
        skipped = asked.approvals.skipped.get(made.id)
        said = {"approve": "approved", "reject": "rejected", "abstain": "abstained"}[made.verb]
        yield Row(
            label=f"{made.person} ({made.role})",
            says=said + (f": {made.reason}" if made.reason else ""),
            remark="" if skipped is None or made.verb != "approve" else f"does not count: {skipped.value}",
        )
    if not asked.decisions:
        yield Row(label="Decisions so far", says="none")
    amounts = asked.policy.limits.amounts(asked.policy.key(asked.intent.key).tier)
    total, limit = asked.facts.get("daily_usd_cents", 0), amounts.daily_usd_cents_max
    yield Row(
        label="The proposer's day",
        says=f"${grouped(scaled(total, 2), 2)} with this one",
        remark=f"limit ${grouped(scaled(limit, 2), 2)} · the service's word",
    )


def _changes(asked: Asked) -> Iterator[Row]:
    before, after = asked.before, asked.simulation
    if before is None:
        same = [signed.decision for signed in asked.decisions if signed.decision.simulation == after.digest]
        says = (
            f"nothing: {same[-1].person} decided about exactly this" if same else "nobody has decided before"
        )
        yield Row(label="Changed", says=says)
        return
    yield Row(
        label="Simulated again",
        says=f"at block {before.block.number:,}, then {after.block.number:,}",
        remark="what was decided before does not count any more",
    )
    rows = [
        ("Slippage", *(_slippage(each, _loses(asked, each)) for each in (before, after))),
        ("Gas", f"{before.gas:,}", f"{after.gas:,}"),
    ]
    rows.append(("Fails", printable(before.revert or "no"), printable(after.revert or "no")))
    then = {(each.account, each.asset): each.amount for each in before.deltas}
    now = {(each.account, each.asset): each.amount for each in after.deltas}
    for account, asset in sorted(then.keys() | now.keys()):
        was, is_now = (
            amount(asked, asset, each.get((account, asset), "0"), sign=True) for each in (then, now)
        )
        rows.append((named(asked, account) or account, was, is_now))
    if before.allowances != after.allowances or before.admin_changes != after.admin_changes:
        yield Row(
            label="Allowances or who is in charge", says="differ from the simulation before", alarm=True
        )
    if (before.items, before.rights) != (after.items, after.rights):
        yield Row(label="Single tokens", says="differ from the simulation before", alarm=True)
    changed = [(label, was, becomes) for label, was, becomes in rows if was != becomes]
    for label, was, becomes in changed:
        yield Row(label=label, says=f"{was} → {becomes}")
    if not changed:
        yield Row(label="Changed", says="nothing that counts: the same moves, slippage and gas")


def _signed(asked: Asked) -> Iterator[Row]:
    yield Row(
        label="Read these aloud",
        says=words(asked.intent.digest),
        remark="whoever is asked about the same intent sees the same words",
    )
    yield Row(label="Intent", hex=asked.intent.digest)
    yield Row(label="Simulation", hex=asked.simulation.digest)
    manifest = asked.policy.manifest
    yield Row(
        label="Policy set", says=f"{manifest.name}, version {manifest.version}", hex=asked.policy.digest
    )
    yield Row(label="Ledger", says=f"{asked.head.size:,} entries", hex=asked.head.root)


def _consents(asked: Asked) -> str:
    return ", ".join(_consent(need) for need in asked.outstanding.needs if need.startswith(f"{ASKS}:"))


def _consent(need: str) -> str:
    _, role, *_ = need.split(":")
    others = {ANYBODY: "anybody who may approve", CONSOLE: "somebody by the second path"}
    return f"the consent of {others.get(role, f'the {role}')}"


def _to(asked: Asked) -> tuple[str, bool]:
    entry = asked.policy.whitelist.get(asked.intent.to)
    return (entry.name, True) if entry else ("NOT on the whitelist", False)


def _loses(asked: Asked, simulation: Simulation) -> int | None:
    return facts.slippage_bps(calls.read(asked.intent, asked.policy), simulation)


def _slippage(simulation: Simulation, slippage_bps: int | None) -> str:
    if simulation.slippage_ppm is not None:
        return f"{simulation.slippage_ppm / PPM_A_PERCENT:.4f} %"
    return "none" if slippage_bps == 0 else "UNKNOWN: assets leave, and nobody could price it"


def moment(at: str) -> str:
    """Return a timestamp as people read it."""
    return f"{read_time(at):%Y-%m-%d %H:%M:%S} UTC"


def until(end: datetime, now: datetime) -> str:
    """Return how long it is until then."""
    minutes = int((end - now).total_seconds() // 60)
    return f"in {minutes // 60} h {minutes % 60:02d} min" if minutes >= 0 else "over"
