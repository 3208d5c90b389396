"""A filter of system calls for the sandbox: what escapes its limits, or reaches another sandbox, is refused.

Memory of System V segments and of anonymous files belongs to no process, so no limit sees it. A new user namespace
gives file systems without limits. The kernel's keyrings are the same inside and outside. A process that could choose
its core or its place in the queue would slow another submission down.

Sandboxes share read-only files, and the kernel. Two of them could talk through what the kernel keeps with a shared
file (locks, leases, watches, hints, who waits at a shared address, what of it is in memory), through what it counts
for the whole machine (system information, its log, pools of asynchronous requests and huge pages), and through
sockets that have no namespace. What honest code asks for in passing is answered so that the code goes on.

Source: Linux's seccomp(2) and its tables of system calls (asm/unistd_64.h; asm-generic/unistd.h).
"""

from __future__ import annotations

import errno
import platform
import struct
import sys

# name -> its number on x86-64 and on 64-bit ARM, where it has one
_REFUSED: dict[str, tuple[int, int | None]] = {
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "sched_setaffinity": (203, 122),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "ptrace": (101, 117),
    "process_vm_writev": (311, 271),
    "perf_event_open": (298, 241),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_setup": (206, 0),
    "flock": (73, 32),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "fanotify_init": (300, 262),
    "mincore": (27, 232),
    "preadv2": (327, 286),
    "move_pages": (279, 239),
    "process_madvise": (440, 440),
    "sysinfo": (99, 179),
    "ustat": (136, None),
    "syslog": (103, 116),
    "sync": (162, 81),
    "syncfs": (306, 267),
}
# Advice on files, which the kernel is free not to take; times of files: nobody's but a shared device's matter; and to
# step back for others, which would hide the time that code takes.
_WITHOUT_EFFECT: dict[str, tuple[int, int | None]] = {
    "readahead": (187, 213),
    "fadvise64": (221, 223),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
}
# From here on the kernel is said to know no calls: cachestat, futexes of a new kind, and what is still to come.
_FIRST_UNKNOWN = 442
_CLONE3 = 435
_CLONE, _FCNTL, _IOCTL, _FUTEX = (56, 220), (72, 25), (16, 29), (202, 98)
_MMAP, _MADVISE, _SOCKET, _SOCKETPAIR = (9, 222), (28, 233), (41, 198), (53, 199)
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET
_NEW_NAMESPACES = 0x7E020000
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL and F_DUPFD_CLOEXEC; not among them locks, leases, watches and hints
_OWN_DESCRIPTOR = (0, 1, 2, 3, 4, 1030)
# Requests of terminals (and how to wait for any file) and of sockets.
_OWN_REQUESTS = (0x5400, 0x8900)
_PRIVATE, _WAITS, _WAKES = 0x80, (0, 9), (1, 10)
_HUGE_PAGES = 0x40000
# MADV_MERGEABLE, COLD and PAGEOUT
_SHARED_ADVICE = (12, 20, 21)
_AF_UNIX = 1
# What the kernel calls the processor, AUDIT_ARCH_*; calls of another instruction set have other numbers.
_PROCESSORS = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# x86-64's second set of numbers (x32) begins here.
_X32 = 0x40000000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER, _PROCESSOR, _FIRST_ARGUMENT = 0, 4, 16
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000


def seccomp_filter(machine: str | None = None) -> bytes:
    """Give the filter as bubblewrap's `--seccomp` takes it.

    Args:
        machine: the processor, as `platform.machine` names it; this one by default.

    Returns:
        A program for the kernel; empty for a processor whose numbers are not known here.

    Example:
        >>> len(seccomp_filter("x86_64")) % 8, seccomp_filter("riscv64")
        (0, b'')
    """
    # A 32-bit Python on a 64-bit kernel makes the calls of another instruction set.
    machine = machine or (platform.machine() if sys.maxsize > 2**32 else "")
    if machine not in _PROCESSORS:
        return b""
    column = list(_PROCESSORS).index(machine)
    rules = {
        _CLONE: [*_argument(0), *_if_bit(_NEW_NAMESPACES, _fail(errno.EPERM)), _allow()],
        _FCNTL: [*_argument(1), *_if_among(_OWN_DESCRIPTOR, _allow()), _fail(errno.EPERM)],
        _IOCTL: [
            *_argument(1),
            _step(_AND, 0xFFFFFF00),
            *_if_among(_OWN_REQUESTS, _allow()),
            _fail(errno.ENOTTY),
        ],
        # Who waits at an address in a shared file is told that it changed; a thread's end is waited for like that.
        _FUTEX: [
            *_argument(1),
            *_if_bit(_PRIVATE, _allow()),
            _step(_AND, 0x7F),
            *_if_among(_WAITS, _fail(errno.EAGAIN)),
            *_if_among(_WAKES, _fail(0)),
            _fail(errno.ENOSYS),
        ],
        _MMAP: [*_argument(3), *_if_bit(_HUGE_PAGES, _fail(errno.ENOMEM)), _allow()],
        _MADVISE: [*_argument(2), *_if_among(_SHARED_ADVICE, _fail(errno.EPERM)), _allow()],
        _SOCKET: [*_argument(0), *_if_among((_AF_UNIX,), _allow()), _fail(errno.EAFNOSUPPORT)],
        _SOCKETPAIR: [*_argument(0), *_if_among((_AF_UNIX,), _allow()), _fail(errno.EAFNOSUPPORT)],
        **{numbers: [_fail(errno.EPERM)] for numbers in _REFUSED.values()},
        **{numbers: [_fail(0)] for numbers in _WITHOUT_EFFECT.values()},
    }
    program = [
        _step(_LOAD, _PROCESSOR),
        _step(_EQUAL, _PROCESSORS[machine], 1, 0),
        _fail(errno.EPERM),
        _step(_LOAD, _NUMBER),
        _step(_AT_LEAST, _X32, 0, 1),
        _fail(errno.EPERM),
        _step(_AT_LEAST, _FIRST_UNKNOWN, 0, 1),
        _fail(errno.ENOSYS),
        # Without this call the C library uses the older one, whose flags a filter can read.
        *_if_among((_CLONE3,), _fail(errno.ENOSYS)),
    ]
    for numbers, rule in rules.items():
        if (number := numbers[column]) is not None:
            program += [_step(_EQUAL, number, 0, len(rule)), *rule]
    return b"".join([*program, _allow()])


def _argument(place: int) -> list[bytes]:
    """Load the lower half of an argument; none that is looked at here has an upper one."""
    return [_step(_LOAD, _FIRST_ARGUMENT + 8 * place)]


def _if_bit(bits: int, then: bytes) -> list[bytes]:
    return [_step(_ANY_BIT, bits, 0, 1), then]


def _if_among(values: tuple[int, ...], then: bytes) -> list[bytes]:
    return [part for value in values for part in (_step(_EQUAL, value, 0, 1), then)]


def _allow() -> bytes:
    return _step(_RETURN, _ALLOW)


def _fail(number: int) -> bytes:
    """Let a call fail with this error; 0 says that it went well, without its effect."""
    return _step(_RETURN, _ERROR | number)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """Write one instruction; jumps count the instructions that are left out."""
    return struct.pack("=HBBI", code, if_true, if_false, value)
