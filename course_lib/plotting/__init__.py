"""Figures: tidy data in, matplotlib Axes in and out, no hidden state."""

from course_lib.plotting.display import show
from course_lib.plotting.style import letter_panels, panels, plot_mean, series_style
from course_lib.plotting.widgets import slider

__all__ = ["letter_panels", "panels", "plot_mean", "series_style", "show", "slider"]
