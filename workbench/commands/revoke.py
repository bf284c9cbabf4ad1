"""Somebody leaves, or a key is lost: propose the set without that, and say what came of it.

(1) The next set is made here, from the set in force, and compared here: it only takes away.
(2) It is proposed in the name of whoever is logged in. That gives nobody's signature: the officers sign
    it as any other set, each at his own key, and with the last one it acts.
(3) Afterwards the ledger has the entry from which on it counts, and the ends of the sessions; consent
    that was given before is void, and others are asked again.
The same revocation that is open already is not proposed a second time.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from workbench.client import ChangeView, Client, Effect
from workbench.commands.said import NothingToDoError, outcome
from workbench.commands.session import believed, speaking
from workbench.rules import change
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.policy import PolicySet, verify_chain
from workbench.rules.revocation import without
from workbench.rules.trust import TrustRoot
from workbench.rules.words import words

DIGEST = re.compile(r"[0-9a-f]{64}")


def revoke(options: argparse.Namespace) -> int:
    """Propose that somebody, or something of his, goes; or say what that has ended."""
    return outcome(_propose(options) if options.status is None else _status(options))


def _propose(options: argparse.Namespace) -> Iterator[str]:
    trust_root, now = believed(options.trust_root), datetime.now(UTC)
    with speaking(options) as client:
        current = _in_force(client, trust_root, now)
        following = without(
            current, options.who, credentials=options.credential, roles=options.role, activates_at=now
        )
        view = _open_already(client, following) or client.amend(following)
        # (1) the service must not record another set than was made here
        if (view.compared(), PolicySet.load(view.following).files) != (
            change.between(current, following),
            following.files,
        ):
            raise RefusedError(Refusal.POLICY_CHAIN, "the service has recorded another set")
        yield "This takes away, and gives nothing to anybody:"
        yield from _told(view)


def _status(options: argparse.Namespace) -> Iterator[str]:
    if options.credential or options.role:
        raise NothingToDoError("--status tells of a set; it takes no --credential and no --role")
    if DIGEST.fullmatch(options.status) is None:
        raise RefusedError(Refusal.MALFORMED, "a set is named by 64 lower-case hex digits")
    with speaking(options) as client:
        view, effect = client.change(options.status), client.effect(options.status)
        if effect.since is None:
            yield from _told(view)
            return
        yield f"in force from entry {effect.since} on, since {effect.at}"
        yield from (f"  {each}" for each in change.words(view.compared()))
        yield from _ended(effect, {each.person for each in view.compared().people})


def _in_force(client: Client, trust_root: TrustRoot | None, now: datetime) -> PolicySet:
    sets = client.policy_chain()
    if trust_root is not None:
        return verify_chain(sets, trust_root=trust_root, now=now)
    if not sets:
        raise RefusedError(Refusal.POLICY_CHAIN, "the service has no policy set")
    # unverified: what is made of a false one follows no set that an officer believes
    return sets[-1]


def _open_already(client: Client, following: PolicySet) -> ChangeView | None:
    """Return the open change that does the same, whenever it was dated."""
    for each in client.changes().changes:
        if each.standing == "pending":
            view = client.change(each.digest)
            manifest = PolicySet.load(view.following).manifest
            if (manifest.previous, manifest.files) == (
                following.manifest.previous,
                following.manifest.files,
            ):
                return view
    return None


def _told(view: ChangeView) -> Iterator[str]:
    """Say what a set that does not act yet would do, and what it waits for."""
    compared = view.compared()
    yield from (f"  {each}" for each in change.words(compared))
    yield f"{view.standing}: version {view.version}, proposed by {view.proposer} at {view.proposed_at}"
    yield f"  {view.digest}"
    yield f"  {words(view.digest)}"
    if not compared.only_takes_away:
        yield "It does more than take away: `workbench policy show` says what, and how long it lies open."
    yield f"signed by {', '.join(view.signed_by) or 'nobody'}"
    yield from _remaining(view) if view.standing == "pending" else ()


def _remaining(view: ChangeView) -> Iterator[str]:
    """Say how many signatures are missing, and whose would count for both sets."""
    sets = [PolicySet.load(each) for each in (view.previous, view.following)]
    officers = [_officers(each) for each in sets]
    missing = max(
        each.limits.policy_quorum - len(held & set(view.signed_by))
        for each, held in zip(sets, officers, strict=True)
    )
    whose = sorted(officers[0] & officers[1] - set(view.signed_by))
    if missing > 0:
        some = "1 signature is" if missing == 1 else f"{missing} signatures are"
        yield f"{some} missing, of {', '.join(whose) or 'nobody who is there'}; with the last one it acts."
    yield "One of them has to come by the second path: `workbench policy sign DIGEST --out FILE`."
    yield f"Then: workbench revoke --status {view.digest}"


def _officers(policy: PolicySet) -> set[str]:
    role = policy.limits.policy_quorum_role
    return {person.id for person in policy.people.values() if role in person.roles}


def _ended(effect: Effect, people: set[str]) -> Iterator[str]:
    yield "sessions that it ended:" if effect.sessions else "it ended no session"
    yield from (f"  {each.session} of {each.person}, entry {each.seq}" for each in effect.sessions)
    theirs = [each for each in effect.void if each.person in people]
    yield "what they had said and is void now:" if theirs else "nothing that they had said was outstanding"
    yield from (f"  {each.intent} {each.verb} by {each.person}" for each in theirs)
    others = [each for each in effect.void if each.person not in people]
    if others:
        yield "what others had said under the set before is void as well, and they are asked again:"
        yield from (f"  {each.intent} {each.verb} by {each.person}" for each in others)
