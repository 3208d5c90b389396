"""Tables of results with everything needed to make them again, and what others published."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from course_lib.checks.calls import border, check_choice, check_fields, optional
from course_lib.checks.types import NotNegative, Text
from course_lib.checks.values import check_file_name, check_mapping, check_path, check_text, mapping_to
from course_lib.errors import CourseError
from course_lib.locations import check_writable_folder, data_folder, written_whole
from course_lib.runs.hardware import machine_summary
from course_lib.runs.journal import a_mapping, some_rows, to_plain


@dataclass
class ResultRecord:
    """A table of results with everything needed to make it again.

    Args:
        name: what was measured; the file is `data/results/<name>.json`.
        command: the command that repeats it.
        settings: every setting that shaped the numbers.
        rows: the table, one mapping a row.
        seconds: how long the measured work took, summed over resumed parts.
        versions: package versions.
        machine: processor, whether it computes in bfloat16 natively, cores, device; see `machine_summary`.
        created: date in UTC.

    Raises:
        CourseError: a name that is no plain file name; another type; a value that JSON cannot keep, such as NaN.
    """

    name: str
    command: Text
    settings: dict[str, Any]
    rows: list[dict[str, Any]]
    seconds: NotNegative
    versions: dict[str, str] = field(default_factory=lambda: package_versions())
    machine: Mapping[str, Any] = field(default_factory=machine_summary)
    created: Text = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d"))

    def __post_init__(self) -> None:
        check_fields(
            self,
            name=check_file_name,
            settings=a_mapping,
            rows=some_rows,
            versions=mapping_to(check_text),
            machine=check_mapping,
        )
        to_plain([self.settings, self.rows, self.machine])

    def table(self) -> pd.DataFrame:
        """Return the rows as a data frame."""
        return pd.DataFrame(self.rows)

    def save(self, folder: Path | None = None) -> Path:
        """Write the record as JSON, whole or not at all, and return its path.

        Raises:
            CourseError: nothing can be written there.
        """
        path = (
            check_writable_folder(data_folder() / "results" if folder is None else folder)
            / f"{self.name}.json"
        )
        with written_whole(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return path


@border(folder=optional(check_path))
def load_record(name: str, folder: Path | None = None) -> ResultRecord:
    """Read a reference result of `data/results/`.

    Args:
        name: the record's name, without ".json".
        folder: where to look instead.

    Raises:
        CourseError: if there is none of this name, or the file is damaged.
    """
    path = _file_named("reference result", name, folder or data_folder() / "results", ".json")
    try:
        return ResultRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, OSError, CourseError) as error:
        raise CourseError(
            "This reference result cannot be read.",
            given=str(path),
            mend="Restore it from git, or make it again with `course reference`.",
        ) from error


def load_published(name: str) -> pd.DataFrame:
    """Read figures that others published from `data/published/`; comment lines there give the source.

    Args:
        name: the table's name, without ".csv".

    Raises:
        CourseError: if there is none of this name.
    """
    return pd.read_csv(_file_named("published table", name, data_folder() / "published", ".csv"), comment="#")


def _file_named(kind: str, name: str, folder: Path, suffix: str) -> Path:
    known = sorted(file.stem for file in folder.glob(f"*{suffix}")) if os.path.isdir(folder) else []
    return folder / f"{check_choice(kind, name, known)}{suffix}"


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that shape results."""
    names = ("torch", "transformers", "datasets", "numpy", "scikit-learn", "peft", "accelerate")
    installed = {dist.metadata["Name"].lower(): dist.version for dist in metadata.distributions()}
    versions = {name: installed[name] for name in names if name in installed}
    return {"python": platform.python_version(), **versions}
