"""Figures: tidy data in, matplotlib Axes in and out, no hidden state."""

from typing import TYPE_CHECKING

from course_lib.lazy import lazy_face

if TYPE_CHECKING:
    from course_lib.plotting.display import show as show
    from course_lib.plotting.style import horizontal_bars as horizontal_bars
    from course_lib.plotting.style import panels as panels
    from course_lib.plotting.style import shortened as shortened
    from course_lib.plotting.widgets import slider as slider
else:
    __getattr__, __dir__, __all__ = lazy_face(__name__, __file__)
