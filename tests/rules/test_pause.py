"""Pauses: who may order and end them, what they cover, and that nothing of it is forgotten."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rules.build import EVERY_PARTY, NOW, World, flip, refused
from workbench.demo import charter
from workbench.rules.assertion import CONSOLE
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import signed_bytes, write_time
from workbench.rules.officers import verify_dated, verify_signed
from workbench.rules.pause import (
    NOTHING_ORDERED,
    PAUSE_LINE,
    SCOPES_MAX,
    Orders,
    Pause,
    Release,
    SignedPause,
    SignedRelease,
    covers,
    verify_pause,
)
from workbench.rules.policy import Signature

KEY = f"key:{charter.KEY_ID}"
SCOPES = st.sampled_from(["all", KEY, "key:other", "contract:0x000000000000000000000000000000000000dEaD"])
DEAD = "0x000000000000000000000000000000000000dEaD"


def ordered(
    world: World, person: str = "cro-1", /, *, session: dict[str, Any] | None = None, **changes: Any
) -> SignedPause:
    """Return an order as an honest person makes it."""
    key, certified = world.certify(person, **(session or {}))
    pause = Pause.load(
        {
            "v": 1,
            "scope": "all",
            "person": person,
            "reason": "an exploit is running",
            "at": write_time(NOW),
            "nonce": "ab" * 16,
            **changes,
        }
    )
    signature = key.sign(signed_bytes(PAUSE_LINE, pause.canonical()))
    return SignedPause(pause=pause, signature=signature.hex(), session=certified)


def check(world: World, signed: SignedPause) -> None:
    """Verify an order at noon."""
    verify_pause(signed, policy=world.policy, trust_root=world.trust_root, now=NOW)


@pytest.mark.parametrize("person", ["cro-1", "risk-1", "committee-1", "pm-1"])
def test_one_person_can_pause(world: World, person: str) -> None:
    """Whoever holds a role that may, alone."""
    check(world, ordered(world, person))


@pytest.mark.parametrize(
    ("person", "changes", "session", "code"),
    [
        pytest.param("trader-1", {}, {}, Refusal.ROLE_NOT_HELD, id="a trader"),
        pytest.param("auditor-1", {}, {}, Refusal.ROLE_NOT_HELD, id="an auditor"),
        pytest.param("admin-1", {}, {}, Refusal.ROLE_NOT_HELD, id="an administrator"),
        pytest.param("cro-1", {"person": "risk-1"}, {}, Refusal.SESSION_FOREIGN, id="in another's name"),
        pytest.param(
            "cro-1", {"at": write_time(NOW - timedelta(seconds=31))}, {}, Refusal.EXPIRED, id="an old order"
        ),
        pytest.param(
            "cro-1", {"at": write_time(NOW + timedelta(seconds=31))}, {}, Refusal.EXPIRED, id="one for later"
        ),
        pytest.param(
            "cro-1",
            {},
            {"issued_at": write_time(NOW - timedelta(hours=2)), "expires_at": write_time(NOW)},
            Refusal.SESSION_ENDED,
            id="a session that has ended",
        ),
        pytest.param(
            "cro-1",
            {},
            {
                "issued_at": write_time(NOW + timedelta(seconds=31)),
                "expires_at": write_time(NOW + timedelta(hours=2)),
            },
            Refusal.EXPIRED,
            id="a session that has not begun",
        ),
    ],
)
def test_who_cannot_pause(
    world: World, person: str, changes: dict[str, Any], session: dict[str, Any], code: Refusal
) -> None:
    """Orders that count for nothing."""
    with refused(code):
        check(world, ordered(world, person, session=session, **changes))


def test_an_order_that_was_bent(world: World) -> None:
    """The scope is changed on the way, or the signature: refused."""
    good = ordered(world)
    bent = SignedPause.load(good.dump() | {"pause": good.pause.dump() | {"scope": KEY}})
    with refused(Refusal.SIGNATURE):
        check(world, bent)
    with refused(Refusal.SIGNATURE):
        check(world, SignedPause.load(good.dump() | {"signature": flip(good.signature)}))


@pytest.mark.parametrize(
    "scope", ["", "everything", "key:", "key:No", "contract:0xdead", f"contract:{DEAD.lower()}"]
)
def test_what_is_no_scope(world: World, scope: str) -> None:
    """A scope that nothing would be covered by must not look like a pause."""
    with refused(Refusal.MALFORMED):
        ordered(world, scope=scope)


def test_what_a_pause_covers(world: World) -> None:
    """Everything; a key; what is called; and what is only mentioned in the call's data."""
    swap, approval = world.swap(), world.approval()
    router = swap.to
    assert covers("all", swap)
    assert covers(KEY, swap)
    assert not covers("key:other", swap)
    assert covers(f"contract:{router}", swap)
    # an allowance for a paused contract is paused, too
    assert approval.to != router
    assert covers(f"contract:{router}", approval)
    assert not covers(f"contract:{DEAD}", swap)
    with refused(Refusal.PAUSED):
        NOTHING_ORDERED.ordered(KEY).verify_free(swap)
    NOTHING_ORDERED.ordered("key:other").verify_free(swap)


def released(world: World, *signers: tuple[str, str], **changes: Any) -> SignedRelease:
    """Return a release, signed by these officers by these paths."""
    release = Release.load(
        {
            "v": 1,
            "scopes": ["all"],
            "pause_epoch": 1,
            "policy": world.policy.digest,
            "reason": "a false alarm",
            "nonce": "cd" * 16,
            "expires_at": write_time(NOW + timedelta(minutes=5)),
            **changes,
        }
    )
    signatures = [
        Signature(person=person, assertion=world.sign_as(person, release.challenge, path=path))
        for person, path in signers
    ]
    return SignedRelease(release=release, signatures=signatures)


def verify_release(world: World, signed: SignedRelease) -> None:
    """Verify who has signed a release."""
    verify_signed(
        signed.release,
        signed.signatures,
        policy=world.policy,
        trust_root=world.trust_root,
        what="the release",
    )


TWO = (("cro-1", CONSOLE), ("risk-1", "approval"))


def test_officers_release(world: World) -> None:
    """A quorum, one of them by the second path."""
    signed = released(world, *TWO)
    verify_release(world, signed)
    verify_dated(signed.release, policy=world.policy, now=NOW)
    assert set(EVERY_PARTY) >= {CONSOLE, "approval"}


@pytest.mark.parametrize(
    ("signers", "changes", "code"),
    [
        pytest.param(TWO[:1], {}, Refusal.POLICY_CHAIN, id="one officer"),
        pytest.param((TWO[0], TWO[0]), {}, Refusal.POLICY_CHAIN, id="one officer twice"),
        pytest.param((("cro-1", "approval"), TWO[1]), {}, Refusal.POLICY_CHAIN, id="pages only"),
        pytest.param((TWO[0], ("pm-1", "approval")), {}, Refusal.POLICY_CHAIN, id="one who is no officer"),
        pytest.param(TWO, {"policy": "ab" * 32}, Refusal.DECISION_OTHER_POLICY, id="another policy set"),
    ],
)
def test_who_cannot_release(
    world: World, signers: tuple[tuple[str, str], ...], changes: dict[str, Any], code: Refusal
) -> None:
    """Releases that count for nothing."""
    with refused(code):
        verify_release(world, released(world, *signers, **changes))


def test_a_release_that_was_bent(world: World) -> None:
    """Signed for one scope, brought for another."""
    signed = released(world, *TWO)
    bent = SignedRelease.load(signed.dump() | {"release": signed.release.dump() | {"scopes": [KEY]}})
    with refused(Refusal.POLICY_CHAIN):
        verify_release(world, bent)


@pytest.mark.parametrize("at", [timedelta(0), timedelta(days=1)], ids=["run out", "for too long"])
def test_the_date_of_a_release(world: World, at: timedelta) -> None:
    """Consent that has ended, or that would hold whatever happens."""
    release = released(world, *TWO, expires_at=write_time(NOW + at)).release
    with refused(Refusal.EXPIRED):
        verify_dated(release, policy=world.policy, now=NOW)


def test_a_release_ends_only_what_it_knew_of(world: World) -> None:
    """Paused again at a later epoch: an older release leaves it, whenever it comes."""
    first = NOTHING_ORDERED.ordered("all").ordered(KEY)
    release = released(world, *TWO, scopes=["all", KEY], pause_epoch=2).release
    assert first.released(release).paused == {}
    again = first.released(release).ordered("all")
    assert again.released(release).paused == {"all": again.pause_epoch}


def test_a_full_list_pauses_everything() -> None:
    """Who fills the list cannot keep the next pause out."""
    orders = NOTHING_ORDERED
    for number in range(SCOPES_MAX - 1):
        orders = orders.ordered(f"key:k{number}")
    orders = orders.ordered("all").ordered("key:one-more")
    assert orders.paused["all"] == orders.pause_epoch == SCOPES_MAX + 1


def test_orders_that_cannot_be() -> None:
    """A scope that is paused at an epoch nobody has reached was written by somebody else."""
    with pytest.raises(RefusedError):
        Orders.load(NOTHING_ORDERED.dump() | {"paused": {"all": 1}})


@given(
    steps=st.lists(st.tuples(SCOPES, st.integers(0, 9), st.dictionaries(SCOPES, st.integers(0, 9)))),
)
def test_nothing_heard_takes_anything_back(steps: list[tuple[str, int, dict[str, int]]]) -> None:
    """Whatever leases say, in whichever order: no epoch goes back, no scope is lost."""
    orders = NOTHING_ORDERED
    for scope, epoch, said in steps:
        paused = {name: min(at, epoch) for name, at in said.items()}
        after = orders.heard(policy_version=epoch, revocation_epoch=0, pause_epoch=epoch, paused=paused)
        assert after.pause_epoch >= orders.pause_epoch
        assert after.policy_version >= orders.policy_version
        assert set(after.paused) >= set(orders.paused)
        assert all(after.paused[name] >= at for name, at in orders.paused.items())
        orders = after.ordered(scope)
        assert orders.paused[scope] == orders.pause_epoch == after.pause_epoch + 1
