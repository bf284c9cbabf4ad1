"""One of the demo world's people as a process: watches the queue and acts until ended.

Duties: `login` signs the person's own open logins (somebody who proposes from a notebook);
`decide` logs in and judges every intent that has been simulated.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from ledger.encoding import parse
from workbench import client
from workbench.client import IntentView, ProblemError
from workbench.demo import people
from workbench.rules.documents import DOCUMENT_MAX
from workbench.rules.lifecycle import State
from workbench.rules.policy import PolicySet, verify_chain
from workbench.rules.trust import TrustRoot

POLL_S = 0.2
WATCHED = frozenset({State.PROPOSED.value, State.OUTSTANDING.value})


def main() -> int:
    """Act until ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--person", required=True)
    parser.add_argument("--duty", choices=["login", "decide"], required=True)
    parser.add_argument("--role", default="")
    parser.add_argument("--folder", type=Path, required=True, help="the software authenticators")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--trust-root", type=Path, required=True)
    parser.add_argument("--policies", type=Path, required=True)
    options = parser.parse_args()
    trust_root = TrustRoot.read(options.trust_root.read_bytes())
    sets = [
        PolicySet.load(parse(path.read_bytes(), limit=DOCUMENT_MAX))
        for path in sorted(options.policies.glob("*.json"))
    ]
    policy = verify_chain(sets, trust_root=trust_root, now=datetime.now(UTC))
    if options.duty == "login":
        _sign_logins(options.person, options.folder, options.socket, policy, trust_root)
    else:
        officer = people.Officer.log_in(
            options.person,
            folder=options.folder,
            socket=options.socket,
            policy=policy,
            trust_root=trust_root,
        )
        _decide(officer, options.role, trust_root)
    return 0


def _sign_logins(person: str, folder: Path, socket: Path, policy: PolicySet, trust_root: TrustRoot) -> None:
    while True:
        for session in client.waiting_logins(socket, person):
            # somebody else's process asks for a session in this person's name
            if session.os_user != os.getuid():
                continue
            people.sign_login(
                session, person=person, folder=folder, socket=socket, policy=policy, party=trust_root.login
            )
        time.sleep(POLL_S)


def _decide(officer: people.Officer, role: str, trust_root: TrustRoot) -> None:
    done: set[str] = set()
    while True:
        for digest, state in officer.speaks.intents():
            if (
                state in WATCHED
                and digest not in done
                and _act(officer, officer.speaks.intent(digest), role, trust_root)
            ):
                done.add(digest)
        time.sleep(POLL_S)


def _act(officer: people.Officer, view: IntentView, role: str, trust_root: TrustRoot) -> bool:
    """Decide on one intent if it is this person's to decide; say whether it is dealt with."""
    judged = people.judge(view, policy=officer.policy, trust_root=trust_root)
    if judged is None or not people.asked_for(view, role):
        return False
    verb, reason = judged
    try:
        officer.decide(view.digest, verb=verb, role=role, reason=reason)
    except ProblemError as problem:
        print(f"{officer.id}: {view.digest[:12]}: {problem}", file=sys.stderr)
        return problem.code not in {"unavailable", "decision_over_another_simulation"}
    return True


if __name__ == "__main__":
    sys.exit(main())
