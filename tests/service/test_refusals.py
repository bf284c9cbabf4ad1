"""What the service refuses: by name, recorded, and with nothing else changed."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.encoding import canonical
from tests.world import Living, living, refused
from workbench import client
from workbench.client import Client, ProblemError
from workbench.demo import charter, people
from workbench.demo.people import Officer
from workbench.demo.world import OBSERVER, SERVICE
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import Decision, SignedDecision
from workbench.rules.documents import signed_bytes, write_time
from workbench.rules.intent import Intent
from workbench.rules.session import REQUEST_LINE, Request

ELSEWHERE = {"size": 1, "root": "00" * 32, "h": "00" * 32}


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """One world for all refusals: each leaves it as it was."""
    with living(second_key=("risk-1",)) as built:
        yield built


def proposal(world: Living, **changes: Any) -> dict[str, Any]:
    """Return a proposal whose intent was changed and then signed."""
    return world.pm.proposal(world.allowance(**changes)).dump()


def post(world: Living, value: dict[str, Any]) -> object:
    """Post a proposal as JSON."""
    return world.pm.post("/v1/intents", value)


def altered(world: Living, **changes: Any) -> bytes:
    """Return a proposal's bytes with fields of the intent changed after signing, valid or not."""
    value = proposal(world)
    value["intent"] |= changes
    return canonical(value)


UNKNOWN = "0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB"
MALFORMED: list[Any] = [
    pytest.param(lambda w: altered(w, surprise=1), "/intent/surprise", id="unknown field"),
    pytest.param(
        lambda w: altered(w).replace(b'"gas_max":100000', b'"gas_max":1e5'), "/intent/gas_max", id="float"
    ),
    pytest.param(lambda w: altered(w, gas_max="100000"), "/intent/gas_max", id="number as text"),
    pytest.param(lambda w: altered(w, to=UNKNOWN.lower()), "/intent/to", id="address without checksum"),
    pytest.param(lambda w: altered(w, value="-1"), "/intent/value", id="negative amount"),
    pytest.param(lambda w: altered(w, gas_max=-1), "/intent/gas_max", id="negative number"),
    pytest.param(lambda w: altered(w, value="007"), "/intent/value", id="leading zeros"),
    pytest.param(lambda w: altered(w).replace(b'"v":1', b'"v":1,"v":1', 1), None, id="duplicate key"),
    pytest.param(lambda w: altered(w).replace(b":", b": ", 1), None, id="not canonical"),
    pytest.param(lambda _: b"", None, id="empty"),
    pytest.param(lambda _: b"\xff\xfe", None, id="not text"),
    pytest.param(lambda _: b"[" * 5000, None, id="deep"),
]


@pytest.mark.parametrize(("make", "path"), MALFORMED)
def test_malformed_proposals(world: Living, make: Callable[[Living], bytes], path: str | None) -> None:
    """A malformed proposal is refused with the field's path and recorded; nothing else happens."""
    body = make(world)
    with world.unchanged(refusals=1):
        problem = refused("malformed", lambda: world.pm.post_raw("/v1/intents", body))
    assert problem.status == 400
    assert path is None or problem.path.startswith(path), problem.path


def soon(**delta: float) -> str:
    """Return a moment from now."""
    return write_time(datetime.now(UTC) + timedelta(**delta))


INADMISSIBLE: list[Any] = [
    pytest.param({"expires_at": soon(hours=-1)}, "expired", id="expired"),
    pytest.param({"expires_at": soon(hours=7)}, "expired", id="lives too long"),
    pytest.param({"chain_id": 1}, "other_chain", id="another chain"),
    pytest.param({"key": "somebody-elses"}, "key_unknown", id="unknown key"),
    pytest.param({"proposer": "trader-1"}, "session_of_another", id="in another's name"),
    pytest.param({"gas_max": 30_000_000}, "own_limit_exceeded", id="gas over the limit"),
    pytest.param({"max_priority_fee_per_gas": 60 * 10**9}, "malformed", id="tip over the fee"),
]


@pytest.mark.parametrize(("changes", "code"), INADMISSIBLE)
def test_inadmissible_proposals(world: Living, changes: dict[str, Any], code: str) -> None:
    """A well-formed proposal that the desk cannot speak of is refused by name."""
    with world.unchanged(refusals=1):
        refused(code, lambda: post(world, proposal(world, **changes)))


def test_unknown_asset(world: Living) -> None:
    """An asset without a signed reference price cannot be counted towards a limit."""
    spent = world.allowance().dump()["allowances"]
    spent[0]["asset"] = UNKNOWN
    with world.unchanged(refusals=1):
        refused(
            "asset_unknown",
            lambda: post(world, proposal(world, allowances=spent)),
            path="/allowances/0/asset",
        )


def test_over_32_kib(world: Living) -> None:
    """An intent has its own size limit, below a body's."""
    with world.unchanged(refusals=1):
        refused("too_large", lambda: post(world, proposal(world, data="00" * 17_000)))


def test_same_id_with_other_bytes(world: Living) -> None:
    """An intent's id names one intent for ever; the same bytes again are the same proposal."""
    first = world.allowance()
    view = world.pm.propose(first)
    assert world.pm.propose(first).digest == view.digest
    other = Intent.load({**first.dump(), "purpose": "another one"})
    with world.unchanged(refusals=1):
        refused("id_reused_with_other_bytes", lambda: world.pm.propose(other))


def signed_headers(world: Living, method: Literal["GET"], path: str) -> dict[str, str]:
    """Return the headers of one request without a body."""
    request = Request(
        v=1,
        session=world.pm.certified.session.digest,
        method=method,
        path=path,
        body=hashlib.sha256(b"").hexdigest(),
        nonce=secrets.token_hex(16),
        at=write_time(datetime.now(UTC)),
    ).canonical()
    return {
        "Workbench-Request": base64.b64encode(request).decode(),
        "Workbench-Signature": world.pm.key.sign(signed_bytes(REQUEST_LINE, request)).hex(),
    }


def test_replayed_request(world: Living) -> None:
    """A request counts once, even the very same bytes."""
    headers = signed_headers(world, "GET", "/v1/intents")
    client.send(world.socket, "GET", "/v1/intents", b"", headers)
    with world.unchanged(refusals=1):
        refused("replayed", lambda: client.send(world.socket, "GET", "/v1/intents", b"", headers))


def test_replays_at_once(world: Living) -> None:
    """Of many copies of one request that arrive together exactly one is answered."""
    headers = signed_headers(world, "GET", "/v1/intents")

    def once(_: int) -> str:
        try:
            client.send(world.socket, "GET", "/v1/intents", b"", headers)
        except ProblemError as problem:
            return problem.code
        return "answered"

    with world.unchanged(refusals=23), ThreadPoolExecutor(24) as pool:
        assert Counter(pool.map(once, range(24))) == {"answered": 1, "replayed": 23}


def test_foreign_session_key(world: Living) -> None:
    """A session's name without its key is nothing."""
    thief = Client(world.socket, Ed25519PrivateKey.generate(), world.pm.certified)
    with world.unchanged(refusals=1):
        refused("signature_invalid", thief.intents)


def test_no_session(world: Living) -> None:
    """Without a signed request nothing is even read."""
    with world.unchanged(refusals=1):
        refused("session_unknown", lambda: client.send(world.socket, "GET", "/v1/intents", b"", {}))


def test_proposal_of_another_session(world: Living) -> None:
    """A proposal must come from the session that signed it."""
    value = world.pm.proposal(world.allowance()).dump()
    other = world.officer("trader-1").speaks
    with world.unchanged(refusals=1):
        refused("session_of_another", lambda: other.post("/v1/intents", value))


def test_trader_cannot_take_a_bundle(world: Living) -> None:
    """Least privilege: a role that keeps no books takes none away."""
    with world.unchanged(refusals=1):
        refused("role_not_held", world.officer("trader-1").speaks.bundle)


def test_third_session(world: Living) -> None:
    """A person has at most two sessions at once, and sees them; one that is ended makes room."""
    person = "committee-1"
    first, second = (charter_login(world, person).speaks for _ in range(2))
    with world.unchanged(refusals=1):
        refused("session_ended", lambda: charter_login(world, person))
    assert {each.session for each in first.sessions()} == {
        each.certified.session.digest for each in (first, second)
    }
    first.logout()
    with world.unchanged(refusals=1):
        refused("session_ended", first.sessions)
    with world.unchanged(refusals=1):
        refused("role_not_held", lambda: world.pm.end(second.certified.session.digest))
    charter_login(world, person).speaks.logout()
    world.officer("admin-1").speaks.end(second.certified.session.digest)
    with world.unchanged(refusals=1):
        refused("session_ended", second.sessions)


def test_renewal(world: Living, waiting: str) -> None:
    """Over the socket: a session renews itself with a press, and nobody else's; its tickets end with it."""
    person = "committee-1"
    first, second = (charter_login(world, person).speaks for _ in range(2))
    ticket = first.ask(waiting).ticket
    path = f"/v1/sessions/{first.certified.session.digest}/renewal"
    body = {"public_key": "ab" * 32}
    with world.unchanged(refusals=5):
        refused("session_ended", lambda: charter_login(world, person))
        refused("session_unknown", lambda: client.send(world.socket, "POST", path, canonical(body), {}))
        refused("session_of_another", lambda: second.post(path, body))
        refused("session_of_another", lambda: world.officer("admin-1").speaks.post(path, body))
        refused("malformed", lambda: first.post(path, body | {"person": "admin-1"}))
    key, session = first.open_renewal()
    assert client.certified(world.socket, session) is None
    certified = people.sign_login(
        session,
        person=person,
        folder=world.world.places.officers,
        socket=world.socket,
        policy=world.world.policy,
        party=world.world.trust_root.login,
    )
    renewed = client.Client(world.socket, key, certified)
    with world.unchanged(refusals=2):
        refused("session_ended", first.sessions)
        refused("session_ended", lambda: client.asked(world.socket, ticket))
    open_now = {each.certified.session.digest for each in (renewed, second)}
    assert {each.session for each in second.sessions()} == open_now
    for each in (renewed, second):
        each.logout()


def test_access_review(world: Living) -> None:
    """Who holds what is for those to see who review it."""
    reviewed = {each.person: each for each in world.officer("auditor-1").speaks.access()}
    assert reviewed["cro-1"].roles == ["cro", "committee"]
    assert (reviewed["cro-1"].left, reviewed["cro-1"].credentials) == (False, 5)
    with world.unchanged(refusals=1):
        refused("role_not_held", world.pm.access)


def charter_login(world: Living, person: str) -> Officer:
    """Log a person in anew."""
    places = world.world.places
    return Officer.log_in(
        person,
        folder=places.officers,
        socket=world.socket,
        policy=world.world.policy,
        trust_root=world.world.trust_root,
    )


@pytest.fixture
def waiting(world: Living) -> Iterator[str]:
    """Return an intent that waits for approval; it is rejected afterwards."""
    digest = world.outstanding().digest
    # who is asked first has the nonce reserved, so that a refusal changes nothing more
    world.officer("risk-1").speaks.ask(digest)
    yield digest
    world.officer("cro-1").decide(digest, verb="reject", role="cro", reason="end of the test")


def drafted(world: Living, digest: str, person: str, role: str, verb: str = "approve") -> SignedDecision:
    """Return a person's decision, signed but not handed in; whether he may say that is not asked."""
    return world.officer(person).sign(about(world, digest, person, role=role, verb=verb))


def about(world: Living, digest: str, person: str, **said: str) -> Decision:
    """Return what a person was asked, with something said that he was not offered."""
    officer = world.officer(person)
    (role, *_) = world.world.policy.person(person).roles
    offered = officer.decision(digest, verb="reject", role=role, reason="a test")
    return Decision.load({**offered.dump(), **said})


def hand_in(world: Living, person: str, digest: str, signed: SignedDecision) -> object:
    """Hand a decision in at an intent."""
    return world.officer(person).speaks.post(f"/v1/intents/{digest}/decisions", signed.dump())


def test_forged_assertion(world: Living, waiting: str) -> None:
    """A signature that the credential did not make does not count."""
    signed = drafted(world, waiting, "risk-1", "risk_officer")
    twin = drafted(world, waiting, "risk-1", "risk_officer")
    forged = SignedDecision(
        decision=signed.decision,
        assertion=signed.assertion.model_copy(update={"signature": twin.assertion.signature}),
    )
    with world.unchanged(refusals=1):
        refused("assertion_invalid", lambda: hand_in(world, "risk-1", waiting, forged))


def test_assertion_over_another_intent(world: Living, waiting: str) -> None:
    """Consent to one intent is none to another, whether the document or only the assertion is moved."""
    other = world.outstanding().digest
    signed = drafted(world, other, "risk-1", "risk_officer")
    view = world.pm.intent(waiting)
    elsewhere = {"intent": waiting, "nonce": view.nonce, "simulation": view.simulated.digest}
    moved = Decision.load({**signed.decision.dump(), **elsewhere})
    relabelled = SignedDecision(decision=moved, assertion=signed.assertion)
    with world.unchanged(refusals=2):
        refused("decision_over_another_intent", lambda: hand_in(world, "risk-1", waiting, signed))
        refused("assertion_over_something_else", lambda: hand_in(world, "risk-1", waiting, relabelled))
    world.officer("cro-1").decide(other, verb="reject", role="cro", reason="end of the test")


def test_rejection_presented_as_approval(world: Living, waiting: str) -> None:
    """A no cannot be turned into a yes."""
    signed = drafted(world, waiting, "risk-1", "risk_officer", verb="reject")
    turned = Decision.load({**signed.decision.dump(), "verb": "approve"})
    with world.unchanged(refusals=1):
        refused(
            "assertion_over_something_else",
            lambda: hand_in(
                world, "risk-1", waiting, SignedDecision(decision=turned, assertion=signed.assertion)
            ),
        )


def test_login_assertion_as_approval(world: Living, waiting: str) -> None:
    """A press for the login origin approves nothing."""
    decision = about(world, waiting, "risk-1", verb="approve")
    person = world.world.policy.person("risk-1")
    credential = next(each.id for each in person.credentials if each.path == "login")
    device = charter.authenticator(world.world.places.officers, "risk-1", world.world.trust_root.login)
    signed = SignedDecision(
        decision=decision, assertion=device.sign(decision.challenge, credential=credential)
    )
    with world.unchanged(refusals=1):
        refused("credential_unknown", lambda: hand_in(world, "risk-1", waiting, signed))


def test_proposer_approves_himself(world: Living, waiting: str) -> None:
    """Nobody is two pairs of eyes."""
    signed = drafted(world, waiting, "pm-1", "portfolio_manager")
    with world.unchanged(refusals=1):
        refused("decision_by_the_proposer", lambda: hand_in(world, "pm-1", waiting, signed))


@pytest.mark.parametrize("person", ["auditor-1", "trader-1"])
def test_who_is_not_concerned(world: Living, waiting: str, person: str) -> None:
    """Who neither proposed nor approves is not asked, and cannot void consent by a new simulation."""
    speaks = world.officer(person).speaks
    with world.unchanged(refusals=2):
        refused("role_not_held", lambda: speaks.ask(waiting))
        refused("role_not_held", lambda: speaks.simulate(waiting))


def test_role_that_is_not_held(world: Living, waiting: str) -> None:
    """A risk officer cannot decide as the chief: what he is shown does not offer it, nor does it count."""
    officer = world.officer("risk-1")
    as_chief = drafted(world, waiting, "risk-1", "cro")
    with pytest.raises(RefusedError) as caught:
        officer.decision(waiting, verb="approve", role="cro", reason="")
    assert caught.value.code is Refusal.ROLE_NOT_HELD
    with world.unchanged(refusals=1):
        refused("role_not_held", lambda: hand_in(world, "risk-1", waiting, as_chief))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"server_nonce": "00" * 32}, "replayed", id="a nonce that nobody handed out"),
        pytest.param({"ledger": ELSEWHERE}, "checkpoint_invalid", id="another ledger"),
    ],
)
def test_decision_that_was_not_asked(
    world: Living, waiting: str, changes: dict[str, object], code: str
) -> None:
    """A document that does not follow from what was shown counts for nothing."""
    officer = world.officer("risk-1")
    offered = officer.decision(waiting, verb="approve", role="risk_officer", reason="")
    invented = officer.sign(Decision.load({**offered.dump(), **changes}))
    with world.unchanged(refusals=1):
        refused(code, lambda: hand_in(world, "risk-1", waiting, invented))


def test_a_ticket_of_somebody_else(world: Living, waiting: str) -> None:
    """What one person was asked, another cannot answer; an answer uses the ticket up."""
    risk, committee = world.officer("risk-1"), world.officer("committee-1")
    asked = risk.decision(waiting, verb="abstain", role="risk_officer", reason="a test")
    taken = {"person": "committee-1", "role": "committee"}
    stolen = committee.sign(Decision.load({**asked.dump(), **taken}))
    with world.unchanged(refusals=2):
        refused("replayed", lambda: hand_in(world, "committee-1", waiting, stolen))
        refused("not_found", lambda: client.asked(world.socket, "00" * 32))
    risk.speaks.decide(risk.sign(asked))
    again = risk.sign(asked)
    with world.unchanged(refusals=1):
        refused("person_counted_already", lambda: hand_in(world, "risk-1", waiting, again))


def test_a_ticket_ends_with_its_session(world: Living, waiting: str) -> None:
    """Whoever has logged out is shown nothing any more, and brings no decision back."""
    officer = charter_login(world, "committee-1")
    ticket = officer.speaks.ask(waiting).ticket
    signed = officer.sign(officer.decision(waiting, verb="abstain", role="committee", reason="a test"))
    assert client.asked(world.socket, ticket).person == "committee-1"
    officer.speaks.logout()
    with world.unchanged(refusals=2):
        refused("session_ended", lambda: client.asked(world.socket, ticket))
        refused("session_ended", lambda: client.answer(world.socket, ticket, signed))


def test_what_another_process_refused(world: Living) -> None:
    """It is recorded as that process's word; what is no refusal is not."""
    with world.unchanged(refusals=2):
        told = RefusedError(Refusal.ASSERTION, "Host: evil.example")
        client.report(world.socket, told, about="approver")
        bad = {"code": "nothing_of_ours", "detail": "", "about": ""}
        refused("malformed", lambda: client.send(world.socket, "POST", "/v1/refusals", canonical(bad), {}))
    last = [entry for entry in world.entries() if entry["type"] == "request.refused"][-2]["data"]
    assert (last["code"], last["about"]) == ("assertion_invalid", "reported: approver")


def test_somebody_elses_decision(world: Living, waiting: str) -> None:
    """A decision is handed in by its own person."""
    signed = drafted(world, waiting, "risk-1", "risk_officer")
    with world.unchanged(refusals=1):
        refused("session_of_another", lambda: hand_in(world, "cro-1", waiting, signed))


def test_one_person_with_two_keys(world: Living) -> None:
    """People are counted, not keys: a second credential adds no second consent."""
    intent = world.allowance(2_000_000)
    digest = world.outstanding(intent).digest
    assert world.approve(digest).state == "outstanding"
    officer = world.officer("risk-1")
    decision = officer.decision(digest, verb="approve", role="committee", reason="again")
    second = [each.id for each in world.world.policy.person("risk-1").credentials if each.path == "approval"][
        1
    ]
    device = charter.authenticator(world.world.places.officers, "risk-1", world.world.trust_root.approval)
    signed = SignedDecision(decision=decision, assertion=device.sign(decision.challenge, credential=second))
    with world.unchanged(refusals=1):
        refused("person_counted_already", lambda: hand_in(world, "risk-1", digest, signed))
    view = world.pm.intent(digest)
    assert view.needs == ["approve:cro:1"]
    world.officer("cro-1").decide(digest, verb="reject", role="cro", reason="end of the test")


def test_unwhitelisted_contract(world: Living) -> None:
    """A contract that nobody reviewed may be proposed, which asks for a review, and goes no further."""
    intent = world.allowance(to=world.world.deployment.weth)
    digest = world.outstanding(intent).digest
    view = world.approve(digest)
    assert view.state == "outstanding"
    assert "contract.whitelisted" in view.denying
    assert "review:contract" in view.needs
    with world.unchanged(refusals=0):
        assert world.pm.resume(digest).state == "outstanding"
    world.officer("cro-1").decide(digest, verb="reject", role="cro", reason="end of the test")


def test_decision_after_the_end(world: Living) -> None:
    """What is rejected stays rejected."""
    digest = world.outstanding().digest
    late = drafted(world, digest, "risk-1", "risk_officer")
    world.officer("cro-1").decide(digest, verb="reject", role="cro", reason="no")
    with world.unchanged(refusals=1):
        refused("not_in_this_state", lambda: hand_in(world, "risk-1", digest, late))


def test_fee_below_the_base_fee(world: Living) -> None:
    """What no block would take is not simulated; what only this one would, is not released.

    Either would hold its lane for ever.
    """
    chain = world.chain()
    chain.call("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    chain.call("anvil_mine", "0x1")
    base_fee = chain.head().base_fee_per_gas
    chain.close()
    under = world.pm.propose(world.allowance(3332, max_fee_per_gas=base_fee // 4, max_priority_fee_per_gas=0))
    with world.unchanged(refusals=1):
        problem = refused("simulation_reverts", lambda: world.pm.simulate(under.digest))
    assert "base fee" in problem.detail
    intent = world.allowance(3333, max_fee_per_gas=base_fee * 5 // 4, max_priority_fee_per_gas=0)
    digest = world.outstanding(intent).digest
    view = world.approve(digest)
    assert view.state == "outstanding"
    assert "gas.affordable" in view.denying
    world.officer("cro-1").decide(digest, verb="reject", role="cro", reason="end of the test")


def test_header_that_is_no_text(world: Living) -> None:
    """A header with other bytes than base64 is malformed, not an error of the service."""
    headers = {"Workbench-Request": "\xe9", "Workbench-Signature": "00"}
    with world.unchanged(refusals=1):
        refused("malformed", lambda: client.send(world.socket, "GET", "/v1/intents", b"", headers))


def test_half_a_request(world: Living) -> None:
    """Whoever hangs up in the middle changes nothing, and leaves no trace in the log."""
    log = world.stack.log(SERVICE)
    before = log.stat().st_size
    with world.unchanged(refusals=0):
        for _ in range(20):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as half:
                half.connect(str(world.socket))
                half.sendall(b"POST /v1/sessions HTTP/1.1\r\nHost: service\r\nContent-Length: 100\r\n\r\n{")
    assert log.stat().st_size == before


def test_a_peer_that_hangs_takes_nobody_along(world: Living) -> None:
    """While the observer stands still, the service answers: status at once, the rest that it is busy."""
    digest = world.pm.propose(world.allowance(4444)).digest
    observer = world.stack.pid(OBSERVER)
    os.kill(observer, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(world.pm.simulate, digest)
            time.sleep(1)
            began = time.monotonic()
            client.status(world.socket)
            refused("unavailable", lambda: world.pm.propose(world.allowance(5555)))
            assert time.monotonic() - began < 20
            os.kill(observer, signal.SIGCONT)
            assert waiting.result(60).simulations
    finally:
        os.kill(observer, signal.SIGCONT)


def test_lane_waits_for_the_lower_nonce(world: Living) -> None:
    """An approved intent is signed only when everything below its nonce is mined."""
    first, second = (world.outstanding(world.allowance(amount)).digest for amount in (1111, 2222))
    for digest in (first, second):
        world.officer("risk-1").speaks.ask(digest)
    lower, upper = (world.pm.intent(digest).nonce for digest in (first, second))
    assert lower is not None
    assert upper == lower + 1
    view = world.approve(second)
    assert (view.state, view.waits_for_nonces, view.tx_hash) == ("approved", [lower], None)
    with world.unchanged(refusals=0):
        assert world.pm.resume(second).state == "approved"
    assert world.settled(world.approve(first)).state == "confirmed"
    assert world.settled(world.pm.resume(second)).state == "confirmed"


def test_a_double_of_an_approval_key(world: Living, waiting: str) -> None:
    """A copied authenticator that has counted less freezes the credential, its original included."""
    officer, role = world.officer("committee-1"), "committee"
    other = world.outstanding().digest
    officer.decide(waiting, verb="abstain", role=role, reason="the original counts")
    authenticator = world.world.places.officers / "committee-1.json"
    original = authenticator.read_text()
    store = json.loads(original)
    authenticator.write_text(json.dumps({name: {**each, "counter": 0} for name, each in store.items()}))
    before = world.photograph()
    refused("credential_frozen", lambda: officer.decide(other, verb="approve", role=role, reason="a copy"))
    authenticator.write_text(original)
    refused("credential_frozen", lambda: officer.decide(other, verb="approve", role=role, reason="itself"))
    after = world.photograph()
    changed = [entry for entry in after.entries if entry not in before.entries]
    # being asked about the other intent reserved its nonce: that is all that happened beside the alert
    assert [kind for kind, _ in changed] == ["reservation.made", "credential.frozen"]
    assert (after.memory, after.transactions) == (before.memory, before.transactions)
    world.officer("cro-1").decide(other, verb="reject", role="cro", reason="end of the test")


def test_second_service(world: Living) -> None:
    """The ledger has one writer: a second service refuses to start and harms nothing."""
    with world.unchanged(refusals=0):
        done = subprocess.run(
            world.stack.command(SERVICE), capture_output=True, text=True, check=False, timeout=60, cwd="/"
        )
        assert done.returncode == 2
        assert done.stderr.startswith("service: ")


def test_strangers_cannot_flood_the_ledger(world: Living) -> None:
    """Refusals of callers without a session are recorded up to a rate; the others are counted."""
    before = world.photograph().refusals
    for _ in range(300):
        refused("session_unknown", lambda: client.send(world.socket, "GET", "/v1/intents", b"", {}))
    assert world.photograph().refusals - before <= 120
