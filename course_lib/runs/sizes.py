"""Sizes of what belongs to no chapter."""

from __future__ import annotations

from typing import Any

# smoke, default, full
SIZES: dict[str, tuple[Any, Any, Any]] = {
    # lesson 00
    "start.num_reviews": (100, 1000, 5000),
}
