"""The class at a glance: marks per task, verdicts, common mistakes, and submissions that need a look."""

from __future__ import annotations

import base64
import html
import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, median
from urllib.parse import quote

from course_lib.classroom.grading.gradebook import GradedClass, page_name
from course_lib.classroom.grading.judging import VERDICTS
from course_lib.classroom.grading.reports.feedback_pages import page
from course_lib.locations import written_output

# Verdicts after which an instructor should look at the submission.
SUSPICIOUS = ("tampered",)
# Where every task ends so, the notebook as a whole did not run: the work in it may be better than its marks.
STOPPED = ("error", "timeout")


def write_summary(result: GradedClass, path: Path, pages: str = "") -> Path:
    """Write the summary of a class as one HTML file.

    Args:
        result: the graded class.
        path: the file.
        pages: the folder of the feedback pages, as seen from the file; without it nothing leads to them.

    Returns:
        The path.
    """
    with written_output(path) as temporary:
        temporary.write_text(summary_page(result, pages), encoding="utf-8")
    return path


def summary_page(result: GradedClass, pages: str = "") -> str:
    """Give the summary of a class as HTML, its figure inside.

    Args:
        result: the graded class.
        pages: as for `write_summary`.
    """
    read = [one for one in result.graded if not one.report.problem]
    totals = [one.report.marks for one in read]
    counts = verdict_counts(result)
    setting = result.setting
    marks = f"mean {mean(totals):.1f}, median {median(totals):g}" if totals else "none"
    body = (
        f"<p>Submissions: {len(result.graded)}. Not marked, and left out of figure and tables: "
        f"{len(result.graded) - len(read)}. Marks of {result.assignment.marks}: {marks}. Hidden inputs: seed "
        f"{setting.seed}. Isolation: {result.isolation.kind}.</p>"
    )
    if result.isolation.note:
        body += f"<p><strong>{html.escape(result.isolation.note)}</strong></p>"
    if read:
        body += _figure(counts, totals, result.assignment.marks)
        body += "<h2>Marks per task</h2>" + _task_table(result, counts)
        body += "<h2>Common mistakes</h2>" + _mistake_table(result)
    body += _attention(result) + _submission_table(result, pages)
    return page(f"{result.assignment.title}: the class", body)


def verdict_counts(result: GradedClass) -> dict[str, dict[str, int]]:
    """Give for each task how many submissions ended with each verdict, zeros included."""
    counts = {task.name: dict.fromkeys(VERDICTS, 0) for task in result.assignment.tasks}
    for one in result.graded:
        for part in one.report.results:
            counts[part.task][part.verdict] += 1
    return counts


def _figure(counts: Mapping[str, Mapping[str, int]], totals: list[int], out_of: int) -> str:
    import matplotlib

    # No window: the gradebook may be made where there is no screen.
    matplotlib.use("Agg")
    from matplotlib import pyplot

    from course_lib.plotting.grading import verdict_figure

    figure = verdict_figure(counts, totals, out_of)
    picture = io.BytesIO()
    # Nothing in the file that differs between two runs of one class.
    figure.savefig(picture, format="png", metadata={"Software": None})
    pyplot.close(figure)
    passed = "; ".join(
        f"{name}, {row['passed']} passed of {sum(row.values())}" for name, row in counts.items()
    )
    data = base64.b64encode(picture.getvalue()).decode("ascii")
    text = html.escape(f"Bars of verdicts for each task, and a histogram of marks. {passed}.")
    caption = html.escape(_caption(counts))
    return f'<p><img style="max-width: 100%" src="data:image/png;base64,{data}" alt="{text}"></p><p>{caption}</p>'


def _caption(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Name the tasks that most and fewest passed."""
    most = max(counts, key=lambda name: counts[name]["passed"])
    fewest = min(counts, key=lambda name: counts[name]["passed"])
    if counts[most]["passed"] == counts[fewest]["passed"]:
        return f"Each task was passed by {counts[most]['passed']}."
    return (
        f"Most passed {most} ({counts[most]['passed']} of {sum(counts[most].values())}), "
        f"fewest {fewest} ({counts[fewest]['passed']})."
    )


def _task_table(result: GradedClass, counts: Mapping[str, Mapping[str, int]]) -> str:
    marks = {task.name: 0 for task in result.assignment.tasks}
    for one in result.graded:
        for part in one.report.results:
            marks[part.task] += part.marks
    num_read = max(1, sum(not one.report.problem for one in result.graded))
    header = "".join(f"<th>{name}</th>" for name in ("task", "mean marks", "of", *VERDICTS))
    rows = "".join(
        f"<tr><td><code>{task.name}</code></td><td>{marks[task.name] / num_read:.2f}</td><td>{task.marks}</td>"
        + "".join(f"<td>{counts[task.name][verdict]}</td>" for verdict in VERDICTS)
        + "</tr>"
        for task in result.assignment.tasks
    )
    return f"<table><tr>{header}</tr>{rows}</table>"


def _mistake_table(result: GradedClass) -> str:
    found = Counter(
        (part.task, part.hint)
        for one in result.graded
        for part in one.report.results
        if part.hint and part.verdict != "missing"
    )
    if not found:
        return "<p>None.</p>"
    # Ties in the order of their names, so that two runs give one page.
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    rows = "".join(
        f"<tr><td>{count}</td><td><code>{task}</code></td><td>{html.escape(hint)}</td></tr>"
        for (task, hint), count in ordered
    )
    return f"<table><tr><th>times</th><th>task</th><th>hint</th></tr>{rows}</table>"


def _attention(result: GradedClass) -> str:
    lines = [f"{one.label}: not marked. {one.report.problem}" for one in result.graded if one.report.problem]
    lines += [
        f"{one.label}: every task ended in an error or a timeout. {one.report.results[0].message}"
        for one in result.graded
        if one.report.results and all(part.verdict in STOPPED for part in one.report.results)
    ]
    lines += [
        f"{one.label}, {part.task}: {part.verdict}. {part.message}"
        for one in result.graded
        for part in one.report.results
        if part.verdict in SUSPICIOUS
    ]
    lines += [f"{', '.join(labels)}: one and the same file, byte for byte." for labels in _same_files(result)]
    if not lines:
        return ""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<h2>To look at</h2><ul>{items}</ul>"


def _submission_table(result: GradedClass, pages: str) -> str:
    """List all submissions, and lead to their pages."""
    rows = ""
    for one in result.graded:
        label = html.escape(one.label)
        if pages:
            label = f'<a href="{quote(pages)}/{quote(page_name(one.label))}">{label}</a>'
        marks = "not marked" if one.report.problem else f"{one.report.marks}"
        rows += f"<tr><td>{label}</td><td>{html.escape(result.learner_name(one))}</td><td>{marks}</td></tr>"
    header = "<tr><th>submission</th><th>learner</th><th>marks</th></tr>"
    return f"<h2>Submissions</h2><table>{header}{rows}</table>"


def _same_files(result: GradedClass) -> list[list[str]]:
    labels: dict[str, list[str]] = {}
    for one in result.graded:
        # A notebook in which nothing was written is the same for everyone.
        is_untouched = {part.verdict for part in one.report.results} == {"missing"}
        if one.sha256 and not is_untouched:
            labels.setdefault(one.sha256, []).append(one.label)
    return [group for group in labels.values() if len(group) > 1]
