"""A Gradescope autograder: an archive with the same judge inside, and the `results.json` that it writes.

Gradescope unpacks the archive into `source/`, runs `setup.sh` once as root while it makes the image, copies
`run_autograder` beside `source/`, and runs that for each submission.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import course_lib
from course_lib.classroom.assignments.assignment import load_rubric, rubric_of
from course_lib.classroom.grading.expecting import plan
from course_lib.classroom.grading.journal import fresh_seed
from course_lib.classroom.grading.judging import Report, grade_notebook
from course_lib.classroom.grading.learners import plain_stem
from course_lib.classroom.grading.sandbox.course_copy import copy_course
from course_lib.classroom.grading.sandbox.isolation import find_isolation, refuse_seen
from course_lib.classroom.grading.sandbox.temporary import temporary_folder
from course_lib.classroom.grading.submissions import Submission, UnreadableSubmissionError, find_submissions
from course_lib.errors import CourseError
from course_lib.locations import check_output_file, data_folder, written_output, written_whole

SETUP = """\
#!/usr/bin/env bash
# Run once as root, while the image is made: Python, the judge's packages, and the sandbox.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y bubblewrap || echo "no bubblewrap: isolation will be weaker"
for python in python3.13 python3.12 python3.11; do
  apt-get install -y "$python" "$python-venv" && break
done
"$python" -m venv /opt/course
/opt/course/bin/python -m pip install {packages}
"""

# What the judge itself needs, beside what an assignment's notebooks may import.
JUDGE_PACKAGES = ("ipython>=8.18", "numpy>=2.0.2")
# The learner's code runs as another user, who is to see neither the judge nor what others handed in, even where
# there is no sandbox.
RUN = """\
#!/usr/bin/env bash
# Run for each submission: marks it, and writes results/results.json.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
mkdir -p "$here/results"
chmod 700 "$here/source" "$here/submission" "$here/results"
python=/opt/course/bin/python
[ -x "$python" ] || python=python3
cd "$here/source"
PYTHONPATH="$here/source" exec "$python" -m course_lib.classroom.grading.gradescope "$here"
"""


def write_archive(assignment: str, out: Path) -> Path:
    """Write the autograder archive of an assignment.

    Args:
        assignment: as for `load_rubric`; the archive holds its secret seed.
        out: the .zip file.

    Returns:
        The path. The same course gives the same file, byte for byte.

    Raises:
        CourseError: if there is no such assignment, or as `check_output_file`.
    """
    check_output_file(out, suffix=".zip")
    loaded, secret_seed = load_rubric(assignment)
    needed = dict.fromkeys([*JUDGE_PACKAGES, *loaded.packages.values()])
    packages = " ".join(shlex.quote(package) for package in needed)
    rubric = json.dumps(rubric_of(loaded, secret_seed)) + "\n"
    with written_output(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "setup.sh", SETUP.format(packages=packages).encode(), executable=True)
        _add(archive, "run_autograder", RUN.encode(), executable=True)
        _add(archive, "rubric.json", rubric.encode())
        for inside, path in _course_files():
            _add(archive, inside, path.read_bytes())
    return out


def grade_submission(root: Path, seed: int | None = None) -> dict[str, Any]:
    """Grade what lies in `submission/` with the rubric in `source/`, and write `results/results.json`.

    Args:
        root: Gradescope's folder, /autograder there.
        seed: draws the hidden cases; a fresh one by default.

    Returns:
        What was written.

    Raises:
        CourseError: if the rubric is damaged, no worker starts here, or one would see the judge's files.
    """
    assignment, secret_seed = load_rubric(str(root / "source" / "rubric.json"))
    seed = fresh_seed() if seed is None else seed
    # The instructor sees what is printed, learners do not: with this seed a run can be repeated.
    print(f"assignment {assignment.name}, hidden inputs of seed {seed}")
    with temporary_folder("grade") as folder:
        os.chmod(folder, 0o755)
        course = copy_course(Path(folder, "course"), assignment.blocked)
        hidden = [Path(__file__), root / "source" / "rubric.json"]
        isolation = find_isolation(course, hidden=hidden)
        if isolation.note:
            # One submission runs here, as a user to whom the judge's folder is closed.
            refuse_seen(course, isolation, hidden)
        print(f"isolation: {isolation.kind}. {isolation.note}")
        try:
            notebook = _the_submission(root / "submission", assignment.name).read()
        except (UnreadableSubmissionError, CourseError) as error:
            results = results_json(Report(problem=str(error)), assignment.marks)
        else:
            planned = plan(assignment, secret_seed, seed)
            report = grade_notebook(
                notebook,
                planned,
                form=assignment.form(secret_seed),
                course=course,
                isolation=isolation,
                limits=assignment.limits,
            )
            results = results_json(report, assignment.marks)
    with written_whole(root / "results" / "results.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return results


def results_json(report: Report, out_of: int) -> dict[str, Any]:
    """Give a report in Gradescope's format.

    Args:
        report: the report.
        out_of: the marks of all tasks.

    Returns:
        What `results.json` holds: the score, and a test for each task.
    """
    summary = f"{report.marks} of {out_of} marks."
    if report.problem:
        summary = f"The submission was not marked. {report.problem}"
    if report.cell_errors:
        summary += "\n\nCells with an error:\n" + "\n".join(report.cell_errors)
    summary += "".join(f"\n\n{note}" for note in report.notes)
    tests = [
        {
            "number": str(number),
            "name": result.task,
            "score": result.marks,
            "max_score": result.out_of,
            "status": "passed" if result.verdict == "passed" else "failed",
            "output": f"{result.verdict}: {result.message}"
            + (f"\nHint: {result.hint}" if result.hint else ""),
            "output_format": "text",
            "visibility": "visible",
        }
        for number, result in enumerate(report.results, start=1)
    ]
    return {
        "score": report.marks,
        "output": summary,
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
    }


def main() -> None:
    """Grade the submission in the folder that the command line names."""
    grade_submission(Path(sys.argv[1]))


def _the_submission(folder: Path, name: str) -> Submission:
    """Give the notebook among what was handed in."""
    found = find_submissions(folder)
    notebooks = [one for one in found if one.is_notebook] or found
    named = [one for one in notebooks if PurePosixPath(one.path).stem == name]
    # Browsers and platforms number and name copies.
    copies = [one for one in notebooks if plain_stem(one.path) == name]
    candidates = named or copies or notebooks
    if len(candidates) > 1:
        raise CourseError(
            "There are several notebooks, and not one of them alone is named as the assignment.",
            given=[one.label for one in candidates],
            mend=f"Hand in one notebook, {name}.ipynb.",
        )
    return candidates[0]


def _course_files() -> Iterator[tuple[str, Path]]:
    package = Path(course_lib.__file__).resolve().parent
    for inside, folder in (("course_lib", package), ("data", data_folder())):
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            if path.is_file() and "__pycache__" not in relative.parts and relative.parts[0] != "_data":
                yield f"{inside}/{relative.as_posix()}", path


def _add(archive: zipfile.ZipFile, name: str, data: bytes, *, executable: bool = False) -> None:
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = (0o755 if executable else 0o644) << 16
    archive.writestr(info, data)


if __name__ == "__main__":
    main()
