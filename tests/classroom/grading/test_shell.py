"""Cells that run in Jupyter and Colab run where they are marked: what is no Python costs nothing else."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from course_lib.classroom.grading.worker import answering as worker
from course_lib.classroom.grading.worker.shell import NotInstalled, Shell, newer_syntax
from tests.classroom.grading.conftest import Judge, notebook

PLAIN = "x = 1"
# Each of these runs in Jupyter or Colab and leaves x == 1 and f(2) == 3.
CELLS = {
    "shell command in a try": "try:\n    !pip install seaborn\nexcept Exception:\n    pass\nx = 1",
    "shell command in an if": "import sys\nif 'google.colab' in sys.modules:\n    !pip install a\nimport math\nx = 1",
    "shell command in an else": "if True:\n    pass\nelse:\n    !nvidia-smi\nx = 1",
    "shell command alone in a function": "def setup():\n    !pip install a\nsetup()\nx = 1",
    "continued shell command": "!pip install a \\\n    b \\\n    c\nimport math\nx = 1",
    "continued magic": "%pip install a \\\n  --quiet\nx = 1",
    "shell command that is captured": "files = !ls\nassert list(files) == []\nx = 1",
    "shell command with both captured": "files = !!ls\nx = 1",
    "output in a loop": "for name in ['a']:\n    lines = !echo {name}\nx = 1",
    "exit code": "!ls\nassert _exit_code == 0\nx = 1",
    "%time and an assignment": "%time x = 1",
    "%time and an expression": "y = %time 1\nx = y",
    "%time in a function": "def g(y):\n    %time y + 1\n    return y\nx = g(1)",
    "%time -q": "%time --no-raise-error x = 1",
    "%time and a shell command": "%time !sleep 0\nx = 1",
    "%timeit": "%timeit -n 10 -r 3 sum(range(10))\nx = 1",
    "%prun": "%prun x = 1",
    "%matplotlib": "%matplotlib inline\nx = 1",
    "indented %matplotlib": "if True:\n    %matplotlib inline\nx = 1",
    "several magics": "%load_ext autoreload\n%autoreload 2\n%config InlineBackend.figure_format = 'retina'\nx = 1",
    "%env": "%env COURSE_TEST=5\nimport os\nx = int(os.environ['COURSE_TEST']) - 4",
    "unknown magic": "%wandb login\nx = 1",
    "value of an unknown magic": "result = %sql select 1\nx = 1",
    "%cd": "%cd /content\nx = 1",
    "%%time": "%%time\nx = 1",
    "%%time after an empty line": "\n%%time\n# Timed.\nx = 1",
    "%%time with magics inside": "%%time\n!pip install a\n%time x = 1",
    "%%capture": "%%capture\n!pip install a\nx = 1",
    "%%capture with a name": "%%capture output --no-stderr\nx = 1\nprint(x)",
    "%%timeit": "%%timeit -n 1 -r 1\nx = 1",
    "%%prun": "%%prun\nx = 1",
    "get_ipython()": "get_ipython().run_line_magic('matplotlib', 'inline')\nx = 1",
    "get_ipython() and system": "get_ipython().system('pip install a')\nx = 1",
    "get_ipython() and pieces": "get_ipython().config.InlineBackend.figure_format = 'svg'\nx = 1",
    "where it runs": "in_colab = 'google.colab' in str(get_ipython())\nx = 1 - in_colab",
    "IPython's get_ipython()": "from IPython import get_ipython\nget_ipython().run_line_magic('time', 'x = 1')",
    "IPython's other get_ipython()": "import IPython\nIPython.get_ipython().magic('ls')\nx = 1",
    "display": "from IPython.display import display, HTML\ndisplay(HTML('<b>x</b>'))\nx = 1",
    "display of our own": "handle = display(1, display_id=True)\nhandle.update(2)\nx = 1",
    "help": "len?\nx = 1",
    "help first": "?len\nx = 1",
    "source": "import math\nmath.sqrt??\nx = 1",
    "wildcards": "math.*?\nx = 1",
    "semicolon": "x = 1;",
    "await": "import asyncio\nasync def late():\n    return 1\nx = await late()",
    "async for": "async def g():\n    yield 1\nasync for x in g():\n    pass",
    "prompts": ">>> x = 1",
    "In and Out": "previous = len(Out) + len(In)\nx = 1",
    "quotes that only look so": "text = '''\n%time\n!ls\n'''\nassert '!ls' in text\n!ls\nx = 1",
    "modulo that only looks so": "x = (7\n%3)\n!ls",
    "indented cell": "    x = 1",
    "Colab form": "#@title A form {display-mode: 'form'}\nx = 1 #@param {type: 'integer'}\n!ls",
    "missing module": "import no_such_module\nx = 1",
    "missing module among others": "import math, no_such_module.part as part, json\nx = json.loads('1')\npart.plot(x)",
    "missing module that is used": "import no_such_module as m\nm.rcParams['a'] = 1\nm.style.use('b')\nx = 1",
    "missing name": "from math import sqrt, no_such_name\nx = int(sqrt(1))",
    "missing module in a with": "import no_such_module as m\nwith m.style(3) as s:\n    x = 1",
    "module of Colab": "from google.colab import drive\ndrive.mount('/content/drive')\nx = 1",
    "tab and return": "if True:\r\n\t!ls\r\nx = 1\r\n",
    "source of a function": "import inspect\ndef g(): pass\ninspect.getsource(g)\nx = 1",
}
# Cells of which nothing but themselves may be lost.
OTHERS = (
    "%%bash\nls",
    "%%html\n<b>",
    "%%javascript\nalert(1)",
    "%%R\nx <- 1",
    "%%script false\nx = 1",
    "%%unknown\n?",
)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run cells in one shell, and give its names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.delenv("COURSE_TEST", raising=False)

    def run(*cells: str) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "__main__"}
        shell = Shell(names)
        for number, cell in enumerate(cells, start=1):
            shell.run(cell, f"code cell {number}")
        return names

    yield run
    os.environ.pop("COURSE_TEST", None)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
def test_a_cell_that_runs_in_jupyter_runs_here(run: Any, cell: str) -> None:
    assert run(cell)["x"] == 1


@pytest.mark.parametrize("cell", OTHERS)
def test_a_cell_in_another_language_is_passed_over(run: Any, cell: str) -> None:
    assert "x" not in run(cell)
    assert run(cell, PLAIN)["x"] == 1


def test_a_file_that_a_cell_writes_can_be_imported_and_run(run: Any) -> None:
    written = "%%writefile parts/helper_of_a_test.py\ndef f(x):\n    return x + 1"
    names = run(
        written, "%run parts/helper_of_a_test.py\nfrom parts.helper_of_a_test import f as g\nx = f(1), g(2)"
    )
    assert names["x"] == (2, 3)
    appended = "%%writefile -a parts/helper_of_a_test.py\n\ny = 5"
    assert run(written, appended, "%run parts/helper_of_a_test")["y"] == 5


def test_what_is_imported_from_the_future_holds_for_the_cells_below(run: Any) -> None:
    names = run("from __future__ import annotations", "def f(x: Nowhere) -> Nothing:\n    return x\nx = f(1)")
    assert names["x"] == 1


def test_what_fails_still_fails_and_what_stood_above_counts(run: Any) -> None:
    for cell in ("x = 1\n1 / 0", "x = 1\n%time 1 / 0", "x = 1\nreturn 5"):
        names: dict[str, Any] = {}
        with pytest.raises((ZeroDivisionError, SyntaxError)):
            Shell(names).run(cell, "code cell 1")
        assert names["x"] == 1
    with pytest.raises(SyntaxError):
        run("def f(:\n    pass")
    # In a `try` an import fails as it does anywhere.
    assert run("try:\n    import no_such_module as m\nexcept ImportError:\n    m = 1")["m"] == 1


def test_what_stands_for_a_missing_module_gives_no_value(run: Any) -> None:
    names = run("import no_such_module as m\n@m.njit(cache=True)\ndef f(x):\n    return x + 1")
    assert names["f"](1) == 2
    assert isinstance(names["m"].exp(2.0), NotInstalled)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        list(names["m"].tqdm([1]))
    assert Shell({}).run("import no_such_module", "code cell 1") == [
        "ModuleNotFoundError: No module named 'no_such_module' (line 1)"
    ]


@pytest.mark.parametrize(
    ("source", "needs"),
    [
        ("type Pair = tuple[int, int]", "`type` statement: it needs Python 3.12"),
        ("type Pair[T] = tuple[T, T]", "`type` statement: it needs Python 3.12"),
        (
            "def first[T](values: list[T]) -> T: ...",
            "type parameters in square brackets: it needs Python 3.12",
        ),
        ("class Box[T]: ...", "type parameters in square brackets: it needs Python 3.12"),
        ('x = f"{names["a"]}"', "f-string with its own quotes or a backslash inside: it needs Python 3.12"),
        (
            "x = f\"{'\\n'.join('ab')}\"",
            "f-string with its own quotes or a backslash inside: it needs Python 3.12",
        ),
        ("try: pass\nexcept A, B: pass", "without brackets: it needs Python 3.14"),
        ("x = t'{a}'", "a t-string: it needs Python 3.14"),
    ],
)
def test_newer_syntax_is_named(monkeypatch: pytest.MonkeyPatch, source: str, needs: str) -> None:
    if sys.version_info >= (3, 12):
        monkeypatch.setattr(sys, "version_info", (3, 11, 0))
        error = SyntaxError("invalid syntax", ("", 1, 1, source.splitlines()[-1]))
        assert needs in newer_syntax(error)
        return
    with pytest.raises(SyntaxError, match=r"Python 3\.11") as raised:
        Shell({}).run(source, "code cell 1")
    assert needs in str(raised.value)


def test_a_newer_notebook_is_named_where_the_line_tells_nothing() -> None:
    error = SyntaxError("invalid syntax", ("", 1, 1, "new thing ="))
    assert "may need Python 3.99" in newer_syntax(error, "3.99.1")
    for older in ("", "3.9.1", "nonsense"):
        assert newer_syntax(error, older) == ""


def test_marks_are_those_of_jupyter(judge: Judge, solved: list[str]) -> None:
    """In the sandbox, every kind of cell above the imports costs nothing."""
    above = [
        "try:\n    !pip install seaborn\nexcept Exception:\n    pass\nget_ipython().magic('ls')",
        "%%writefile helper.py\ndef one():\n    return 1",
        "%%bash\nls",
        "from helper import one\nassert one() == 1",
    ]
    first = (
        "import matplotlib.pyplot as plt, no_such_module\n!pip install a \\\n  b\n%time import numpy as np\n"
        + solved[0]
    )
    report = judge.grade(notebook(*above, first + solved[0], *solved[1:]))
    assert [result.verdict for result in report.results] == ["passed"] * 5
    assert [error for error in report.cell_errors if "went on without it" not in error] == []
    assert "No module named 'no_such_module'" in "".join(report.cell_errors)


def test_newer_syntax_costs_its_cell_alone(judge: Judge, solved: list[str]) -> None:
    if sys.version_info >= (3, 14):
        pytest.skip("no syntax is newer than this Python's")
    report = judge.only("compare_models").grade(notebook("x = t'{1}'", *solved))
    assert [result.verdict for result in report.results] == ["passed"]
    assert "needs Python 3.14 or newer" in report.cell_errors[0]


def test_an_old_notebook_format_is_read(judge: Judge, solved: list[str]) -> None:
    cells = [{"cell_type": "code", "input": cell, "language": "python", "outputs": []} for cell in solved]
    cells.append({"cell_type": "heading", "level": 1, "source": "The end"})
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": [{"cells": cells}]}
    verdicts = judge.only("compare_models", "descend").verdicts(json.dumps(old).encode())
    assert verdicts == ["passed", "passed"]


def test_a_judge_without_ipython_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="IPython is missing"):
        worker.main(0)
