"""Sizes of chapter 3's experiments in each profile."""

from __future__ import annotations

from typing import Any

# smoke, default, full
SIZES: dict[str, tuple[Any, Any, Any]] = {
    # lessons 05 and 06: pre-training; few examples of a task; the search of learning rates has seeds of its own
    "prompt.num_steps": (2, 24, 1000),
    "prompt.num_held_out": (8, 40, 300),
    "prompt.num_test": (9, 150, 600),
    "probe.layers": ((15, 30), (6, 18, 30), (6, 12, 18, 24, 30)),
    "probe.num_train": (30, 120, 800),
    "probe.num_test": (12, 60, 400),
    "fewshot.tasks": (("movie",), ("movie",), ("movie", "product", "snli")),
    "fewshot.search_tasks": (("movie",), ("movie",), ("movie", "snli")),
    "fewshot.search_seeds": ((100,), (100,), (100,)),
    "fewshot.seeds": ((0,), (0,), (0, 1, 2, 3, 4)),
    "fewshot.num_updates": (2, 30, 60),
    "fewshot.batch_size": (4, 8, 8),
    "fewshot.num_development": (8, 32, 32),
    "fewshot.num_test": (8, 60, 200),
    "fewshot.train_sizes": ((8,), (8, 32), (8, 32, 128, 512)),
    "fewshot.size_seeds": ((0,), (0,), (0, 1)),
    "fewshot.size_methods": (
        ("prompt tuning", "PPT"),
        ("prompt tuning", "PPT"),
        ("full fine-tuning", "prompt tuning", "PPT"),
    ),
    # lesson 05: the pilot findings, and its runs with much data
    "pilot.seeds": ((0,), (0,), (0, 1, 2)),
    "pilot.num_full": (8, 128, 512),
    "pilot.full_updates": (2, 40, 120),
}
