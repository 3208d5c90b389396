from __future__ import annotations

import asyncio
import io
import json
import queue
import re
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
import zmq
import zmq.asyncio
from bs4 import BeautifulSoup
from jupyter_client.session import Session
from rich.console import Console

from course_lib.classroom.pipeline import build, catalogue, execute, headline, pages, progress
from course_lib.errors import CourseError

LESSON = "# %% [markdown]\n# # Title\n\n"


def run(root: Path, console: Console | None = None, **options) -> list[execute.LessonRun]:
    build.build(root)
    console = console or Console(file=io.StringIO())
    return execute.run_lessons(
        catalogue.lessons(root), root=root, profile="smoke", console=console, **options
    )


@pytest.fixture(scope="module")
def ran(module_course: Path) -> Path:
    """The course of two lessons, run once, with its pages."""
    output = io.StringIO()
    run(module_course, Console(file=output, width=60))
    pages.write_pages(catalogue.lessons(module_course), root=module_course, profile="smoke")
    (module_course / "output.txt").write_text(output.getvalue(), encoding="utf-8")
    return module_course


@pytest.fixture
def page(ran: Path) -> BeautifulSoup:
    """The page of lesson 01."""
    return BeautifulSoup((ran / "build/smoke/01_ratio.html").read_text(encoding="utf-8"), "html.parser")


def test_without_a_terminal_a_run_prints_few_plain_lines(ran: Path) -> None:
    lines = (ran / "output.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4
    assert re.match(r"00_start \(1 of 2\): 2 cells, .* elapsed, what remains is not known yet", lines[0])
    assert re.match(r"01_ratio \(2 of 2\): 5 cells, .* elapsed, about .* left", lines[2])
    assert "\x1b" not in "".join(lines)


def test_the_last_headline_and_the_seconds_of_each_cell_are_kept(ran: Path) -> None:
    record = json.loads((ran / "build/smoke/01_ratio.json").read_text(encoding="utf-8"))
    assert record["headline"] == "P/N fell at profile smoke."
    assert len(record["cell_seconds"]) == 5
    assert record["seconds"] == pytest.approx(sum(record["cell_seconds"]), abs=0.01)
    assert not list((ran / "build").rglob("*.part"))


def test_what_is_up_to_date_is_not_run_again(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "execute_notebook", lambda *_, **__: pytest.fail("it ran"))
    first, second = run(ran)
    assert (first.name, second.headline) == ("00_start", "P/N fell at profile smoke.")
    before = (ran / "build/smoke/01_ratio.html").stat().st_mtime_ns
    assert pages.write_pages(catalogue.lessons(ran), root=ran, profile="smoke") == []
    assert (ran / "build/smoke/01_ratio.html").stat().st_mtime_ns == before


@pytest.mark.parametrize("change", ["force", "library", "notebook", "damaged record"])
def test_what_changed_is_run_again(course: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    ran: list[str] = []

    def fake(notebook: nbformat.NotebookNode, *, path: Path, **_: object) -> list[float]:
        ran.append(path.stem)
        return [1.0]

    monkeypatch.setattr(execute, "execute_notebook", fake)
    run(course)
    assert ran == ["00_start", "01_ratio"]
    if change == "library":
        monkeypatch.setattr(execute, "library_hash", lambda: "another")
    if change == "notebook":
        source = course / "notebooks/src/01_ratio.py"
        source.write_text(source.read_text() + "\n# %%\nprint(1)\n")
    if change == "damaged record":
        (course / "build/smoke/01_ratio.json").write_text("{")
    run(course, force=change == "force")
    assert ran[2:] == (["00_start", "01_ratio"] if change in ("force", "library") else ["01_ratio"])


def test_the_kernel_is_this_interpreter_in_the_notebooks_folder(make_course) -> None:
    code = (
        "import sys, os\nfrom course_lib.classroom.pipeline import headline\n"
        "headline(sys.executable + ' ' + os.getcwd())"
    )
    root = make_course(_01_kernel=f"{LESSON}# %%\n{code}\n")
    import sys

    (result,) = run(root, solutions=True)
    assert result.headline == f"{sys.executable} {root / 'notebooks' / 'solutions'}"
    assert (root / "build/smoke/solutions/01_kernel.ipynb").is_file()


def test_a_headless_run_is_nobodys_progress(make_course, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
from course_lib.classroom import exercises
from course_lib.classroom.pipeline import headline
passed = exercises.check("01.parameter_ratio", lambda p, n: p / n).passed
headline(f"{passed}, {exercises.progress().summary}")
"""
    root = make_course(_01_passes=f"{LESSON}# %%\n{code}\n")
    monkeypatch.setenv("COURSE_CACHE", str(root / "cache"))
    monkeypatch.delenv("COURSE_PROGRESS")
    (result,) = run(root)
    assert result.headline.startswith("True, 0 of ")
    assert not (root / "cache").exists()


def test_a_cell_that_takes_too_long_stops_the_run(make_course) -> None:
    root = make_course(_01_slow=f"{LESSON}# %%\nimport time\ntime.sleep(60)\n")
    with pytest.raises(
        execute.LessonError, match=r"01_slow\.ipynb, code cell 2 of 2 .* limit of 1 s"
    ) as caught:
        run(root, time_limit=1)
    assert "time.sleep(60)" in caught.value.detail
    assert not list((root / "build").rglob("01_slow*"))


def test_a_kernel_that_dies_stops_the_run(make_course) -> None:
    root = make_course(_01_dies=f"{LESSON}# %%\nimport os\nos.kill(os.getpid(), 9)\n")
    with pytest.raises(execute.LessonError, match="code cell 2 of 2: the kernel died"):
        run(root)


def test_a_missing_or_damaged_notebook_is_said(course: Path) -> None:
    build.build(course)
    path = course / "notebooks/00_start.ipynb"
    options = {"root": course, "profile": "smoke", "console": Console(file=io.StringIO())}
    path.write_text("{")
    with pytest.raises(CourseError, match="cannot be read"):
        execute.run_lessons(catalogue.lessons(course)[:1], **options)
    path.unlink()
    with pytest.raises(CourseError, match="course build"):
        execute.run_lessons(catalogue.lessons(course)[:1], **options)


def test_an_empty_headline_is_refused() -> None:
    with pytest.raises(CourseError):
        headline(" ")


@pytest.mark.parametrize(
    ("expected", "done", "remaining"),
    [
        ([1.0, 2.0, 3.0], [], 6.0),
        ([1.0, 2.0, 3.0], [5.0], 5.0),
        ([None, None], [], None),
        ([None, None, None], [4.0], 8.0),
        ([None, 2.0], [], 4.0),
        ([1.0], [1.0], 0.0),
    ],
)
def test_what_remains_is_last_times_seconds_or_this_runs_mean(
    expected: list, done: list, remaining: float
) -> None:
    pace = progress.Pace(expected)
    pace.done = done
    assert pace.remaining() == remaining


def test_a_running_cell_counts_down_to_nothing() -> None:
    pace = progress.Pace([3.0, 2.0])
    assert pace.remaining(1.0) == 4.0
    assert pace.remaining(60.0) == 2.0


def test_a_terminal_sees_the_notebook_the_cell_and_the_times() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with progress.RunProgress(console, [1.0, 1.0], 1) as shown:
        shown.start_notebook("01_ratio", 2)
        shown.start_cell(2)
        assert shown.live is not None
        shown.live.refresh()
    assert "01_ratio (1 of 1), cell 2 of 2" in console.file.getvalue()
    assert "left" in console.file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.4, "59 s"), (65, "1 min 05 s"), (7380, "2 h 03 min")]
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


def test_figures_keep_their_text_alternative(page: BeautifulSoup) -> None:
    assert [image["alt"] for image in page.find_all("img")] == ["One <red> pixel."]


def test_math_is_in_the_page(page: BeautifulSoup) -> None:
    assert len(page.find_all("math")) == 3
    assert page.find("mfrac") is not None
    assert "$" not in page.find("main").get_text()


def test_hints_and_solutions_are_folded(page: BeautifulSoup) -> None:
    hint, solution, answer = page.find_all("details")
    assert "Divide." in hint.get_text()
    assert "return num_parameters / num_examples" in solution.get_text()
    assert "2_200_000" in answer.get_text()
    assert page.get_text().count("2_200_000") == 1


def test_nothing_is_fetched(page: BeautifulSoup) -> None:
    assert page.find_all("script", src=True) == []
    assert page.find_all("link") == []
    assert not re.search(r"@import|url\(\s*['\"]?(http|//)", str(page))


def test_controls_become_a_note_and_progress_bars_nothing(page: BeautifulSoup) -> None:
    assert page.get_text().count(pages.WIDGET_NOTE) == 1
    assert "widget-state" not in str(page)


def test_the_page_has_language_title_and_navigation(page: BeautifulSoup, ran: Path) -> None:
    assert page.html["lang"] == "en"
    assert page.title.string == "01 Parameters per example"
    assert [link["href"] for link in page.nav.find_all("a")] == ["index.html", "00_start.html"]
    start = (ran / "build/smoke/00_start.html").read_text(encoding="utf-8")
    assert 'href="01_ratio.html"' in start
    assert ".ipynb" not in start
    assert "On Colab" not in start


def test_every_link_of_every_page_leads_somewhere(ran: Path) -> None:
    for path in (ran / "build").rglob("*.html"):
        soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        links = [link["href"] for link in soup.find_all("a") if not link["href"].startswith("#")]
        assert all((path.parent / link).is_file() for link in links), path


def test_the_index_shows_times_and_headlines(ran: Path) -> None:
    for name in ("build/index.html", "build/smoke/index.html"):
        text = (ran / name).read_text(encoding="utf-8")
        assert "P/N fell at profile smoke." in text
        assert re.search(r'<td class="time">\d\.\d s</td>', text)
        assert '<html lang="en">' in text


@pytest.mark.parametrize("source", [r"\frac{", r"\nosuchcommand{x}", ""])
def test_math_that_cannot_be_converted_stays_readable(source: str) -> None:
    assert pages.math_html(source, block=True).startswith(("<code>", '<div class="course-math"><math'))
    assert "\\nosuch" not in source or pages.math_html(source, block=False) == f"<code>{source}</code>"


def test_pictures_from_elsewhere_leave_their_text() -> None:
    badge = nbformat.v4.new_markdown_cell(
        "# T\n\n[![Open in Colab](https://example.org/badge.svg)](https://example.org)"
    )
    text = pages.page_html(nbformat.v4.new_notebook(cells=[badge]), title="T <1>")
    assert "badge.svg" not in text
    assert "Open in Colab</a>" in text
    assert "<title>T &lt;1&gt;</title>" in text


def test_a_notebooks_own_pictures_are_put_into_the_page(tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(b"\x89PNG")
    cell = nbformat.v4.new_markdown_cell("![A dot](dot.png)")
    text = pages.page_html(nbformat.v4.new_notebook(cells=[cell]), title="T", folder=tmp_path)
    assert 'alt="A dot" src="data:image/png;base64,' in text


def test_a_reply_that_came_while_something_was_sent_is_seen() -> None:
    """A kernel's reply once was waited for without end: sending on the same socket had taken its signal."""

    async def reply() -> dict[str, Any]:
        with (
            zmq.asyncio.Context() as context,
            zmq.Context() as other,
            context.socket(zmq.DEALER) as socket,
            other.socket(zmq.DEALER) as kernel,
        ):
            kernel.connect(f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}")
            session = Session(key=b"a key")
            channel = execute.kernel_client_class().shell_channel_class.klass(socket, session)
            waiting = asyncio.create_task(channel.get_msg(timeout=3600))
            await asyncio.sleep(0.2)
            session.send(kernel, "execute_reply")
            # The loop stands still meanwhile, as it does while a message is sent.
            time.sleep(0.5)
            zmq.Socket.shadow(socket.underlying).get(zmq.EVENTS)
            return await asyncio.wait_for(waiting, 60)

    assert asyncio.run(reply())["msg_type"] == "execute_reply"


def test_a_reply_that_does_not_come_is_missed_after_the_time_limit() -> None:
    async def reply() -> None:
        with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.bind_to_random_port("tcp://127.0.0.1")
            await (
                execute.kernel_client_class()
                .shell_channel_class.klass(socket, Session())
                .get_msg(timeout=1.5)
            )

    started = time.monotonic()
    with pytest.raises(queue.Empty):
        asyncio.run(reply())
    assert time.monotonic() - started >= 1.5
