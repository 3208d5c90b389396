"""The filter of system calls, run step by step as the kernel does, for both processors."""

from __future__ import annotations

import errno
import struct

import pytest

from course_lib.grading import seccomp
from course_lib.grading.seccomp import seccomp_filter

ALLOWED, REFUSED, UNKNOWN = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
PROCESSORS = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
MACHINES = list(PROCESSORS)
READ, CLONE = {"x86_64": 0, "aarch64": 63}, {"x86_64": 56, "aarch64": 220}
THREAD = 0x3D0F00


def outcome(machine: str, number: int, argument: int = 0, processor: int | None = None) -> int:
    """Run the filter on one call and give what it returns."""
    program = list(struct.iter_unpack("=HBBI", seccomp_filter(machine)))
    data = struct.pack(
        "=IIQ6Q", number, PROCESSORS[machine] if processor is None else processor, 0, argument, *[0] * 5
    )
    place, value = 0, 0
    while True:
        code, if_true, if_false, operand = program[place]
        place += 1
        if code == 0x06:
            return int(operand)
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, operand)
            continue
        holds = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[code]
        place += if_true if holds else if_false


@pytest.mark.parametrize("machine", MACHINES)
def test_what_escapes_the_limits_is_refused_and_the_rest_is_not(machine: str) -> None:
    for numbers in seccomp._REFUSED.values():
        assert outcome(machine, numbers[MACHINES.index(machine)]) == REFUSED
    refused = {numbers[MACHINES.index(machine)] for numbers in seccomp._REFUSED.values()}
    others = set(range(435)) - refused
    assert {outcome(machine, number) for number in others} == {ALLOWED}
    assert outcome(machine, READ[machine]) == ALLOWED


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
