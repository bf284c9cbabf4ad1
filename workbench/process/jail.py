"""How a co-signer is started shut in: the command line of bubblewrap around it.

What runs inside finds no network, no other process, and no file but the base system's programs and libraries,
this interpreter and this code, and what is named as readable (the trust root), all of it read-only; beside
that its own state root and its socket's folder, the only places that it can write. It has no capability, a
session of its own, no environment but what stands here, and ends with whoever started it.

Started by root it gets an OS user of its own as well: bubblewrap then needs no user namespace, and the kernel
tells both sides of a socket each other's true user. Started by anybody else it stays that user, in a user
namespace, where every other user is one and the same to it: the file modes of its socket are then all that
keeps others away, and its status says that `user_of_its_own` is missing.

What this does not bring about on a machine is missing in that status, by name. The system call filter is not
from here: a token must be open before it falls shut (`confine`).

`python -m workbench.process.jail` becomes that command line: a co-signer's by default, or another's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache")
CODE: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("ledger", "workbench")
SHUT: Final = (
    "--unshare-net --unshare-pid --unshare-ipc --unshare-uts --die-with-parent --new-session --clearenv "
    "--cap-drop ALL"
)
CHANGING: Final = "--cap-add CAP_SETUID --cap-add CAP_SETGID --cap-add CAP_SETPCAP"
"""What it takes to become another OS user; gone before the command begins."""
BECOMING: Final = "--clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all"
TRY_S: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Jail:
    """What a process has of the machine; `uid` is its OS user, None whoever starts it."""

    state: Path
    sockets: Path
    readable: tuple[Path, ...]
    uid: int | None = None

    def around(self, command: Sequence[str]) -> list[str]:
        """Return the command line that runs a command inside."""
        changing = [] if self.uid is None else CHANGING.split()
        return ["bwrap", *SHUT.split(), *changing, *self._files(), "--", *self._becoming(), *command]

    def _files(self) -> list[str]:
        system = [Path(each) for each in SYSTEM]
        code = [Path(sys.base_prefix), Path(sys.prefix), *(CODE / each for each in PACKAGES), *self.readable]
        shown = [each for each in dict.fromkeys([*system, *code]) if each.exists() or each.is_symlink()]
        options = []
        for path in _parents((*shown, self.state, self.sockets)):
            options += ["--dir", str(path)]
        for path in shown:
            # a merged base system's /lib is a link: followed, it would be all of /usr/lib once more
            linked = path in system and path.is_symlink()
            options += ["--symlink", str(path.readlink()), str(path)] if linked else _bound("--ro-bind", path)
        for path in (self.state, self.sockets):
            options += _bound("--bind", path)
        options += ["--proc", "/proc", "--dev", "/dev"]
        for place in ("/proc", "/dev", "/"):
            options += ["--remount-ro", place]
        for name, value in self._environment().items():
            options += ["--setenv", name, value]
        return [*options, "--chdir", "/"]

    def _environment(self) -> dict[str, str]:
        return {
            "LANG": "C.UTF-8",
            "PATH": "/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(CODE),
        }

    def _becoming(self) -> list[str]:
        if self.uid is None:
            return []
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", *BECOMING.split(), "--"]


def impossible() -> str | None:
    """Return why this machine starts nothing in a jail; None where it does.

    It is tried: whether namespaces may be made is a setting of the kernel, or of a container around us.
    """
    if shutil.which("bwrap") is None:
        return "no bwrap; `make` or `apt-get install bubblewrap` brings it"
    command = [
        "bwrap",
        *SHUT.split(),
        "--ro-bind",
        "/",
        "/",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--",
        "true",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TRY_S)
    except subprocess.TimeoutExpired:
        return f"bwrap: nothing within {TRY_S} s"
    return None if done.returncode == 0 else done.stderr.strip() or f"bwrap: {done.returncode}"


def _bound(how: str, path: Path) -> list[str]:
    return [how, str(path), str(path)]


def _parents(paths: Iterable[Path]) -> list[Path]:
    """Return the folders above these, from the root down: bubblewrap would make them for root's eyes only."""
    above = {parent for path in paths for parent in path.parents} - {Path("/")}
    below = {parent for parent in above if not parent.is_relative_to("/usr")}
    return sorted(below, key=lambda path: len(path.parts))


def main() -> int:
    """Become the command inside; exit code 2 when that cannot be."""
    parser = argparse.ArgumentParser(description="Start a co-signer, or another command, shut in.")
    parser.add_argument("--state", type=Path, required=True, help="its own state root, writable")
    parser.add_argument("--trust-root", type=Path, required=True, help="the trust root, read-only")
    parser.add_argument("--socket", type=Path, required=True, help="its socket, in a folder of its own")
    parser.add_argument("--readable", type=Path, action="append", default=[], help="something else to read")
    parser.add_argument("--uid", type=int, help="its OS user, which owns its state root; takes root")
    parser.add_argument("command", nargs="*", help="another command than the co-signer's")
    options = parser.parse_args()
    own = [str(options.state), "--trust-root", str(options.trust_root), "--socket", str(options.socket)]
    command = options.command or [sys.executable, "-m", "workbench.cosigner", "--state", *own]
    jail = Jail(
        state=options.state,
        sockets=options.socket.parent,
        readable=(options.trust_root, *options.readable),
        uid=options.uid,
    )
    why = impossible()
    if why is not None:
        print(f"jail: {why}", file=sys.stderr)  # noqa: T201 - a command's last word
        return 2
    line = jail.around(command)
    return os.execvp(line[0], line)


if __name__ == "__main__":
    sys.exit(main())
