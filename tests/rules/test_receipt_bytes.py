"""A receipt's signed bytes: the intent's or its cancel, under its nonce, by its key, as a co-signer said."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from coincurve import PrivateKey

from tests.rules.build import NONCE, TREASURY, TREASURY_KEY, World, digest_of, observer_key, refused
from tests.rules.test_receipt import Fact, check, receipt_of, story
from workbench.demo import charter
from workbench.evm.transaction import SignedTransaction, UnsignedTransaction, assemble, signature_for
from workbench.rules import carried, fees
from workbench.rules.codes import Refusal
from workbench.rules.documents import signed_bytes
from workbench.rules.evidence import ANSWER_LINE, Answer
from workbench.rules.lifecycle import Event

Json = dict[str, Any]
KEY = PrivateKey(b"\x42" * 32)


def raw(unsigned: UnsignedTransaction) -> str:
    """Return what the treasury's key signs."""
    digest = unsigned.digest()
    rs = KEY.sign_recoverable(digest, hasher=None)[:64]
    return assemble(unsigned, *signature_for(digest, rs, bytes.fromhex(TREASURY_KEY))).hex()


def signed(world: World, raw_tx: str, *, key: str = "cosigner", before: bool = False, **changes: Any) -> Json:
    """Return an entry's data: bytes, and the co-signer's answer; a refusal if one was lost before."""
    no = {"step": 7, "code": "fee_too_low_to_replace", "detail": "no"}
    answer = Answer.load(
        {
            "v": 1,
            "cosigner": charter.COSIGNER,
            "evidence": digest_of("evidence"),
            "intent": world.swap().digest,
            "signature": None if before else "00" * 65,
            "raw_tx": None if before else raw_tx,
            "refused": no if before else None,
            "signed_before": raw_tx if before else None,
            "others": [],
        }
        | changes
    )
    signature = observer_key(key).sign(signed_bytes(ANSWER_LINE, answer.canonical())).hex()
    tx_hash = SignedTransaction.parse(bytes.fromhex(raw_tx)).tx_hash.hex()
    return {
        "answer": {"answer": answer.dump(), "signature": signature},
        "raw_tx": raw_tx,
        "tx_hash": tx_hash,
    }


def way(world: World, *bytes_: tuple[Event, Json], nonce: int = NONCE) -> list[Fact]:
    """Return the story of the swap with these signatures."""
    subject = world.swap().digest
    reserved: Fact = (Event.RESERVED.value, "service", subject, {"nonce": nonce})
    return [
        *story(world),
        reserved,
        *((event.value, charter.COSIGNER, subject, data) for event, data in bytes_),
    ]


def transactions(world: World) -> tuple[UnsignedTransaction, UnsignedTransaction, UnsignedTransaction]:
    """Return the swap's first bytes, those that replace them, and those that cancel it."""
    intent = world.swap()
    first = fees.first(intent.caps, base_fee_per_gas=10**9)
    second = fees.raised(first)
    third = fees.raised(second)
    return (
        intent.transaction(NONCE, first),
        intent.transaction(NONCE, second),
        carried.cancel_of(intent, nonce=NONCE, address=TREASURY, fees=third),
    )


def test_replaced_and_cancelled(world: World) -> None:
    """Each of the bytes is verified, also those that a lost answer had."""
    first, second, cancel = transactions(world)
    facts = way(
        world,
        (Event.SIGNED, signed(world, raw(first))),
        (Event.REPLACED, signed(world, raw(second), before=True)),
        (Event.CANCEL_SIGNED, signed(world, raw(cancel))),
    )
    assert [line.type for line in check(world, receipt_of(world, facts))][-3:] == [
        "transaction.signed",
        "transaction.replaced",
        "cancel.signed",
    ]


def _bent(**changes: Any) -> Callable[[World], list[Fact]]:
    def facts(world: World) -> list[Fact]:
        first = replace(transactions(world)[0], **changes)
        return way(world, (Event.SIGNED, signed(world, raw(first))))

    return facts


def _said(**changes: Any) -> Callable[[World], list[Fact]]:
    def facts(world: World) -> list[Fact]:
        return way(world, (Event.SIGNED, signed(world, raw(transactions(world)[0]), **changes)))

    return facts


def _told(**changes: Any) -> Callable[[World], list[Fact]]:
    def facts(world: World) -> list[Fact]:
        return way(world, (Event.SIGNED, signed(world, raw(transactions(world)[0])) | changes))

    return facts


def _together(*others: Json) -> Callable[[World], list[Fact]]:
    """Return a signature of several: what the others answered is beside the first answer."""

    def facts(world: World) -> list[Fact]:
        first = signed(world, raw(transactions(world)[0]))
        answers = [{"answer": answer(world, **changes), "evidence": digest_of("e")} for changes in others]
        return way(world, (Event.SIGNED, first | {"answers": answers}))

    return facts


def answer(world: World, *, index: int = 0, **changes: Any) -> Json:
    """Return another co-signer's answer about the same bytes, or others."""
    found: Json = signed(world, raw(transactions(world)[index]), **changes)["answer"]
    return found


def _mixed(event: Event, index: int) -> Callable[[World], list[Fact]]:
    return lambda world: way(world, (event, signed(world, raw(transactions(world)[index]))))


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        pytest.param(_bent(max_fee_per_gas=101 * 10**9), Refusal.BYTES_OTHER, id="a fee over the cap"),
        pytest.param(_bent(value=1), Refusal.BYTES_OTHER, id="with value"),
        pytest.param(_bent(to=TREASURY), Refusal.BYTES_OTHER, id="to another address"),
        pytest.param(_bent(nonce=NONCE + 1), Refusal.DECISION_OTHER_NONCE, id="under another nonce"),
        pytest.param(_said(key="mallory"), Refusal.SIGNATURE, id="an answer that nobody signed"),
        pytest.param(_said(cosigner="cosigner-9"), Refusal.KEY_UNKNOWN, id="by a co-signer of nobody's"),
        pytest.param(
            _said(intent=digest_of("else")), Refusal.BYTES_OTHER, id="an answer about another intent"
        ),
        pytest.param(_told(raw_tx="02"), Refusal.BYTES_OTHER, id="other bytes than in the answer"),
        pytest.param(_told(tx_hash=digest_of("else")), Refusal.BYTES_OTHER, id="another hash"),
        pytest.param(_told(answer=None), Refusal.MALFORMED, id="no answer"),
        pytest.param(_told(answers=7), Refusal.MALFORMED, id="no list of answers"),
        pytest.param(_told(answers=["x"]), Refusal.MALFORMED, id="nothing beside the answer"),
        pytest.param(_together({}), Refusal.BYTES_OTHER, id="one answers for two"),
        pytest.param(
            _together({"key": "mallory"}), Refusal.SIGNATURE, id="another answer that nobody signed"
        ),
        pytest.param(
            _together({"cosigner": "cosigner-9"}),
            Refusal.KEY_UNKNOWN,
            id="another of a co-signer of nobody's",
        ),
        pytest.param(_together({"index": 1}), Refusal.BYTES_OTHER, id="another over other bytes"),
        pytest.param(_mixed(Event.SIGNED, 2), Refusal.BYTES_OTHER, id="a cancel, called the intent"),
        pytest.param(_mixed(Event.CANCEL_SIGNED, 1), Refusal.BYTES_OTHER, id="the intent, called a cancel"),
        pytest.param(
            lambda world: _mixed(Event.SIGNED, 0)(world)[:4] + _mixed(Event.SIGNED, 0)(world)[5:],
            Refusal.FACT_MISSING,
            id="no reservation",
        ),
    ],
)
def test_bytes_that_are_not_the_intents(
    world: World, attack: Callable[[World], list[Fact]], code: Refusal
) -> None:
    """Bytes that nobody approved, or that nobody signed, make the receipt unsound."""
    with refused(code):
        check(world, receipt_of(world, attack(world)))
