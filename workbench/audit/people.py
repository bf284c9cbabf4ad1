"""Who may have acted: people and programs of the policy sets in a bundle, processes of the trust root.

A bundle's writer could put anybody into a list of people. So a set counts only where the service and the
co-signers would believe it: as a link of the chain that begins with the trust root's genesis set and whose
every set a quorum has signed. People of an older set count too: they could act while it was in force.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from pathlib import Path

from ledger import bundle
from ledger.bundle import BundleError
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import DOCUMENT_MAX, read_json
from workbench.rules.policy import PolicySet, verify_chain
from workbench.rules.trust import TrustRoot

FOLDER = "policies/"


def people(path: Path, files: Collection[str], trust_root: TrustRoot, *, now: datetime) -> frozenset[str]:
    """Return who may act by a bundle's policy sets; raises RefusedError unless each of them counts.

    Args:
        path: the bundle's folder.
        files: what its index lists.
        trust_root: the auditor's own.
        now: the time of the last entry; no set that became active later can have mattered.

    """
    sets = policy_sets(path, files, trust_root, now=now)
    return frozenset(name for each in sets for name in (*each.people, *each.service_accounts))


def policy_sets(
    path: Path, files: Collection[str], trust_root: TrustRoot, *, now: datetime
) -> list[PolicySet]:
    """Return a bundle's policy sets, oldest first; raises RefusedError unless each of them counts."""
    sets = [_read(path, name) for name in sorted(files) if name.startswith(FOLDER)]
    verify_chain(sets, trust_root=trust_root, now=now)
    return sets


def processes(trust_root: TrustRoot) -> frozenset[str]:
    """Return the names under which the trust root's processes and holders of redaction keys act."""
    redaction = trust_root.redaction.keys if trust_root.redaction else {}
    return frozenset({*trust_root.checkpoint_keys, *trust_root.cosigners, *trust_root.observers, *redaction})


def _read(path: Path, name: str) -> PolicySet:
    try:
        raw = bundle.read(path, name, DOCUMENT_MAX)
    except (BundleError, OSError) as error:
        raise RefusedError(Refusal.POLICY_INVALID, str(error), path=f"/{name}") from error
    return PolicySet.load(read_json(raw, limit=DOCUMENT_MAX), at=f"/{name}")
