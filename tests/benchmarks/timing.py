"""Fair timing: the rivals take turns, and medians are compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def interleaved_medians(rivals: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Time each rival once a round, after a warm-up, and give the median seconds of each."""
    for run in rivals.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, run in rivals.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def matrix_rate(size: int = 1536, repeats: int = 8) -> float:
    """Measure what this machine's matrix product reaches, in floating-point operations a second."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    seconds = interleaved_medians({"matmul": lambda: left @ right}, rounds=repeats)["matmul"]
    return 2 * size**3 / seconds
