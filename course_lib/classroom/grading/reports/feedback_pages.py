"""A feedback page for each submission: task, verdict, marks, why, and what to look at next."""

from __future__ import annotations

import html
import re
from pathlib import Path

from course_lib.classroom.assignments.assignment import Assignment
from course_lib.classroom.grading.gradebook import GradedClass, page_name
from course_lib.classroom.grading.journal import Graded
from course_lib.classroom.grading.judging import TaskResult
from course_lib.locations import is_own_file, set_aside, written_output

STYLE = (
    "body { font: 16px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; } "
    "table { border-collapse: collapse; width: 100%; } "
    "th, td { border-bottom: 1px solid #999; padding: 0.5em; text-align: left; vertical-align: top; } "
    "td { overflow-wrap: anywhere; } code, .verdict { white-space: nowrap; } "
    "@media (max-width: 45em) { table { display: block; overflow-x: auto; } } "
    "pre { white-space: pre-wrap; overflow-wrap: anywhere; }"
)
# The words carry the meaning; the mark is for the eye.
MARKS = {"passed": "✓", "failed": "✗", "error": "⚠", "timeout": "⏱", "missing": "○", "tampered": "⚠"}
_PAGE_NAME = re.compile(r"\w*-[0-9a-f]{16}\.html")


def write_feedback(result: GradedClass, folder: Path) -> list[Path]:
    """Write a page for each submission, and take away those of an earlier run with other submissions.

    Args:
        result: the graded class.
        folder: where to; one file a submission, named after it.

    Returns:
        The pages, in the order of the submissions.
    """
    pages = []
    for graded in result.graded:
        path = folder / page_name(graded.label)
        # An instructor may have written in it.
        if path.exists() and not is_own_file(path):
            set_aside(path)
        with written_output(path) as temporary:
            text = feedback_page(
                graded, result.assignment, result.isolation.note, result.learner_name(graded)
            )
            temporary.write_text(text, encoding="utf-8")
        pages.append(path)
    for path in folder.glob("*.html"):
        if path not in pages and _PAGE_NAME.fullmatch(path.name) and is_own_file(path):
            path.unlink()
    return pages


def feedback_page(graded: Graded, assignment: Assignment, note: str = "", learner: str = "") -> str:
    """Give a submission's page as HTML.

    Args:
        graded: the submission.
        assignment: what it was graded for.
        note: what the isolation did not guarantee.
        learner: whose it is, where that is known.

    Returns:
        A page that needs no other file. Of the hidden inputs it shows at most what was expected for the first
        that went wrong; they are drawn anew for the next run.
    """
    title = f"{assignment.title}: {learner or graded.label}"
    report = graded.report
    body = f"<p>{html.escape(graded.label)}</p>" if learner else ""
    body += f"<p><strong>{report.marks} of {assignment.marks} marks.</strong></p>"
    if report.problem:
        body += f"<p>The submission was not marked. {html.escape(report.problem)}</p>"
    else:
        titles = {task.name: task.title for task in assignment.tasks}
        rows = "".join(_row(part, titles.get(part.task, "")) for part in report.results)
        body += "<table><tr><th>task</th><th>verdict</th><th>marks</th><th>why</th></tr>" + rows + "</table>"
    if report.cell_errors:
        errors = "\n".join(html.escape(text) for text in report.cell_errors)
        body += f"<h2>Cells with an error</h2><pre>{errors}</pre>"
    body += "".join(f"<p>{html.escape(text)}</p>" for text in report.notes)
    if graded.sha256:
        body += f"<p>Marked file: SHA-256 {graded.sha256}</p>"
    if note:
        body += f"<p>{html.escape(note)}</p>"
    return page(title, body)


def page(title: str, body: str) -> str:
    """Give an HTML page.

    Args:
        title: its title, as text.
        body: what stands under the title, as HTML.
    """
    escaped = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escaped}</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>{escaped}</h1>\n{body}\n</body>\n</html>\n"
    )


def _row(result: TaskResult, title: str) -> str:
    newline = "\n"
    hint = f"<br><em>Hint:</em> {html.escape(result.hint)}" if result.hint else ""
    return (
        f"<tr><td><code>{html.escape(result.task)}</code><br>{html.escape(title)}</td>"
        f'<td class="verdict">{MARKS[result.verdict]} {result.verdict}</td><td>{result.marks} of {result.out_of}</td>'
        f"<td>{html.escape(result.message).replace(newline, '<br>')}{hint}</td></tr>"
    )
