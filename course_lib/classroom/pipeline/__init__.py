"""The notebook pipeline: lessons are built from `notebooks/src`, run, and written as pages."""

from __future__ import annotations

HEADLINE_TYPE = "application/vnd.course.headline+json"

__all__ = ["HEADLINE_TYPE", "headline"]


def headline(text: str) -> None:
    """Display a lesson's main result as one sentence; `course run` puts it in its closing table.

    Args:
        text: the sentence, with the numbers that were just measured. Markdown is allowed.

    Raises:
        CourseError: if the sentence is empty.
    """
    from IPython.display import display

    from course_lib.errors import CourseError

    if not isinstance(text, str) or not text.strip():
        raise CourseError("A headline is a sentence.", given=text, mend="Say what was measured.")
    bundle = {"text/plain": text, "text/markdown": f"**{text}**", HEADLINE_TYPE: {"text": text}}
    display(bundle, raw=True)
