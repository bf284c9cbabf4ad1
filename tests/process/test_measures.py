"""Which measures hold: what the kernel's own texts say, and what a process with none of them finds."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import pytest

from workbench.process.measures import Own, capabilities, interfaces, swap, user, writable
from workbench.rules.isolation import MEASURES

HEADER = "Inter-|   Receive\n face |bytes    packets\n"
NONE = "".join(f"Cap{name}:\t0000000000000000\n" for name in ("Inh", "Prm", "Eff", "Bnd", "Amb"))
SWAPS = "Filename\tType\tSize\tUsed\tPriority\n"
OWN = (Path("/state/one"), Path("/run/one"))


def mounts(*places: tuple[str, str]) -> str:
    """Return mountinfo's lines for mount points and their options."""
    return "".join(f"66 65 254:0 / {place} {options} - ext4 /dev/vda rw\n" for place, options in places)


@pytest.mark.parametrize(
    ("devices", "holds"),
    [
        pytest.param(HEADER, True, id="no interface"),
        pytest.param(HEADER + "    lo:  0 0\n", True, id="the loopback one"),
        pytest.param(HEADER + "    lo:  0 0\n  eth0: 5 5\n", False, id="one that leads out"),
        pytest.param(HEADER + "  lo0: 5 5\n", False, id="another name"),
    ],
)
def test_interfaces(devices: str, holds: bool) -> None:  # noqa: FBT001 - a table
    """An interface beside the loopback one leads somewhere."""
    assert interfaces(devices)[0] is holds


@pytest.mark.parametrize(
    ("status", "holds"),
    [
        pytest.param(NONE, True, id="none"),
        pytest.param(NONE.replace("CapEff:\t00", "CapEff:\t80"), False, id="in force"),
        pytest.param(NONE.replace("CapBnd:\t00", "CapBnd:\t10"), False, id="in the bounding set"),
        pytest.param(NONE.replace("CapAmb:\t00", "CapAmb:\t20"), False, id="handed on"),
        pytest.param(NONE.partition("\n")[2], False, id="a set that is not shown"),
        pytest.param("", False, id="nothing is shown"),
    ],
)
def test_capabilities(status: str, holds: bool) -> None:  # noqa: FBT001 - a table
    """All five sets are empty."""
    assert capabilities(status)[0] is holds


@pytest.mark.parametrize(
    ("locked", "resident", "areas", "holds"),
    [
        pytest.param(0, 500, "", True, id="nothing to swap to"),
        pytest.param(0, 500, "/dev/vdb partition 1 0 -2\n", False, id="a swap area"),
        pytest.param(900, 500, "/dev/vdb partition 1 0 -2\n", True, id="locked, whatever there is"),
        pytest.param(400, 500, "/dev/vdb partition 1 0 -2\n", False, id="locked in part"),
        pytest.param(0, 0, "/dev/vdb partition 1 0 -2\n", False, id="nothing is known"),
    ],
)
def test_swap(locked: int, resident: int, areas: str, holds: bool) -> None:  # noqa: FBT001 - a table
    """Memory is locked, or there is no place to write it to."""
    status = f"VmLck:\t{locked} kB\nVmRSS:\t{resident} kB\n" if resident else ""
    assert swap(status, SWAPS + areas)[0] is holds


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        pytest.param(mounts(("/", "ro,nodev"), ("/state/one", "rw"), ("/run/one", "rw")), True, id="its own"),
        pytest.param(mounts(("/", "ro"), ("/proc", "rw"), ("/dev/pts", "rw")), True, id="the kernel's"),
        pytest.param(mounts(("/", "rw")), False, id="everything"),
        pytest.param(mounts(("/", "ro"), ("/var", "rw")), False, id="another folder"),
        pytest.param(mounts(("/", "ro"), ("/state", "rw")), False, id="above its own"),
        pytest.param(mounts(("/", "ro"), ("/state/one-more", "rw")), False, id="beside its own"),
        pytest.param(mounts(("/", "rw,errors=remount-ro")), False, id="a word that holds ro"),
        pytest.param("", False, id="nothing is shown"),
    ],
)
def test_writable(text: str, holds: bool) -> None:  # noqa: FBT001 - a table
    """Nothing but its own folders takes writes."""
    assert writable(text, OWN)[0] is holds


@pytest.mark.parametrize(
    ("uid", "peers", "holds"),
    [
        pytest.param(61184, (1000,), True, id="another than who calls"),
        pytest.param(1000, (1000,), False, id="the caller's"),
        pytest.param(1000, (), False, id="only its own calls"),
        pytest.param(0, (1000,), False, id="root"),
    ],
)
def test_user(uid: int, peers: Collection[int], holds: bool) -> None:  # noqa: FBT001 - a table
    """The service's OS user is not the co-signer's, and neither is root."""
    assert user(uid, peers)[0] is holds


def test_here(tmp_path: Path) -> None:
    """A process that nobody shut in finds that, measure by measure."""
    state, sockets = tmp_path / "one", tmp_path / "sockets" / "one"
    for folder in (state, tmp_path / "two", sockets):
        folder.mkdir(parents=True)
    isolation = Own(state, sockets / "s", frozenset()).isolation()
    assert {each.measure for each in isolation.measures} == set(MEASURES)
    wanted = {"system_calls_filtered", "memory_unreadable", "files_read_only", "other_processes_hidden"}
    assert wanted | {"user_of_its_own", "other_states_hidden"} <= set(isolation.missing)
    seen = {each.measure: each.seen for each in isolation.measures}
    assert seen["other_states_hidden"] == "sockets, two"
    assert seen["user_of_its_own"] == f"uid {os.geteuid()}, callers the same"


def test_what_cannot_be_read_is_missing(tmp_path: Path) -> None:
    """A look that fails is no measure."""
    isolation = Own(tmp_path / "gone" / "state", tmp_path / "gone" / "s" / "s", frozenset()).isolation()
    seen = {each.measure: each for each in isolation.measures}["other_states_hidden"]
    assert (seen.holds, seen.seen) == (False, "cannot be read: FileNotFoundError")
