"""Change requests: what an officer reads of a next policy set, and the word that he can sign."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.rules.build import EVERY_PARTY, NOW, World, press, refused
from tests.rules.test_change import Json, but, edited, following, gains, joins, leaves
from workbench.rules import change_request, shown_change
from workbench.rules.change_request import AskedChange, ChangeRequest, WordVerb
from workbench.rules.codes import Refusal
from workbench.rules.documents import write_time
from workbench.rules.policy import PolicySet, Signature

PROPOSED = NOW - timedelta(minutes=1)
OFFICERS = ("committee-1", "cro-1", "risk-1")


def carried(policy: PolicySet) -> Json:
    """Return a set as a request carries it."""
    value = policy.dump()
    del value["signatures"]
    return value


def request(world: World, next_set: PolicySet, person: str = "risk-1", **changes: Any) -> ChangeRequest:
    """Return the request that an honest service brings."""
    document = {
        "v": 1,
        "person": person,
        "policy_chain": [world.policy.dump()],
        "following": carried(next_set),
        "proposer": "admin-1",
        "proposed_at": write_time(PROPOSED),
        "signatures": [],
    }
    return ChangeRequest.load(document | changes)


def asked(world: World, next_set: PolicySet, person: str = "risk-1", **changes: Any) -> AskedChange:
    """Return what its person is shown."""
    return change_request.verify(
        request(world, next_set, person, **changes), trust_root=world.trust_root, now=NOW
    )


def text(seen: AskedChange) -> str:
    """Return everything that stands on the page."""
    rows = [row for section in shown_change.sections(seen, now=NOW) for row in section.rows]
    return "\n".join(f"{row.label}|{row.says}|{row.hex}|{row.remark}" for row in rows)


def signature(
    world: World, next_set: PolicySet, person: str, path: str = "approval", challenge: bytes | None = None
) -> Signature:
    """Let a person sign a set."""
    credential = world.credential(person, path).id
    signed = press(world.keys, credential, challenge or next_set.challenge, party=EVERY_PARTY[path])
    return Signature(person=person, assertion=signed)


@pytest.mark.parametrize(
    ("person", "verbs"),
    [
        ("risk-1", ["sign", "veto"]),
        ("trader-1", ["veto"]),
        ("pm-1", []),
        ("admin-1", []),
        ("auditor-1", []),
    ],
)
def test_who_may_say_what(world: World, person: str, verbs: list[WordVerb]) -> None:
    """Officers sign or veto, who gets a key may veto it, all others read."""
    seen = asked(world, following(world, gains(world, "trader-1")), person)
    assert seen.verbs == verbs
    for verb in {"sign", "veto"} - set(verbs):
        with refused(Refusal.CHANGE_NO_VETO if verb == "veto" else Refusal.ROLE_NOT_HELD):
            change_request.say(seen, verb=verb, reason="no")  # type: ignore[arg-type]


def test_a_revocation_has_no_veto(world: World) -> None:
    """Who leaves cannot stop it; the officers can only not sign."""
    assert asked(world, following(world, leaves("trader-1"))).verbs == ["sign"]
    assert asked(world, following(world, leaves("trader-1")), "trader-1").verbs == []


def test_who_joins_may_sign(world: World) -> None:
    """A newcomer of the committee counts for the next set, with his new key."""
    limits = world.with_file("limits.json", lambda value: {**value, "credentials_min": 1})
    next_set = following(
        world, joins(world, "new-1", "committee"), files={"limits.json": limits["limits.json"]}
    )
    seen = asked(world, next_set, "new-1")
    assert seen.verbs == ["sign"]


def test_everything_is_shown(world: World) -> None:
    """In words, and to the last value of each file."""
    files = {
        **world.with_file("limits.json", lambda value: {**value, "single_usd_cents_max": 123_456_789}),
        "policies.cedar": world.files["policies.cedar"] + b"// a remark\n",
    }
    named = {name: files[name] for name in ("limits.json", "policies.cedar")}
    next_set = following(world, gains(world, "trader-1"), files=named)
    signed = [signature(world, next_set, "cro-1", "console").dump()]
    seen = asked(world, next_set, signatures=signed)
    stands = text(seen)
    old = json.loads(world.files["limits.json"])["single_usd_cents_max"]
    assert f"single_usd_cents_max: {old} → 123456789|" in stands
    assert "// a remark" in stands
    added = next(each for each in seen.change.people[0].credentials_added)
    assert added.cose in stands
    assert added.id in stands
    assert next_set.digest in stands
    assert "has signed by the second path" in stands
    assert "2 of the role committee; 1 so far" in stands
    assert "the service's word" in stands
    assert seen.signed == {"cro-1": "console"}
    assert shown_change.title(seen) == "Policy set desk, version 2: 3 changes"


Bend = Callable[[World, PolicySet], Json]


@pytest.mark.parametrize(
    ("bend", "code"),
    [
        pytest.param(
            lambda w, _: {"policy_chain": [carried(w.policy) | {"signatures": []}]},
            Refusal.POLICY_CHAIN,
            id="a chain that nobody signed",
        ),
        pytest.param(
            lambda _, n: {"following": carried(n) | {"files": {**carried(n)["files"], "limits.json": "{}"}}},
            Refusal.POLICY_INVALID,
            id="other files",
        ),
        pytest.param(
            lambda w, _: {"following": carried(w.policy)}, Refusal.POLICY_CHAIN, id="the set in force"
        ),
        pytest.param(
            lambda *_: {"proposed_at": write_time(NOW + timedelta(hours=1))},
            Refusal.CHANGE_DELAY,
            id="proposed tomorrow",
        ),
        pytest.param(lambda *_: {"person": "nobody"}, Refusal.PERSON_UNKNOWN, id="a stranger"),
        pytest.param(
            lambda w, n: {"signatures": [signature(w, n, "risk-1", challenge=w.policy.challenge).dump()]},
            Refusal.ASSERTION_OTHER,
            id="a signature of another set",
        ),
        pytest.param(
            lambda w, n: {"signatures": [signature(w, n, "pm-1").dump()]},
            Refusal.ROLE_NOT_HELD,
            id="a signature of who is no officer",
        ),
        pytest.param(
            lambda w, n: {"signatures": [signature(w, n, "risk-1", "login").dump()]},
            Refusal.CREDENTIAL_UNKNOWN,
            id="a login as a signature",
        ),
    ],
)
def test_what_the_service_may_not_say(world: World, bend: Bend, code: Refusal) -> None:
    """Nothing of it is shown when a part is not what it should be."""
    next_set = following(world, gains(world, "trader-1"))
    with refused(code):
        asked(world, next_set, **bend(world, next_set))


def test_too_early(world: World) -> None:
    """A set that would not lie open long enough is not even shown."""
    hasty = following(world, gains(world, "trader-1"), activates_at=write_time(NOW + timedelta(hours=1)))
    with refused(Refusal.CHANGE_DELAY):
        asked(world, hasty)


def test_rules_that_nobody_can_read(world: World) -> None:
    """Cedar that does not parse is not shown as if it could be signed."""
    broken = following(world, files={"policies.cedar": b"permit("})
    with refused(Refusal.POLICY_INVALID):
        asked(world, broken)


@pytest.mark.parametrize("path", ["approval", "console"])
@pytest.mark.parametrize("verb", ["sign", "veto"])
def test_a_word(world: World, verb: WordVerb, path: str) -> None:
    """A signature and a veto, here or by the second path, are what the service will take."""
    seen = asked(world, following(world, gains(world, "trader-1")))
    said = change_request.say(seen, verb=verb, reason="not so")
    credential = world.credential("risk-1", path).id
    assertion = press(world.keys, credential, said.challenge, party=EVERY_PARTY[path])
    word = change_request.spoken(seen, said, assertion, trust_root=world.trust_root)
    assert (word.signature is None, word.veto is None) == (verb == "veto", verb == "sign")


def test_a_word_that_was_not_pressed_for(world: World) -> None:
    """A press over something else, or of a login key, makes no word."""
    seen = asked(world, following(world, gains(world, "trader-1")))
    sign, veto = (change_request.say(seen, verb=verb, reason="no") for verb in ("sign", "veto"))
    for said, other in ((sign, veto), (veto, sign)):
        pressed = press(
            world.keys, world.credential("risk-1").id, other.challenge, party=EVERY_PARTY["approval"]
        )
        with refused(Refusal.ASSERTION_OTHER):
            change_request.spoken(seen, said, pressed, trust_root=world.trust_root)
    login = press(
        world.keys, world.credential("risk-1", "login").id, sign.challenge, party=EVERY_PARTY["login"]
    )
    with refused(Refusal.CREDENTIAL_UNKNOWN):
        change_request.spoken(seen, sign, login, trust_root=world.trust_root)


def test_a_no_says_why(world: World) -> None:
    """A veto without a reason is none."""
    seen = asked(world, following(world, edited("trader-1", site="south")))
    for empty in ("", "  \n"):
        with refused(Refusal.MALFORMED, path="/reason"):
            change_request.say(seen, verb="veto", reason=empty)


@pytest.mark.parametrize("given", [0, 2])
def test_one_word_at_a_time(world: World, given: int) -> None:
    """A word is a signature or a veto."""
    next_set = following(world, edited("trader-1", credentials=but("approval")))
    signed = signature(world, next_set, "risk-1").dump()
    veto = {
        "veto": {"v": 1, "policy": next_set.digest, "person": "risk-1", "reason": "x"},
        "assertion": signed["assertion"],
    }
    with refused(Refusal.MALFORMED):
        change_request.Word.load({"v": 1} | ({"signature": signed, "veto": veto} if given else {}))
