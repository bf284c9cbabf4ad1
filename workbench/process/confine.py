"""What a process does to itself before it holds secrets, and before it hears anybody.

(1) `harden`, first of all: no core file, memory that no other process of its user may read, no privilege
    that an executable could bring, and no swap where the machine lets it lock memory.
(2) `shut`, with token, files and socket open: from then on the kernel runs what a co-signer needs and
    answers everything else with EPERM. No socket is made or connected, no program started, no process made,
    looked into or written to; threads are. What is mapped as code cannot be written, nor what is written run.

An answer of EPERM and no kill: SoftHSM tells syslog of each failed operation, which begins with socket(2),
so a token that refuses would be the end of a co-signer; and a C library that tries a newer call first goes
on with the older one. Who breaks in gains nothing from being allowed to ask again.

What the machine does not grant is left to `measures`, which looks at what came of it: a missing libseccomp
ends the process at its start, as any missing library.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from contextlib import suppress
from typing import Final

from pyseccomp import ALLOW, EQ, ERRNO, KILL_PROCESS, MASKED_EQ, Arg, Attr, SyscallFilter

PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_NO_NEW_PRIVS = 3, 4, 15, 38
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
CLONE_THREAD: Final = 0x10000
PROT_WRITE, PROT_EXEC = 2, 4
FIONBIO, FIOCLEX, FIONCLEX, TCGETS = 0x5421, 0x5451, 0x5450, 0x5401

FILES: Final = (
    "access close dup faccessat faccessat2 fchmod fcntl fdatasync flock fstat fstatfs fsync ftruncate getcwd "
    "getdents64 link linkat lseek lstat mkdir mkdirat newfstatat open openat pread64 pwrite64 read readlink "
    "readlinkat readv rename renameat renameat2 rmdir stat statfs statx umask unlink unlinkat write writev"
)
MEMORY: Final = "brk madvise mlock mlock2 mremap msync munlock munmap"
THREADS: Final = (
    "exit exit_group futex get_robust_list gettid membarrier rseq rt_sigaction rt_sigprocmask rt_sigreturn "
    "restart_syscall rt_sigtimedwait sched_getaffinity sched_yield set_robust_list set_tid_address "
    "sigaltstack"
)
TIME: Final = "clock_getres clock_gettime clock_nanosleep gettimeofday nanosleep time"
SELF: Final = "getegid geteuid getgid getpid getppid getrandom getrlimit getrusage getuid sysinfo uname"
PEERS: Final = (
    "accept accept4 getpeername getsockname getsockopt poll ppoll recvfrom recvmsg sendmsg sendto "
    "setsockopt shutdown"
)
"""On the socket that listens already, and on what it accepted: there is none other, and none is made."""


def harden() -> None:
    """(1) Before a secret is read; also before the first thread."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # under a limit, locking what comes later would make allocations fail when it is reached
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
        # on fault: a thread's stack is locked as far as it is used
        libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)


def shut() -> None:
    """(2) With everything open that a co-signer needs; also for threads that run already."""
    # a kernel without filters leaves the process as it is, which `measures` shows
    with suppress(OSError):
        _filter().load()


def _filter() -> SyscallFilter:
    made = SyscallFilter(ERRNO(errno.EPERM))
    made.set_attr(Attr.CTL_TSYNC, 1)
    # calls in another word size have other numbers: nothing honest makes one
    made.set_attr(Attr.ACT_BADARCH, KILL_PROCESS)
    for name in f"{FILES} {MEMORY} {THREADS} {TIME} {SELF} {PEERS}".split():
        made.add_rule(ALLOW, name)
    made.add_rule(ALLOW, "clone", Arg(0, MASKED_EQ, CLONE_THREAD, CLONE_THREAD))
    # its flags are in memory, where a filter cannot look: the C library goes on with clone
    made.add_rule(ERRNO(errno.ENOSYS), "clone3")
    made.add_rule(ALLOW, "mmap", Arg(2, MASKED_EQ, PROT_EXEC, 0))
    made.add_rule(ALLOW, "mmap", Arg(2, MASKED_EQ, PROT_EXEC | PROT_WRITE, PROT_EXEC))
    made.add_rule(ALLOW, "mprotect", Arg(2, MASKED_EQ, PROT_EXEC, 0))
    # it may ask for its limits and set none
    made.add_rule(ALLOW, "prlimit64", Arg(0, EQ, 0), Arg(2, EQ, 0))
    for option in (PR_GET_DUMPABLE, PR_SET_NAME):
        made.add_rule(ALLOW, "prctl", Arg(0, EQ, option))
    for request in (FIONBIO, FIOCLEX, FIONCLEX, TCGETS):
        made.add_rule(ALLOW, "ioctl", Arg(1, EQ, request))
    for name in ("kill", "tgkill"):
        made.add_rule(ALLOW, name, Arg(0, EQ, os.getpid()))
    return made
