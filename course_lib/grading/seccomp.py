"""A filter of system calls for the sandbox: what escapes its limits, and what no assignment needs, is refused.

Memory of System V segments and of anonymous files belongs to no process, so no limit sees it. A new user namespace
gives file systems without limits. The kernel's keyrings are the same inside and outside. A process that could choose
its core would slow another submission down.

Source: Linux's seccomp(2) and its tables of system calls (asm/unistd_64.h; asm-generic/unistd.h).
"""

from __future__ import annotations

import errno
import platform
import struct
import sys

# name -> its number on x86-64 and on 64-bit ARM
_REFUSED = {
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
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
    "mount_setattr": (442, 442),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "sched_setaffinity": (203, 122),
    "ptrace": (101, 117),
    "process_vm_writev": (311, 271),
    "perf_event_open": (298, 241),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
}
_CLONE = (56, 220)
_CLONE3 = 435
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET
_NEW_NAMESPACES = 0x7E020000
# What the kernel calls the processor, AUDIT_ARCH_*; calls of another instruction set have other numbers.
_PROCESSORS = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# x86-64's second set of numbers (x32) begins here.
_X32 = 0x40000000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
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
    refuse = _step(_RETURN, _ERROR | errno.EPERM)
    program = [
        _step(_LOAD, _PROCESSOR),
        _step(_EQUAL, _PROCESSORS[machine], 1, 0),
        refuse,
        _step(_LOAD, _NUMBER),
        _step(_AT_LEAST, _X32, 0, 1),
        refuse,
        # Without this call the C library uses the older one, whose flags a filter can read.
        _step(_EQUAL, _CLONE3, 0, 1),
        _step(_RETURN, _ERROR | errno.ENOSYS),
    ]
    for numbers in _REFUSED.values():
        program += [_step(_EQUAL, numbers[column], 0, 1), refuse]
    program += [
        _step(_EQUAL, _CLONE[column], 0, 3),
        _step(_LOAD, _FIRST_ARGUMENT),
        _step(_ANY_BIT, _NEW_NAMESPACES, 0, 1),
        refuse,
        _step(_RETURN, _ALLOW),
    ]
    return b"".join(program)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """Write one instruction; jumps count the instructions that are left out."""
    return struct.pack("=HBBI", code, if_true, if_false, value)
