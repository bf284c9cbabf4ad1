"""Attestations: which observer said it, when, of which block, and whether the proofs agree."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ledger.encoding import canonical
from tests.rules.build import (
    CHAIN_ID,
    CODE,
    DEPLOYMENT,
    NONCE,
    NOW,
    TREASURY,
    World,
    address,
    attest,
    attested_document,
    chain_state,
    digest_of,
    flip,
    proven,
    public,
    refused,
    statement,
)
from workbench.rules.attestation import (
    FUTURE_S,
    HEADER_LINE,
    SIMULATION_LINE,
    AttestedState,
    Call,
    ProvenAccount,
    Simulation,
    State,
    Statement,
    verify_simulation,
    verify_state,
)
from workbench.rules.codes import Refusal
from workbench.rules.documents import write_time

AGE = 60
TWO = {"observers": {"observer": public("observer"), "second": public("second")}, "observer_quorum": 2}


def at(**delta: float) -> str:
    """Return a time relative to noon."""
    return write_time(NOW + timedelta(**delta))


def seen(world: World, *statements: Statement, **root: Any) -> Simulation:
    """Verify simulations of the swap, at noon."""
    return verify_simulation(
        statements,
        intent=world.swap(),
        call=Call.of(world.swap(), TREASURY),
        trust_root=world.root(**root),
        now=NOW,
        age_s_max=AGE,
    )


def standing(world: World, *states: AttestedState, **root: Any) -> State:
    """Verify attested states, at noon."""
    return verify_state(states, trust_root=world.root(**root), now=NOW, age_s_max=AGE)


# simulations

ITEM = {
    "standard": "erc721", "asset": DEPLOYMENT.weth, "id": "17", "from": TREASURY, "to": DEPLOYMENT.router,
    "amount": "1",
}  # fmt: skip
RIGHT = {
    "owner": TREASURY,
    "spender": DEPLOYMENT.router,
    "asset": DEPLOYMENT.weth,
    "id": None,
    "approved": True,
}


def test_single_tokens_to_the_largest_number(world: World) -> None:
    """What an observer tells of single tokens is read as it was signed, to the last bit."""
    largest = str(2**256 - 1)
    told = [ITEM | {"id": largest}, ITEM | {"standard": "erc1155", "amount": largest, "to": None}]
    document = world.simulation(world.swap(), items=told, rights=[RIGHT, RIGHT | {"id": largest}])
    raw = seen(world, attest(document)).dump()
    assert (raw["items"], raw["rights"][1]["id"]) == (told, largest)


def test_an_attested_simulation(world: World) -> None:
    """What the observer signed is what is returned, under the name that decisions cite."""
    simulation = world.simulation(world.swap())
    assert seen(world, attest(simulation)) == simulation
    assert seen(world, attest(simulation)).digest == simulation.digest


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"intent": digest_of("other")}, Refusal.SIMULATION_OTHER, id="another intent"),
        pytest.param({"intent": None}, Refusal.SIMULATION_OTHER, id="no intent"),
        pytest.param({"chain_id": 1}, Refusal.SIMULATION_OTHER, id="another chain"),
        pytest.param(
            {"call": digest_of("harmless")},
            Refusal.SIMULATION_OTHER,
            id="another call under this intent's name",
        ),
        pytest.param({"sender": DEPLOYMENT.weth}, Refusal.SIMULATION_OTHER, id="another account's"),
        pytest.param({"at": at(seconds=-AGE - 1)}, Refusal.ATTESTATION_STALE, id="a second too old"),
        pytest.param({"at": at(seconds=FUTURE_S + 1)}, Refusal.ATTESTATION_STALE, id="of the future"),
        pytest.param({"at": at(days=300)}, Refusal.ATTESTATION_STALE, id="fresh for ever"),
    ],
)
def test_a_simulation_of_something_else(world: World, changes: dict[str, Any], code: Refusal) -> None:
    """Rightly signed, and not about this, here and now."""
    with refused(code):
        seen(world, attest(world.simulation(world.swap(), **changes)))


@pytest.mark.parametrize("seconds", [-AGE, 0, FUTURE_S])
def test_the_edges_of_freshness(world: World, seconds: int) -> None:
    """The oldest and the newest that count."""
    seen(world, attest(world.simulation(world.swap(), at=at(seconds=seconds))))


@pytest.mark.parametrize(
    ("document", "path"),
    [
        pytest.param({"v": 2}, "/v", id="another version"),
        pytest.param({"extra": 1}, "/extra", id="an unknown field"),
        pytest.param({"gas": "1"}, "/gas", id="a number as text"),
        pytest.param({"slippage_bps": "1"}, "/slippage_bps", id="slippage as text"),
        pytest.param({"loss": {"asset": "ETH", "amount": "-0"}}, "/loss/amount", id="a loss of minus zero"),
        pytest.param(
            {"deltas": [{"account": "x", "asset": "ETH", "amount": "1"}]},
            "/deltas/0/account",
            id="no account",
        ),
        pytest.param({"items": None}, "/items", id="no single tokens at all"),
        pytest.param({"items": [ITEM | {"id": str(2**256)}]}, "/items/0/id", id="a number of 257 bits"),
        pytest.param({"items": [ITEM | {"id": "-1"}]}, "/items/0/id", id="a number below nought"),
        pytest.param({"items": [ITEM | {"id": "017"}]}, "/items/0/id", id="a number with a nought before it"),
        pytest.param({"items": [ITEM | {"id": 17}]}, "/items/0/id", id="a number as a number"),
        pytest.param({"items": [ITEM | {"amount": str(2**256)}]}, "/items/0/amount", id="257 bits of it"),
        pytest.param({"items": [ITEM | {"amount": "0"}]}, "/items/0", id="none of a token"),
        pytest.param(
            {"items": [ITEM | {"amount": "2"}]}, "/items/0", id="two of a token of which there is one"
        ),
        pytest.param({"items": [ITEM | {"to": TREASURY}]}, "/items/0", id="a token that stays"),
        pytest.param({"items": [ITEM | {"from": None, "to": None}]}, "/items/0", id="a token of nobody's"),
        pytest.param({"items": [ITEM | {"standard": "erc20"}]}, "/items/0/standard", id="another standard"),
        pytest.param(
            {"items": [ITEM | {"giver": TREASURY}]}, "/items/0/giver", id="a giver under another name"
        ),
        pytest.param(
            {"items": [{name: value for name, value in ITEM.items() if name != "from"}]},
            "/items/0/from",
            id="a token from nowhere",
        ),
        pytest.param({"items": [ITEM] * 65}, "/items", id="more single tokens than are read"),
        pytest.param({"rights": [RIGHT] * 65}, "/rights", id="more rights than are read"),
        pytest.param({"rights": [RIGHT | {"approved": 1}]}, "/rights/0/approved", id="a right of one"),
        pytest.param({"rights": [RIGHT | {"id": str(2**256)}]}, "/rights/0/id", id="a right of 257 bits"),
    ],
)
def test_a_signed_document_that_is_no_simulation(world: World, document: dict[str, Any], path: str) -> None:
    """An observer's signature does not make a document of one."""
    raw = world.simulation(world.swap()).dump() | document
    with refused(Refusal.MALFORMED, path):
        seen(world, statement("observer", SIMULATION_LINE, raw))


def test_who_signed_a_simulation(world: World) -> None:
    """Unknown observers, foreign keys, other domain lines and changed documents are refused."""
    simulation = world.simulation(world.swap())
    good = attest(simulation)
    with refused(Refusal.OBSERVER_UNKNOWN):
        seen(world, attest(simulation, "stranger"))
    with refused(Refusal.SIGNATURE):
        seen(
            world,
            Statement(
                document=good.document,
                observer="observer",
                signature=attest(simulation, "stranger").signature,
            ),
        )
    with refused(Refusal.SIGNATURE):
        seen(world, Statement(document=good.document, observer="observer", signature=flip(good.signature)))
    with refused(Refusal.SIGNATURE):
        seen(
            world,
            Statement(document=good.document | {"gas": 1}, observer="observer", signature=good.signature),
        )
    with refused(Refusal.SIGNATURE):
        seen(world, statement("observer", HEADER_LINE, simulation.dump()))
    with refused(Refusal.FACT_MISSING):
        seen(world)


def test_two_observers_are_two_people(world: World) -> None:
    """A quorum of two needs two names of the trust root, over the same facts."""
    simulation = world.simulation(world.swap())
    later = world.simulation(world.swap(), at=at(seconds=-1))
    one, two = attest(simulation), attest(later, "second")
    assert seen(world, one, two, **TWO) == simulation
    for statements in ([one], [one, one], [one, attest(later)]):
        with refused(Refusal.FACT_MISSING):
            seen(world, *statements, **TWO)
    other = world.simulation(world.swap(), gas=1)
    with refused(Refusal.SIMULATION_OTHER):
        seen(world, one, attest(other, "second"), **TWO)


@pytest.mark.parametrize("order", [1, -1])
def test_one_observer_does_not_freshen_anothers_word(world: World, order: int) -> None:
    """A liar's "now" beside an honest statement of an hour ago is stale, whichever stands first."""
    fresh = attest(world.simulation(world.swap()))
    stale = attest(world.simulation(world.swap(), at=at(hours=-1)), "second")
    with refused(Refusal.ATTESTATION_STALE):
        seen(world, *[fresh, stale][::order], **TWO)


# state


def test_accounts_under_an_attested_header(world: World) -> None:
    """What the proofs say is what holds, at the header's time."""
    state = standing(world, world.state())
    assert (state.block_number, state.block_time) == (100, NOW - timedelta(seconds=12))
    assert state.attested_at == NOW - timedelta(seconds=4)
    assert (state.account(TREASURY).nonce, state.account(TREASURY).balance) == (NONCE, 10**19)
    assert state.account(DEPLOYMENT.router).code_hash.hex() == CODE[DEPLOYMENT.router]
    with refused(Refusal.FACT_MISSING, "/accounts"):
        state.account(address("somebody"))


def _account(index: int, **changes: Any) -> Callable[[World], AttestedState]:
    def bend(world: World) -> AttestedState:
        good = world.state()
        told = list(good.accounts)
        told[index] = ProvenAccount.load(told[index].dump() | changes)
        return good.model_copy(update={"accounts": told})

    return bend


def _header(document: dict[str, Any] | None = None, **fields: Any) -> Callable[[World], AttestedState]:
    """Attest to one header and show another, with the document or the header bent."""

    def bend(world: World) -> AttestedState:
        _, header = chain_state()
        _, shown = chain_state(**fields)
        good = world.state()
        signed = statement("observer", HEADER_LINE, attested_document(header) | (document or {}))
        return good.model_copy(update={"attestation": signed, "header": shown.encode().hex()})

    return bend


def _block(**changes: Any) -> dict[str, Any]:
    _, header = chain_state()
    return {"block": attested_document(header)["block"] | changes}


def _another_trie(world: World) -> AttestedState:
    """Show proofs of a richer treasury under the honest header."""
    trie, _ = chain_state({"balance": 10**30})
    return world.state().model_copy(update={"accounts": [proven(trie, TREASURY)]})


def _other_address(world: World) -> AttestedState:
    router = world.state().accounts[1]
    return world.state().model_copy(
        update={"accounts": [ProvenAccount.load(router.dump() | {"address": TREASURY})]}
    )


@pytest.mark.parametrize(
    ("bend", "code"),
    [
        pytest.param(
            _account(0, balance=str(10**30)), Refusal.PROOF, id="a balance that differs from its proof"
        ),
        pytest.param(_account(0, nonce=0), Refusal.PROOF, id="a nonce that differs from its proof"),
        pytest.param(_account(1, code_hash=digest_of("evil")), Refusal.PROOF, id="a code hash that differs"),
        pytest.param(
            _account(0, storage_root=digest_of("evil")), Refusal.PROOF, id="a storage root that differs"
        ),
        pytest.param(_account(0, proof=[]), Refusal.PROOF, id="no proof"),
        pytest.param(_account(0, proof=["c0"]), Refusal.PROOF, id="an empty node as proof"),
        pytest.param(_another_trie, Refusal.PROOF, id="a proof under another root"),
        pytest.param(_other_address, Refusal.PROOF, id="another account's proof"),
        pytest.param(_header(number=101), Refusal.PROOF, id="another header than the attested one"),
        pytest.param(_header(state_root=b"\1" * 32), Refusal.PROOF, id="a header with another state root"),
        pytest.param(
            _header(_block(hash=digest_of("x"))), Refusal.PROOF, id="a hash that is not the header's"
        ),
        pytest.param(
            _header(_block(state_root=digest_of("x"))),
            Refusal.PROOF,
            id="a state root that is not the header's",
        ),
        pytest.param(_header(_block(number=99)), Refusal.PROOF, id="a number that is not the header's"),
        pytest.param(_header({"chain_id": 1}), Refusal.CHAIN_OTHER, id="another chain"),
        pytest.param(_header({"at": at(seconds=-AGE - 1)}), Refusal.ATTESTATION_STALE, id="stale"),
        pytest.param(
            _header({"at": at(seconds=FUTURE_S + 1)}), Refusal.ATTESTATION_STALE, id="of the future"
        ),
        pytest.param(_header({"v": 2}), Refusal.MALFORMED, id="another version"),
        pytest.param(
            lambda world: world.state().model_copy(update={"header": "c0"}), Refusal.PROOF, id="no header"
        ),
        pytest.param(
            lambda world: world.state(observer="stranger"), Refusal.OBSERVER_UNKNOWN, id="an unknown observer"
        ),
    ],
)
def test_a_state_that_does_not_hold(
    world: World, bend: Callable[[World], AttestedState], code: Refusal
) -> None:
    """Signature, header, root and proof must be of one block, and fresh."""
    with refused(code):
        standing(world, bend(world))


def test_roots_count_without_accounts(world: World) -> None:
    """A root that is not the header's is refused also where no account is to be proven under it."""
    lying = _header(_block(state_root=digest_of("x")))(world).model_copy(update={"accounts": []})
    with refused(Refusal.PROOF):
        standing(world, lying)


def test_a_header_of_no_calendar(world: World) -> None:
    """A header's second may be any number; one that is no date is refused, not a crash."""
    for second in (2**63, 2**255, 10**12):
        trie, header = chain_state(timestamp=second)
        state = AttestedState(
            attestation=statement("observer", HEADER_LINE, attested_document(header)),
            header=header.encode().hex(),
            accounts=[proven(trie, TREASURY)],
        )
        with refused(Refusal.PROOF):
            standing(world, state)


def test_too_many_accounts(world: World) -> None:
    """The number of accounts is limited before any proof is read."""
    state = world.state().dump()
    with refused(Refusal.MALFORMED, "/accounts"):
        AttestedState.load(state | {"accounts": state["accounts"] * 9})


def test_state_needs_its_quorum(world: World) -> None:
    """Two observers of the trust root, one block, both fresh."""
    one, two = world.state(), world.state(observer="second", at=at(seconds=-9))
    assert standing(world, one, two, **TWO).attested_at == NOW - timedelta(seconds=9)
    for states in ([], [one], [one, one]):
        with refused(Refusal.FACT_MISSING):
            standing(world, *states, **TWO)
    other = world.state(observer="second", account={"balance": 1})
    with refused(Refusal.PROOF):
        standing(world, one, other, **TWO)
    old = world.state(observer="second", at=at(hours=-1))
    for states in ([one, old], [old, one]):
        with refused(Refusal.ATTESTATION_STALE):
            standing(world, *states, **TWO)


def test_the_statement_is_what_was_signed(world: World) -> None:
    """The bytes under the signature are the canonical document, nothing less."""
    state = world.state()
    assert state.attestation.document["chain_id"] == CHAIN_ID
    assert canonical(state.dump(), limit=2**20) == state.canonical()
