"""What a process gives up for good before it runs code that nobody trusts.

A seccomp filter lets through the system calls that computing on open and readable files needs and
refuses all others: no process, no thread, no program, no socket, no signal, no change of a file's
owner, mode or time. Landlock hides every file that is not listed. Capabilities go, and limits are
set. Nothing of it can be taken back by the process. Standard library only, as it runs inside the
sandbox; numbers are those of Linux (`asm/unistd.h`, `linux/landlock.h`, `linux/seccomp.h`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
from collections.abc import Iterable, Mapping

# Name, number on x86_64, number on aarch64 ("-": it has none).
_COMPUTING = """
read 0 63, write 1 64, close 3 57, fstat 5 80, lseek 8 62, munmap 11 215, mprotect 10 226,
brk 12 214, rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, pread64 17 67,
readv 19 65, writev 20 66, access 21 -, sched_yield 24 124, mremap 25 216, madvise 28 233,
mincore 27 232, msync 26 227, dup 32 23, dup2 33 -, dup3 292 24, nanosleep 35 101,
getpid 39 172, gettid 186 178, getppid 110 173, exit 60 93, exit_group 231 94, uname 63 160,
getcwd 79 17, readlink 89 -, readlinkat 267 78, getuid 102 174, getgid 104 176, geteuid 107 175,
getegid 108 177, sigaltstack 131 132, arch_prctl 158 -, futex 202 98, sched_getaffinity 204 123,
set_tid_address 218 96, getdents64 217 61, restart_syscall 219 128, clock_gettime 228 113,
clock_getres 229 114, clock_nanosleep 230 115, gettimeofday 96 169, time 201 -, stat 4 -,
lstat 6 -, newfstatat 262 79, faccessat 269 48, faccessat2 439 439, statx 332 291,
statfs 137 43, fstatfs 138 44, fadvise64 221 223, set_robust_list 273 99, getrlimit 97 163,
getrusage 98 165, sysinfo 99 179, times 100 153, getrandom 318 278, membarrier 324 283,
rseq 334 293, poll 7 -, ppoll 271 73, select 23 -, pselect6 270 72, getcpu 309 168
"""
_WRITING = """
mkdir 83 -, mkdirat 258 34, rmdir 84 -, unlink 87 -, unlinkat 263 35, rename 82 -,
renameat 264 38, renameat2 316 276, ftruncate 77 46, fsync 74 82, fdatasync 75 83,
fallocate 285 47, pwrite64 18 68
"""
_CHECKED = "mmap 9 222, ioctl 16 29, fcntl 72 25, prctl 157 167, prlimit64 302 261"
_OPENING = "open 2 -, openat 257 56"
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000  # calls of the second table that x86_64 kernels may have

# Arguments that are let through.
_IOCTLS = (0x5401, 0x5450, 0x5451, 0x541B)  # TCGETS, FIONCLEX, FIOCLEX, FIONREAD
_FCNTLS = (0, 1, 2, 3, 4, 1030)  # descriptors and their flags; no owner, signal or lease
_PRCTLS = (15, 16)  # the thread's name
_SHARED_MEMORY = 0x21  # MAP_SHARED with MAP_ANONYMOUS: not bounded by RLIMIT_DATA
_CHANGING = 0o3 | 0o100 | 0o1000 | 0o20000000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_TMPFILE

_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE = 0x00050000 | errno.EPERM
_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
# Rights over files that each version of Landlock can deny: the last is the one of all later ones.
_FILE_RIGHTS = (13, 14, 15, 15, 16)

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38

Instruction = tuple[int, int, int, int]


def supported() -> bool:
    """Whether this processor and kernel have what `filter_calls` needs."""
    if platform.machine() not in _ARCHITECTURES:
        return False
    # A filter at no address is refused as such (EFAULT) only where there are filters.
    _libc().prctl(_PR_SET_SECCOMP, 2, None, 0, 0)
    return ctypes.get_errno() == errno.EFAULT


def landlock_version() -> int:
    """The version of the kernel's Landlock, 0 where there is none."""
    return max(0, int(_libc().syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)))


def die_with_parent() -> None:
    """Be killed when the thread that started this process ends."""
    _checked(_libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def set_limits(limits: Mapping[str, int]) -> None:
    """Set limits for good, by their names in `resource` without RLIMIT_."""
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def drop_privileges() -> None:
    """Give up every capability, and the ways to new ones."""
    _checked(_libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    header = struct.pack("Ii", 0x20080522, 0)  # version 3, this thread
    _checked(_libc().capset(header, bytes(24)))


def hide_files(readable: Iterable[str], listed: str) -> None:
    """Let Landlock deny all files but those that are, or lie below, `readable`; read-only.

    Of the folder `listed` the names of its files can be read as well.
    """
    version = landlock_version()
    rights = (1 << _FILE_RIGHTS[min(version, len(_FILE_RIGHTS)) - 1]) - 1
    network, scopes = 0b11 if version >= 4 else 0, 0b11 if version >= 6 else 0
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = struct.pack("QQQ", rights, network, scopes)
    libc = _libc()
    handle = _checked(libc.syscall(_LANDLOCK_CREATE, ruleset, ctypes.c_size_t(size), 0))
    rules = {path: _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0) for path in readable}
    for path, allowed in {**rules, listed: _READ_DIR}.items():
        if not os.path.exists(path):
            continue
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        _checked(libc.syscall(_LANDLOCK_ADD, handle, 1, struct.pack("=Qi", allowed, place), 0))
        os.close(place)
    _checked(libc.syscall(_LANDLOCK_RESTRICT, handle, 0))
    os.close(handle)


def filter_calls(*, writable: bool) -> None:
    """Refuse every system call that computing does not need; `writable` lets files be written."""
    program = _program(platform.machine(), writable=writable)
    packed = b"".join(struct.pack("HBBI", *one) for one in program)
    code = ctypes.create_string_buffer(packed)
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    # SECCOMP_SET_MODE_FILTER, for all threads of this process (SECCOMP_FILTER_FLAG_TSYNC).
    if _libc().syscall(_SECCOMP[platform.machine()], 1, 1, header) != 0:
        raise OSError(ctypes.get_errno(), "the filter of system calls was not taken")


def _program(machine: str, *, writable: bool) -> list[Instruction]:
    """The filter in BPF; of an argument its low 32 bits count, as all that we look at are ints."""
    simple = _numbers(_COMPUTING + (f",{_WRITING},{_OPENING}" if writable else ""), machine)
    program = [
        (_LOAD, 0, 0, 4),  # seccomp_data: nr, arch, instruction pointer, six arguments
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _REFUSE),
    ]
    for number in simple.values():
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    checked = _numbers(_CHECKED, machine)
    rules = {
        checked["ioctl"]: _one_of(1, _IOCTLS),
        checked["fcntl"]: _one_of(1, _FCNTLS),
        checked["prctl"]: _one_of(0, _PRCTLS),
        checked["prlimit64"]: _one_of(0, (0,)),  # its own limits
        checked["mmap"]: _without(3, _SHARED_MEMORY, _SHARED_MEMORY),
    }
    if not writable:
        places = {"open": 1, "openat": 2}
        for name, number in _numbers(_OPENING, machine).items():
            rules[number] = _one_of(places[name], (0,), mask=_CHANGING)
    for number, rule in rules.items():
        program += [(_EQUAL, 0, len(rule), number), *rule]
    return [*program, (_RETURN, 0, 0, _REFUSE)]


def _one_of(argument: int, values: Iterable[int], mask: int = 0xFFFFFFFF) -> list[Instruction]:
    """Allow a call when an argument's masked bits are one of the values."""
    found = [(_LOAD, 0, 0, 16 + 8 * argument), (_AND, 0, 0, mask)]
    for value in values:
        found += [(_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
    return [*found, (_RETURN, 0, 0, _REFUSE)]


def _without(argument: int, mask: int, bits: int) -> list[Instruction]:
    """Refuse a call when an argument's masked bits are these."""
    return [
        (_LOAD, 0, 0, 16 + 8 * argument),
        (_AND, 0, 0, mask),
        (_EQUAL, 0, 1, bits),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _numbers(table: str, machine: str) -> dict[str, int]:
    """The calls of a table that the processor has, and their numbers."""
    column = 1 + list(_ARCHITECTURES).index(machine)
    rows = [row.split() for row in table.split(",")]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    """The result of a call; raises OSError when it failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
