"""The filter of system calls, run step by step as the kernel does, for both processors."""

from __future__ import annotations

import errno
import struct

import pytest

from course_lib.classroom.grading.sandbox import seccomp
from course_lib.classroom.grading.sandbox.seccomp import seccomp_filter

ALLOWED, REFUSED, UNKNOWN = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
PROCESSORS = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
MACHINES = list(PROCESSORS)
READ, CLONE = {"x86_64": 0, "aarch64": 63}, {"x86_64": 56, "aarch64": 220}
THREAD = 0x3D0F00


def outcome(machine: str, number: int, *arguments: int, processor: int | None = None) -> int:
    """Run the filter on one call and give what it returns."""
    program = list(struct.iter_unpack("=HBBI", seccomp_filter(machine)))
    six = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", number, PROCESSORS[machine] if processor is None else processor, 0, *six)
    place, value = 0, 0
    while True:
        code, if_true, if_false, operand = program[place]
        place += 1
        if code == 0x06:
            return int(operand)
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, operand)
            continue
        if code == 0x54:
            value &= operand
            continue
        holds = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[code]
        place += if_true if holds else if_false


def failing(number: int) -> int:
    return 0x00050000 | number


@pytest.mark.parametrize("machine", MACHINES)
def test_what_escapes_the_limits_is_refused_and_the_rest_is_not(machine: str) -> None:
    column = MACHINES.index(machine)
    refused = {numbers[column] for numbers in seccomp._REFUSED.values()} - {None}
    without_effect = {numbers[column] for numbers in seccomp._WITHOUT_EFFECT.values()} - {None}
    by_argument = {seccomp._FCNTL, seccomp._IOCTL, seccomp._FUTEX, seccomp._SOCKET, seccomp._SOCKETPAIR}
    others = set(range(435)) - refused - without_effect - {numbers[column] for numbers in by_argument}
    assert {outcome(machine, number) for number in refused} == {REFUSED}
    assert {outcome(machine, number) for number in without_effect} == {failing(0)}
    assert {outcome(machine, number) for number in others} == {ALLOWED}
    assert outcome(machine, READ[machine]) == ALLOWED
    assert {outcome(machine, number) for number in range(436, 440)} == {ALLOWED}
    # What these numbers will mean is not known.
    assert {outcome(machine, number) for number in range(442, 1000)} == {UNKNOWN}


ARGUMENTS = [
    # call, arguments, what becomes of it
    ("_FCNTL", (3, 1), ALLOWED),
    ("_FCNTL", (3, 1030, 3), ALLOWED),
    *[("_FCNTL", (3, command), REFUSED) for command in (5, 6, 7, 36, 37, 38, 1024, 1025, 1026, 1035, 1036)],
    *[("_IOCTL", (1, request), ALLOWED) for request in (0x5401, 0x5413, 0x541B, 0x5421, 0x5451, 0x8910)],
    # FS_IOC_SETFLAGS, FICLONE and FIBMAP
    *[("_IOCTL", (1, request), failing(errno.ENOTTY)) for request in (0x40086602, 0x40049409, 1)],
    *[("_FUTEX", (0, operation), ALLOWED) for operation in (0x80, 0x81, 0x89, 0x189)],
    *[("_FUTEX", (0, operation), failing(errno.EAGAIN)) for operation in (0, 9, 0x109)],
    *[("_FUTEX", (0, operation), failing(0)) for operation in (1, 10)],
    *[("_FUTEX", (0, operation), failing(errno.ENOSYS)) for operation in (3, 4, 5, 6, 12)],
    ("_MMAP", (0, 4096, 3, 0x22), ALLOWED),
    ("_MMAP", (0, 4096, 3, 0x40022), failing(errno.ENOMEM)),
    ("_MADVISE", (0, 4096, 4), ALLOWED),
    *[("_MADVISE", (0, 4096, advice), REFUSED) for advice in (12, 20, 21)],
    *[(call, (1, 1), ALLOWED) for call in ("_SOCKET", "_SOCKETPAIR")],
    # IPv4, IPv6, netlink, algorithms and the sockets of virtual machines, which have no namespace
    *[("_SOCKET", (family, 1), failing(errno.EAFNOSUPPORT)) for family in (2, 10, 16, 38, 40)],
]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("call", "arguments", "expected"), ARGUMENTS)
def test_calls_are_judged_by_their_arguments(
    machine: str, call: str, arguments: tuple[int, ...], expected: int
) -> None:
    number = getattr(seccomp, call)[MACHINES.index(machine)]
    assert outcome(machine, number, *arguments) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_new_threads_and_processes_are_allowed_and_new_namespaces_are_not(machine: str) -> None:
    assert outcome(machine, CLONE[machine], THREAD) == ALLOWED
    assert outcome(machine, CLONE[machine], 17) == ALLOWED
    for bit in (17, 25, 26, 27, 28, 29, 30):
        assert outcome(machine, CLONE[machine], THREAD | 1 << bit) == REFUSED
    # clone3 hides its flags: the C library falls back to clone where it is unknown.
    assert outcome(machine, 435) == UNKNOWN


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_of_another_instruction_set_are_refused(machine: str) -> None:
    assert outcome(machine, READ[machine], processor=0x40000003) == REFUSED
    assert outcome(machine, 0x40000000 + READ[machine]) == REFUSED


def test_a_processor_whose_numbers_are_unknown_has_no_filter() -> None:
    assert seccomp_filter("riscv64") == b""
