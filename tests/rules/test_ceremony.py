"""What a ledger must hold of a key's making: each lie in it is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from coincurve import PrivateKey

from tests.rules.build import World, observer_key, public, refused
from tests.rules.test_concentration import NAMES, operation
from workbench.evm.transaction import address_of
from workbench.rules.assertion import CONSOLE
from workbench.rules.ceremony import ORDER, verify_made, verify_points
from workbench.rules.codes import Refusal
from workbench.rules.documents import signed_bytes
from workbench.rules.key_operation import SignedOperation
from workbench.rules.policy import Signature
from workbench.rules.threshold import WORD_LINE, Word

POLYNOMIAL = (11, 7, 5)
"""Three sign together; the key is its value at 0, which nobody but this test knows."""
RUN = "ab" * 32
OFFICERS = (("cro-1", CONSOLE), ("risk-1", "approval"))
Json = dict[str, Any]


def secret(at: int, polynomial: tuple[int, ...] = POLYNOMIAL) -> PrivateKey:
    """Return the polynomial's value."""
    value = sum(each * at**power for power, each in enumerate(polynomial)) % ORDER
    return PrivateKey(value.to_bytes(32, "big"))


POINTS = [secret(number).public_key.format().hex() for number in range(1, 6)]
KEY = secret(0).public_key.format(compressed=False).hex()


def word(number: int, **changes: Any) -> Json:
    """Return what one co-signer says, under its identity."""
    said = {
        "v": 1,
        "run": RUN,
        "key": "sweep",
        "epoch": 1,
        "party": number,
        "stage": "held",
        "public_key": KEY,
        "points": POINTS,
        **changes,
    }
    signer = observer_key(changes.pop("by", NAMES[number - 1]))
    said.pop("by", None)
    signature = signer.sign(signed_bytes(WORD_LINE, Word.load(said).canonical()))
    return {"word": said, "signature": signature.hex()}


def made(**changes: Any) -> Json:
    """Return the data of the entry that says so."""
    words = [word(number) for number in range(1, 6)]
    return {"key": "sweep", "address": address_of(bytes.fromhex(KEY)), "words": words, **changes}


@pytest.fixture(scope="module")
def root(world: World) -> Any:
    """Return a trust root with five co-signers."""
    return world.root(cosigners={name: public(name) for name in NAMES})


def signed(world: World, presses: tuple[tuple[str, str], ...] = OFFICERS, **changes: Any) -> SignedOperation:
    """Return an order that these officers have signed."""
    order = operation(world, **changes)
    signatures = [
        Signature(person=person, assertion=world.sign_as(person, order.challenge, path=path))
        for person, path in presses
    ]
    return SignedOperation(operation=order, signatures=signatures)


def test_what_is_proven(world: World, root: Any) -> None:
    """Who ordered it and how, one address of every party, five points of one key."""
    proven = verify_made(signed(world), made(), policy=world.policy, trust_root=root)
    assert proven.officers == {"cro-1": CONSOLE, "risk-1": "approval"}
    assert [each.cosigner for each in proven.held] == NAMES
    assert {each.address for each in proven.held} == {proven.address} == {address_of(bytes.fromhex(KEY))}
    assert [each.point for each in proven.held] == POINTS


def last(said: Json) -> Json:
    """Return the entry with another last word."""
    return made(words=[*made()["words"][:4], said])


def each(**changes: Any) -> Json:
    """Return the entry in which all say something else."""
    return made(words=[word(number, **changes) for number in range(1, 6)])


OTHER = secret(1).public_key.format(compressed=False).hex()
LIES: list[tuple[str, Callable[[], Json], Refusal]] = [
    ("a word less", lambda: made(words=made()["words"][:4]), Refusal.RUN),
    ("one word twice", lambda: last(word(1)), Refusal.RUN),
    (
        "one who is only ready",
        lambda: last(word(5, stage="ready")),
        Refusal.RUN,
    ),
    ("another epoch", lambda: each(epoch=2), Refusal.RUN),
    ("another key's words", lambda: each(key="other"), Refusal.RUN),
    (
        "another run of one",
        lambda: last(word(5, run="cd" * 32)),
        Refusal.EQUIVOCATION,
    ),
    (
        "another key of one",
        lambda: last(word(5, public_key=OTHER)),
        Refusal.EQUIVOCATION,
    ),
    (
        "other points of one",
        lambda: last(word(5, points=POINTS[::-1])),
        Refusal.EQUIVOCATION,
    ),
    (
        "points of another key",
        lambda: each(public_key=OTHER),
        Refusal.SHARE,
    ),
    (
        "one point that does not fit",
        lambda: each(points=[*POINTS[:4], POINTS[0]]),
        Refusal.SHARE,
    ),
    ("another address", lambda: made(address=address_of(bytes.fromhex(OTHER))), Refusal.EQUIVOCATION),
    (
        "a word that another signed",
        lambda: last(word(5) | {"signature": word(4)["signature"]}),
        Refusal.SIGNATURE,
    ),
]


@pytest.mark.parametrize(("lie", "code"), [lie[1:] for lie in LIES], ids=[lie[0] for lie in LIES])
def test_what_is_not(world: World, root: Any, lie: Callable[[], Json], code: Refusal) -> None:
    """A ledger that says so proves no key."""
    with refused(code):
        verify_made(signed(world), lie(), policy=world.policy, trust_root=root)


@pytest.mark.parametrize(
    ("presses", "changes", "code"),
    [
        pytest.param(OFFICERS[:1], {}, Refusal.POLICY_CHAIN, id="one officer"),
        pytest.param((("cro-1", "approval"), OFFICERS[1]), {}, Refusal.POLICY_CHAIN, id="pages only"),
        pytest.param(OFFICERS, {"policy": "ab" * 32}, Refusal.DECISION_OTHER_POLICY, id="another set"),
        pytest.param(
            OFFICERS,
            {"operation": "refresh", "parameters": None},
            Refusal.DECISION_OTHER_POLICY,
            id="an order that makes no key",
        ),
        pytest.param(
            OFFICERS,
            {"parameters": {"parties": NAMES[::-1], "threshold": 3}},
            Refusal.SIGNATURE,
            id="parties in another order",
        ),
        pytest.param(
            OFFICERS,
            {"parameters": {"parties": NAMES, "threshold": 4}},
            Refusal.SHARE,
            id="a key of which fewer sign than was ordered",
        ),
    ],
)
def test_an_order_that_does_not_count(
    world: World, root: Any, presses: Any, changes: Json, code: Refusal
) -> None:
    """Words of co-signers are no key without the officers who ordered it."""
    order = signed(world, presses, **changes)
    with refused(code):
        verify_made(order, made(), policy=world.policy, trust_root=root)


def test_fewer_points_than_the_polynomial_has() -> None:
    """Two of five do not give a key that three sign for."""
    verify_points(POINTS, KEY, 3)
    with refused(Refusal.SHARE):
        verify_points(POINTS, KEY, 2)
    with refused(Refusal.SHARE):
        verify_points(POINTS, KEY, 4)
