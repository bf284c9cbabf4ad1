"""Which measures hold for this process: what the kernel says of it, read anew at each look.

Nothing here sets anything, and what set it is not asked for: bubblewrap, systemd or the process itself
(`confine`) come to the same. What cannot be read counts as missing.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from workbench.rules.isolation import Isolation, Measure, found

FILTERED: Final = "2"
"""SECCOMP_MODE_FILTER in /proc/self/status."""
PR_GET_DUMPABLE: Final = 3
KERNELS: Final = ("/proc", "/sys", "/dev")
"""Mount points of the kernel's own; files are not kept there."""
SEEN_MAX: Final = 5
Look = tuple[bool, str]


@dataclass(frozen=True, slots=True)
class Own:
    """What belongs to this process: its state root, its socket, and the OS users that may connect."""

    state: Path
    socket: Path
    peers: Collection[int]

    def isolation(self) -> Isolation:
        """Look at every measure."""
        looks: dict[Measure, Callable[[], Look]] = {
            "no_network": lambda: interfaces(_read("net/dev")),
            "system_calls_filtered": lambda: _is(_status("Seccomp"), FILTERED, "Seccomp"),
            "no_new_privileges": lambda: _is(_status("NoNewPrivs"), "1", "NoNewPrivs"),
            "no_capabilities": lambda: capabilities(_read("status")),
            "memory_unreadable": _dumpable,
            "no_core_file": _core,
            "memory_not_swapped": lambda: swap(_read("status"), Path("/proc/swaps").read_text()),
            "files_read_only": lambda: writable(_read("mountinfo"), (self.state, self.socket.parent)),
            "user_of_its_own": lambda: user(os.geteuid(), self.peers),
            "other_processes_hidden": _processes,
            "other_states_hidden": lambda: _alone((self.state, self.socket.parent)),
        }
        return found({measure: _looked(look) for measure, look in looks.items()})


def fields(status: str) -> dict[str, str]:
    """Return the fields of /proc/self/status."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in status.splitlines())}


def interfaces(devices: str) -> Look:
    """Judge /proc/self/net/dev: an interface beside the loopback one leads somewhere."""
    lines = (line.partition(":") for line in devices.splitlines())
    names = [name.strip() for name, colon, _ in lines if colon]
    return set(names) <= {"lo"}, _listed(names, "no interface")


def capabilities(status: str) -> Look:
    """Judge all five sets: what stands in one of them can come into force."""
    sets = {name: value for name, value in fields(status).items() if name.startswith("Cap")}
    there = [f"{name} {value}" for name, value in sets.items() if int(value, 16)]
    return len(sets) == len(("Inh", "Prm", "Eff", "Bnd", "Amb")) and not there, _listed(there, "none")


def swap(status: str, swaps: str) -> Look:
    """Judge where memory may go: it is locked, or there is nothing to swap to."""
    kilobytes = {name: int(fields(status).get(name, "0 kB").split()[0]) for name in ("VmLck", "VmRSS")}
    if kilobytes["VmLck"] >= kilobytes["VmRSS"] > 0:
        return True, f"locked, {kilobytes['VmLck']} kB"
    areas = [line.split()[0] for line in swaps.splitlines()[1:] if line.strip()]
    return not areas, _listed(areas, "not locked, and no swap on this machine")


def writable(mounts: str, own: Iterable[Path]) -> Look:
    """Judge /proc/self/mountinfo: nothing but a process's own folders takes writes."""
    there = [line.split()[4:6] for line in mounts.splitlines()]
    places = [Path(place) for place, options in there if "ro" not in options.split(",")]
    free = (*own, *map(Path, KERNELS))
    open_ = [str(place) for place in places if not any(place.is_relative_to(each) for each in free)]
    return bool(there) and not open_, _listed(open_, "nothing else takes writes")


def user(uid: int, peers: Collection[int]) -> Look:
    """Judge the OS user: neither root nor one that calls; without callers it calls itself."""
    said = f"uid {uid}, callers {sorted(peers) or 'the same'}"
    return uid != 0 and bool(peers) and uid not in peers, said


def _dumpable() -> Look:
    state = ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)
    return state == 0, f"dumpable {state}"


def _core() -> Look:
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    return limits == (0, 0), f"limits {limits[0]} and {limits[1]}"


def _processes() -> Look:
    # in a process namespace its parent is the one that reaps there, and runs nothing of anybody's
    own = {str(os.getpid())} | ({"1"} if os.getppid() == 1 and os.getpid() == 2 else set())  # noqa: PLR2004
    others = {path.name for path in Path("/proc").iterdir() if path.name.isdecimal()} - own
    return not others, f"{len(others)} others" if others else "none other"


def _alone(own: Iterable[Path]) -> Look:
    others = [each.name for folder in own for each in folder.parent.iterdir() if each.name != folder.name]
    return not others, _listed(sorted(others), "none beside it")


def _looked(look: Callable[[], Look]) -> Look:
    try:
        return look()
    except (OSError, ValueError, IndexError) as error:
        return False, f"cannot be read: {type(error).__name__}"


def _is(value: str | None, expected: str, name: str) -> Look:
    return value == expected, f"{name} {value}"


def _listed(names: list[str], none: str) -> str:
    more = f" and {len(names) - SEEN_MAX} more" if len(names) > SEEN_MAX else ""
    return ", ".join(names[:SEEN_MAX]) + more if names else none


def _status(name: str) -> str | None:
    return fields(_read("status")).get(name)


def _read(name: str) -> str:
    return (Path("/proc/self") / name).read_text()
