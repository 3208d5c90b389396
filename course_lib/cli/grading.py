"""Commands of an instructor: write an assignment, grade it, hand the judge to Gradescope."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from course_lib.cli.frame import print_error
from course_lib.errors import CourseError
from course_lib.locations import check_output_file, check_writable_folder


def assignment(
    name: Annotated[str, typer.Argument(help="a1, a2, …")],
    seed: Annotated[int, typer.Option(help="Your secret seed; it picks the form of each task.")],
    out: Annotated[Path, typer.Option(help="The folder to write; keep it from students.")],
) -> None:
    """Write an assignment in a form of your own: student's and instructor's notebook, and rubric."""
    from course_lib.checks import check_seed
    from course_lib.classroom.pipeline.assignments import write_assignment

    check_seed(seed)
    for path in write_assignment(name, seed, out):
        typer.echo(f"written: {path}")
    typer.echo("Hand out student/ alone. The rest holds solutions and the seed.")


def grade(
    submissions: Annotated[Path, typer.Argument(help="A folder or .zip of notebooks, or one notebook.")],
    assignment: Annotated[str, typer.Option(help="a1, a2, …, or the rubric.json of `course assignment`.")],
    out: Annotated[Path, typer.Option(help="The gradebook to write, a CSV file.")],
    seed: Annotated[int | None, typer.Option(help="Hidden inputs of an earlier run, for an appeal.")] = None,
    jobs: Annotated[int, typer.Option(help="Submissions at a time.")] = 2,
    patience: Annotated[float, typer.Option(help="Multiplies the time limits, for a slow machine.")] = 1.0,
    image: Annotated[str, typer.Option(help="A container image to grade in, instead of bubblewrap.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Write a finished gradebook anew.")] = False,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Grade without a sandbox those whom you trust, where there is none."),
    ] = False,
    worksheet: Annotated[
        Path | None, typer.Option(help="A CSV file that Moodle, Canvas or Classroom exported, to fill in.")
    ] = None,
    column: Annotated[str, typer.Option(help="The worksheet's column for the marks, if several fit.")] = "",
) -> None:
    """Grade submissions in a sandbox; a stopped run goes on where it was. Exit code 1: none could be marked."""
    from course_lib.classroom.grading.gradebook import GradedClass, grade_class
    from course_lib.classroom.grading.reports.class_summary import write_summary
    from course_lib.classroom.grading.reports.feedback_pages import write_feedback

    written: list[str] = []
    if not out.name:
        raise CourseError("The gradebook is a CSV file.", given=str(out), mend="Use --out gradebook.csv.")
    summary = check_output_file(out.with_name(f"{out.stem}_summary.html"))
    folder = check_writable_folder(out.with_name(f"{out.stem}_feedback"))

    def write_pages(graded: GradedClass) -> None:
        written.append(str(write_summary(graded, summary, folder.name)))
        written.append(f"{len(write_feedback(graded, folder))} pages in {folder}")

    result = grade_class(
        submissions, assignment, out,
        seed=seed, jobs=jobs, patience=patience, image=image, replace=replace, trust=trust,
        worksheet=worksheet, column=column, write_pages=write_pages,
    )  # fmt: skip
    if result.isolation.note:
        print_error(CourseError(result.isolation.note))
    unreadable = [one for one in result.graded if one.report.problem]
    for one in unreadable:
        typer.echo(f"not marked: {one.label}: {one.report.problem}", err=True)
    typer.echo(f"{len(result.graded) - len(unreadable)} marked, {len(unreadable)} not")
    typer.echo(f"isolation: {result.isolation.kind}; seed: {result.setting.seed}")
    for file in result.marks_files:
        for who in file.left_out:
            typer.echo(f"no mark in {file.path.name}: {who}", err=True)
        written.insert(0, f"{file.path}, {file.num_marks} marks")
    for what in (out, *written):
        typer.echo(f"written: {what}")
    if len(unreadable) == len(result.graded):
        print_error(CourseError("Nothing could be marked.", mend="See the reasons above."))
        raise typer.Exit(1)


def gradescope(
    assignment: Annotated[str, typer.Argument(help="a1, a2, …, or the rubric.json of `course assignment`.")],
    out: Annotated[Path, typer.Option(help="The autograder archive to write, a .zip file.")],
) -> None:
    """Write the Gradescope autograder of an assignment: the same judge, in an archive."""
    from course_lib.classroom.grading.gradescope import write_archive

    typer.echo(f"written: {write_archive(assignment, out)}")
