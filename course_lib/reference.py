"""The reference results of all chapters: one command each, resumable, kept in `data/results/` with their record.

A chapter declares its own, as `REFERENCES` in its file `references.py`; a new chapter's are found by that.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import course_lib
from course_lib.runs.records import ResultRecord

_CHAPTERS = sorted(path.parent.name for path in Path(course_lib.__file__).parent.glob("*/references.py"))
REFERENCES: dict[str, Callable[[], ResultRecord]] = {
    make.__name__: make
    for chapter in _CHAPTERS
    for make in import_module(f"course_lib.{chapter}.references").REFERENCES
}
