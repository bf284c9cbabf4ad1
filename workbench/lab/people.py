"""Who comes into JupyterLab, and what he may do there.

A guard of the screen, not an authority: whoever may run code on a kernel owns the server's
OS user, and nothing in JupyterLab is believed by the service, the approver or a co-signer.
It keeps an auditor's Lab to reading, and strangers out.

Each person has a token of his own; the server keeps its SHA-256 only. What a role permits
is the policy set's matrix: (1) whoever is in the set may read files, (2) whoever may do
more than read may run kernels and write notebooks, (3) nobody gets a terminal, nothing is
permitted to somebody who has left the set.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from jupyter_server.auth import Authorizer, IdentityProvider, User
from jupyter_server.base.handlers import JupyterHandler
from tornado.web import RequestHandler
from traitlets import Dict

from workbench.rules.roles import READING, Permission

TERMINALS = "terminals"
READ = "read"
RUNS = frozenset(
    {"api", "contents", "kernels", "kernelspecs", "sessions", "lsp", "nbconvert", "checkpoints", "events"}
)
"""What running a notebook touches; any other resource stays closed until somebody says what it is."""
READS = frozenset(
    {"api", "config", "contents", "kernelspecs", "kernels", "sessions", "checkpoints", "events", "csp", "me"}
)


class DeskIdentityProvider(IdentityProvider):
    """A token for each person, kept as its SHA-256."""

    people: Dict[str, str] = Dict(help="who comes in with which token: {person: sha256 of the token}").tag(
        config=True
    )

    @property
    def auth_enabled(self) -> bool:
        """Nobody comes in without a token."""
        return True

    async def get_user_token(self, handler: RequestHandler) -> User | None:
        """Return whose token a request carries, or None."""
        token = self.get_token(handler)
        person = self.person_of(token) if token else None
        return None if person is None else User(username=person, name=person, display_name=person)

    def person_of(self, token: str) -> str | None:
        """Return whose token this is, or None; every one is compared, whoever is found."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        found = [person for person, known in self.people.items() if hmac.compare_digest(known, digest)]
        return found[0] if len(found) == 1 else None


class DeskAuthorizer(Authorizer):
    """What a person's permissions allow in JupyterLab."""

    permissions: Dict[str, Any] = Dict(
        help="what each person may do at the desk: {person: [permission]}"
    ).tag(config=True)

    def is_authorized(self, handler: JupyterHandler, user: User, action: str, resource: str) -> bool:  # noqa: ARG002
        """Whether somebody may do this."""
        return permitted(self.permissions.get(user.username, ()), action, resource)


def permitted(held: Any, action: str, resource: str) -> bool:  # noqa: ANN401 - configuration
    """Whether somebody who holds these permissions may do this in JupyterLab."""
    permissions = {Permission(each) for each in held}
    if not permissions or resource == TERMINALS:
        return False
    if action == READ and resource in READS:
        return True
    return bool(permissions - READING) and resource in RUNS
