"""What the watcher remembers: the policy sets, and every order and release, in files of its own.

`policies/` has the sets from the genesis set on, `ordered/` one document for each epoch, `orders.json` what
follows from them: files that were taken away are missed by it. A set or an order is on disk before the first
lease that knows of it. An epoch's document is written first: what a crash leaves the next start takes up.
"""

from __future__ import annotations

from pathlib import Path

from ledger import files
from ledger.encoding import canonical, parse
from workbench.rules.change import revocation_epoch
from workbench.rules.codes import RefusedError
from workbench.rules.documents import DOCUMENT_MAX
from workbench.rules.pause import NOTHING_ORDERED, Ordered, Orders
from workbench.rules.policy import PolicySet

NAME = "orders.json"


class MemoryCorruptError(Exception):
    """The memory cannot be read: without it no lease may be given."""


def found(folder: Path, genesis: PolicySet) -> None:
    """Begin a memory: the genesis set, and nothing ordered; once."""
    for name in ("policies", "ordered"):
        (folder / name).mkdir(mode=0o700)
    files.create(_policy_path(folder, genesis), canonical(genesis.dump(), limit=DOCUMENT_MAX))
    first = Orders.load(NOTHING_ORDERED.dump() | {"policy_version": genesis.manifest.version})
    files.create(folder / NAME, canonical(first.dump()))


class Memory:
    """The files, read once at start and kept in step."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self.sets = [PolicySet.load(_read(path)) for path in sorted((folder / "policies").glob("*.json"))]
            self.ordered = [Ordered.load(_read(path)) for path in sorted((folder / "ordered").glob("*.json"))]
            self.orders = Orders.load(_read(folder / NAME))
        except (OSError, ValueError, RefusedError) as error:
            raise MemoryCorruptError(str(error)) from error
        self._verify()

    def adopt(self, sets: list[PolicySet]) -> None:
        """Keep sets that were verified and begin with those that are known."""
        if [each.digest for each in sets[: len(self.sets)]] != [each.digest for each in self.sets]:
            raise MemoryCorruptError("a policy set that was in force would be forgotten")
        for each in sets[len(self.sets) :]:
            files.replace(_policy_path(self._folder, each), canonical(each.dump(), limit=DOCUMENT_MAX))
        self.sets = sets
        self._keep(self.orders)

    def take(self, ordered: Ordered) -> None:
        """Keep an order or a release that was verified."""
        if ordered.epoch != self.orders.pause_epoch + 1:
            raise MemoryCorruptError(f"epoch {ordered.epoch} does not follow {self.orders.pause_epoch}")
        files.create(self._folder / "ordered" / f"{ordered.epoch:08d}.json", ordered.canonical())
        self.ordered.append(ordered)
        self._keep(ordered.after(self.orders))

    def _keep(self, orders: Orders) -> None:
        whole = Orders.load(
            orders.dump()
            | {
                "policy_version": self.sets[-1].manifest.version,
                "revocation_epoch": revocation_epoch(self.sets),
            }
        )
        files.replace(self._folder / NAME, canonical(whole.dump()))
        self.orders = whole

    def _verify(self) -> None:
        """Refuse files of which some were taken away; take up what a crash has left."""
        epochs = [each.epoch for each in self.ordered]
        if not self.sets or epochs != list(range(1, len(epochs) + 1)):
            raise MemoryCorruptError("a policy set or an order is missing")
        orders = NOTHING_ORDERED
        for each in self.ordered:
            orders = each.after(orders)
        said = self.orders
        if orders.pause_epoch < said.pause_epoch or self.sets[-1].manifest.version < said.policy_version:
            raise MemoryCorruptError(f"{NAME} knows of more than the files beside it")
        self._keep(orders)


def _read(path: Path) -> object:
    return parse(path.read_bytes(), limit=DOCUMENT_MAX)


def _policy_path(folder: Path, policy: PolicySet) -> Path:
    return folder / "policies" / f"{policy.manifest.version:06d}.json"
