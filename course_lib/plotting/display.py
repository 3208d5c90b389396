"""Showing a figure with its sentence and its text alternative."""

from __future__ import annotations

import base64
import html
import io

import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.figure import Figure

from course_lib.checks.calls import a_figure, border
from course_lib.checks.types import Text
from course_lib.errors import CourseError


@border(figure=a_figure)
def show(figure: Figure, *, caption: Text, alt: Text) -> None:
    """Show a figure with a sentence under it and a text alternative for those who cannot see it.

    Args:
        figure: the figure; it is closed afterwards.
        caption: one sentence on what to see, computed from the data.
        alt: what the picture shows, for a screen reader.

    Raises:
        CourseError: if either text is missing.
    """
    if not caption.strip() or not alt.strip():
        raise CourseError("A figure needs a sentence under it and a text alternative.", given=(caption, alt))
    image = (
        f"<img style='max-width:100%;background:white' alt='{html.escape(alt, quote=True)}' "
        f"src='data:image/png;base64,{_png(figure)}'>"
    )
    sentence = f"<figcaption style='max-width:60em;padding:.4em 0'>{html.escape(caption)}</figcaption>"
    markup = f"<figure style='margin:0'>{image}{sentence}</figure>"
    display({"text/html": markup, "text/plain": f"[Figure: {alt}]\n{caption}"}, raw=True)


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return base64.b64encode(buffer.getvalue()).decode()
