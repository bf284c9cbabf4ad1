"""What somebody tries who runs code inside: started where a co-signer is, after the very same steps.

Says how each attempt went: "done", or the name of the error. Arguments: "shut" or "open" (without the filter
of system calls), and a JSON object with places to try.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import resource
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.process import confine
from workbench.process.measures import Own

LIBC = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE
IO_URING_SETUP, PIDFD_OPEN, MEMFD_CREATE, CLONE3, BPF = 425, 434, 319, 435, 321


def called(name: str, *arguments: Any) -> None:
    """Call a function of the C library, which answers -1 when it fails."""
    if getattr(LIBC, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def made(family: int) -> None:
    """Make a socket."""
    socket.socket(family, socket.SOCK_STREAM if family != socket.AF_NETLINK else socket.SOCK_RAW).close()


def connected(port: int) -> None:
    """Connect to a port of the machine."""
    socket.create_connection(("127.0.0.1", port), timeout=5).close()


def forked() -> None:
    """Make a process."""
    if os.fork() == 0:
        os._exit(0)


def run_in_a_thread() -> None:
    """Start a thread."""
    began = threading.Event()
    thread = threading.Thread(target=began.set)
    thread.start()
    thread.join()
    assert began.is_set()


def mapped(protection: int) -> None:
    """Map a page that may be used like this."""
    mmap.mmap(-1, PAGE, prot=protection).close()


def made_code() -> None:
    """Write a page and then have it run."""
    page = ctypes.CDLL(None).mmap
    page.restype = ctypes.c_void_p
    there = page(None, ctypes.c_size_t(PAGE), 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    called("mprotect", ctypes.c_void_p(there), ctypes.c_size_t(PAGE), 5)


def attempts(places: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """Return what is tried, by name."""
    return {
        "inet": lambda: made(socket.AF_INET),
        "inet6": lambda: made(socket.AF_INET6),
        "netlink": lambda: made(socket.AF_NETLINK),
        "unix": lambda: made(socket.AF_UNIX),
        "packet": lambda: made(socket.AF_PACKET),
        "socketpair": socket.socketpair,
        "connect": lambda: connected(places["port"]),
        "exec": lambda: os.execv("/usr/bin/true", ["true"]) if places["shut"] else None,
        "spawn": lambda: os.posix_spawn("/usr/bin/true", ["true"], {}),
        "fork": forked,
        "clone3": lambda: called("syscall", CLONE3, None, 0),
        "thread": run_in_a_thread,
        "ptrace": lambda: called("ptrace", 16, os.getppid(), 0, 0),
        "process_vm_readv": lambda: called("process_vm_readv", os.getppid(), None, 0, None, 0, 0),
        "pidfd": lambda: called("syscall", PIDFD_OPEN, os.getppid(), 0),
        "signal": lambda: os.kill(os.getppid(), 0),
        "become_root": lambda: os.setuid(0),
        "mount": lambda: called("mount", b"none", b"/proc", b"tmpfs", 0, None),
        "namespace": lambda: called("unshare", 0x10000000),
        "keys": lambda: called("syscall", 250, 0, 0),
        "io_uring": lambda: called("syscall", IO_URING_SETUP, 1, None),
        "memfd": lambda: called("syscall", MEMFD_CREATE, b"x", 0),
        "bpf": lambda: called("syscall", BPF, 0, None, 0),
        "dumpable": lambda: called("prctl", 4, 1, 0, 0, 0),
        "core_limit": lambda: called("setrlimit", resource.RLIMIT_CORE, (ctypes.c_ulong * 2)(1, 1)),
        "code_and_data": lambda: mapped(mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
        "data_to_code": made_code,
        "data": lambda: mapped(mmap.PROT_READ | mmap.PROT_WRITE),
        "other_state": lambda: Path(places["other"]).read_bytes(),
        "other_sockets": lambda: list(Path(places["other_sockets"]).iterdir()),
        "service": lambda: Path(places["service"]).read_bytes(),
        "passwd": lambda: Path("/etc/passwd").read_bytes(),
        "trust_root": lambda: Path(places["trust_root"]).read_bytes(),
        "write_trust_root": lambda: Path(places["trust_root"]).write_bytes(b""),
        "write_code": lambda: Path(confine.__file__).open("ab"),
        "write_usr": lambda: Path("/usr/probe").write_bytes(b""),
        "write_root": lambda: Path("/probe").write_bytes(b""),
        "write_tmp": lambda: Path("/tmp/probe").write_bytes(b""),  # noqa: S108 - is to fail
        "write_shm": lambda: Path("/dev/shm/probe").write_bytes(b""),  # noqa: S108 - as above
        "write_state": lambda: Path(places["state"], "probe").write_bytes(b"kept"),
        "write_sockets": lambda: Path(places["sockets"], "probe").write_bytes(b"kept"),
    }


def outcome(attempt: Callable[[], object]) -> str:
    """Try; say how it went."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, repr(error))
    return "done"


def main() -> None:
    """Do what a co-signer does to itself; then try everything, then wait to be looked at."""
    places = json.loads(sys.argv[2])
    places["shut"] = sys.argv[1] == "shut"
    confine.harden()
    if places["shut"]:
        confine.shut()
    said = {name: outcome(attempt) for name, attempt in attempts(places).items()}
    own = Own(Path(places["state"]), Path(places["sockets"], "s"), places["peers"])
    environment = sorted(os.environ)
    sys.stdout.write(json.dumps([said, own.isolation().dump(), environment]) + "\n")
    sys.stdout.flush()
    sys.stdin.readline()


if __name__ == "__main__":
    main()
