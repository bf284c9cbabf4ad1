"""A co-signer that has started anew is brought what the others remember of it, while they are there.

It opens no run before: an old state of it would sign again what it has forgotten. The service only carries:
each answer is signed by who remembers, over the nonce of who has started, and is brought alone: one that is
nonsense keeps nobody from hearing the others. That a memory was set back is recorded once.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.keys import Key
from workbench.rules.policy import PolicySet
from workbench.rules.threshold import SignedRecollection
from workbench.service.links import Links
from workbench.service.record import Recorder

DETAIL_MAX = 1500


def bring(links: Links, key: Key, name: str, *, unheard_max: int = 0) -> None:
    """Bring one of a key's co-signers what those remember that it has not heard yet, until so few are left.

    Raises:
        RefusedError: it is silent, or refuses to go on with the memory that it has.

    """
    nonce, heard = links.memory(name)
    request = {"v": 1, "operation": "recollect", "about": name, "nonce": nonce}
    unheard = [other for other in key.cosigners if other != name and other not in heard]
    if len(unheard) <= unheard_max:
        return
    for other in unheard:
        with suppress(_NothingSaidError):
            _remember(links, name, _recollected(links, other, request))


class _NothingSaidError(Exception):
    """One of the others is silent, or what it says is nothing to remember."""


def _recollected(links: Links, other: str, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return SignedRecollection.load(links.ask(other, request).get("recollection")).dump()
    except RefusedError as refusal:
        raise _NothingSaidError from refusal


def _remember(links: Links, name: str, said: dict[str, Any]) -> None:
    refused = links.ask(name, {"v": 1, "operation": "remember", "recollections": [said]}).get("refused")
    if not isinstance(refused, dict):
        return
    if refused.get("code") != Refusal.MEMORY_BEHIND.value:
        raise _NothingSaidError
    raise RefusedError(Refusal.MEMORY_BEHIND, f"{name}: {refused.get('detail')}"[:DETAIL_MAX])


@dataclass(slots=True)
class Recalling:
    """The shared keys' co-signers, looked after."""

    links: Links
    recorder: Recorder
    _told: set[str] = field(default_factory=set)

    def step(self, policy: PolicySet) -> None:
        """Look after each co-signer of each shared key once; a silent one waits."""
        for key in policy.keys.values():
            for name in key.cosigners if key.engine == "mpc" else ():
                try:
                    bring(self.links, key, name)
                except RefusedError as refusal:
                    self._tell(name, refusal)

    def _tell(self, name: str, refusal: RefusedError) -> None:
        if refusal.code is Refusal.MEMORY_BEHIND and name not in self._told:
            self.recorder.refusal(refusal, actor="service", about=f"memory of {name}")
            self._told.add(name)
