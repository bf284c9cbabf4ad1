"""Somebody leaves, and a key is lost: from the command to the entry from which on nothing of it counts.

One world, in which one test's set follows the other's, in the order of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.encoding import canonical
from tests.e2e.test_policy_change import in_force, taken_over
from tests.e2e.test_session_commands import Terminal, at_his_key
from tests.world import Living, living, refused
from workbench import client
from workbench.commands import COULD_NOT_RUN, DONE, REFUSED
from workbench.demo import charter
from workbench.demo.people import Officer
from workbench.desk import access
from workbench.rules.documents import digest as digest_of
from workbench.rules.policy import PolicySet, Signature
from workbench.rules.session import SESSION_LINE
from workbench.rules.words import words

ADMIN, MEMBER, TRADER = "admin-1", "committee-1", "trader-1"


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """Return a living world in which an administrator sits at his key."""
    with living() as built, at_his_key(built, ADMIN):
        yield built


@pytest.fixture
def terminal(world: Living, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Terminal]:
    """Return the administrator's terminal; he is logged in there."""
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    made = Terminal(world, runtime, capsys)
    assert revoke(made, "login")[0] == DONE, made.err
    world.officer("auditor-1")
    yield made
    assert revoke(made, "logout")[0] == DONE, made.err


def revoke(terminal: Terminal, *command: str, person: str = ADMIN) -> tuple[int, str]:
    """Run a command as the administrator."""
    return terminal.run(*command, person=person)


def only(pattern: str, text: str) -> str:
    """Return what a pattern finds once in a text."""
    (found,) = re.findall(pattern, text, re.MULTILINE)
    return str(found)


def proposed(terminal: Terminal, *what: str) -> tuple[str, str]:
    """Propose a revocation; return its digest and what was printed."""
    code, out = revoke(terminal, "revoke", *what)
    assert code == DONE, terminal.err
    return only(r"^  ([0-9a-f]{64})$", out), out


def entry(world: Living, kind: str, **data: str) -> dict[str, Any]:
    """Return the one entry of this kind with these data."""
    (found,) = [
        each
        for each in world.entries()
        if each["type"] == kind and {name: each["data"][name] for name in data} == data
    ]
    return found


def logs_in(world: Living, person: str, device: str, credential: str) -> client.Client:
    """Log a person in with this one authenticator."""
    key, session = client.open_login(world.socket, person)
    authenticator = charter.authenticator(world.world.places.officers, device, world.world.trust_root.login)
    signed = authenticator.sign(digest_of(SESSION_LINE, session.canonical()), credential=credential)
    return client.Client(world.socket, key, client.certify(world.socket, session, signed))


def proposes_only(world: Living, admin: client.Client, policy: PolicySet) -> None:
    """Assert that the administrator's own signature is refused."""
    credential = next(each.id for each in policy.people[ADMIN].credentials if each.path == "approval")
    device = charter.authenticator(world.world.places.officers, ADMIN, world.world.trust_root.approval)
    own = Signature(person=ADMIN, assertion=device.sign(policy.challenge, credential=credential))
    with world.unchanged(refusals=1):
        refused("role_not_held", lambda: admin.sign_policy(policy.digest, own))


def assert_told(terminal: Terminal, named: str, *, since: object, ended: dict[str, Any], void: str) -> None:
    """Assert what command and notebook say of the set that took the member away."""
    admin = terminal.place(ADMIN).read()
    assert admin is not None
    session = ended["data"]["session"]
    code, out = revoke(terminal, "revoke", "--status", named)
    assert code == DONE, terminal.err
    lines = out.splitlines()
    assert lines[0].startswith(f"in force from entry {since} on, since 20")
    assert f"  {MEMBER} leaves" in lines
    assert f"  {session} of {MEMBER}, entry {ended['seq']}" in lines
    theirs, others = (lines.index(f"  {void} approve by {person}") for person in (MEMBER, "risk-1"))
    assert lines.index("what they had said and is void now:") < theirs < others
    shown = re.sub(r"<[^>]+>", " ", access.revocations(admin).markup)
    for told in (str(since), f"{MEMBER} leaves", "cro-1, risk-1", f"approve {void}"):
        assert told in shown
    assert f"{session[:12]} (entry {ended['seq']})" in shown


def test_what_is_not_proposed(terminal: Terminal) -> None:
    """What is not there is not taken away, no set is left without officers, and nothing is recorded."""
    known = in_force(terminal.world).people
    key = known["cro-1"].credentials[0].id
    root = str(terminal.world.world.places.trust_root)
    for asked, why in (
        (["--who", "nobody-1"], "person_unknown"),
        (["--who", "pm-1", f"--credential={key}"], "credential_unknown"),
        (["--who", "pm-1", "--credential", "\x1b[2J" * 4], "credential_unknown"),
        (["--who", "pm-1", "--role", "trader"], "role_not_held"),
        (["--who", "pm-1", "--role", "portfolio_manager", "--trust-root", root], "policy_invalid"),
        (["--status", "../intents"], "malformed"),
    ):
        with terminal.world.unchanged(refusals=0):
            assert revoke(terminal, "revoke", *asked) == (REFUSED, "")
        assert why in terminal.err
    with terminal.world.unchanged(refusals=1):
        assert revoke(terminal, "revoke", "--status", "ab" * 32) == (REFUSED, "")
    with terminal.world.unchanged(refusals=0):
        status = ["revoke", "--status", "ab" * 32, "--role", "trader"]
        assert revoke(terminal, *status) == (COULD_NOT_RUN, "")


def test_another_trust_root(terminal: Terminal, tmp_path: Path) -> None:
    """Whoever brings his own trust root has nothing made of a set that does not descend from it."""
    other = {**terminal.world.world.trust_root.dump(), "genesis_policy": "ab" * 32}
    path = tmp_path / "other.json"
    path.write_bytes(canonical(other))
    with terminal.world.unchanged(refusals=0):
        assert revoke(terminal, "revoke", "--who", "pm-1", "--trust-root", str(path)) == (REFUSED, "")
    assert "policy_chain_broken" in terminal.err


def test_who_may_not_propose(terminal: Terminal) -> None:
    """A portfolio manager revokes nobody."""
    with at_his_key(terminal.world, "pm-1"):
        code, out = revoke(terminal, "revoke", "--who", TRADER, person="pm-1")
    assert (code, out) == (REFUSED, "")
    assert "role_not_held" in terminal.err
    assert client.status(terminal.world.socket)["policy"] == in_force(terminal.world).digest


def test_a_leaver(terminal: Terminal) -> None:
    """Proposed by the administrator, signed by two officers: his session and his consent end at once."""
    world = terminal.world
    digest = world.outstanding(world.allowance(2_000_000)).digest
    (given,) = world.approve(digest, person=MEMBER, role="committee").decisions
    (other,) = [each for each in world.approve(digest).decisions if each.decision.person == "risk-1"]
    speaks = world.officer(MEMBER).speaks
    late = world.outstanding(world.allowance(2_000_001)).digest
    draft = world.officer(MEMBER).decision(late, verb="approve", role="committee", reason="too late")
    signed = world.officer(MEMBER).sign(draft)
    root = str(world.world.places.trust_root)
    # (1) proposed: said in words, and what remains to be done
    named, out = proposed(terminal, "--who", MEMBER, "--trust-root", root)
    assert f"  {MEMBER} leaves\n" in out
    assert f"  {words(named)}\n" in out
    assert "signed by nobody\n2 signatures are missing, of cro-1, risk-1" in out
    before = [kind["type"] for kind in world.entries()].count("policy.proposed")
    again, _ = proposed(terminal, "--who", MEMBER)
    assert again == named
    assert [kind["type"] for kind in world.entries()].count("policy.proposed") == before == 1
    # (2) the administrator proposes, and signs nothing
    admin = terminal.place(ADMIN).read()
    assert admin is not None
    policy = PolicySet.load(admin.change(named).following)
    proposes_only(world, admin, policy)
    with world.unchanged(refusals=0):
        code, out = revoke(terminal, "revoke", "--status", named)
    assert code == DONE
    assert "pending: version 2, proposed by admin-1 at " in out
    # (3) the officers sign; with the second signature it acts
    assert world.signs(policy, "risk-1").standing == "pending"
    _, out = revoke(terminal, "revoke", "--status", named)
    assert "signed by risk-1\n1 signature is missing, of cro-1;" in out
    assert speaks.sessions()
    assert world.signs(policy, "cro-1").standing == "activated"
    taken_over(world, policy)
    with world.unchanged(refusals=2):
        refused("session_ended", speaks.sessions)
        refused("session_ended", lambda: speaks.decide(signed))
    refused("person_unknown", lambda: client.open_login(world.socket, MEMBER))
    # (4) what came of it
    activated = entry(world, "policy.activated", policy=named)
    ended = entry(world, "session.ended", session=speaks.certified.session.digest)
    assert ended["data"] == {"v": 1, "session": speaks.certified.session.digest, "reason": "revoked"}
    assert world.pm.intent(digest).void == {
        each.decision.id: "decision_under_another_policy" for each in (given, other)
    }
    assert_told(terminal, named, since=activated["seq"], ended=ended, void=digest)
    assert late not in revoke(terminal, "revoke", "--status", named)[1]


def test_a_lost_key(terminal: Terminal) -> None:
    """That credential goes with the session that it certified; the other one goes on, with its sessions."""
    world = terminal.world
    held = [each for each in in_force(world).people[TRADER].credentials if each.path == "login"]
    lost, spare = (each.id for each in held)
    by_lost = logs_in(world, TRADER, TRADER, lost)
    by_spare = logs_in(world, TRADER, TRADER + charter.SPARE, spare)
    named, out = proposed(terminal, "--who", TRADER, f"--credential={lost[:12]}")
    assert f"  {TRADER} loses a credential for login: {lost[:12]}, model " in out
    assert "leaves" not in out
    admin = terminal.place(ADMIN).read()
    assert admin is not None
    policy = PolicySet.load(admin.change(named).following)
    before = in_force(world)
    for person in ("risk-1", "cro-1"):
        world.signs(policy, person)
    taken_over(world, policy)
    left = in_force(world).people
    assert [each.id for each in left[TRADER].credentials] == [
        each.id for each in before.people[TRADER].credentials if each.id != lost
    ]
    assert {name: each for name, each in left.items() if name != TRADER} == {
        name: each for name, each in before.people.items() if name != TRADER
    }
    with world.unchanged(refusals=2):
        refused("session_ended", by_lost.sessions)
        refused("credential_unknown", lambda: logs_in(world, TRADER, TRADER, lost))
    assert [each.session for each in by_spare.sessions()] == [by_spare.certified.session.digest]
    code, out = revoke(terminal, "revoke", "--status", named)
    seq = entry(world, "policy.activated", policy=named)["seq"]
    assert code == DONE
    assert out.startswith(f"in force from entry {seq} on")
    assert f"  {by_lost.certified.session.digest} of {TRADER}, entry " in out
    assert by_spare.certified.session.digest not in out
    assert "nothing that they had said was outstanding" in out
    by_spare.logout()
    logs_in(world, TRADER, TRADER + charter.SPARE, spare).logout()
    # what the set before it ended is told as before
    first = in_force(world).manifest.version
    assert first == 3
    _, earlier = revoke(terminal, "revoke", "--status", str(before.digest))
    assert by_lost.certified.session.digest not in earlier
    assert f" of {MEMBER}, entry " in earlier


def test_a_role(terminal: Terminal) -> None:
    """A role is given back, and the sessions that had it end; its holder logs in with what is left."""
    world = terminal.world
    officer = world.officer("risk-1")
    named, out = proposed(terminal, "--who", "risk-1", "--role", "risk_officer")
    assert "  risk-1 loses the role risk_officer\n" in out
    admin = terminal.place(ADMIN).read()
    assert admin is not None
    policy = PolicySet.load(admin.change(named).following)
    for person in ("risk-1", "cro-1"):
        world.signs(policy, person)
    taken_over(world, policy)
    refused("session_ended", officer.speaks.sessions)
    del world._officers["risk-1"]
    again = Officer.log_in(
        "risk-1",
        folder=world.world.places.officers,
        socket=world.socket,
        policy=in_force(world),
        trust_root=world.world.trust_root,
    )
    assert again.speaks.certified.session.roles == ["committee"]
    code, out = revoke(terminal, "revoke", "--status", named)
    assert (code, f"  {officer.speaks.certified.session.digest} of risk-1, entry " in out) == (DONE, True)


def test_the_last_officers(terminal: Terminal) -> None:
    """With two officers left for a quorum of two, neither of them is taken away."""
    for what in (["--who", "cro-1"], ["--who", "cro-1", "--role", "committee"]):
        with terminal.world.unchanged(refusals=0):
            assert revoke(terminal, "revoke", *what) == (REFUSED, "")
        assert "policy_invalid" in terminal.err


def test_who_may_see_it(terminal: Terminal) -> None:
    """The chain and what a set ended are for those who may read; a stranger is told nothing."""
    world = terminal.world
    newest = in_force(world).digest
    auditor = world.officer("auditor-1").speaks
    assert [each.digest for each in auditor.policy_chain()][-1] == newest
    assert auditor.effect(newest).standing == "activated"
    with world.unchanged(refusals=2):
        for path in ("/v1/policy", f"/v1/policies/{newest}/effect"):
            refused("session_unknown", lambda path=path: client.send(world.socket, "GET", path, b"", {}))
