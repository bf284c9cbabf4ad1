"""Shares on disk: sealed under the token, and at no time fewer than what still may be needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from workbench_tss import Share

from ledger import files
from ledger.encoding import canonical, parse
from tests.custody.parties import generated, refreshed, signed
from tests.hsm import token_here
from workbench.custody.sealing import SealingKey
from workbench.custody.shares import KEPT_MAX, Entry, Shares
from workbench.custody.token import Token
from workbench.rules.codes import Refusal, RefusedError

KEY = "treasury"
PARTIES = ("one", "two", "three")
FIRST, SECOND, OTHER = ("11" * 32, "22" * 32, "33" * 32)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    """Open a token in this process."""
    with token_here(tmp_path_factory.mktemp("hsm"), "shares") as opened:
        yield opened


@pytest.fixture(scope="module")
def sealing(token: Token) -> SealingKey:
    """Make a sealing key."""
    return token.generate_sealing("seal/1")


@pytest.fixture(scope="module")
def epochs() -> list[dict[int, Share]]:
    """Return the shares of three epochs of one key."""
    first = generated()
    second = refreshed(first)
    return [first, second, refreshed(second)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where the shares of a test lie."""
    return tmp_path / "shares"


@pytest.fixture
def shares(folder: Path, sealing: SealingKey, epochs: list[dict[int, Share]]) -> Shares:
    """Return a party's shares with the first epoch in use."""
    made = Shares(folder, sealing=sealing)
    made.keep(KEY, epochs[0][1], epoch=1, run=FIRST, parties=PARTIES)
    made.take_up(KEY, FIRST)
    return made


def on_disk(folder: Path) -> dict[str, bytes]:
    """Return every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(action: Callable[[], object], words: str, folder: Path) -> None:
    """Assert that it is refused for the share's sake, and that the disk is as it was."""
    before = on_disk(folder)
    with pytest.raises(RefusedError, match=words) as caught:
        action()
    assert caught.value.code is Refusal.SHARE
    assert on_disk(folder) == before


# Keeping and using


@pytest.mark.usefixtures("shares")
def test_kept_and_used_after_a_restart(
    folder: Path, sealing: SealingKey, epochs: list[dict[int, Share]]
) -> None:
    """A share is there after the process ended, and signs; its files say nothing of it in the clear."""
    again = Shares(folder, sealing=sealing)
    entry, share = again.share(KEY)
    assert (entry.epoch, entry.run) == (1, FIRST)
    assert len(signed({1: share, 2: epochs[0][2]})) == 65
    assert sorted(on_disk(folder)) == [f"{KEY}/{FIRST}.share", f"{KEY}/index.json"]


def test_a_share_waits_for_the_others(
    shares: Shares, folder: Path, sealing: SealingKey, epochs: list[dict[int, Share]]
) -> None:
    """A new epoch's share is kept beside the one in use, and used from when it is taken up."""
    shares.keep(KEY, epochs[1][1], epoch=2, run=SECOND, parties=PARTIES)
    assert Shares(folder, sealing=sealing).share(KEY)[0].epoch == 1
    shares.take_up(KEY, SECOND)
    entry, share = Shares(folder, sealing=sealing).share(KEY)
    assert entry.epoch == 2
    assert len(signed({1: share, 2: epochs[1][2]})) == 65
    # the one before is there until everybody holds the new one
    assert f"{KEY}/{FIRST}.share" in on_disk(folder)
    assert [each.run for each in shares.destroy(KEY, SECOND)] == [FIRST]
    assert sorted(on_disk(folder)) == [f"{KEY}/{SECOND}.share", f"{KEY}/index.json"]
    assert shares.destroy(KEY, SECOND) == []


def test_what_is_not_taken_up(shares: Shares, folder: Path, epochs: list[dict[int, Share]]) -> None:
    """No share of another run, no second one of an epoch, none of an epoch before; and nothing destroyed."""
    refused(lambda: shares.take_up(KEY, SECOND), "no share of run", folder)
    shares.keep(KEY, epochs[1][1], epoch=2, run=SECOND, parties=PARTIES)
    shares.keep(KEY, epochs[2][1], epoch=2, run=OTHER, parties=PARTIES)
    shares.take_up(KEY, SECOND)
    refused(lambda: shares.take_up(KEY, OTHER), "taken up with another share", folder)
    refused(lambda: shares.take_up(KEY, FIRST), "no share of run", folder)
    refused(lambda: shares.destroy(KEY, OTHER), "not in use", folder)


def test_another_run_waits_for_the_last(shares: Shares, folder: Path, epochs: list[dict[int, Share]]) -> None:
    """Who is ready begins no other run before this one is settled: by all words, or one promise."""
    shares.may_begin(KEY)
    shares.may_begin("a key of which nothing is here")
    shares.keep(KEY, epochs[1][1], epoch=2, run=SECOND, parties=PARTIES)
    refused(lambda: shares.may_begin(KEY), "waits", folder)
    shares.settle(KEY, SECOND)
    shares.may_begin(KEY)
    assert shares.index(KEY).made_to == 2
    # a promise that was a lie: everybody was ready after all
    shares.take_up(KEY, SECOND)
    assert shares.share(KEY)[0].run == SECOND


def test_runs_that_are_given_up_without_an_end(
    shares: Shares, folder: Path, sealing: SealingKey, epochs: list[dict[int, Share]]
) -> None:
    """A party that lies about each run stops the next, and takes nobody's share in use away."""
    runs = [f"{number:064x}" for number in range(KEPT_MAX)]
    for number, run in enumerate(runs, 2):
        shares.may_begin(KEY)
        shares.keep(KEY, epochs[1][1], epoch=number, run=run, parties=PARTIES)
        shares.settle(KEY, run)
    refused(lambda: shares.may_begin(KEY), "are kept already", folder)
    with pytest.raises(RefusedError, match="at most 64"):
        shares.keep(KEY, epochs[1][1], epoch=KEPT_MAX + 2, run=OTHER, parties=PARTIES)
    assert Shares(folder, sealing=sealing).share(KEY)[0].run == FIRST
    # one of them turns out to be everybody's: it is taken up, and the others go
    shares.take_up(KEY, runs[-1])
    shares.destroy(KEY, runs[-1])
    shares.may_begin(KEY)


def test_a_share_of_another_key_takes_no_place(folder: Path, sealing: SealingKey) -> None:
    """Two runs made two keys; the one that was taken up stays, whoever is ready for the other."""
    made = Shares(folder, sealing=sealing)
    for run, epoch in ((FIRST, 1), (SECOND, 2)):
        made.keep(KEY, generated()[1], epoch=epoch, run=run, parties=PARTIES)
        made.settle(KEY, run)
    made.take_up(KEY, FIRST)
    refused(lambda: made.take_up(KEY, SECOND), "another key than the one in use", folder)


def test_ready_and_never_exclude_each_other(
    shares: Shares, folder: Path, sealing: SealingKey, epochs: list[dict[int, Share]]
) -> None:
    """Who has promised never to be ready is not, also after a restart; who is ready promises nothing."""
    shares.never(KEY, 1, SECOND)
    again = Shares(folder, sealing=sealing)
    refused(
        lambda: again.keep(KEY, epochs[1][1], epoch=2, run=SECOND, parties=PARTIES), "promised never", folder
    )
    refused(lambda: again.never(KEY, 1, FIRST), "ready for run", folder)
    again.keep(KEY, epochs[1][1], epoch=2, run=OTHER, parties=PARTIES)
    again.take_up(KEY, OTHER)
    refused(lambda: again.never(KEY, 1, FIRST), "ready for run", folder)
    again.destroy(KEY, OTHER)
    refused(lambda: again.never(KEY, 1, FIRST), "was, ready for run", folder)


def test_shares_that_do_not_belong(shares: Shares, folder: Path, epochs: list[dict[int, Share]]) -> None:
    """Another party's share, and one of another key, are not kept."""
    refused(lambda: shares.keep(KEY, epochs[1][2], epoch=2, run=SECOND, parties=PARTIES), "party 2", folder)
    refused(
        lambda: shares.keep(KEY, generated()[1], epoch=2, run=SECOND, parties=PARTIES), "another key", folder
    )
    refused(lambda: shares.share("hot"), "no share of hot", folder)


# The disk


def edit(folder: Path, **changes: object) -> None:
    """Alter fields of the sealed share, and let the index name what came of it."""
    path = folder / KEY / f"{FIRST}.share"
    raw = canonical(parse(path.read_bytes(), limit=9 << 20) | changes, limit=9 << 20)
    path.write_bytes(raw)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: path.unlink(), id="missing"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-1]), id="cut"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes().replace(b"0", b"1", 1)), id="altered"),
    ],
)
@pytest.mark.usefixtures("shares")
def test_files_that_were_touched(folder: Path, sealing: SealingKey, change: Callable[[Path], object]) -> None:
    """The key is unusable here and says so; nothing is guessed, nothing removed."""
    change(folder / KEY / f"{FIRST}.share")
    again = Shares(folder, sealing=sealing)
    refused(lambda: again.share(KEY), f"{FIRST}.share of {KEY}", folder)


@pytest.mark.parametrize("field", ["epoch", "party", "key", "run", "public_key"])
@pytest.mark.usefixtures("shares")
def test_what_a_seal_is_bound_to(folder: Path, sealing: SealingKey, field: str) -> None:
    """A sealed share passed off as of another epoch, party, key or run does not open, index or no index."""
    other = {"epoch": 2, "party": 2, "key": "hot", "run": SECOND, "public_key": "04" * 65}[field]
    edit(folder, **{field: other})
    path = folder / KEY / "index.json"
    index = parse(path.read_bytes(), limit=1 << 20)
    index["current"]["sealed"] = digest_of(folder / KEY / f"{FIRST}.share")
    path.write_bytes(canonical(index))
    again = Shares(folder, sealing=sealing)
    refused(lambda: again.share(KEY), "does not open this", folder)


def digest_of(path: Path) -> str:
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.usefixtures("shares")
def test_another_tokens_share(folder: Path, token: Token) -> None:
    """A state folder that was copied to another co-signer opens nothing there."""
    again = Shares(folder, sealing=token.generate_sealing("seal/2"))
    refused(lambda: again.share(KEY), "sealed_otherwise: sealed by", folder)


@pytest.mark.usefixtures("shares")
def test_what_a_crash_left(folder: Path, sealing: SealingKey) -> None:
    """A share that no index names was never ready, and goes; a folder without an index is as if empty."""
    (folder / KEY / f"{OTHER}.share").write_bytes(b"half")
    (folder / KEY / ".draft").write_bytes(b"half")
    (folder / "hot").mkdir()
    (folder / "hot" / f"{OTHER}.share").write_bytes(b"whole, but unnamed")
    again = Shares(folder, sealing=sealing)
    assert sorted(on_disk(folder)) == [f"{KEY}/{FIRST}.share", f"{KEY}/index.json"]
    assert again.index("hot") is None
    assert again.share(KEY)[0].run == FIRST


class DiskError(OSError):
    """The disk gave up."""


WRITES: dict[str, Callable[[Shares, list[dict[int, Share]]], object]] = {
    "keep": lambda shares, epochs: shares.keep(KEY, epochs[2][1], epoch=3, run=OTHER, parties=PARTIES),
    "take up": lambda shares, _: shares.take_up(KEY, SECOND),
    "never": lambda shares, _: shares.never(KEY, 1, OTHER),
    "settle": lambda shares, _: shares.settle(KEY, SECOND),
}


@pytest.mark.parametrize(
    ("name", "at"), [("keep", 0), ("keep", 1), ("take up", 0), ("never", 0), ("settle", 0)]
)
def test_a_disk_that_gives_up(  # noqa: PLR0917 - the row of the table
    shares: Shares,
    folder: Path,
    sealing: SealingKey,
    epochs: list[dict[int, Share]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    at: int,
) -> None:
    """A write that fails is told, leaves the state before it, and can be tried again."""
    shares.keep(KEY, epochs[1][1], epoch=2, run=SECOND, parties=PARTIES)
    before, genuine, count = shares.index(KEY), files.replace, [0]

    def failing(path: Path, raw: bytes) -> None:
        if count[0] == at:
            raise DiskError("no space left")
        count[0] += 1
        genuine(path, raw)

    with monkeypatch.context() as patch:
        patch.setattr(files, "replace", failing)
        with pytest.raises(DiskError):
            WRITES[name](shares, epochs)
    assert shares.index(KEY) == before
    assert Shares(folder, sealing=sealing).index(KEY) == before
    again = Shares(folder, sealing=sealing)
    WRITES[name](again, epochs)
    assert again.index(KEY) != before
    assert again.share(KEY)[1].public_key == epochs[0][1].public_key
    assert isinstance(again.share(KEY)[0], Entry)
