"""What a record says of its machine, and the warning where bfloat16 is emulated."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from course_lib.errors import CourseError
from course_lib.models import load_language_model
from course_lib.runs import hardware
from course_lib.runs.hardware import (
    has_native_bfloat16,
    machine_sentence,
    machine_summary,
    processor_name,
    warn_of_slow_bfloat16,
)

INTEL = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Platinum 8275CL\nflags\t\t: fpu avx512f avx512bw\n"
NEWER = "processor\t: 0\nmodel name\t: AMD EPYC 9R14\nflags\t\t: fpu avx512f avx512_bf16\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd i8mm bf16\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file in the place of Linux's description of the processor."""
    monkeypatch.setattr(hardware, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(hardware.platform, "system", lambda: "Linux")
    processor_name.cache_clear()
    yield tmp_path / "cpuinfo"
    processor_name.cache_clear()


@pytest.mark.parametrize(
    ("told", "name", "native"),
    [
        (INTEL, "Intel(R) Xeon(R) Platinum 8275CL", False),
        (NEWER, "AMD EPYC 9R14", True),
        (ARM, "aarch64", True),
    ],
)
def test_the_processor_is_named(
    machine: Path, monkeypatch: pytest.MonkeyPatch, told: str, name: str, native: bool
) -> None:
    monkeypatch.setattr(hardware.platform, "machine", lambda: "aarch64")
    machine.write_text(told)
    summary = machine_summary()
    assert (summary["processor"], summary["architecture"]) == (name, "aarch64")
    assert has_native_bfloat16() is native
    assert machine_sentence() == f"Processor: {name}, bfloat16 {'native' if native else 'not native'}."


@pytest.mark.usefixtures("machine")
def test_a_system_that_tells_nothing_is_not_guessed_at() -> None:
    assert has_native_bfloat16() is None
    assert processor_name() == hardware.platform.machine()
    assert "perhaps native" in machine_sentence()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_slow_bfloat16(torch.bfloat16, "cpu")


def test_emulated_bfloat16_is_warned_of(machine: Path) -> None:
    machine.write_text(INTEL)
    with pytest.warns(UserWarning, match="bfloat16 is not native on this cpu"):
        load_language_model(dtype="bfloat16", device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_slow_bfloat16(torch.float32, "cpu")
        machine.write_text(NEWER)
        warn_of_slow_bfloat16(torch.bfloat16, "cpu")


def test_an_unknown_dtype_is_no_warning() -> None:
    with pytest.raises(CourseError, match="no dtype"):
        load_language_model(dtype="bfloat")
