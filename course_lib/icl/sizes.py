"""Sizes of chapter 4's experiments in each profile."""

from __future__ import annotations

from typing import Any

# smoke, default, full
SIZES: dict[str, tuple[Any, Any, Any]] = {
    # lesson 07: accuracy over demonstrations, and one timing
    "context.num_demonstrations": ((0, 4), (0, 4, 16, 32), (0, 2, 4, 8, 16, 32, 64)),
    "context.num_sets": (1, 2, 5),
    "context.num_items": (8, 60, 120),
    "context.num_timed": (2, 8, 64),
    # lessons 08 and 09: pairs of features over demonstration sets; the paper's sets have up to 1,200 items
    "bias.num_sets": (1, 4, 10),
    "bias.num_items": (4, 30, 120),
    "bias.paper_sets": (1, 1, 3),
    "bias.paper_items": (8, 40, 1200),
    "bias.search_sets": (2, 2, 5),
    "bias.search_items": (8, 20, 60),
    "bias.steady_sets": (2, 2, 6),
    "bias.steady_items": (8, 20, 60),
    "intervention.num_sets": (1, 2, 10),
    "intervention.num_items": (4, 20, 40),
    # siblings: sets of pairs and features, of interventions, and over the number of episodes
    "siblings.num_sets": (1, 2, 10),
    "siblings.num_items": (4, 20, 60),
    "siblings.steered_sets": (1, 1, 5),
    "siblings.steered_items": (4, 10, 40),
    "siblings.curve_sets": (1, 2, 5),
    "siblings.curve_episodes": ((0, 2), (0, 10), (0, 10, 30, 90)),
}
