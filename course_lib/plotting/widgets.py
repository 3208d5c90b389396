"""Sliders. Each stands beside a static figure that shows the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from course_lib.checks.calls import border, each
from course_lib.checks.types import Text
from course_lib.checks.values import check_callable
from course_lib.errors import CourseError


@border(draw=check_callable, options=each(lambda name, value: value))
def slider(draw: Callable[[Any], Figure], options: Sequence[Any], *, label: Text, value: Any = None) -> Any:
    """Make a slider that redraws a figure.

    Args:
        draw: makes the figure for one option.
        options: what the slider runs over.
        label: what the slider sets, shown beside it.
        value: where it starts; the first option where left out.

    Returns:
        The widget, to be the last line of a cell.

    Raises:
        CourseError: there are no options, or the value is none of them.
    """
    start = options[0] if value is None else value
    if not any(start is option or bool(start == option) for option in options):
        raise CourseError("The slider must start at one of its options.", given=value)
    control = ipywidgets.SelectionSlider(
        options=options,
        value=start,
        description=label,
        continuous_update=False,
        style={"description_width": "initial"},
        layout={"width": "32em"},
    )

    def redraw(option: Any) -> None:
        figure = draw(option)
        plt.show()
        plt.close(figure)

    return ipywidgets.interactive(redraw, option=control)
