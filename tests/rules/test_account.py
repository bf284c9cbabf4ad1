"""Service accounts: which lists count, who is connected, what a program may propose, who may approve it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rules.build import (
    ACCOUNT,
    ACCOUNTS,
    NOW,
    Json,
    World,
    account,
    attest,
    digest_of,
    flip,
    observer_key,
    public,
    refused,
)
from tests.rules.test_cedar import FORBID, GOOD, RULES, asked, ruled
from tests.rules.test_change import changed, following, leaves
from tests.rules.test_receipt import Fact, receipt_of
from tests.rules.test_receipt import check as check_receipt
from workbench.rules import approval, cedar, change, decision, shown
from workbench.rules.account import ACCOUNTS_MAX, KEYS_MAX, ServiceAccount, connected, verify_in_force
from workbench.rules.approval import Asked
from workbench.rules.change import between
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import SignedDecision
from workbench.rules.documents import write_time
from workbench.rules.intent import ACCOUNT_LINE, INTENT_LINE, Intent, Proposal, verify_proposal
from workbench.rules.lifecycle import PROPOSED_EVENT, Event
from workbench.rules.policy import PolicySet

OTHER = "bot-2"


@pytest.fixture(scope="module")
def desk(world: World) -> World:
    """Return a desk with two service accounts: the trader's, and the portfolio manager's."""
    return world.enrolling(account(), account(id=OTHER, owner="pm-1"))


def at(**delta: float) -> str:
    """Return a time relative to noon."""
    return write_time(NOW + timedelta(**delta))


def swap(desk: World, **changes: Any) -> Intent:
    """Return the swap as the account would have it."""
    return desk.swap(**({"proposer": ACCOUNT} | changes))


def check(desk: World, proposal: Proposal, *, now: datetime = NOW) -> None:
    """Verify a proposal."""
    verify_proposal(proposal, policy=desk.policy, trust_root=desk.trust_root, now=now)


# lists


@pytest.mark.parametrize(
    "listed",
    [
        pytest.param([account(), account()], id="an account twice"),
        pytest.param([account(id="pm-1")], id="(1) a person's name"),
        pytest.param([account(id="service")], id="(1) the service's name"),
        pytest.param(
            [account(), account(id=OTHER, certificate=account()["certificate"])],
            id="(2) one certificate for two",
        ),
        pytest.param(
            [account(), account(id=OTHER, public_key=public(ACCOUNT))], id="(2) one signing key for two"
        ),
        pytest.param([account(owner="nobody")], id="(3) an owner who is not there"),
        pytest.param([account(owner="cro-1")], id="(3) an owner who may not propose"),
        pytest.param([account(owner=OTHER), account(id=OTHER)], id="(3) an owner that is an account"),
        pytest.param([account(keys=["vault"])], id="(4) a key that is not there"),
        pytest.param([account(keys=["treasury", "treasury"])], id="(4) a key twice"),
        pytest.param([account(id=f"bot-{n}") for n in range(ACCOUNTS_MAX + 1)], id="too many"),
    ],
)
def test_lists_that_do_not_count(world: World, listed: list[Json]) -> None:
    """One bad line, and the whole set is none."""
    with refused(Refusal.POLICY_INVALID):
        world.policy_with(ACCOUNTS, lambda _: listed).validate()


@pytest.mark.parametrize(
    ("bent", "path"),
    [
        pytest.param({"keys": []}, "keys", id="for no key"),
        pytest.param({"keys": [f"k{n}" for n in range(KEYS_MAX + 1)]}, "keys", id="for too many"),
        pytest.param({"proposals_per_minute": 0}, "proposals_per_minute", id="never"),
        pytest.param({"proposals_per_minute": 601}, "proposals_per_minute", id="too often"),
        pytest.param({"purpose": ""}, "purpose", id="without a purpose"),
        pytest.param({"purpose": "oms \u202e1"}, "purpose", id="a purpose that runs backwards"),
        pytest.param({"certificate": "AB" * 32}, "certificate", id="a digest in another spelling"),
        pytest.param({"public_key": "ab" * 31}, "public_key", id="a key that is too short"),
        pytest.param({"expires_at": "2027-01-01"}, "expires_at", id="a day"),
        pytest.param({"roles": ["cro"]}, "roles", id="with a role"),
        pytest.param({"credentials": []}, "credentials", id="with credentials"),
    ],
)
def test_lines_that_are_malformed(world: World, bent: Json, path: str) -> None:
    """Each with the field at fault."""
    with refused(Refusal.MALFORMED, f"/files/{ACCOUNTS}/0/{path}"):
        world.policy_with(ACCOUNTS, lambda _: [account(**bent)]).validate()


def test_lists_that_just_count(world: World) -> None:
    """None at all, as many as there may be, as rare and as often as may be, expired."""
    most = [account(id=f"bot-{n}") for n in range(ACCOUNTS_MAX)]
    for listed in ([], most, [account(proposals_per_minute=1)], [account(proposals_per_minute=600)]):
        world.policy_with(ACCOUNTS, lambda _, listed=listed: listed).validate()
    world.policy_with(ACCOUNTS, lambda _: [account(expires_at=at(days=-1))]).validate()


def test_whoever_owns_an_account_does_not_leave_before_it(world: World, desk: World) -> None:
    """A set without the owner is one without the account."""
    with refused(Refusal.POLICY_INVALID, f"/files/{ACCOUNTS}"):
        following(desk, leaves("trader-1")).validate()
    following(desk, leaves("trader-1"), files=desk_files(desk, account(id=OTHER, owner="pm-1"))).validate()
    assert world.policy.service_accounts == {}


# who is connected


def certificate(key: Any, name: str = "oms") -> bytes:
    """Return a certificate over a key, signed by itself."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder(
        issuer_name=subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=7,
        not_valid_before=NOW,
        not_valid_after=NOW + timedelta(days=30),
    )
    algorithm = None if isinstance(key, Ed25519PrivateKey) else SHA256()
    return made.sign(key, algorithm).public_bytes(Encoding.DER)


def test_the_certificate_names_the_account() -> None:
    """Whatever the certificate says of itself, its digest is in the set or it is not."""
    mine, others = certificate(ec.generate_private_key(ec.SECP256R1())), certificate(observer_key("tls"))
    listed = [
        ServiceAccount.load(account(id=name, certificate=hashlib.sha256(raw).hexdigest()))
        for name, raw in ((ACCOUNT, mine), (OTHER, others))
    ]
    assert [connected(raw, listed).id for raw in (mine, others)] == [ACCOUNT, OTHER]
    stranger = certificate(ec.generate_private_key(ec.SECP256R1()), "oms")
    for raw in (stranger, mine + b"\x00", mine[:-1], b""):
        with refused(Refusal.ACCOUNT_UNKNOWN):
            connected(raw, listed)
    with refused(Refusal.ACCOUNT_UNKNOWN):
        connected(mine, [])


def test_the_certificates_key_signs_no_intents() -> None:
    """Whoever ends TLS before the service must not be able to propose with that."""
    raw = certificate(observer_key(ACCOUNT))
    listed = [ServiceAccount.load(account(certificate=hashlib.sha256(raw).hexdigest()))]
    with refused(Refusal.ACCOUNT_UNKNOWN):
        connected(raw, listed)
    assert connected(raw, [listed[0].model_copy(update={"public_key": public("other")})]).id == ACCOUNT


def test_what_is_listed_as_a_certificate_is_one() -> None:
    """A digest over something else opens nothing."""
    listed = [ServiceAccount.load(account(certificate=hashlib.sha256(b"no certificate").hexdigest()))]
    with refused(Refusal.ACCOUNT_UNKNOWN):
        connected(b"no certificate", listed)


def test_an_account_ends_to_the_microsecond() -> None:
    """Its last moment is the one before `expires_at`."""
    listed = ServiceAccount.load(account())
    verify_in_force(listed, now=NOW + timedelta(days=30) - timedelta(microseconds=1))
    with refused(Refusal.EXPIRED):
        verify_in_force(listed, now=NOW + timedelta(days=30))


# what it may propose


def test_an_account_proposes(desk: World) -> None:
    """Its signature is enough; what it proposes has a name like any other intent."""
    proposal = desk.propose_as(swap(desk))
    check(desk, proposal)
    assert "session" not in proposal.dump()
    assert Proposal.load(proposal.dump()) == proposal
    check(desk, desk.propose(desk.swap()))


def _session(desk: World, proposal: Proposal) -> Proposal:
    _, certified = desk.certify("trader-1")
    return Proposal(intent=proposal.intent, signature=proposal.signature, session=certified)


@pytest.mark.parametrize(
    ("make", "code", "path"),
    [
        pytest.param(
            lambda desk: desk.propose_as(swap(desk, proposer="bot-9"), signer="bot-9"),
            Refusal.ACCOUNT_UNKNOWN,
            None,
            id="an account that no set lists",
        ),
        pytest.param(
            lambda desk: desk.propose_as(swap(desk, proposer="trader-1")),
            Refusal.ACCOUNT_UNKNOWN,
            None,
            id="in its owner's name",
        ),
        pytest.param(
            lambda desk: desk.propose_as(swap(desk, proposer=OTHER)),
            Refusal.SIGNATURE,
            None,
            id="in another account's name",
        ),
        pytest.param(
            lambda desk: desk.propose_as(swap(desk), signer="somebody"),
            Refusal.SIGNATURE,
            None,
            id="another signing key",
        ),
        pytest.param(
            lambda desk: desk.propose_as(swap(desk), line=INTENT_LINE),
            Refusal.SIGNATURE,
            None,
            id="signed as a session signs",
        ),
        pytest.param(
            lambda desk: _session(desk, desk.propose_as(swap(desk))),
            Refusal.SIGNATURE,
            None,
            id="under its owner's login",
        ),
        pytest.param(
            lambda desk: Proposal(
                intent=desk.propose(desk.swap()).intent, signature=desk.propose(desk.swap()).signature
            ),
            Refusal.ACCOUNT_UNKNOWN,
            None,
            id="a person without his login",
        ),
        pytest.param(
            lambda desk: desk.propose_as(swap(desk, key="vault")),
            Refusal.KEY_NOT_ALLOWED,
            "/key",
            id="a key that it has not got",
        ),
        pytest.param(
            lambda desk: desk.propose_as(swap(desk, chain_id=1)),
            Refusal.CHAIN_OTHER,
            "/chain_id",
            id="another chain",
        ),
        pytest.param(
            lambda desk: desk.propose_as(swap(desk, expires_at=at(hours=4, seconds=1))),
            Refusal.EXPIRED,
            "/expires_at",
            id="too long a life",
        ),
        pytest.param(
            lambda desk: desk.propose_as(swap(desk, gas_max=1_000_001)),
            Refusal.OWN_LIMIT,
            "/gas_max",
            id="gas over the cap",
        ),
    ],
)
def test_what_is_refused(
    desk: World, make: Callable[[World], Proposal], code: Refusal, path: str | None
) -> None:
    """By name, and the proposal is what it was."""
    proposal = make(desk)
    before = proposal.canonical()
    with refused(code, path):
        check(desk, proposal)
    assert proposal.canonical() == before


def test_a_key_of_the_desk_that_is_not_the_accounts(desk: World) -> None:
    """The set may know the key, and the account still not."""
    second = {**desk.policy.keys["treasury"].dump(), "id": "vault", "address": desk.policy.manifest.name}
    second["address"] = "0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB"
    files = desk.with_file("keys.json", lambda value: [*value, second])
    policy = desk.policy_of(files)
    policy.validate()
    with refused(Refusal.KEY_NOT_ALLOWED, "/key"):
        proposal = desk.propose_as(swap(desk, key="vault"))
        verify_proposal(proposal, policy=policy, trust_root=desk.trust_root, now=NOW)


def test_an_account_and_its_intents_end(world: World) -> None:
    """Nothing is proposed after its end, nor for after it."""
    desk = world.enrolling(account(expires_at=at(hours=1)))
    check(desk, desk.propose_as(swap(desk, expires_at=at(hours=1))))
    with refused(Refusal.EXPIRED, "/expires_at"):
        check(desk, desk.propose_as(swap(desk, expires_at=at(hours=1, seconds=1))))
    with refused(Refusal.EXPIRED):
        check(desk, desk.propose_as(swap(desk, expires_at=at(hours=2))), now=NOW + timedelta(hours=1))


def test_a_session_that_is_null_is_no_spelling_of_none(desk: World) -> None:
    """One proposal, one text: what is signed and stored has a single form."""
    with refused(Refusal.MALFORMED):
        Proposal.load({**desk.propose_as(swap(desk)).dump(), "session": None})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    listed=st.booleans(),
    in_time=st.booleans(),
    right_key=st.booleans(),
    right_line=st.booleans(),
    allowed=st.booleans(),
    own_name=st.booleans(),
    bare=st.booleans(),
)
def test_all_of_it_or_nothing(desk: World, **holds: bool) -> None:
    """A proposal counts when every single condition holds, and never otherwise."""
    known = account(keys=["treasury"], expires_at=at(days=1) if holds["in_time"] else at())
    policy = desk.policy_with(ACCOUNTS, lambda _: [known] if holds["listed"] else [])
    name = ACCOUNT if holds["own_name"] else "trader-1"
    intent = swap(desk, proposer=name, key="treasury" if holds["allowed"] else "vault")
    signer = ACCOUNT if holds["right_key"] else "another"
    proposal = desk.propose_as(
        intent, signer=signer, line=ACCOUNT_LINE if holds["right_line"] else INTENT_LINE
    )
    if not holds["bare"]:
        proposal = _session(desk, proposal)

    def verified() -> None:
        verify_proposal(proposal, policy=policy, trust_root=desk.trust_root, now=NOW)

    if all(holds.values()):
        verified()
        return
    with pytest.raises(RefusedError):
        verified()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(place=st.integers(0, 127))
def test_any_flipped_digit_of_the_signature(desk: World, place: int) -> None:
    """There is one signature, to the last bit."""
    proposal = desk.propose_as(swap(desk))
    bent = Proposal(intent=proposal.intent, signature=flip(proposal.signature, place))
    with refused(Refusal.SIGNATURE):
        check(desk, bent)


# who may approve


def decides(desk: World, person: str, role: str, **changes: Any) -> SignedDecision:
    """Return a person's decision about the account's swap."""
    about = desk.subject(swap(desk))
    named = {"intent": about.intent, "simulation": about.simulation, "proposer": ACCOUNT}
    return desk.decide(person, role, **(named | changes))


def count(desk: World, *decisions: SignedDecision) -> decision.Approvals:
    """Count decisions about the account's swap."""
    subject = desk.subject(swap(desk))
    return decision.count(decisions, subject=subject, policy=desk.policy, trust_root=desk.trust_root, now=NOW)


def owned_by_an_approver(world: World) -> World:
    """Return a desk whose account is answered for by somebody who may also approve."""
    both = ["trader", "committee"]
    files = world.with_file(
        "people.json",
        lambda people: [each | {"roles": both} if each["id"] == "trader-1" else each for each in people],
    )
    signed = world.sign_set(files)
    root = world.root(genesis_policy=signed.digest)
    return type(world)(folder=world.folder, files=files, policy=signed, trust_root=root).enrolling(account())


def test_the_owner_does_not_approve(world: World) -> None:
    """A program of one's own is no second pair of eyes, whatever role one decides under."""
    desk = owned_by_an_approver(world)
    for role in ("committee", "trader"):
        made = decides(desk, "trader-1", role, policy=desk.policy.digest)
        assert dict(count(desk, made).skipped) == {made.decision.id: Refusal.DECISION_BY_OWNER}
    other = decides(desk, "risk-1", "risk_officer", policy=desk.policy.digest)
    owners = decides(desk, "trader-1", "committee", policy=desk.policy.digest)
    assert dict(count(desk, owners, other).roles) == {"risk-1": "risk_officer"}
    # of what he proposes himself he is the proposer, and of others' he approves
    of_others = decides(desk, "trader-1", "committee", policy=desk.policy.digest, proposer="pm-1")
    subject = desk.subject(swap(desk))
    lone = decision.count(
        [of_others],
        subject=decision.Subject(
            intent=subject.intent, nonce=subject.nonce, simulation=subject.simulation, proposer="pm-1"
        ),
        policy=desk.policy,
        trust_root=desk.trust_root,
        now=NOW,
    )
    assert dict(lone.roles) == {"trader-1": "committee"}


def test_the_owner_withdraws(desk: World) -> None:
    """He answers for it, so he can stop it; another trader cannot."""
    with refused(Refusal.REJECTED):
        count(desk, decides(desk, "trader-1", "trader", verb="reject"))
    stranger = decides(desk, "pm-1", "portfolio_manager", verb="reject")
    assert dict(count(desk, stranger).skipped) == {stranger.decision.id: Refusal.ROLE_NOT_HELD}


def test_an_account_decides_nothing(desk: World) -> None:
    """It is no person: no decision names it, under whatever press."""
    pressed = decides(desk, "risk-1", "risk_officer")
    for name in (OTHER, ACCOUNT):
        document = pressed.decision.model_copy(update={"person": name})
        made = SignedDecision(decision=document, assertion=pressed.assertion)
        skipped = dict(count(desk, made).skipped)
        wanted = Refusal.DECISION_BY_PROPOSER if name == ACCOUNT else Refusal.PERSON_UNKNOWN
        assert skipped == {document.id: wanted}


def request(desk: World, person: str) -> Asked:
    """Return what a person is asked about the account's swap, verified."""
    intent = swap(desk)
    asked_ = desk.request(
        person,
        intent,
        proposal=desk.propose_as(intent).dump(),
        simulations=[attest(desk.simulation(intent)).dump()],
    )
    return approval.verify(asked_, trust_root=desk.trust_root, now=NOW)


def test_what_people_are_shown(desk: World) -> None:
    """That it is a program, what it is for, and who answers for it."""
    chief, owner = request(desk, "cro-1"), request(desk, "trader-1")
    assert (chief.own, chief.verbs) == (False, ["approve", "reject", "abstain"])
    rows = {row.label: row for row in shown.sections(chief, now=NOW)[0].rows}
    assert rows["Who proposes"].says == f"a program, the service account {ACCOUNT}: order management"
    assert rows["Who proposes"].remark == "Trader (trader-1) answers for it"
    assert (owner.own, owner.verbs, owner.asks_person) == (True, ["reject"], False)
    rows = {row.label: row for row in shown.sections(owner, now=NOW)[0].rows}
    assert rows["Why you"].alarm
    assert rows["Why you"].says == "you answer for the account that proposes this: you can only withdraw it"
    with refused(Refusal.DECISION_BY_OWNER, "/verb"):
        approval.decide(owner, verb="approve", role="trader", reason="", decision_id="0a" * 16, now=NOW)


# what the rules say


@pytest.mark.parametrize("action", ["sign", "release"])
def test_the_desks_rules_permit_accounts(desk: World, action: str) -> None:
    """Knowingly, by a rule of its own."""
    assert asked(desk, action, GOOD, person=ACCOUNT).allowed
    closed = ruled(desk, replace=("permit (principal is ServiceAccount", "permit (principal is Person"))
    assert not asked(desk, action, GOOD, person=ACCOUNT, policy=closed).allowed
    assert asked(desk, action, GOOD, person="pm-1", policy=closed).allowed


@pytest.mark.parametrize(("bad", "rule", "needs", "actions"), RULES)
def test_every_rule_that_denies_a_person_denies_an_account(
    desk: World, bad: Json, rule: str, needs: str, actions: tuple[str, ...]
) -> None:
    """No forbid is about people alone."""
    for action in actions:
        verdict = asked(desk, action, {**GOOD, **bad}, person=ACCOUNT)
        assert (rule in verdict.denying, needs in verdict.needs) == (True, True)


def test_rules_tell_accounts_from_people(desk: World) -> None:
    """A set may forbid what a person may do, to one account or to all of one owner's."""
    for when in ("principal is ServiceAccount", 'principal == ServiceAccount::"oms-1"'):
        stricter = ruled(desk, add=f'\n@id("x") @needs("y") forbid {FORBID} when {{ {when} }};')
        assert asked(desk, "sign", GOOD, person=ACCOUNT, policy=stricter).denying == ("x",)
        assert asked(desk, "sign", GOOD, person="pm-1", policy=stricter).allowed
    owned = 'principal is ServiceAccount && principal.owner == "trader-1"'
    stricter = ruled(desk, add=f'\n@id("x") @needs("y") forbid {FORBID} when {{ {owned} }};')
    assert asked(desk, "sign", GOOD, person=ACCOUNT, policy=stricter).denying == ("x",)
    assert asked(desk, "sign", GOOD, person=OTHER, policy=stricter).allowed


def test_a_schema_that_knows_no_accounts_refuses_them(desk: World) -> None:
    """Rules from before there were programs say nothing of them: such a set lists none, or is none."""
    rules = desk.files["policies.cedar"].decode()
    start = rules.index('@id("propose.account")')
    rules = rules[:start] + rules[rules.index("// Four eyes") :]
    schema = desk.files["schema.cedarschema"].decode().replace("[Person, ServiceAccount]", "Person")
    older = desk.policy_of(
        {**desk.files, "policies.cedar": rules.encode(), "schema.cedarschema": schema.encode()}
    )
    with refused(Refusal.POLICY_INVALID):
        cedar.check(older)
    empty = desk.policy_of({**older.files, **desk_files(desk)})
    cedar.check(empty)
    assert asked(desk, "sign", GOOD, person="pm-1", policy=older).allowed
    with refused(Refusal.POLICY_INVALID):
        asked(desk, "sign", GOOD, person=ACCOUNT, policy=older)


# receipts


def receipt(desk: World, proposal: Proposal) -> Json:
    """Return the receipt of the swap that an account proposed."""
    subject = swap(desk).digest
    facts: list[Fact] = [
        (PROPOSED_EVENT, ACCOUNT, subject, proposal.dump()),
        (Event.DECIDED.value, "cro-1", subject, {"signed": decides(desk, "cro-1", "cro").dump()}),
    ]
    return receipt_of(desk, facts, subject=subject)


def test_a_receipt_of_what_an_account_proposed(desk: World) -> None:
    """It verifies with nothing but the trust root: the set has the key."""
    lines = check_receipt(desk, receipt(desk, desk.propose_as(swap(desk))))
    assert [(line.type, line.actor) for line in lines] == [
        (PROPOSED_EVENT, ACCOUNT),
        ("decision.recorded", "cro-1"),
    ]
    with refused(Refusal.SIGNATURE):
        check_receipt(desk, receipt(desk, desk.propose_as(swap(desk), signer="service")))
    with refused(Refusal.SIGNATURE):
        check_receipt(desk, receipt(desk, desk.propose_as(swap(desk), line=INTENT_LINE)))


@pytest.mark.parametrize(
    ("listed", "code"),
    [
        pytest.param([], Refusal.ACCOUNT_UNKNOWN, id="in no set"),
        pytest.param([account(expires_at=at())], Refusal.EXPIRED, id="expired when it proposed"),
        pytest.param([account(public_key=public("other"))], Refusal.SIGNATURE, id="with another key"),
    ],
)
def test_receipts_that_a_service_made_up(world: World, listed: list[Json], code: Refusal) -> None:
    """A service cannot put an intent into an account's mouth."""
    desk = world.enrolling(*listed)
    with refused(code):
        check_receipt(desk, receipt(desk, desk.propose_as(swap(desk))))


# changes of the set


def desk_files(desk: World, *listed: Json) -> Json:
    """Return the file of accounts as a part of a next set."""
    return {ACCOUNTS: desk.with_file(ACCOUNTS, lambda _: list(listed))[ACCOUNTS]}


def next_set(desk: World, *listed: Json, **changes: Any) -> PolicySet:
    """Return an unsigned next set with these accounts."""
    return following(desk, files=desk_files(desk, *listed), **changes)


BOTH = (account(), account(id=OTHER, owner="pm-1"))


def test_an_account_that_leaves_leaves_at_once(desk: World) -> None:
    """Revocation does not wait, alone or with whoever answers for it."""
    past = write_time(NOW - timedelta(hours=1))
    gone = changed(desk, next_set(desk, BOTH[1], activates_at=past))
    assert (gone.only_takes_away, gone.altered) == (True, [])
    assert change.words(gone) == [f"the service account {ACCOUNT} leaves"]
    files = desk_files(desk, BOTH[1])
    both = changed(desk, following(desk, leaves("trader-1"), files=files, activates_at=past))
    assert both.only_takes_away


@pytest.mark.parametrize(
    "listed",
    [
        pytest.param([*BOTH, account(id="bot-3")], id="an account joins"),
        pytest.param([BOTH[1], account(id="bot-3")], id="one joins where another leaves"),
        pytest.param([account(owner="pm-1"), BOTH[1]], id="another owner"),
        pytest.param([account(certificate=digest_of("x")), BOTH[1]], id="another certificate"),
        pytest.param([account(public_key=public("x")), BOTH[1]], id="another signing key"),
        pytest.param([account(proposals_per_minute=59), BOTH[1]], id="a rate, also a lower one"),
        pytest.param([account(expires_at=at(days=1)), BOTH[1]], id="an end, also a nearer one"),
        pytest.param([account(purpose="x"), BOTH[1]], id="another purpose"),
        pytest.param([BOTH[1], BOTH[0]], id="the same in another order"),
    ],
)
def test_everything_else_lies_open(desk: World, listed: list[Json]) -> None:
    """Whatever is given or altered waits for the delay."""
    patient = next_set(desk, *listed)
    assert not changed(desk, patient).only_takes_away
    with refused(Refusal.CHANGE_DELAY, "/manifest/activates_at"):
        changed(desk, next_set(desk, *listed, activates_at=write_time(NOW)))


def test_accounts_in_words(desk: World) -> None:
    """Who joins is told in full, who changes by what is different, with what was before."""
    bent = account(owner="pm-1", proposals_per_minute=600)
    words = change.words(between(desk.policy, next_set(desk, bent, account(id="bot-3"))))
    assert words == [
        f"the service account {OTHER} leaves",
        "the service account bot-3 joins",
        "the service account bot-3 is order management",
        "the service account bot-3 is answered for by trader-1",
        "the service account bot-3 may propose for treasury",
        "the service account bot-3 may propose so often a minute: 60",
        f"the service account bot-3 connects with the certificate {digest_of('certificate of bot-3')}",
        f"the service account bot-3 signs with the key {public('bot-3')}",
        f"the service account bot-3 expires at {at(days=30)}",
        f"the service account {ACCOUNT} is answered for by pm-1, before: trader-1",
        f"the service account {ACCOUNT} may propose so often a minute: 600, before: 60",
    ]
    assert between(desk.policy, next_set(desk, *BOTH[::-1])).altered == [ACCOUNTS]
