"""The auditor's command, as a process: exit codes, words, and an environment with nothing else in it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.__main__ import main
from ledger.checkpoint import split
from ledger.encoding import canonical
from ledger.entry import leaf_of
from ledger.merkle import verify_inclusion
from tests.alone import furnish, run
from tests.ledger.world import Folder, World, trust_root


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds a copy of the package and what it may import, and nothing else."""
    return furnish(tmp_path_factory.mktemp("lone"))


@pytest.fixture
def keys(tmp_path: Path) -> str:
    """Return the path of the auditor's own trust root."""
    path = tmp_path / "mine.json"
    path.write_bytes(canonical(trust_root()))
    return str(path)


def test_alone(lone: Path, world: World, bundle: Folder, keys: str) -> None:
    """With only the package, cryptography and orjson, a sound bundle gives 0, and its head is printed."""
    done = run(lone, "verify", str(bundle.path), "--keys", keys)
    assert (done.returncode, done.stderr) == (0, "")
    head = world.ledger.head()
    assert done.stdout == (
        f"sound: ledger example, entries 0 to 7\nroot  {head.root.hex()}\nh     {head.h.hex()}\n"
        "not proven by this ledger: policies/1/manifest.json\n"
    )


def test_alone_means_without_duckdb(lone: Path) -> None:
    """In that environment the store cannot be imported: the test above is not fooled by a stray library."""
    probe = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {str(lone)!r}); import ledger.store",
    ]
    assert (
        "duckdb"
        in subprocess.run(probe, cwd=lone, env={}, capture_output=True, text=True, check=False).stderr
    )


@pytest.mark.parametrize("place", [100, 2000, 4000])
def test_a_flipped_byte(lone: Path, bundle: Folder, keys: str, place: int) -> None:
    """A flipped byte gives 1 and names the entry, with the index adapted too."""
    raw = bundle.read("entries.jsonl")
    bundle.write("entries.jsonl", raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
    done = run(lone, "verify", str(bundle.path), "--keys", keys)
    number = raw.count(b"\n", 0, place)
    assert done.returncode == 1
    assert done.stdout.startswith("NOT SOUND: ")
    assert f") entry {number}: " in done.stdout


REARRANGED = {
    "removed": ([0, 1, 2, 4, 5, 6, 7], "(5) entry 3: is missing: 4 stands in its place"),
    "swapped": ([0, 1, 2, 4, 3, 5, 6, 7], "(5) entry 3: is missing: 4 stands in its place"),
    "inserted": ([0, 1, 2, 3, 3, 4, 5, 6, 7], "(5) entry 4: is missing: 3 stands in its place"),
    "truncated": ([0, 1, 2, 3, 4, 5, 6], "(11) entry 7: is missing: checkpoint 8 covers 8 entries"),
}


@pytest.mark.parametrize(("order", "words"), REARRANGED.values(), ids=REARRANGED)
def test_rearranged(
    bundle: Folder, keys: str, capsys: pytest.CaptureFixture[str], order: list[int], words: str
) -> None:
    """Entries removed, swapped, inserted or truncated give 1, and the place is named."""
    lines = bundle.lines()
    bundle.write_lines([lines[number] for number in order])
    assert main(["verify", str(bundle.path), "--keys", keys]) == 1
    assert words in capsys.readouterr().out


def test_one_fault_one_finding(bundle: Folder, keys: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A removed entry is not reported again at every entry after it."""
    lines = bundle.lines()
    bundle.write_lines(lines[:3] + lines[4:])
    main(["verify", str(bundle.path), "--keys", keys])
    assert capsys.readouterr().out.splitlines() == [
        "NOT SOUND: 3 findings",
        "(5) entry 3: is missing: 4 stands in its place",
        "(8) entry 3: h does not follow from the entry before and the head",
        "(11) entry 7: is missing: checkpoint 8 covers 8 entries",
    ]


def test_json(bundle: Folder, keys: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The report for machines says the same."""
    assert main(["verify", str(bundle.path), "--keys", keys, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["sound"], report["size"], report["checkpoints"], report["findings"]) == (
        True,
        8,
        [3, 8],
        [],
    )
    bundle.remove("checkpoints/8.txt")
    assert main(["verify", str(bundle.path), "--keys", keys, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["sound"] is False
    assert report["findings"] == [
        {
            "step": 11,
            "code": "end",
            "place": "entry 3",
            "detail": "no valid checkpoint covers the entries 3 to 7",
        }
    ]


@pytest.mark.parametrize(
    ("bundle_name", "keys_name"),
    [
        pytest.param("bundle", "missing.json", id="no trust root"),
        pytest.param("bundle", "bundle", id="a folder as trust root"),
        pytest.param("bundle", "bundle/entries.jsonl", id="another file as trust root"),
        pytest.param("missing", "mine.json", id="no bundle"),
        pytest.param("mine.json", "mine.json", id="a file as bundle"),
    ],
)
def test_could_not_run(bundle: Folder, keys: str, bundle_name: str, keys_name: str) -> None:
    """What is the caller's mistake gives 2, never 0 and never 1."""
    folder = bundle.path.parent
    assert Path(keys).parent == folder
    assert main(["verify", str(folder / bundle_name), "--keys", str(folder / keys_name)]) == 2


@pytest.mark.parametrize(
    "arguments", [[], ["verify"], ["verify", "x"], ["prove", "x", "y", "--keys", "z"], ["bless"]]
)
def test_usage(arguments: list[str]) -> None:
    """A command that cannot be understood gives 2."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_prove(bundle: Folder, keys: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The proof that is printed holds against the checkpoint that is printed with it."""
    for seq in range(8):
        assert main(["prove", str(bundle.path), str(seq), "--keys", keys]) == 0
        proof = json.loads(capsys.readouterr().out)
        checkpoint = split(proof["checkpoint"])[0]
        nodes = [bytes.fromhex(node) for node in proof["proof"]]
        verify_inclusion(leaf_of(proof["head"].encode()), seq, proof["size"], nodes, checkpoint.root)


def test_nothing_to_prove(
    world: World, bundle: Folder, keys: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No proof of an entry that is not there, from a range, or from a bundle that is not sound."""
    for seq in ("8", "-1"):
        assert main(["prove", "--keys", keys, "--", str(bundle.path), seq]) == 2
    part = world.write_bundle("part", first=3)
    assert main(["verify", str(part.path), "--keys", keys]) == 0
    assert capsys.readouterr().out.endswith("\nnot in this bundle: entries 0 to 2\n")
    assert main(["prove", str(part.path), "4", "--keys", keys]) == 2
    bundle.remove("checkpoints/8.txt")
    assert main(["prove", str(bundle.path), "1", "--keys", keys]) == 1


def test_claims(bundle: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """Listing entries and checkpoints says that nothing was verified."""
    assert main(["inspect", str(bundle.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "claimed, not verified: entries 0 to 7, 6 files"
    assert lines[1] == "0 2026-11-21T01:02:03.000004Z example.note /desk/1 event-0"
    assert len(lines) == 9
    assert main(["checkpoints", str(bundle.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["claimed,", "3", "8"]
    assert lines[2].endswith(" custody.example/service")


@pytest.mark.parametrize("name", ["index.json", "entries.jsonl", "checkpoints/8.txt"])
def test_claims_that_cannot_be_read(bundle: Folder, name: str) -> None:
    """Listing a malformed bundle gives 1, not a traceback."""
    bundle.write(name, b"\xff\n", reindex=False)
    command = "checkpoints" if name.startswith("checkpoints") else "inspect"
    assert main([command, str(bundle.path)]) == 1
