"""Leases: who signs them, how long they hold, and what must not be behind them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.rules.build import NOW, World, flip, observer_key, public, refused
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import signed_bytes, write_time
from workbench.rules.lease import (
    LEASE_LINE,
    SKEW_S,
    TTL_S_MAX,
    Lease,
    SignedLease,
    verify_lease,
    verify_names,
    verify_not_shorter,
)
from workbench.rules.pause import NOTHING_ORDERED, Orders

HEARD = Orders(v=1, policy_version=3, revocation_epoch=2, pause_epoch=5, paused={})
LEVEL: dict[str, Any] = {"policy_version": 3, "revocation_epoch": 2, "pause_epoch": 5}


def lease(world: World, *, signer: str = "watcher", **changes: Any) -> SignedLease:
    """Return a lease as an honest watcher makes it."""
    made = Lease.load(
        {
            "v": 1,
            "policy": world.policy.digest,
            "policy_version": world.policy.manifest.version,
            "revocation_epoch": 0,
            "pause_epoch": 0,
            "paused": [],
            "head": {"size": 7, "root": "ab" * 32},
            "at": write_time(NOW),
            "ttl_s": 20,
            **changes,
        }
    )
    signature = observer_key(signer).sign(signed_bytes(LEASE_LINE, made.canonical()))
    return SignedLease(lease=made, signature=signature.hex())


def check(world: World, signed: SignedLease, *, orders: Orders = NOTHING_ORDERED, **delta: float) -> Lease:
    """Verify a lease so long after noon."""
    root = world.root(watcher=public("watcher"))
    return verify_lease(signed, orders=orders, trust_root=root, now=NOW + timedelta(**delta))


def test_a_lease_holds_for_its_time(world: World) -> None:
    """From a little before its date to the last moment of its life."""
    signed = lease(world)
    for seconds in (-SKEW_S, 0, 19.999):
        assert check(world, signed, seconds=seconds) == signed.lease
    verify_names(signed.lease, world.policy)
    verify_not_shorter(signed.lease, size=7)


@pytest.mark.parametrize(
    ("changes", "delta", "orders", "code"),
    [
        pytest.param({}, {"seconds": 20}, NOTHING_ORDERED, Refusal.LEASE_STALE, id="run out"),
        pytest.param(
            {}, {"seconds": -SKEW_S - 1}, NOTHING_ORDERED, Refusal.LEASE_STALE, id="from the future"
        ),
        pytest.param({"signer": "observer"}, {}, NOTHING_ORDERED, Refusal.SIGNATURE, id="somebody else's"),
        pytest.param(LEVEL | {"pause_epoch": 4}, {}, HEARD, Refusal.LEASE_BEHIND, id="hides a pause"),
        pytest.param(
            LEVEL | {"revocation_epoch": 1}, {}, HEARD, Refusal.LEASE_BEHIND, id="hides a revocation"
        ),
        pytest.param(LEVEL | {"policy_version": 2}, {}, HEARD, Refusal.LEASE_BEHIND, id="hides a policy set"),
    ],
)
def test_a_lease_that_does_not_count(
    world: World, changes: dict[str, Any], delta: dict[str, float], orders: Orders, code: Refusal
) -> None:
    """Silence, lies, and what a courier kept back."""
    with refused(code):
        check(world, lease(world, **changes), orders=orders, **delta)


def test_level_with_what_was_heard(world: World) -> None:
    """The same epochs are not behind."""
    check(world, lease(world, **LEVEL), orders=HEARD)


def test_no_watcher_no_lease(world: World) -> None:
    """A lease under a trust root that names nobody to sign it."""
    with refused(Refusal.LEASE_MISSING):
        verify_lease(lease(world), orders=NOTHING_ORDERED, trust_root=world.trust_root, now=NOW)


def test_a_flipped_signature(world: World) -> None:
    """Any bit of it counts."""
    signed = lease(world)
    with refused(Refusal.SIGNATURE):
        check(world, SignedLease.load(signed.dump() | {"signature": flip(signed.signature)}))


@pytest.mark.parametrize("changes", [{"policy": "cd" * 32}, {"policy_version": 2}], ids=["digest", "version"])
def test_another_policy_set(world: World, changes: dict[str, Any]) -> None:
    """The evidence ends with a set that the watcher knows to be superseded."""
    with refused(Refusal.LEASE_OTHER_POLICY):
        verify_names(lease(world, **changes).lease, world.policy)


def test_a_shorter_ledger(world: World) -> None:
    """A head below the one that the watcher has cosigned."""
    with refused(Refusal.HEAD_BEHIND):
        verify_not_shorter(lease(world).lease, size=6)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"ttl_s": 0}, id="no life"),
        pytest.param({"ttl_s": TTL_S_MAX + 1}, id="a life for ever"),
        pytest.param({"paused": [{"scope": "all", "epoch": 1}]}, id="an epoch that is not reached"),
        pytest.param(
            {"pause_epoch": 2, "paused": [{"scope": "all", "epoch": 1}, {"scope": "all", "epoch": 2}]},
            id="a scope twice",
        ),
        pytest.param({"paused": ["all"]}, id="a scope without its epoch"),
        pytest.param({"more": 1}, id="an unknown field"),
    ],
)
def test_what_is_no_lease(world: World, changes: dict[str, Any]) -> None:
    """Malformed: refused before anybody believes it."""
    with pytest.raises(RefusedError):
        lease(world, **changes)


def test_what_is_remembered_of_it(world: World) -> None:
    """The higher epochs of both, and every scope."""
    said = lease(world, pause_epoch=6, paused=[{"scope": "all", "epoch": 6}]).lease
    mine = Orders.load(HEARD.dump() | {"paused": {"key:hot": 5}})
    assert said.added_to(mine).dump() == {
        "v": 1,
        "policy_version": 3,
        "revocation_epoch": 2,
        "pause_epoch": 6,
        "paused": {"all": 6, "key:hot": 5},
    }
