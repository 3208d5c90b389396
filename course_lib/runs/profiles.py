"""How large the experiments of a run are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

import course_lib
from course_lib.checks.calls import check_choice

PROFILE_VARIABLE = "COURSE_PROFILE"
ProfileName = Literal["smoke", "default", "full"]
PROFILE_NAMES: tuple[ProfileName, ...] = get_args(ProfileName)


@cache
def declared_sizes() -> dict[str, tuple[Any, Any, Any]]:
    """Return every size that differs between profiles: for each name its value in smoke, default and full.

    Each part of the library declares its own, as `SIZES` in its file `sizes.py`; a new part's are found by that.
    "full" is also what the reference results in data/results/ are made with.
    """
    parts = sorted(path.parent.name for path in Path(course_lib.__file__).parent.glob("*/sizes.py"))
    tables = [import_module(f"course_lib.{part}.sizes").SIZES for part in parts]
    return {key: sizes for table in tables for key, sizes in table.items()}


@dataclass(frozen=True)
class Profile:
    """How large the experiments of a run are.

    Args:
        name: "smoke" (seconds, for CI), "default" (minutes on two cores) or "full" (the papers' sizes).

    Raises:
        CourseError: if no profile has this name.
    """

    name: ProfileName

    def __post_init__(self) -> None:
        check_choice("profile", self.name, PROFILE_NAMES)

    def size(self, key: str) -> Any:
        """Return the size that this profile uses for one experiment.

        Args:
            key: a row of a `SIZES` table, for example "capacity.train_sizes".

        Raises:
            CourseError: if there is no such row.
        """
        sizes = declared_sizes()
        return sizes[check_choice("size", key, sizes)][PROFILE_NAMES.index(self.name)]

    def sizes(self, part: str, *names: str) -> dict[str, Any]:
        """Return several sizes of one part by their names.

        Args:
            part: what stands before the dot in a `SIZES` table, for example "capacity".
            names: what stands behind it.

        Raises:
            CourseError: if there is no such row.
        """
        return {name: self.size(f"{part}.{name}") for name in names}


def profile(name: str | None = None) -> Profile:
    """Return the profile of this name, or the one COURSE_PROFILE names, or "default".

    Raises:
        CourseError: if no profile has this name.
    """
    chosen = os.environ.get(PROFILE_VARIABLE) or "default" if name is None else name
    return Profile(check_choice("profile", chosen, PROFILE_NAMES))
