"""A desk whose key five co-signers share: what its ledger is told of the key, and an auditor who asks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from ledger.encoding import canonical
from tests.audit.world import SERVICE, Desk, event
from tests.ledger.world import Folder
from tests.rules import build
from tests.rules.build import World, observer_key, public
from tests.rules.test_ceremony import KEY as POINT
from tests.rules.test_ceremony import OFFICERS, word
from tests.rules.test_concentration import NAMES, operation
from tests.rules.test_recovery import kept_by, three
from workbench.audit.indicators import indicators
from workbench.demo import charter
from workbench.evm.transaction import address_of
from workbench.risk.exposure.evidence import Indicator
from workbench.rules import recovery
from workbench.rules.documents import signed_bytes, write_time
from workbench.rules.key_operation import KeyOperation
from workbench.rules.policy import PolicySet
from workbench.rules.trust import TrustRoot

KEY = charter.KEY_ID
DRILLED = f"drill-days.{KEY}"
RUN = "ab" * 32
Json = dict[str, Any]


def sharing(folder: Path) -> World:
    """Return a desk whose treasury five co-signers share, with recovery officers: three sites."""
    base = build.build(folder)
    files = dict(kept_by(base, three()).files)
    shared = {**PolicySet.load(kept_by(base, three()).dump()).keys[KEY].dump(), "public_key": POINT}
    listed = [{**shared, "address": address_of(bytes.fromhex(POINT))}]
    files["keys.json"] = canonical(listed, limit=1 << 20)
    policy = base.sign_set(files)
    document = build.trust_document(policy) | {"cosigners": {name: public(name) for name in NAMES}}
    return replace(base, files=files, policy=policy, trust_root=TrustRoot.load(document))


@dataclass
class Audited:
    """A desk's ledger, its officers and co-signers, and an auditor who asks it."""

    desk: Desk
    bundles: int = 0

    @property
    def world(self) -> World:
        """Whose people and policy set it is."""
        return self.desk.desk

    def tell(self, kind: str, data: Json, name: str = "", *, actor: str = SERVICE, days: float = 0) -> None:
        """Record something, so many days later."""
        self.desk.step = timedelta(days=days, seconds=1)
        said = event(kind, actor, data)
        self.desk.append(replace(said, id=name or f"{said.id}-{self.desk.ledger.head().size}"))

    def bundle(self) -> Folder:
        """Let an auditor take everything away."""
        self.desk.check_point()
        self.bundles += 1
        return self.desk.bundle(f"bundle-{self.bundles}")

    def ask(self, days: float = 0) -> dict[str, Indicator]:
        """Return what the ledger tells so many days after its end."""
        return self.read(self.bundle(), days)

    def read(self, folder: Folder, days: float = 0) -> dict[str, Indicator]:
        """Return what a bundle tells."""
        return indicators(folder.path, self.desk.trust_root, now=self.desk.at + timedelta(days=days))

    def log_in(self, person: str = "risk-1", *, days: float = 0) -> Json:
        """Return a login of somebody, dated so many days from now."""
        begun = self.desk.at + timedelta(days=days)
        about = {"issued_at": write_time(begun), "expires_at": write_time(begun + timedelta(hours=8))}
        return self.world.certify(person, **about)[1].dump()

    def order(
        self, what: str = "refresh", presses: Sequence[tuple[str, str]] = OFFICERS, **changes: Any
    ) -> KeyOperation:
        """Have officers order an operation on the key."""
        order = operation(
            self.world, what, **{"key": KEY, "epoch": 2, "policy": self.world.policy.digest} | changes
        )
        signatures = [
            {"person": person, "assertion": self.world.sign_as(person, order.challenge, path=path).dump()}
            for person, path in presses
        ]
        self.tell("key.ordered", {"operation": order.dump(), "signatures": signatures}, order.digest)
        return order

    def refresh(
        self,
        *,
        days: float = 0,
        lie: Callable[[Json], Json] = lambda data: data,
        presses: Sequence[tuple[str, str]] = OFFICERS,
    ) -> None:
        """Make the second epoch of the key."""
        order = self.order(presses=presses)
        words = [word(number, key=KEY, epoch=2) for number in range(1, 6)]
        data = {"key": KEY, "epoch": 2, "public_key": POINT, "address": address_of(bytes.fromhex(POINT))}
        self.tell("key.made", lie(data | {"order": order.digest, "words": words}), order.digest, days=days)

    def drill(self, *names: str, epoch: int = 1, days: float = 0) -> None:
        """Try the backups of these co-signers' shares, one after the other."""
        for name in names:
            self.tell("key.tried", {"testimony": said("tried", name, epoch=epoch)}, days=days)


def said(did: str, name: str, *, epoch: int = 1, point: str = POINT, **changes: Any) -> Json:
    """Return what a co-signer testifies to, signed."""
    told = {
        "v": 1,
        "cosigner": name,
        "did": did,
        "order": None,
        "key": KEY,
        "backup": "ef" * 32,
        "shares": [{"epoch": epoch, "run": RUN, "public_key": point}],
        "whole": [],
        "attributes": None,
        "ticket": None,
        **changes,
    }
    message = signed_bytes(recovery.TESTIMONY_LINE, recovery.Testimony.load(told).canonical())
    return {"testimony": told, "signature": observer_key(name).sign(message).hex()}
