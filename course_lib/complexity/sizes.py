"""Sizes of chapter 1's experiments in each profile."""

from __future__ import annotations

from typing import Any

# smoke, default, full
SIZES: dict[str, tuple[Any, Any, Any]] = {
    # lesson 01: fine-tuning on growing N
    "capacity.train_sizes": ((8, 16), (32, 128, 512), (32, 64, 128, 256, 512, 1024, 2048)),
    "capacity.seeds": ((0,), (0,), (0, 1, 2)),
    "capacity.num_heldout": (24, 400, 400),
    "capacity.num_epochs": (1, 4, 4),
    # lesson 02: fine-tuning at growing learning rates
    "updating.learning_rates": ((1e-4, 1e-3), (1e-5, 1e-4, 1e-3), (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)),
    "updating.seeds": ((0,), (0,), (0, 1, 2)),
    "updating.num_train": (16, 256, 256),
    "updating.num_heldout": (24, 200, 400),
    "updating.num_steps": (2, 24, 64),
    "updating.num_pairs": (20, 100, 300),
}
