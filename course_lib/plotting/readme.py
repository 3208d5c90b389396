"""Draw the README's picture from the kept reference result: `python -m course_lib.plotting.readme FILE`."""

from __future__ import annotations

import sys

from course_lib.checks.calls import border
from course_lib.checks.values import check_path
from course_lib.plotting.complexity import sample_size_figure
from course_lib.runs.records import load_record


@border(path=check_path)
def draw(path: str) -> None:
    """Write lesson 01's figure as a PNG file.

    Args:
        path: the file.
    """
    sample_size_figure(load_record("sample_size").table()).savefig(path)


if __name__ == "__main__":
    draw(sys.argv[1])
