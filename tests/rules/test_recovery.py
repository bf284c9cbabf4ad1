"""Who keeps backups of shares: refused when one hand could come by as many as sign together."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ledger.encoding import canonical
from tests.rules.build import NOW, World, observer_key, public, refused
from tests.rules.test_concentration import NAMES, Json, operation, places, root, set_with
from workbench.demo import charter
from workbench.rules import recovery
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import signed_bytes, write_time
from workbench.rules.key_operation import parties
from workbench.rules.policy import PolicySet, verify_chain
from workbench.rules.recovery import RecoveryOfficer, SignedTestimony, Ticket

KEY = charter.KEY_ID
COPRIME = (0, 1, 2, 4, 5, 7, 10, 11, 13, 14)
MODULI = [format((1 << 3071) + 2 * number + 1, "x") for number in COPRIME]


def officer(number: int, kept: list[str], **changes: Any) -> Json:
    """Return an officer of which nothing is anybody else's."""
    made = {
        "name": f"recovery-{number}",
        "key": {"mechanism": "rsa-oaep-sha1", "modulus": MODULI[number]},
        "site": f"vault-{number}",
        "administrator": f"keeper-{number}",
        "team": f"kept-by-{number}",
        "keeps": {KEY: kept},
    }
    return {**made, **changes}


def three(**changes: Any) -> list[Json]:
    """Return three officers who keep five shares; `changes` are the first one's."""
    kept = [NAMES[:2], NAMES[2:4], NAMES[4:]]
    return [officer(number, each, **(changes if not number else {})) for number, each in enumerate(kept)]


def kept_by(world: World, officers: list[Json]) -> PolicySet:
    """Return an unsigned set with a key that five share, and these officers."""
    files = set_with(world).files
    return world.policy_of(
        {**files, "recovery.json": world.with_file("recovery.json", lambda _: officers)["recovery.json"]}
    )


def test_fewer_than_sign_together(world: World) -> None:
    """Two shares with each of three officers: nobody has three."""
    kept_by(world, three()).validate()
    kept_by(world, []).validate()
    kept_by(world, crowd(recovery.KEEPERS_MAX)).validate()
    kept_by(world, [officer(0, NAMES, keeps={})]).validate()


PRIME = (1 << 107) - 1
"""A Mersenne prime."""


def modulus(value: str) -> Json:
    """Return an officer's key."""
    return {"mechanism": "rsa-oaep-sha1", "modulus": value}


def crowd(size: int) -> list[Json]:
    """Return so many officers who all keep one share."""
    return [officer(number, NAMES[:1]) for number in range(size)]


SITE = places()[NAMES[4]].site
HANDS: list[tuple[str, list[Json], Refusal]] = [
    ("an officer keeps three", [officer(0, NAMES[:3])], Refusal.CONCENTRATED),
    ("two officers at one site", [three()[0], officer(1, NAMES[2:4], site="vault-0")], Refusal.CONCENTRATED),
    (
        "two officers of one administrator",
        [three()[0], officer(1, NAMES[2:4], administrator="keeper-0")],
        Refusal.CONCENTRATED,
    ),
    (
        "two officers of one team",
        [three()[0], officer(1, NAMES[2:4], team="kept-by-0")],
        Refusal.CONCENTRATED,
    ),
    ("at the site of a third co-signer", [officer(0, NAMES[:2], site=SITE)], Refusal.CONCENTRATED),
    (
        "two names for one key",
        [three()[0], officer(1, NAMES[2:4], key=three()[0]["key"])],
        Refusal.POLICY_INVALID,
    ),
    ("a co-signer that has no share", [officer(0, ["cosigner-9"])], Refusal.POLICY_INVALID),
    ("a key that there is not", [officer(0, NAMES[:1], keeps={"other": NAMES[:1]})], Refusal.POLICY_INVALID),
    ("the same share twice", [officer(0, [NAMES[0], NAMES[0]])], Refusal.POLICY_INVALID),
    ("the same officer twice", [three()[0], three()[0]], Refusal.POLICY_INVALID),
    (
        "one key in two spellings",
        [three()[0], officer(1, NAMES[2:4], key=modulus("00" + MODULI[0]))],
        Refusal.POLICY_INVALID,
    ),
    ("a spelling of its own", [officer(0, NAMES[:1], key=modulus("00" + MODULI[0]))], Refusal.POLICY_INVALID),
    (
        "a key, and three times that key",
        [three()[0], officer(1, NAMES[2:4], key=modulus(f"{3 * int(MODULI[0], 16):0770x}"))],
        Refusal.POLICY_INVALID,
    ),
    (
        "two keys of one prime",
        [
            officer(number, NAMES[:1], key=modulus(f"{PRIME * ((1 << 2965) + other):0768x}"))
            for number, other in enumerate((1, 3))
        ],
        Refusal.POLICY_INVALID,
    ),
    (
        "an even key",
        [officer(0, NAMES[:1], key=modulus(f"{(1 << 3071) + 2:x}"))],
        Refusal.POLICY_INVALID,
    ),
    (
        "one key by two mechanisms",
        [
            three()[0],
            officer(1, NAMES[2:4], key={"mechanism": "rsa-oaep-sha256", "modulus": MODULI[0]}),
        ],
        Refusal.POLICY_INVALID,
    ),
    ("a name that only looks like one", [officer(0, NAMES[:1], name="recovery\u0430")], Refusal.MALFORMED),
    ("more keepers than a backup has room for", crowd(recovery.KEEPERS_MAX + 1), Refusal.POLICY_INVALID),
    (
        "a key that looks long enough",
        [officer(0, NAMES[:1], key={"mechanism": "rsa-oaep-sha1", "modulus": "00" * 384})],
        Refusal.POLICY_INVALID,
    ),
    (
        "a short key",
        [officer(0, NAMES[:1], key={"mechanism": "rsa-oaep-sha1", "modulus": "ab" * 256})],
        Refusal.MALFORMED,
    ),
    (
        "a mechanism without integrity",
        [officer(0, NAMES[:1], key={"mechanism": "rsa-pkcs", "modulus": MODULI[0]})],
        Refusal.MALFORMED,
    ),
]


@pytest.mark.parametrize(("officers", "code"), [each[1:] for each in HANDS], ids=[each[0] for each in HANDS])
def test_a_set_that_gives_too_much_away(world: World, officers: list[Json], code: Refusal) -> None:
    """Whatever its signatures: it is no policy set."""
    with refused(code):
        kept_by(world, officers).validate()


def chain(world: World, *each: list[Json]) -> list[PolicySet]:
    """Return signed sets, one after the other, with these officers."""
    files, sets = set_with(world).files, []
    for number, officers in enumerate(each):
        there = world.with_file("recovery.json", lambda _, now=officers: now)["recovery.json"]
        at = write_time(NOW - timedelta(hours=len(each) - number))
        previous = sets[-1] if sets else None
        sets.append(world.sign_set({**files, "recovery.json": there}, activates_at=at, after=previous))
    return sets


def test_what_somebody_kept_counts_for_ever(world: World) -> None:
    """Moved from one share to another, an officer, its site or its key has three in the end: refused."""
    before = [officer(0, NAMES[:2])]
    for after in (
        [officer(0, NAMES[2:3])],
        [officer(1, NAMES[2:3], site="vault-0")],
        [officer(1, NAMES[2:3], key=before[0]["key"])],
    ):
        sets = chain(world, before, after)
        for one in sets:
            one.validate()
        with refused(Refusal.CONCENTRATED):
            verify_chain(sets, trust_root=world.root(genesis_policy=sets[0].digest), now=NOW)
    # the same shares as before, and another officer for the third
    sets = chain(world, before, before, [*before, officer(1, NAMES[2:4])])
    verify_chain(sets, trust_root=world.root(genesis_policy=sets[0].digest), now=NOW)


@pytest.mark.parametrize(
    "between",
    [
        pytest.param([[]], id="removed, and back"),
        pytest.param([three(), three(), []], id="the same again and again, removed, and back"),
        pytest.param([[officer(0, NAMES[:2], keeps={})]], id="kept nothing for a while"),
        pytest.param([[officer(0, NAMES[:1])]], id="kept less for a while"),
    ],
)
def test_nothing_in_between_makes_it_forgotten(world: World, between: list[list[Json]]) -> None:
    """Whatever the sets between say of an officer, what it kept before them counts after them."""
    sets = chain(world, three(), *between, [officer(0, NAMES[2:3])])
    with refused(Refusal.CONCENTRATED):
        verify_chain(sets, trust_root=world.root(genesis_policy=sets[0].digest), now=NOW)
    sets = chain(world, three(), *between, three())
    verify_chain(sets, trust_root=world.root(genesis_policy=sets[0].digest), now=NOW)


def test_half_a_backup_is_none(world: World) -> None:
    """A share that nobody keeps: no backup is ordered."""
    whole, half = kept_by(world, three()), kept_by(world, three()[:2])
    order = operation(world, "backup", key=KEY)
    assert parties(order, policy=whole, trust_root=root(world)) == NAMES
    with refused(Refusal.STATE) as caught:
        parties(order, policy=half, trust_root=root(world))
    assert NAMES[4] in caught.detail
    with refused(Refusal.STATE):
        parties(order, policy=kept_by(world, []), trust_root=root(world))


@pytest.mark.parametrize(
    ("what", "parameters"),
    [
        pytest.param("backup", {"successor": "x"}, id="a backup with a successor"),
        pytest.param("restore", None, id="a restoration of nothing"),
        pytest.param("restore", {"parties": NAMES, "threshold": 3}, id="a restoration to parties"),
        pytest.param("restore", {"cosigner": NAMES[0], "backup": "ab" * 32}, id="a restoration of no run"),
        pytest.param("rotate", None, id="a successor without name"),
        pytest.param("rotate", {"successor": "UPPER"}, id="a name that is none"),
    ],
)
def test_orders_that_cannot_be(world: World, what: str, parameters: Json | None) -> None:
    """Refused before anybody looks at their signatures."""
    with pytest.raises(RefusedError):
        operation(world, what, key=KEY, parameters=parameters)


def test_to_whom_a_share_goes_back(world: World) -> None:
    """To a co-signer of the key, and to nobody else."""
    policy = kept_by(world, three())
    given = {"cosigner": NAMES[3], "backup": "ab" * 32, "run": "cd" * 32}
    assert parties(
        operation(world, "restore", key=KEY, parameters=given), policy=policy, trust_root=root(world)
    ) == [NAMES[3]]
    with refused(Refusal.KEY_UNKNOWN):
        strange = {**given, "cosigner": "cosigner-9"}
        parties(
            operation(world, "restore", key=KEY, parameters=strange), policy=policy, trust_root=root(world)
        )


TICKET = Ticket.load(
    {"v": 1, "cosigner": NAMES[0], "backup": "ab" * 32, "order": None, "key": public("ticket")}
)


def words(by: str = NAMES[0], **changes: Any) -> SignedTestimony:
    """Return what a co-signer says of a trial."""
    said = {
        "v": 1,
        "cosigner": NAMES[0],
        "did": "tried",
        "order": None,
        "key": KEY,
        "backup": TICKET.backup,
        "shares": [],
        "whole": [],
        "attributes": None,
        "ticket": TICKET.key,
        **changes,
    }
    document = signed_bytes(recovery.TESTIMONY_LINE, canonical(said))
    return SignedTestimony.load({"testimony": said, "signature": observer_key(by).sign(document).hex()})


WORDS: list[tuple[str, Json, Refusal]] = [
    ("of an earlier ticket", {"ticket": "cd" * 32}, Refusal.EQUIVOCATION),
    ("of no ticket", {"ticket": None}, Refusal.EQUIVOCATION),
    ("of another backup", {"backup": "cd" * 32}, Refusal.EQUIVOCATION),
    ("of a restoration", {"did": "restored"}, Refusal.EQUIVOCATION),
    ("under an order", {"order": "cd" * 32}, Refusal.EQUIVOCATION),
    ("of another co-signer", {"cosigner": NAMES[1], "by": NAMES[1]}, Refusal.EQUIVOCATION),
    ("signed by another co-signer", {"by": NAMES[1]}, Refusal.SIGNATURE),
    ("of a stranger", {"cosigner": "mallory", "by": "mallory"}, Refusal.TRUST_ROOT),
]


@pytest.mark.parametrize(("changes", "code"), [each[1:] for each in WORDS], ids=[each[0] for each in WORDS])
def test_what_passes_for_no_trial(changes: Json, code: Refusal) -> None:
    """A service that shows an officer what was said of something else: the drill of today was none."""
    pinned = {name: public(name) for name in NAMES}
    assert recovery.verify_back(words(), TICKET, cosigners=pinned).did == "tried"
    with refused(code):
        recovery.verify_back(words(**changes), TICKET, cosigners=pinned)


def test_who_keeps_what() -> None:
    """By key and co-signer."""
    officers = [RecoveryOfficer.load(each) for each in three()]
    assert [each.name for each in recovery.keepers(officers, KEY, NAMES[2])] == ["recovery-1"]
    assert recovery.keepers(officers, "other", NAMES[2]) == []
