"""Executed notebooks as HTML pages that need no network: figures and math stand in the page itself."""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.classroom.pipeline.catalogue import LEARNER_FOLDER, SOLUTION_FOLDER, Lesson
from course_lib.classroom.pipeline.execute import LessonRun, read_run
from course_lib.classroom.pipeline.progress import duration
from course_lib.classroom.pipeline.results import build_folder, write_result
from course_lib.runs import PROFILE_NAMES

if TYPE_CHECKING:
    from nbformat import NotebookNode

WIDGET_TYPE = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE_TYPE = "application/vnd.jupyter.widget-state+json"
WIDGET_NOTE = "An interactive control: open the notebook to move it. The figure beside it shows the same."
COURSE_TITLE = "Adapting pre-trained language models"

_TEMPLATE = """\
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}<style>{{ resources.course_style }}</style>{%- endblock -%}
{%- block body_header -%}{{ super() }}{{ resources.course_navigation }}{%- endblock -%}
"""

_PAGE_STYLE = """
main { max-width: 60rem; margin: 0 auto; padding: 0 1rem 4rem; }
body.jp-Notebook { overflow: auto; }
.course-nav { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; padding: .75rem 0; font: 15px system-ui, sans-serif;
  border-bottom: 1px solid #bdbdbd; }
.course-nav a { color: #0b57a4; }
.jp-InputPrompt, .jp-OutputPrompt { flex-basis: 4rem; min-width: 4rem; }
.jp-RenderedHTMLCommon img, .jp-RenderedImage img { max-width: 100%; height: auto; }
math { font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", "DejaVu Math TeX Gyre", math;
  font-size: 1.1em; }
.course-math { margin: 1em 0; overflow: auto hidden; }
div.jp-OutputArea-output.jp-RenderedText { padding-left: .5rem; }
div.jp-OutputArea-output.jp-RenderedHTMLCommon { padding-left: 1rem; }
details > summary { cursor: pointer; }
@media (max-width: 40rem) { .jp-InputPrompt, .jp-OutputPrompt { display: none; } }
"""

_INDEX_STYLE = """
:root { color-scheme: light dark; }
body { font: 17px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .5rem .75rem; border-bottom: 1px solid #8888; }
td.time { white-space: nowrap; font-variant-numeric: tabular-nums; }
"""


def write_pages(
    lessons: Sequence[Lesson], *, root: Path, profile: str, solutions: bool = False
) -> list[Path]:
    """Write a page for each executed notebook, and the index pages that link to them.

    Args:
        lessons: the lessons that exist; those that were not run yet get no page.
        root: the checkout.
        profile: whose executed notebooks.
        solutions: whether those with solutions.

    Returns:
        The pages that were written; those that would come out the same are left alone.
    """
    folder = build_folder(root, profile, solutions=solutions)
    finished = _finished(folder, lessons)
    pages = [_write_page(root, folder, run, finished) for run in finished]
    written = [page for page in pages if page is not None]
    if not finished:
        return written
    section = _section(finished, "")
    write_result(folder / "index.html", _index_page(f"{COURSE_TITLE}: profile {profile}", section), root)
    write_result(root / "build" / "index.html", _index_page(COURSE_TITLE, _all_sections(root, lessons)), root)
    return written


def page_html(notebook: NotebookNode, *, title: str, navigation: str = "", folder: Path | None = None) -> str:
    """Turn an executed notebook into one HTML page that fetches nothing.

    Math becomes MathML, interactive controls become a note, figures keep their text alternative.

    Args:
        notebook: the executed notebook; it is not changed.
        title: the page's title.
        navigation: HTML put on top of the page.
        folder: where the pictures of its Markdown (`![text](file)`) lie; they are put into the page.
    """
    from markupsafe import Markup

    prepared = _prepared(notebook)
    prepared.metadata["title"] = title
    resources = {"course_style": Markup(_PAGE_STYLE), "course_navigation": Markup(navigation)}
    text, _ = _exporter(folder).from_notebook_node(prepared, resources=resources)
    return _offline(text)


def math_html(source: str, *, block: bool) -> str:
    """Turn LaTeX into MathML; what cannot be converted stays as its source in `<code>`.

    Args:
        source: LaTeX without its dollar signs.
        block: whether it stands on lines of its own.
    """
    from latex2mathml.converter import convert

    failed = f"<code>{html.escape(source.strip())}</code>"
    try:
        mathml = convert(_known_latex(source.strip()), display="block" if block else "inline")
    except Exception:  # it raises errors of many kinds; the source is still readable
        return failed
    # A command that it does not know is left in the formula as text.
    if "\\" in mathml:
        return failed
    return f'<div class="course-math">{mathml}</div>' if block else mathml


def _known_latex(source: str) -> str:
    """Rewrite what the converter does not know: arg, and the starred operatorname."""
    return re.sub(
        r"\\arg(?![a-zA-Z])", r"\\operatorname{arg}", source.replace("\\operatorname*", "\\operatorname")
    )


def _finished(folder: Path, lessons: Sequence[Lesson]) -> list[LessonRun]:
    found = [read_run(folder, lesson.name) for lesson in lessons]
    return [run for run in found if run is not None and (folder / f"{run.name}.ipynb").is_file()]


def _write_page(root: Path, folder: Path, run: LessonRun, finished: Sequence[LessonRun]) -> Path | None:
    import nbformat

    pictures = root / (SOLUTION_FOLDER if folder.name == "solutions" else LEARNER_FOLDER)
    path = folder / f"{run.name}.html"
    neighbours = [(other.name, other.title) for other in finished]
    executed = (folder / f"{run.name}.ipynb").read_bytes()
    key = hashlib.sha256(executed + b"\0" + json.dumps([asdict(run), neighbours]).encode()).hexdigest()
    stamp = f"<!-- made from {key} -->"
    if path.is_file() and path.read_text(encoding="utf-8").endswith(stamp + "\n"):
        return None
    notebook = nbformat.reads(executed.decode("utf-8"), as_version=4)
    title = f"{run.name[:2]} {run.title}"
    page = page_html(notebook, title=title, navigation=_navigation(run, finished), folder=pictures)
    for name, _ in neighbours:
        page = page.replace(f'href="{name}.ipynb"', f'href="{name}.html"')
    write_result(path, page.rstrip() + f"\n{stamp}\n", root)
    return path


def _navigation(run: LessonRun, finished: Sequence[LessonRun]) -> str:
    position = finished.index(run)
    links = ['<a href="index.html">All lessons</a>']
    if position > 0:
        links.append(_link(finished[position - 1], "Previous: "))
    if position + 1 < len(finished):
        links.append(_link(finished[position + 1], "Next: "))
    return f'<nav class="course-nav" aria-label="Lessons">{"".join(links)}</nav>'


def _link(run: LessonRun, label: str = "", folder: str = "") -> str:
    return f'<a href="{folder}{run.name}.html">{label}{html.escape(f"{run.name[:2]} {run.title}")}</a>'


def _all_sections(root: Path, lessons: Sequence[Lesson]) -> str:
    sections = []
    for profile in PROFILE_NAMES:
        for solutions in (False, True):
            folder = build_folder(root, profile, solutions=solutions)
            finished = _finished(folder, lessons)
            if finished:
                title = f"Profile {profile}" + (", with solutions" if solutions else "")
                address = folder.relative_to(root / "build").as_posix() + "/"
                sections.append(f"<h2>{title}</h2>" + _section(finished, address))
    return "".join(sections)


def _section(finished: Sequence[LessonRun], folder: str) -> str:
    rows = "".join(
        f'<tr><td>{_link(run, folder=folder)}</td><td class="time">{duration(run.seconds)}</td>'
        f"<td>{_inline(run.headline)}</td></tr>"
        for run in finished
    )
    header = '<tr><th scope="col">Lesson</th><th scope="col">Time</th><th scope="col">Result</th></tr>'
    return f'<div class="scroll"><table><thead>{header}</thead><tbody>{rows}</tbody></table></div>'


def _index_page(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_INDEX_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{html.escape(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _inline(markdown: str) -> str:
    """Render one sentence of Markdown without a paragraph around it."""
    text = _markdown_html(markdown).strip()
    return text.removeprefix("<p>").removesuffix("</p>")


def _prepared(notebook: NotebookNode) -> NotebookNode:
    """Copy the notebook without what a page cannot show."""
    prepared = deepcopy(notebook)
    widgets = prepared.metadata.pop("widgets", {})
    models = widgets.get(WIDGET_STATE_TYPE, {}).get("state", {})
    prepared.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    prepared.cells = [cell for cell in prepared.cells if "colab" not in cell.metadata.get("tags", [])]
    for cell in prepared.cells:
        if cell.cell_type == "code":
            shown = [_prepared_output(output, models) for output in cell.outputs]
            cell.outputs = [output for output in shown if output is not None]
    return prepared


def _prepared_output(output: NotebookNode, models: dict[str, Any]) -> NotebookNode | None:
    from nbformat.v4 import new_output

    data = output.get("data", {})
    if WIDGET_TYPE in data:
        if _is_progress_bar(data[WIDGET_TYPE]["model_id"], models):
            return None
        return new_output("display_data", data={"text/html": f"<p><em>{WIDGET_NOTE}</em></p>"})
    if "text/latex" in data and "text/html" not in data:
        source = str(data["text/latex"]).strip().strip("$")
        data["text/html"] = math_html(source, block=True)
    alt = output.get("metadata", {}).get("image/png", {}).get("alt")
    if alt and "image/png" in data and "text/html" not in data:
        data["text/html"] = _image_html(output, alt)
    return output


def _is_progress_bar(model_id: str, models: dict[str, Any]) -> bool:
    """Say whether a widget is a bar that has done its work, as tqdm shows, and no control."""
    model = models.get(model_id, {})
    if "Progress" in model.get("model_name", ""):
        return True
    children = model.get("state", {}).get("children", [])
    return any(_is_progress_bar(child.removeprefix("IPY_MODEL_"), models) for child in children)


def _image_html(output: NotebookNode, alt: str) -> str:
    settings = output.metadata["image/png"]
    sizes = "".join(f' {key}="{int(settings[key])}"' for key in ("width", "height") if settings.get(key))
    content = output.data["image/png"].replace("\n", "")
    return f'<img alt="{html.escape(alt)}"{sizes} src="data:image/png;base64,{content}">'


def _exporter(folder: Path | None) -> Any:
    from jinja2 import pass_context
    from nbconvert.exporters import HTMLExporter

    class PageExporter(HTMLExporter):
        """nbconvert's exporter with this module's template and Markdown."""

        @pass_context
        def markdown2html(self, context: Any, source: str) -> str:
            """Turn a Markdown cell or output into HTML."""
            return _markdown_html(source, folder)

    return PageExporter(raw_template=_TEMPLATE)


def _markdown_html(source: str, folder: Path | None = None) -> str:
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        """nbconvert's renderer with math as MathML."""

        def block_math(self, body: str) -> str:
            """Render math on lines of its own."""
            return math_html(body, block=True)

        def inline_math(self, body: str) -> str:
            """Render math within a line."""
            return math_html(body, block=False)

        def latex_environment(self, name: str, body: str) -> str:
            """Render a LaTeX environment."""
            return math_html(f"\\begin{{{name}}}{body}\\end{{{name}}}", block=True)

        def block_html(self, html: str) -> str:
            """Leave HTML as it is: nbconvert would close a `<details>` before its content."""
            return html + "\n"

        def inline_html(self, html: str) -> str:
            """Leave HTML as it is."""
            return html

    renderer = Renderer(escape=False, embed_images=folder is not None, path=str(folder or ""))
    return MarkdownWithMath(renderer=renderer).render(source)


def _offline(text: str) -> str:
    """Take out what would be fetched: pictures from elsewhere leave their text, scripts and sheets nothing."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(text, features="html.parser")
    for image in soup.select('img[src^="http"]'):
        image.replace_with(str(image.get("alt", "")))
    for element in soup.select(
        'script[src^="http"], script[src^="//"], link[href^="http"], link[href^="//"]'
    ):
        element.decompose()
    return str(soup)
