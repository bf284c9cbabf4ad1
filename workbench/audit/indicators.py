"""Figures of a ledger by which controls are judged, from a sound bundle under the auditor's own trust root.

indicator                         what it is; in brackets whose word
ledger-days                       days since the last entry [service]
policy-days                       days since the set in force was adopted or activated [service]
overdue-reviews                   of that set: whitelist entries and service accounts that are over [officers]
unused-grants                     its people's roles, not logged in with for STALE_DAYS [authenticators]
most-shares.KEY                   the most shares of a key, or owners of a Safe, under one hand [officers]
most-shares-HAND.KEY              the same under one site, administrator, team, host, vendor [officers]
excess-shares.KEY                 how many more that is than may be: threshold − 1 [officers]
drill-days.KEY                    days since the trial, in the epoch in use, of the share's backup that was
                                  tried longest ago [co-signers]
epoch-days.KEY                    days since the epoch in use was made: ceremony or refresh [co-signers]
restore-seconds.KEY               from order to testimony, of the share that came back last [co-signers]
refused-requests                  requests that the service refused; also .CODE, by each code [service]
refused-signatures                intents that a co-signer would not sign; also .CODE [co-signers]
pauses-ordered, pauses-released   how many of either [service]
pauses-open                       scopes that are paused still [service]
pause-seconds                     the longest that a scope was paused and is not any more [service]

(1) The bundle is sound, its sets are a chain, testimonies verify (`keys.sound`); it does not end after now.
(2) What the ledger does not hold yields no indicator, never 0. 0 is told where what was looked at is there
    and has none of it: a whitelist without an overdue entry.
(3) What co-signers and officers signed is verified once more, and counts where it stands first (`testified`);
    what fails raises. A login that fails is none: its person, or its credential, is in the set no more.
(4) Days are rounded up. Times are the service's clock; of a login the earlier one of that and its own date.

What a service leaves out cannot be seen here: drills look older by it, and refusals fewer. It could put down
requests that nobody made, so that a refused request says less than a refused signature. How long a trial
took is not in the ledger: nobody orders one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from pathlib import Path

from workbench.audit.keys import SESSION_STARTED, sound
from workbench.audit.testified import RESTORED, TRIED, Proofs
from workbench.risk.exposure.evidence import Indicator
from workbench.rules import concentration
from workbench.rules.change import Event as PolicyEvent
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import read_time, verify_ed25519
from workbench.rules.evidence import ANSWER_LINE, SignedAnswer
from workbench.rules.key_life import Told
from workbench.rules.keys import Key, SharedKey, WholeKey
from workbench.rules.lifecycle import Event
from workbench.rules.pause import NOTHING_ORDERED, Ordered
from workbench.rules.policy import PolicySet
from workbench.rules.session import CertifiedSession, verify_session

STALE_DAYS = 90
"""As in the access review: a role that nobody has used for so long is asked about."""
REQUEST_REFUSED = "request.refused"
PAUSED, RELEASED = "pause.ordered", "pause.released"
HANDS = (*concentration.EVERYWHERE, *concentration.PRODUCTION)
KNOWN = frozenset(code.value for code in Refusal)
MICROSECOND = timedelta(microseconds=1)
MILLI = Decimal("0.001")

Found = tuple[str, Indicator]


def indicators(path: Path, trust_root: Path, *, now: datetime) -> dict[str, Indicator]:
    """Return what a bundle tells, by name.

    Args:
        path: the bundle's folder.
        trust_root: the auditor's own.
        now: what days count up to.

    Raises:
        ledger.verifier.VerificationError: the bundle is not sound.
        workbench.rules.codes.RefusedError: its sets, or what somebody says in it, do not count; or it ends
            after `now`.

    """
    _, believed, entries, sets = sound(path, trust_root, now)  # (1)
    if not entries or now < entries[-1].at:
        last = entries[-1].at if entries else "never"
        raise RefusedError(Refusal.MALFORMED, f"it is {now}, and the last entry is of {last}", path="/now")
    return dict(_Book(Proofs(entries, sets, believed), now).read())


@dataclass(frozen=True, slots=True)
class _Book:
    """A sound bundle, looked at now."""

    proofs: Proofs
    now: datetime

    def read(self) -> Iterator[Found]:
        yield "ledger-days", self.since(self.proofs.entries[-1])
        yield from self.policy()
        for key in self.proofs.sets[-1].keys.values():
            if isinstance(key, SharedKey):
                yield from self.shared(key)
        yield from self.counted("refused-requests", "requests", self.refused_requests())
        yield from self.counted("refused-signatures", "intents", self.refused_signatures())
        yield from self.pauses()

    def figure(self, value: Decimal | int, unit: str, told: Sequence[Told], said: str = "") -> Indicator:
        seqs = [each.seq for each in told]
        return Indicator(
            value=Decimal(value), unit=unit, first=min(seqs), last=max(seqs), at=self.now, said=said
        )

    def since(self, told: Told, said: str = "") -> Indicator:
        days = Decimal((self.now - told.at) // MICROSECOND) / (timedelta(days=1) // MICROSECOND)
        return self.figure(days.quantize(MILLI, rounding=ROUND_CEILING), "days", [told], said)  # (4)

    def between(self, begin: Told, end: Told, said: str = "") -> Indicator:
        seconds = Decimal((end.at - begin.at) // MICROSECOND) / (timedelta(seconds=1) // MICROSECOND)
        return self.figure(seconds, "seconds", [begin, end], said)

    # the policy set in force

    def policy(self) -> Iterator[Found]:
        policy = self.proofs.sets[-1]
        kinds = (PolicyEvent.ADOPTED, PolicyEvent.ACTIVATED)
        begun = [each for each in self.proofs.entries if each.type in kinds and each.id == policy.digest]
        if not begun:
            return
        first = begun[:1]  # (3) not where somebody wrote it down again
        yield "policy-days", self.since(first[0], f"version {policy.manifest.version}")
        ends = [each.expires_at for each in policy.whitelist.values()]
        ends += [each.expires_at for each in policy.service_accounts.values()]
        over = [each for each in ends if read_time(each) <= self.now]
        yield "overdue-reviews", self.figure(len(over), "entries", first, f"of {len(ends)}")
        yield "unused-grants", self.unused(policy, first)
        for key in policy.keys.values():
            if not isinstance(key, WholeKey):
                yield from self.hands(key, policy, first)

    def unused(self, policy: PolicySet, begun: list[Told]) -> Indicator:
        """Count the roles in which nobody to whom the set gives them has logged in of late."""
        used, read = set(), list(begun)
        for told in self.proofs.of(SESSION_STARTED):
            session = CertifiedSession.load(told.data)
            with suppress(RefusedError):  # (3) of somebody who has left, or whose credential has
                person = verify_session(session, policy=policy, trust_root=self.proofs.trust_root)
                began = min(told.at, read_time(session.session.issued_at))  # (4)
                if began >= self.now - timedelta(days=STALE_DAYS):
                    used |= {(person.id, role) for role in session.session.roles}
                    read.append(told)
        held = {(person.id, role) for person in policy.people.values() for role in person.roles}
        return self.figure(len(held - used), "grants", read, f"of {len(held)}")

    def hands(self, key: Key, policy: PolicySet, begun: list[Told]) -> Iterator[Found]:
        found = {hand: concentration.most(key.cosigners, hand, places=policy.places) for hand in HANDS}
        for hand, (who, count) in found.items():
            yield f"most-shares-{hand}.{key.id}", self.figure(count, "shares", begun, f"{hand} {who}")
        hand, (who, count) = max(found.items(), key=lambda each: each[1][1])
        said = f"{hand} {who} has {count}, and {key.signers} sign together"
        yield f"most-shares.{key.id}", self.figure(count, "shares", begun, said)
        excess = max(0, count - (key.signers - 1))
        yield f"excess-shares.{key.id}", self.figure(excess, "shares", begun, said)

    # shared keys

    def shared(self, key: SharedKey) -> Iterator[Found]:
        made, tried = self.proofs.made(key), self.proofs.said(TRIED, key)
        epoch = max([1, *made, *(each.shares[-1].epoch for _, each in tried)])
        if epoch in made:
            yield f"epoch-days.{key.id}", self.since(made[epoch], f"epoch {epoch}")
        newest = {each.cosigner: told for told, each in tried if each.shares[-1].epoch == epoch}
        if set(key.cosigners) <= newest.keys():  # (2) of one share that was not, nobody can say
            name = min(key.cosigners, key=lambda each: newest[each].at)
            yield f"drill-days.{key.id}", self.since(newest[name], f"share of {name}, epoch {epoch}")
        back = self.proofs.said(RESTORED, key)
        if back:
            told, said = back[-1]
            ordered, _ = self.proofs.ordered(said.order)
            yield f"restore-seconds.{key.id}", self.between(ordered, told, f"share of {said.cosigner}")

    # what was refused, and pauses

    def counted(self, name: str, unit: str, found: Sequence[tuple[str, Told]]) -> Iterator[Found]:
        by_code: dict[str, list[Told]] = defaultdict(list)
        for code, told in found:
            by_code[code].append(told)
        if found:
            yield name, self.figure(len(found), unit, [told for _, told in found])
        for code, entries in sorted(by_code.items()):
            yield f"{name}.{code}", self.figure(len(entries), unit, entries)

    def refused_requests(self) -> list[tuple[str, Told]]:
        codes = [(str((told.data or {}).get("code")), told) for told in self.proofs.of(REQUEST_REFUSED)]
        return [(code, told) for code, told in codes if code in KNOWN]

    def refused_signatures(self) -> list[tuple[str, Told]]:
        first: dict[tuple[str, str], tuple[str, Told]] = {}
        for told in self.proofs.of(Event.SIGNING_REFUSED):
            signed = SignedAnswer.load((told.data or {}).get("answer"))
            answer, known = signed.answer, self.proofs.trust_root.cosigners.get(signed.answer.cosigner)
            if known is None or answer.refused is None:
                raise RefusedError(Refusal.TRUST_ROOT, f"entry {told.seq}: no co-signer refuses in it")
            verify_ed25519(known, signed.signature, ANSWER_LINE, answer.canonical(), what="answer")
            code = answer.refused.code if answer.refused.code in KNOWN else Refusal.UNAVAILABLE.value
            first.setdefault((answer.cosigner, answer.intent), (code, told))
        return list(first.values())

    def pauses(self) -> Iterator[Found]:
        orders, since, ended = NOTHING_ORDERED, dict[str, Told](), list[tuple[Told, Told]]()
        ordered, released = self.proofs.of(PAUSED), self.proofs.of(RELEASED)
        for told in self.proofs.of(PAUSED, RELEASED):
            after = Ordered.load(told.data).after(orders)
            since |= dict.fromkeys(after.paused.keys() - orders.paused.keys(), told)
            ended += [(since.pop(scope), told) for scope in orders.paused.keys() - after.paused.keys()]
            orders = after
        if ordered:
            yield "pauses-ordered", self.figure(len(ordered), "pauses", ordered)
            yield "pauses-open", self.figure(len(orders.paused), "pauses", [*ordered, *released])
        if released:
            yield "pauses-released", self.figure(len(released), "pauses", released)
        if ended:
            begin, end = max(ended, key=lambda each: each[1].at - each[0].at)
            yield "pause-seconds", self.between(begin, end)
