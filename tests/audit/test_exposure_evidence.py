"""`workbench risk exposure --bundle`: figures after the evidence of a sound bundle, or no figure."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ledger.bundle import ENTRIES
from ledger.encoding import canonical
from tests.audit.sharing import DRILLED, KEY, Audited, said
from tests.audit.world import Desk, rewritten
from tests.ledger.world import Folder
from tests.risk.portfolios import SOURCE
from tests.risk.test_exposure_command import DESK
from tests.rules import build
from tests.rules.test_concentration import NAMES
from workbench.cli import main
from workbench.commands.risk import WIDTH

Json = dict[str, Any]
STATED = 0.125
SHARES = {"indicator": f"most-shares.{KEY}", "at_most": 1}
APART = {"indicator": f"most-shares-site.{KEY}", "at_most": 0}
DRILL = {"indicator": DRILLED, "fresh": 90, "half_life": 30}
NOBODY = {"indicator": "what-nobody-tells", "each": 0.01}


@pytest.fixture
def recent(audited: Audited) -> Audited:
    """A desk whose drills were two days ago by the clock of who asks."""
    audited.desk.at = datetime.now(UTC) - timedelta(days=2)
    audited.drill(*NAMES)
    return audited


def file(folder: Path, *rules: Json, **scenario: Any) -> Path:
    """Write a theft of 1000 USD that one control stops."""
    path = folder / "scenarios.json"
    control = {"id": "backups", "failure": STATED, "evidence": list(rules)}
    stated = {
        "id": "theft",
        "likelihood": {"rate": 1},
        "exposure": 1,
        "severity": 1000,
        "residual_severity": 0,
    }
    path.write_text(json.dumps([{**stated, "controls": [control], "assumption": SOURCE, **scenario}]))
    return path


def command(path: Path, *more: object) -> list[str]:
    """Return the command line."""
    return ["risk", "exposure", str(path), "--years", "1000", *map(str, more)]


def told(
    capsys: pytest.CaptureFixture[str],
    path: Path,
    bundle: Folder | None = None,
    trust_root: Path | None = None,
) -> Json:
    """Return what the command prints, as JSON."""
    asked = [] if bundle is None else ["--bundle", bundle.path, "--trust-root", trust_root]
    assert main(command(path, "--json", *asked)) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    found: Json = json.loads(printed.out)
    return found


def test_evidence_comes_before_the_figures(
    recent: Audited, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is measured too high fails the control, and a year costs what it does without one."""
    path = file(tmp_path, SHARES, APART, DRILL)
    found = told(capsys, path, recent.bundle(), recent.desk.trust_root)
    assert found["scenarios"][0]["all_controls_fail"] == 1
    assert found["portfolio"]["residual"]["ale"] == found["portfolio"]["ale"] == 1000
    kept, failed, fresh = found["evidence"]
    assert kept == {
        "scenario": "theft",
        "control": "backups",
        "indicator": f"most-shares.{KEY}",
        "rule": "at most 1, or it does not hold",
        "value": 1,
        "unit": "shares",
        "seqs": [0, 0],
        "before": STATED,
        "after": STATED,
        "missing": [],
    }
    assert (failed["indicator"], failed["value"], failed["before"], failed["after"]) == (
        *(f"most-shares-site.{KEY}", 1),
        *(STATED, 1),
    )
    assert (fresh["seqs"], fresh["unit"], fresh["before"], fresh["after"]) == ([1, 1], "days", 1, 1)
    assert 2 <= fresh["value"] < 3


def test_evidence_that_changes_nothing(
    recent: Audited, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With drills that are fresh, and a bundle or none, the figures are the same to the last digit."""
    path = file(tmp_path, DRILL, SHARES)
    with_bundle = told(capsys, path, recent.bundle(), recent.desk.trust_root)
    assert [each["after"] for each in with_bundle.pop("evidence")] == [STATED, STATED]
    assert with_bundle == told(capsys, path)


def test_what_nobody_tells_fails_the_control(
    audited: Audited, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A drill that never was, and an indicator that there is none: a probability of one, and by name."""
    path = file(tmp_path, DRILL, NOBODY)
    assert told(capsys, path)["scenarios"][0]["all_controls_fail"] == STATED
    found = told(capsys, path, audited.bundle(), audited.desk.trust_root)
    assert found["scenarios"][0]["all_controls_fail"] == 1
    drill, nobody = found["evidence"]
    assert (drill["value"], drill["unit"], drill["seqs"], drill["missing"]) == (None, None, [], [DRILLED])
    assert (drill["before"], drill["after"]) == (STATED, 1)
    assert nobody["missing"] == ["what-nobody-tells"]


def test_in_words(recent: Audited, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What changed and what is missing, no wider than the rest, whatever names a file gives."""
    long = {"indicator": "x" * 128, "each": 0}
    path = file(tmp_path, APART, NOBODY, long, id="t" * 64)
    asked = ["--bundle", recent.bundle().path, "--trust-root", recent.desk.trust_root]
    assert main(command(path, *asked)) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= WIDTH
    plain = " ".join(printed.split())
    assert "3 rules read a sound bundle; 1 changed a failure probability" in plain
    assert f"backups: 0.125 -> 1: most-shares-site.{KEY} is 1 shares, entries 0 to 0" in plain
    assert "MISSING, and nobody can say: what-nobody-tells, " + "x" * 40 in plain
    assert main(command(path)) == 0
    assert "sound bundle" not in capsys.readouterr().out


def test_the_desks_own_scenarios(audited: Audited, capsys: pytest.CaptureFixture[str]) -> None:
    """Rules are read in the file's order, and a year costs no less than what is stated, bar a prior's."""
    found = told(capsys, DESK, audited.bundle(), audited.desk.trust_root)
    assert [each["indicator"] for each in found["evidence"]][:2] == [
        "most-shares-site.treasury",
        "refused-signatures",
    ]
    assert all(each["after"] >= each["before"] for each in found["evidence"] if "Beta" not in each["rule"])


def one_byte(folder: Folder, audited: Audited) -> Path:
    """Change a byte of what was told."""
    path = folder.path / ENTRIES
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    return audited.desk.trust_root


def all_keys(folder: Folder, audited: Audited) -> Path:
    """Rewrite a testimony, and sign the ledger again."""

    def lie(drafts: list[Json]) -> None:
        drafts[1]["data"] = drafts[1]["data"].replace(b'"epoch":1', b'"epoch":9')

    rewritten(lie)(folder)
    return audited.desk.trust_root


def another_desk(folder: Folder, audited: Audited) -> Path:
    """Believe another desk."""
    officers = folder.path.parent / "officers"
    officers.mkdir()
    other = Desk(folder.path.parent / "other", build.build(officers))
    other.ledger.close()
    assert other.trust_root.read_bytes() != audited.desk.trust_root.read_bytes()
    return other.trust_root


def another_key(folder: Folder, audited: Audited) -> Path:
    """Believe that a co-signer has another key."""
    trust = audited.desk.trust
    path = folder.path.parent / "mine.json"
    cosigners = {**trust["cosigners"], NAMES[0]: trust["cosigners"][NAMES[1]]}
    path.write_bytes(canonical({**trust, "cosigners": cosigners}, limit=1 << 20))
    return path


def no_json(folder: Folder, audited: Audited) -> Path:
    """Believe what is no trust root."""
    del audited
    path = folder.path.parent / "mine.json"
    path.write_bytes(b"{")
    return path


UNSOUND = [one_byte, all_keys, another_desk, another_key, no_json]


@pytest.mark.parametrize("attack", UNSOUND, ids=lambda attack: str(attack.__name__))
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["in words", "as JSON"])
def test_a_bundle_that_is_not_proven(
    attack: Callable[[Folder, Audited], Path],
    more: list[str],
    recent: Audited,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No figure is told, not even the one that needs no evidence."""
    folder = Folder(Path(shutil.copytree(recent.bundle().path, tmp_path / "bundle")))
    trust_root = attack(folder, recent)
    asked = ["--bundle", folder.path, "--trust-root", trust_root]
    assert main(command(file(tmp_path), *asked, *more)) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("NOT PROVEN: ")
    assert len(printed.err.splitlines()) == 1


def test_a_ledger_of_tomorrow(recent: Audited, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A drill that is dated ahead makes nothing look fresh."""
    recent.tell("key.tried", {"testimony": said("tried", NAMES[0], ticket="01" * 32)}, days=30)
    asked = ["--bundle", recent.bundle().path, "--trust-root", recent.desk.trust_root]
    assert main(command(file(tmp_path, DRILL), *asked)) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        pytest.param(["--bundle", "bundle"], "go together", id="a bundle and no trust root"),
        pytest.param(["--trust-root", "root.json"], "go together", id="a trust root and no bundle"),
        pytest.param(
            ["--bundle", "bundle", "--trust-root", "root.json"], "No such file", id="neither is there"
        ),
    ],
)
def test_what_cannot_run(
    asked: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of what is needed is not taken for none."""
    paths = [str(tmp_path / each) if not each.startswith("-") else each for each in asked]
    assert main(command(file(tmp_path), *paths)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert says in printed.err
