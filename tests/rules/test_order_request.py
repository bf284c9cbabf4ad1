"""Orders on their way from officer to officer: what one of them is asked to sign, and what he is not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.rules.build import NOW, World, refused
from tests.rules.test_pause import TWO, released
from workbench.approver.console import WIDTH, printed
from workbench.demo import charter
from workbench.rules import order_request, shown_order
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import write_time
from workbench.rules.key_operation import SignedOperation
from workbench.rules.order_request import AskedOrder, OrderRequest
from workbench.rules.words import words

Json = dict[str, Any]


def asked(world: World, request: OrderRequest, person: str = "risk-1") -> AskedOrder:
    """Verify a request as this officer's machine does."""
    return order_request.verify(request, person=person, trust_root=world.trust_root, now=NOW)


def release(world: World, *signers: tuple[str, str], **changes: Any) -> OrderRequest:
    """Return a release on its way."""
    signed = released(world, *signers, **changes)
    return OrderRequest(v=1, release=signed, key=None, policy_chain=[world.policy.dump()])


def operation(world: World, **changes: Any) -> OrderRequest:
    """Return an operation on its way: the end of a key that no set lists, if not changed."""
    drafted = {
        "v": 1,
        "operation": "destroy",
        "key": "old",
        "epoch": 3,
        "parameters": None,
        "policy": world.policy.digest,
        "reason": "replaced",
        "nonce": "ab" * 16,
        "expires_at": write_time(NOW + timedelta(minutes=5)),
        **changes,
    }
    signed = SignedOperation.load({"operation": drafted, "signatures": []})
    return OrderRequest(v=1, release=None, key=signed, policy_chain=[world.policy.dump()])


def test_one_after_the_other(world: World) -> None:
    """Each officer sees whose signatures count already; a request carries one more when he has signed."""
    request = release(world, TWO[0])
    assert asked(world, request).signers == {"cro-1": "console"}
    (second,) = released(world, TWO[1]).signatures
    assert asked(world, request.signed(second)).signers == {"cro-1": "console", "risk-1": "approval"}


def test_a_signature_over_something_else_is_not_counted(world: World) -> None:
    """It neither counts nor stands in the way."""
    (other,) = released(world, TWO[1], reason="another").signatures
    assert asked(world, release(world, TWO[0]).signed(other)).signers == {"cro-1": "console"}


@pytest.mark.parametrize(
    ("make", "changes", "person", "code"),
    [
        pytest.param(
            release, {"policy": "ab" * 32}, "risk-1", Refusal.DECISION_OTHER_POLICY, id="another set"
        ),
        pytest.param(release, {"expires_at": write_time(NOW)}, "risk-1", Refusal.EXPIRED, id="run out"),
        pytest.param(release, {}, "pm-1", Refusal.ROLE_NOT_HELD, id="no officer"),
        pytest.param(release, {}, "nobody", Refusal.PERSON_UNKNOWN, id="nobody"),
        pytest.param(operation, {"key": charter.KEY_ID}, "risk-1", Refusal.STATE, id="a key in use"),
        pytest.param(operation, {"operation": "refresh"}, "risk-1", Refusal.KEY_UNKNOWN, id="an unknown key"),
    ],
)
def test_what_is_not_asked(world: World, make: Any, changes: Json, person: str, code: Refusal) -> None:
    """Refused at the officer's own machine, before he touches his key."""
    with refused(code):
        asked(world, make(world, **changes), person)


def test_one_order_at_a_time(world: World) -> None:
    """A file with two orders, or with none, is none."""
    both = release(world).dump() | {"key": operation(world).dump()["key"]}
    for value in (both, both | {"key": None, "release": None}):
        with pytest.raises(RefusedError):
            OrderRequest.load(value)


@pytest.mark.parametrize("make", [release, operation])
def test_what_is_read(world: World, make: Any) -> None:
    """Everything stands there, in lines that a terminal holds: what is done, who has signed, the words."""
    seen = asked(world, make(world))
    text = printed(shown_order.sections(seen, now=NOW), title=shown_order.title(seen))
    assert max(map(len, text.splitlines())) <= WIDTH
    for told in (
        seen.order.reason,
        words(seen.order.challenge.hex()),
        "0 of 2 officers",
        "5 minutes from now",
    ):
        assert told in text
    assert "!! " in text
