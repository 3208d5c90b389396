"""What the numbers of a run depend on: the processor by its name, and what it computes natively."""

from __future__ import annotations

import os
import platform
import subprocess
import warnings
from functools import cache
from pathlib import Path
from typing import TypedDict

import torch

from course_lib.checks.calls import border, of_type
from course_lib.checks.types import Text
from course_lib.errors import CourseError, unknown_name

_CPU_INFO = Path("/proc/cpuinfo")
# Instructions that multiply bfloat16, as Linux names them: x86's two sets, and Arm's.
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


class MachineSummary(TypedDict):
    """What the numbers of a run depend on.

    Args:
        system: for example "Linux".
        architecture: for example "x86_64".
        processor: the model's name where the system tells it.
        native_bfloat16: whether the device computes in bfloat16 without emulation; None where that is not known.
        cores: how many.
        threads: how many torch uses.
        device: "cpu", or the GPU's name.
    """

    system: str
    architecture: str
    processor: str
    native_bfloat16: bool | None
    cores: int | None
    threads: int
    device: str


def machine_summary() -> MachineSummary:
    """Return what the numbers of a run depend on: system, processor, cores, threads, device."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": processor_name(),
        "native_bfloat16": has_native_bfloat16(device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }


def choose_device(device: str | None = None) -> torch.device:
    """Return the device to compute on.

    Args:
        device: "cuda", "mps", "cpu", or None for the first of these that is there.

    Raises:
        CourseError: if the device is unknown or not on this machine.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device is None:
        return torch.device(next(name for name, available in there.items() if available))
    kind = str(device).partition(":")[0]
    if kind not in there:
        raise unknown_name("device", device, there)
    if not there[kind]:
        raise CourseError(
            "This machine has no such device.",
            given=device,
            mend="Leave `device` out: the best one is taken.",
        )
    try:
        return torch.device(device)
    except RuntimeError:
        raise unknown_name("device", device, there) from None


@cache
def processor_name() -> str:
    """Return the name of the processor's model, or its architecture where the system does not tell it."""
    told = {"Linux": _cpu_info("model name"), "Darwin": _sysctl("machdep.cpu.brand_string")}
    return told.get(platform.system(), platform.processor()) or platform.machine()


@border()
def has_native_bfloat16(device: Text = "cpu") -> bool | None:
    """Say whether a device multiplies in bfloat16 itself.

    A processor without such instructions computes in float32 and rounds: no faster, and often slower.

    Args:
        device: "cpu" or "cuda".

    Returns:
        None where the system does not tell.
    """
    if device == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    if device != "cpu":
        return None
    if platform.system() == "Darwin":
        return {"1": True, "0": False}.get(_sysctl("hw.optional.arm.FEAT_BF16"))
    flags = _cpu_info("flags") or _cpu_info("Features")
    return bool(_BFLOAT16_FLAGS & set(flags.split())) if flags else None


@border(dtype=of_type("torch.dtype"))
def warn_of_slow_bfloat16(dtype: torch.dtype, device: Text) -> None:
    """Warn where bfloat16 is asked for and the device has no instructions for it.

    Args:
        dtype: what is computed in.
        device: kind of device, "cpu" or "cuda".
    """
    if str(dtype) == "torch.bfloat16" and has_native_bfloat16(device) is False:
        warnings.warn(
            f"bfloat16 is not native on this {device} ({processor_name()}): it is computed in float32 and rounded, "
            "which is no faster, and can be slower. Leave `dtype` out for float32.",
            stacklevel=3,
        )


def machine_sentence() -> str:
    """Say on which processor something was measured, and whether bfloat16 is native there."""
    native = {True: "native", False: "not native", None: "perhaps native"}[has_native_bfloat16()]
    return f"Processor: {processor_name()}, bfloat16 {native}."


def _cpu_info(field: str) -> str:
    """Return a field of the first processor in Linux's own description."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    named = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in named if name.strip() == field), "")


def _sysctl(name: str) -> str:
    if platform.system() != "Darwin":
        return ""
    told = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=False)
    return told.stdout.strip()
