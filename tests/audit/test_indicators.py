"""Indicators from a desk's bundle: what each tells, what tells nothing, and who cannot make it tell more."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ledger.encoding import canonical
from ledger.verifier import VerificationError
from tests.audit.sharing import DRILLED, KEY, RUN, Audited, Json, said
from tests.audit.world import SERVICE, Desk, event, rewritten
from tests.ledger.world import Folder
from tests.risk.test_evidence import DRILL, after, portfolio
from tests.rules import build, test_key_life
from tests.rules.build import TREASURY_KEY, World, observer_key, public, refused
from tests.rules.test_ceremony import OFFICERS, word
from tests.rules.test_concentration import NAMES
from tests.rules.test_key_life import ordered, released
from workbench.audit.indicators import STALE_DAYS, indicators
from workbench.evm.transaction import address_of
from workbench.risk.exposure.evidence import Indicator, feed
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import read_time, signed_bytes
from workbench.rules.evidence import ANSWER_LINE, Answer
from workbench.rules.trust import TrustRoot


def answer(name: str = NAMES[0], *, by: str = "", code: str = "not_whitelisted", **changes: Any) -> Json:
    """Return a co-signer's refusal, signed."""
    told = {
        "v": 1,
        "cosigner": name,
        "evidence": "ab" * 32,
        "intent": "cd" * 32,
        "signature": None,
        "raw_tx": None,
        "refused": {"step": 6, "code": code, "detail": "a test"},
        "signed_before": None,
        "others": [],
        **changes,
    }
    made = Answer.load(told)
    signature = observer_key(by or name).sign(signed_bytes(ANSWER_LINE, made.canonical())).hex()
    return {"answer": {"answer": made.dump(), "signature": signature}, "evidence": "ab" * 32}


def value(found: dict[str, Indicator], name: str) -> Decimal | None:
    """Return a figure, or None where there is none."""
    return found[name].value if name in found else None


def test_a_young_ledger(audited: Audited) -> None:
    """Only what the set says: nothing of drills, epochs, refusals, pauses, and no zero in their place."""
    found = audited.ask(days=2)
    hands = ["site", "administrator", "team", "host", "vendor"]
    assert sorted(found) == sorted(
        [
            *("ledger-days", "policy-days", "overdue-reviews", "unused-grants"),
            *(f"most-shares-{hand}.{KEY}" for hand in hands),
            *(f"most-shares.{KEY}", f"excess-shares.{KEY}"),
        ]
    )
    assert value(found, "policy-days") == value(found, "ledger-days") == 2
    assert value(found, "overdue-reviews") == 0
    assert {value(found, f"most-shares-{hand}.{KEY}") for hand in hands} == {1}
    assert value(found, f"excess-shares.{KEY}") == 0
    for each in found.values():
        assert (each.first, each.last, each.at) == (0, 0, audited.desk.at + timedelta(days=2))


def test_a_list_that_nobody_looks_at(audited: Audited) -> None:
    """Whitelist entries end; from that moment on each is overdue."""
    policy, folder = audited.world.policy, audited.bundle()
    (end,) = {read_time(each.expires_at) for each in policy.whitelist.values()}
    for now, overdue in ((end, len(policy.whitelist)), (end - timedelta(microseconds=1), 0)):
        found = indicators(folder.path, audited.desk.trust_root, now=now)
        assert value(found, "overdue-reviews") == overdue


def test_a_set_that_is_written_down_again(audited: Audited) -> None:
    """It does not get younger by that."""
    policy = audited.world.policy
    audited.tell("policy.activated", {"manifest": policy.manifest.dump()}, "", days=30)
    audited.desk.step = timedelta(days=30)
    again = event("policy.activated", SERVICE, {"again": "x"})
    audited.desk.append(replace(again, source="workbench/again", id=policy.digest))
    found = audited.ask()
    assert found["policy-days"].first == 0
    assert value(found, "policy-days") > 59  # type: ignore[operator]  # it is there
    assert value(found, "ledger-days") == 0


@pytest.mark.parametrize(
    ("dated", "days", "used"),
    [
        pytest.param(0, 0, 1, id="today"),
        pytest.param(0, STALE_DAYS - 1, 1, id="not long ago"),
        pytest.param(0, STALE_DAYS + 1, 0, id="long ago"),
        pytest.param(-STALE_DAYS - 1, 0, 0, id="an old one that is written down again"),
        pytest.param(300, STALE_DAYS + 1, 0, id="dated ahead"),
    ],
)
def test_grants(audited: Audited, dated: int, days: int, used: int) -> None:
    """A role counts as used when somebody who has it has logged in with it of late."""
    grants = sum(len(each.roles) for each in audited.world.policy.people.values())
    audited.tell("session.started", audited.log_in(days=dated), actor="risk-1")
    found = audited.ask(days)
    assert value(found, "unused-grants") == grants - used * len(audited.world.policy.people["risk-1"].roles)
    assert found["unused-grants"].last == used


def test_a_login_that_nobody_pressed_for(audited: Audited) -> None:
    """Whoever writes the ledger cannot have a role look used."""
    forged = audited.log_in()
    forged["session"]["nonce"] = "00" * 32
    before = value(audited.ask(), "unused-grants")
    audited.tell("session.started", forged, actor="risk-1")
    assert value(audited.ask(), "unused-grants") == before


def test_a_drill(audited: Audited) -> None:
    """Of all five shares, or of none; and the one that was tried longest ago counts."""
    audited.drill(*NAMES[:4], days=1)
    assert DRILLED not in audited.ask()
    audited.drill(NAMES[4], days=1)
    found = audited.ask(days=10)
    assert found[DRILLED].said == f"share of {NAMES[0]}, epoch 1"
    assert (found[DRILLED].first, found[DRILLED].last) == (1, 1)
    # four days and four seconds to the last trial, ten after it
    assert found[DRILLED].value == Decimal("14.001")
    audited.tell("key.tried", {"testimony": said("tried", NAMES[0], ticket="01" * 32)}, days=20)
    assert audited.ask()[DRILLED].said == f"share of {NAMES[1]}, epoch 1"


def test_a_stale_drill_raises_a_failure_probability(audited: Audited) -> None:
    """From a bundle to a portfolio: fresh, stale, and never."""
    stated = portfolio({**DRILL, "indicator": DRILLED})
    never = feed(stated, audited.ask())
    assert (after(never), never.missing) == (1, (DRILLED,))
    audited.drill(*NAMES)
    fresh, stale = (feed(stated, audited.ask(days)) for days in (1, 150))
    assert after(fresh) == Decimal("0.1")
    assert Decimal("0.77") < after(stale) < Decimal("0.78")
    (told,) = stale.changes
    assert told.read is not None
    assert (told.read.first, told.read.last) == (1, 1)


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(lambda: said("restored", NAMES[4], order="ab" * 32), id="what came back"),
        pytest.param(lambda: said("tried", NAMES[4], point=TREASURY_KEY), id="another key's share"),
        pytest.param(lambda: said("tried", NAMES[4], shares=[]), id="no share"),
    ],
)
def test_what_is_no_drill(audited: Audited, told: Callable[[], Json]) -> None:
    """Four shares were tried; whatever else stands under a trial, the fifth was not."""
    audited.drill(*NAMES[:4])
    audited.tell("key.tried", {"testimony": told()})
    assert DRILLED not in audited.ask()


def test_an_old_drill_told_again(audited: Audited) -> None:
    """A testimony has no date: it counts where it stood first."""
    audited.drill(*NAMES)
    for name in NAMES:
        audited.tell("key.tried", {"testimony": said("tried", name)}, days=30)
    found = audited.ask()
    assert found[DRILLED].first == 1
    assert found[DRILLED].value > 149


def test_another_epoch(audited: Audited) -> None:
    """A refresh begins anew: its age is told, and drills of before count no more."""
    audited.drill(*NAMES)
    audited.refresh(days=3)
    found = audited.ask(days=1)
    assert DRILLED not in found
    assert found[f"epoch-days.{KEY}"].said == "epoch 2"
    assert found[f"epoch-days.{KEY}"].value == 1
    audited.drill(*NAMES, epoch=2, days=1)
    assert audited.ask()[DRILLED].said == f"share of {NAMES[0]}, epoch 2"


def test_an_epoch_told_again(audited: Audited) -> None:
    """What co-signers said of it has no date either."""
    audited.refresh()
    (made,) = [each for each in audited.desk.ledger.entries(0, None) if each.type == "key.made"]
    assert made.data is not None
    audited.tell("key.made", made.data, days=30)
    assert audited.ask()[f"epoch-days.{KEY}"].first == made.seq


def test_an_epoch_of_another_key(audited: Audited) -> None:
    """It says nothing of this one."""
    made = audited.order("dkg", key="sweep", epoch=1, parameters={"parties": NAMES, "threshold": 3})
    words = [word(number, public_key=TREASURY_KEY) for number in range(1, 6)]
    data = {"key": "sweep", "epoch": 1, "public_key": TREASURY_KEY, "order": made.digest, "words": words}
    audited.tell("key.made", {**data, "address": address_of(bytes.fromhex(TREASURY_KEY))}, made.digest)
    assert f"epoch-days.{KEY}" not in audited.ask()
    assert f"epoch-days.{made.key}" not in audited.ask()


def test_an_epoch_that_officers_have_not_ordered(audited: Audited) -> None:
    """One officer is no quorum, whatever co-signers say."""
    audited.refresh(presses=OFFICERS[:1])
    with refused(Refusal.POLICY_CHAIN):
        audited.ask()


def test_drills_of_an_epoch_that_nobody_tells_of(audited: Audited) -> None:
    """Who hides that an epoch was made cannot have drills of the one before count."""
    audited.drill(*NAMES)
    audited.drill(NAMES[0], epoch=2)
    found = audited.ask()
    assert DRILLED not in found
    assert f"epoch-days.{KEY}" not in found


MADE: list[tuple[str, Callable[[Json], Json], Refusal]] = [
    ("words of four", lambda data: data | {"words": data["words"][:4]}, Refusal.RUN),
    ("no words", lambda data: data | {"words": []}, Refusal.RUN),
    ("a forged word", lambda data: data | {"words": [forged(data), *data["words"][1:]]}, Refusal.SIGNATURE),
    ("words of another key", lambda data: data | {"words": others()}, Refusal.EQUIVOCATION),
    ("another epoch than the words say", lambda data: data | {"epoch": 99}, Refusal.EQUIVOCATION),
    ("another address", lambda data: data | {"address": f"0x{1:040x}"}, Refusal.EQUIVOCATION),
    ("another key", lambda data: data | {"public_key": TREASURY_KEY}, Refusal.EQUIVOCATION),
    ("another name", lambda data: data | {"key": "sweep"}, Refusal.EQUIVOCATION),
    ("nothing but an address", lambda data: {"address": data["address"]}, Refusal.NOT_FOUND),
    ("no order", lambda data: data | {"order": "ab" * 32}, Refusal.NOT_FOUND),
    ("an order that is not named", lambda data: {**data, "order": None}, Refusal.NOT_FOUND),
]


def others() -> list[Json]:
    """Return what all five say of a key that this is not."""
    return [word(number, key=KEY, epoch=2, public_key=TREASURY_KEY) for number in range(1, 6)]


def forged(data: Json) -> Json:
    """Return the first word under another's key."""
    assert data["words"][0]["word"]["party"] == 1
    return word(1, key=KEY, epoch=2, by=NAMES[1])


@pytest.mark.parametrize(("lie", "code"), [pytest.param(*each[1:], id=each[0]) for each in MADE])
def test_an_epoch_that_was_not_made(audited: Audited, lie: Callable[[Json], Json], code: Refusal) -> None:
    """What co-signers have not said, or officers not ordered, yields nothing at all."""
    audited.refresh(lie=lie)
    with refused(code):
        audited.ask()


def test_a_share_that_came_back(audited: Audited) -> None:
    """From the order to the testimony, of the last one."""
    for name, days in ((NAMES[0], 2), (NAMES[1], 1)):
        given = {"cosigner": name, "backup": "ef" * 32, "run": RUN}
        order = audited.order("restore", epoch=1, parameters=given, nonce=f"{days:032x}")
        told = said("restored", name, order=order.digest)
        audited.tell("key.restored", {"order": order.digest, "testimonies": {name: told}}, days=days)
    found = audited.ask()[f"restore-seconds.{KEY}"]
    assert (found.value, found.unit) == (86_401, "seconds")
    assert (found.first, found.last, found.said) == (3, 4, f"share of {NAMES[1]}")


def test_a_share_that_nobody_ordered_back(audited: Audited) -> None:
    """A testimony under an order that the ledger has not is none to go by."""
    told = said("restored", NAMES[0], order="ab" * 32)
    audited.tell("key.restored", {"testimonies": {NAMES[0]: told}})
    with refused(Refusal.NOT_FOUND):
        audited.ask()


def test_what_was_refused(audited: Audited) -> None:
    """By code, with the entries; a code that there is not counts nowhere."""
    for code in ("not_whitelisted", "made-up", "role_not_held", "not_whitelisted"):
        audited.tell("request.refused", {"code": code}, actor="pm-1")
    found = audited.ask()
    refusals = {name: each.value for name, each in found.items() if name.startswith("refused-")}
    assert refusals == {
        "refused-requests": 3,
        "refused-requests.not_whitelisted": 2,
        "refused-requests.role_not_held": 1,
    }
    assert (found["refused-requests"].first, found["refused-requests"].last) == (1, 4)
    assert (found["refused-requests.role_not_held"].first, found["refused-requests"].unit) == (3, "requests")


def test_what_co_signers_refused(audited: Audited) -> None:
    """Each intent once for each co-signer, however often it is written down; a code of its own is unknown."""
    told = [answer(), answer(), answer(NAMES[1]), answer(intent="ef" * 32, code="mood")]
    for each in told:
        audited.tell("signature.refused", each, actor=NAMES[0])
    found = audited.ask()
    assert value(found, "refused-signatures") == 3
    assert value(found, "refused-signatures.not_whitelisted") == 2
    assert value(found, "refused-signatures.unavailable") == 1


@pytest.mark.parametrize(
    ("told", "code"),
    [
        pytest.param(lambda: answer(by=NAMES[1]), Refusal.SIGNATURE, id="another's signature"),
        pytest.param(lambda: answer("cosigner-9"), Refusal.TRUST_ROOT, id="no co-signer of ours"),
        pytest.param(
            lambda: answer(refused=None, signature="00", raw_tx="00"), Refusal.TRUST_ROOT, id="it has signed"
        ),
    ],
)
def test_a_refusal_that_nobody_said(audited: Audited, told: Callable[[], Json], code: Refusal) -> None:
    """A refused signature is its co-signer's word, or nothing is told."""
    audited.tell("signature.refused", told(), actor=NAMES[0])
    with refused(code):
        audited.ask()


def test_pauses(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many, which are open, and how long the longest took."""
    session = audited.world.certify("risk-1")[1].dump()
    monkeypatch.setattr(test_key_life, "SESSION", session)
    audited.tell("pause.ordered", ordered("all", 1), "epoch-1")
    assert value(audited.ask(), "pauses-open") == 1
    assert "pause-seconds" not in audited.ask()
    audited.tell("pause.ordered", ordered(f"key:{KEY}", 2), "epoch-2", days=1)
    audited.tell("pause.released", released("all", 3), "epoch-3", days=1)
    audited.tell("pause.ordered", ordered("all", 4), "epoch-4")
    audited.tell("pause.released", released("all", 5), "epoch-5")
    found = audited.ask()
    told = {name: each.value for name, each in found.items() if name.startswith("pause")}
    assert told == {
        "pauses-ordered": 3,
        "pauses-open": 1,
        "pauses-released": 2,
        "pause-seconds": 2 * 86_400 + 2,
    }
    assert (found["pause-seconds"].first, found["pause-seconds"].last) == (1, 3)


def test_one_host(people: World, tmp_path: Path) -> None:
    """As many shares on one host as sign together are one too many: a control that needs two is none."""
    listed = [{**each.dump(), "host": "one"} for each in people.policy.places.values()]
    files = {**people.policy.files, "cosigners.json": canonical(listed, limit=1 << 20)}
    policy = people.sign_set(files)
    root = TrustRoot.load(people.trust_root.dump() | {"genesis_policy": policy.digest})
    made = Audited(Desk(tmp_path / "desk", replace(people, files=files, policy=policy, trust_root=root)))
    made.tell("policy.adopted", {"manifest": policy.manifest.dump()}, policy.digest)
    found = made.ask()
    made.desk.ledger.close()
    assert value(found, f"most-shares.{KEY}") == value(found, f"most-shares-host.{KEY}") == 5
    assert value(found, f"most-shares-site.{KEY}") == 1
    assert value(found, f"excess-shares.{KEY}") == 3
    assert found[f"excess-shares.{KEY}"].said == "host one has 5, and 3 sign together"
    apart = portfolio({"indicator": f"excess-shares.{KEY}", "at_most": 0})
    assert after(feed(apart, found)) == 1


def test_one_byte(audited: Audited, tmp_path: Path) -> None:
    """Of a bundle with one byte changed, in whichever file, nothing is told."""
    audited.drill(*NAMES)
    genuine = audited.bundle()
    assert DRILLED in audited.read(genuine)
    names = sorted(path.relative_to(genuine.path) for path in genuine.path.rglob("*") if path.is_file())
    assert len(names) > 5
    for number, name in enumerate(names):
        copy = Path(shutil.copytree(genuine.path, tmp_path / f"copy-{number}"))
        raw = bytearray((copy / name).read_bytes())
        raw[len(raw) // 2] ^= 1
        (copy / name).write_bytes(raw)
        with pytest.raises((VerificationError, RefusedError)):
            audited.read(Folder(copy))


def test_another_trust_root(audited: Audited, tmp_path: Path) -> None:
    """What another desk's auditor believes says nothing of this one; nor does one co-signer's other key."""
    audited.drill(*NAMES)
    folder, officers = audited.bundle(), tmp_path / "officers"
    officers.mkdir()
    other = Desk(tmp_path / "other", build.build(officers))
    other.ledger.close()
    with pytest.raises(VerificationError):
        indicators(folder.path, other.trust_root, now=audited.desk.at)
    trust = {**audited.desk.trust, "cosigners": {**audited.desk.trust["cosigners"], NAMES[0]: public("x")}}
    (tmp_path / "trust-root.json").write_bytes(canonical(trust, limit=1 << 20))
    with pytest.raises(VerificationError):
        indicators(folder.path, tmp_path / "trust-root.json", now=audited.desk.at)


def test_an_insider_with_all_keys_of_the_ledger(audited: Audited) -> None:
    """Who rewrites a testimony, and has all signed again, has still not signed as the co-signer."""
    audited.drill(*NAMES)
    folder = audited.bundle()

    def lie(drafts: list[Json]) -> None:
        drafts[1]["data"] = drafts[1]["data"].replace(b'"epoch":1', b'"epoch":9')

    rewritten(lie)(folder)
    with refused(Refusal.SIGNATURE):
        audited.read(folder)


def test_a_part_of_the_ledger(audited: Audited) -> None:
    """A bundle that begins later cannot say what was before."""
    audited.drill(*NAMES)
    audited.desk.check_point()
    audited.drill(NAMES[0], epoch=2)
    audited.desk.check_point()
    last = audited.desk.ledger.head().size - 1
    with refused(Refusal.NOT_FOUND):
        audited.read(audited.desk.bundle("part", first=last, last=last))


def test_before_its_end(audited: Audited) -> None:
    """Nobody asks a ledger about a day before its last entry: ages would be less than nothing."""
    audited.drill(*NAMES, days=1)
    folder = audited.bundle()
    assert value(audited.read(folder), "ledger-days") == 0
    with refused(Refusal.MALFORMED, "/now"):
        audited.read(folder, days=-0.001)
