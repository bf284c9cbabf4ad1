"""The auditor's command, as a process: exit codes, words, and an environment with nothing else in it."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ledger import checkpoint, signer, timestamp
from ledger.__main__ import main
from ledger.checkpoint import split
from ledger.encoding import canonical
from ledger.entry import leaf_of
from ledger.merkle import verify_inclusion
from tests.alone import furnish, run
from tests.ledger.world import SERVICE, Folder, World, key, public, trust_root


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


def test_what_is_not_proven(
    world: World, bundle: Folder, keys: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Documents that the ledger does not prove are named; where there is none, nothing is said of them."""
    assert main(["verify", str(bundle.path), "--keys", keys]) == 0
    assert capsys.readouterr().out.endswith("\nnot proven by this ledger: policies/1/manifest.json\n")
    bare = world.write_bundle("bare")
    assert main(["verify", str(bare.path), "--keys", keys]) == 0
    assert "not proven" not in capsys.readouterr().out


def test_what_could_not_be_judged(
    world: World,
    bundle: Folder,
    keys: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever has not the extra is told so where there is a time-stamp, and only there."""
    words = "time-stamps were not judged: that needs the extra `timestamp`\n"
    stamped = world.write_bundle("stamped", files={"anchors/8.clock.tsr": b""})
    for available in (True, False):
        monkeypatch.setattr(timestamp, "AVAILABLE", available)
        assert main(["verify", str(stamped.path), "--keys", keys]) == 0
        assert capsys.readouterr().out.endswith(words) is not available
        assert main(["verify", str(bundle.path), "--keys", keys]) == 0
        assert words not in capsys.readouterr().out


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
    assert [line for line in lines if not line.startswith(" ")] == ["claimed, not verified:", "3", "8"]
    assert lines.count("  claims custody.example/service") == 2


def test_no_checkpoint(bundle: Folder, keys: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a checkpoint nothing counts, and that is said."""
    bundle.remove("checkpoints/3.txt")
    bundle.remove("checkpoints/8.txt")
    assert main(["checkpoints", str(bundle.path), "--keys", keys]) == 1
    assert capsys.readouterr().out == "no checkpoint\n"


@pytest.mark.parametrize("name", ["index.json", "entries.jsonl", "checkpoints/8.txt"])
def test_claims_that_cannot_be_read(bundle: Folder, name: str) -> None:
    """Listing a malformed bundle gives 1, not a traceback."""
    bundle.write(name, b"\xff\n", reindex=False)
    command = "checkpoints" if name.startswith("checkpoints") else "inspect"
    assert main([command, str(bundle.path)]) == 1


# Witnesses

ASKED = {name: public(name).hex() for name in ("ann", "bob")}
AT = datetime(2026, 11, 21, 1, 2, 3, tzinfo=UTC)


@pytest.fixture
def witnessed(tmp_path: Path) -> str:
    """Return the path of a trust root that wants one of two witnesses."""
    path = tmp_path / "witnessed.json"
    path.write_bytes(canonical(trust_root(witnesses=ASKED, witness_quorum=1)))
    return str(path)


def cosign(bundle: Folder, name: str, *sizes: int) -> None:
    """Put a witness's line under checkpoints of a bundle."""
    for size in sizes:
        note = bundle.read(f"checkpoints/{size}.txt").decode()
        made = checkpoint.cosign(note, name, public(name), key(name).sign, at=AT)
        bundle.write(f"checkpoints/{size}.txt", made.encode())


def test_a_witness_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The public key is printed, the private one is in a file that only its owner reads."""
    path = tmp_path / "ann.pem"
    assert main(["witness-key", str(path)]) == 0
    said = capsys.readouterr()
    opened = signer.open_key(f"file:{path}")
    assert (said.out, said.err) == (opened.public_key.hex() + "\n", "")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["taken.pem", "nowhere/ann.pem", "."])
def test_a_witness_key_is_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Where something is, or no folder is, no key is made: 2, one line, and nothing printed or changed."""
    (tmp_path / "taken.pem").write_bytes(b"mine")
    assert main(["witness-key", str(tmp_path / name)]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert str((tmp_path / name).parent) in said.err or str(tmp_path / name) in said.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"taken.pem": b"mine"}


def test_checkpoints_that_count(bundle: Folder, witnessed: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With a trust root each line is verified, named with its time, and the whole counts: 0."""
    cosign(bundle, "ann", 3, 8)
    cosign(bundle, "bob", 8)
    cosign(bundle, "eve", 8)
    assert main(["checkpoints", str(bundle.path), "--keys", witnessed]) == 0
    said = capsys.readouterr().out
    state = checkpoint.split(bundle.read("checkpoints/8.txt").decode())[0]
    assert said.endswith(
        "8\n"
        f"  root   {state.root.hex()}\n"
        f"  chain  {state.chain.hex()}\n"
        "  signed by custody.example/service\n"
        "  cosigned by ann at 2026-11-21 01:02:03 UTC\n"
        "  cosigned by bob at 2026-11-21 01:02:03 UTC\n"
        "  counts (witness quorum 1)\n"
    )
    assert (said.count("  counts "), said.count("eve"), "claimed" in said) == (2, 0, False)
    assert max(len(each) for each in said.splitlines()) <= 80


def unsigned(bundle: Folder) -> None:
    """Sign a checkpoint with another key."""
    state = checkpoint.split(bundle.read("checkpoints/3.txt").decode())[0]
    note = checkpoint.sign(state, "eve", public("eve"), key("eve").sign)
    bundle.write("checkpoints/3.txt", note.encode())


def forged(bundle: Folder) -> None:
    """Put another key's line under a witness's name."""
    note = bundle.read("checkpoints/3.txt").decode().replace("— ann ", "— bob ")
    bundle.write("checkpoints/3.txt", note.encode())


def elsewhere(bundle: Folder) -> None:
    """Put another ledger's checkpoint in."""
    state = replace(checkpoint.split(bundle.read("checkpoints/3.txt").decode())[0], origin="other.example")
    note = checkpoint.sign(state, SERVICE, public(SERVICE), key(SERVICE).sign)
    bundle.write("checkpoints/3.txt", note.encode())
    cosign(bundle, "ann", 3)


def alone(bundle: Folder) -> None:
    """Take the witnesses away."""
    note = bundle.read("checkpoints/3.txt").decode()
    bundle.write("checkpoints/3.txt", checkpoint.only(note, [SERVICE]).encode())


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        pytest.param(alone, "0 of 1 witnesses", id="too few witnesses"),
        pytest.param(unsigned, "no signature of", id="not the service's key"),
        pytest.param(forged, "bob signed with another key", id="a witness's name over another key"),
        pytest.param(elsewhere, "origin other.example, expected", id="another ledger"),
    ],
)
def test_checkpoints_that_do_not_count(
    bundle: Folder,
    witnessed: str,
    capsys: pytest.CaptureFixture[str],
    attack: Callable[[Folder], None],
    words: str,
) -> None:
    """One that does not count is marked with the reason and gives 1; the others are told all the same."""
    cosign(bundle, "ann", 3, 8)
    attack(bundle)
    assert main(["checkpoints", str(bundle.path), "--keys", witnessed]) == 1
    said = capsys.readouterr().out
    assert f"  DOES NOT COUNT: {words}" in said
    assert said.count("DOES NOT COUNT") == 1
    assert said.endswith("  counts (witness quorum 1)\n")
    # Without a trust root nothing is judged.
    assert main(["checkpoints", str(bundle.path)]) == 0
    assert "count" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["missing.json", "bundle", "bundle/entries.jsonl"])
def test_checkpoints_under_no_trust_root(bundle: Folder, name: str) -> None:
    """What is the caller's mistake gives 2."""
    assert main(["checkpoints", str(bundle.path), "--keys", str(bundle.path.parent / name)]) == 2


def evidence(world: World, folder: Path, **changes: Any) -> Path:
    """Write evidence that the service has signed two chains of one size, or what it was changed to."""
    second = checkpoint.sign(
        replace(world.state(), chain=bytes(32)), SERVICE, public(SERVICE), key(SERVICE).sign
    )
    path = folder / "evidence.json"
    path.write_bytes(canonical({"v": 1, "first": world.note(), "second": second} | changes))
    return path


def test_equivocation_proven(
    world: World, keys: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two states under one key: proven, both sides are shown, 0."""
    world.append(0, 1)
    path = evidence(world, tmp_path)
    assert main(["equivocation", str(path), "--keys", keys]) == 0
    state = world.state()
    said = capsys.readouterr().out
    assert said == (
        "PROVEN: one key has signed two states of size 2 of custody.example/ledger\n"
        f"  root  {state.root.hex()}\n  chain {state.chain.hex()}\n"
        f"  root  {state.root.hex()}\n  chain {'00' * 32}\n"
    )
    assert max(len(each) for each in said.splitlines()) <= 80


def test_equivocation_not_proven(
    world: World, keys: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One state twice, two sizes, a stranger's note, another key: not proven, 1."""
    note = world.note()
    stranger = world.note("eve")
    world.append(0)
    for second in (note, note + "\n", "", stranger, world.note("eve")):
        path = evidence(world, tmp_path, first=note, second=second)
        assert main(["equivocation", str(path), "--keys", keys]) == 1
        assert capsys.readouterr().out.startswith("not proven: ")


def test_equivocation_about_another_ledger(
    world: World, keys: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two states of another ledger under a key of this one prove nothing about this one: 1."""
    state = replace(world.state(), origin="other.example")
    first, second = (
        checkpoint.sign(each, SERVICE, public(SERVICE), key(SERVICE).sign)
        for each in (state, replace(state, chain=bytes(32)))
    )
    path = evidence(world, tmp_path, first=first, second=second)
    assert main(["equivocation", str(path), "--keys", keys]) == 1
    said = capsys.readouterr().out
    assert said == "not proven: evidence about other.example, expected custody.example/ledger\n"


GARBAGE = {
    "nothing": b"",
    "no JSON": b"\xff\x00",
    "a list, as the server gives it": b"[]",
    "a text": b'"first"',
    "no notes": b'{"v":1}',
    "notes that are numbers": b'{"first":1,"second":2,"v":1}',
    "a field too many": b'{"a":1,"first":"a","second":"b","v":1}',
    "another version": b'{"first":"a","second":"b","v":2}',
    "a key that steers a terminal": b'{"\\u001b[2J":{"a":1.5}}',
    "a note that steers a terminal": '{"first":"\u202e\x9b2J","second":"\u202e","v":1}'.encode(),
    "a megabyte": b"[" * 1_000_000,
}


@pytest.mark.parametrize("raw", GARBAGE.values(), ids=GARBAGE)
def test_equivocation_garbage(
    keys: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], raw: bytes
) -> None:
    """What is no evidence proves nothing, in one line that steers no terminal."""
    path = tmp_path / "evidence.json"
    path.write_bytes(raw)
    assert main(["equivocation", str(path), "--keys", keys]) == 1
    said = capsys.readouterr()
    assert (said.err, said.out.count("\n")) == ("", 1)
    assert said.out.startswith("not proven: ")
    assert said.out.strip().isprintable()


@pytest.mark.parametrize(
    ("file", "root"), [("nowhere", "mine.json"), (".", "mine.json"), ("mine.json", "nowhere")]
)
def test_equivocation_could_not_run(keys: str, tmp_path: Path, file: str, root: str) -> None:
    """A file that is not there gives 2."""
    assert Path(keys) == tmp_path / "mine.json"
    assert main(["equivocation", str(tmp_path / file), "--keys", str(tmp_path / root)]) == 2
