"""Sizes of chapter 2's experiments in each profile."""

from __future__ import annotations

from typing import Any

# smoke, default, full
SIZES: dict[str, tuple[Any, Any, Any]] = {
    # lesson 03: fine-tuning with and without R_s
    "smoothness.num_train": (8, 256, 256),
    "smoothness.num_epochs": (1, 3, 3),
    "smoothness.num_heldout": (16, 200, 400),
    "smoothness.num_watched": (8, 64, 200),
    # lesson 04: the search, then the ablation; optimizer steps by the number of training examples
    "search.train_size": (16, 256, 256),
    "search.num_steps": (2, 48, 48),
    "search.num_development": (16, 200, 200),
    "search.seeds": ((100,), (100, 101), (100, 101)),
    "ablation.texts": (("movie",), ("movie",), ("movie", "snli")),
    "ablation.train_sizes": ((8,), (64,), (64, 256)),
    "ablation.num_steps": ({"8": 2}, {"64": 24}, {"64": 32, "256": 48}),
    "ablation.seeds": ((0,), (0,), (0, 1, 2, 3, 4)),
    "ablation.num_development": (8, 100, 200),
    "ablation.num_test": (16, 200, 300),
    "ablation.num_changed": (4, 50, 150),
}
