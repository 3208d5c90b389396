"""Figures: tidy data in, matplotlib Axes in and out, no hidden state."""

from course_lib.plotting.display import show
from course_lib.plotting.style import (
    horizontal_bars,
    letter_panels,
    panels,
    plot_mean,
    series_style,
    shortened,
)
from course_lib.plotting.widgets import slider

__all__ = [
    "horizontal_bars",
    "letter_panels",
    "panels",
    "plot_mean",
    "series_style",
    "shortened",
    "show",
    "slider",
]
