"""A course of two tiny lessons, so that the pipeline is tested without the real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

START = """\
# %% [markdown]
# # Start here
#
# What there is.
#
# **Time on two CPU cores:** under a minute.

# %% [markdown]
# ## Lessons
# <!-- map of lessons -->

# %%
print("hello")
"""

RATIO = r"""
# %% [markdown]
# # Parameters per example
#
# What $P/N$ is, and why $\arg\min_\theta L$ depends on it | a bar.
#
# $$\frac{P}{N}$$
#
# Time on two CPU cores: about 1 minute

# %% exercise="01.parameter_ratio"
def parameter_ratio(num_parameters: float, num_examples: float) -> float:
    '''Give parameters per example.'''
    # solution
    return num_parameters / num_examples
    # end of solution

# %% [markdown]
# <details><summary>Hint</summary>
#
# Divide.
#
# </details>

# %% exercise="01.answer"
# How many parameters?
# solution
answer = 2_200_000
# end of solution

# %%
import base64, os, ipywidgets
from IPython.display import Image, display
from course_lib.classroom.pipeline import headline
pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
display(Image(base64.b64decode(pixel), alt="One <red> pixel."))
display(ipywidgets.IntSlider(value=3), ipywidgets.HBox([ipywidgets.IntProgress(value=3)]))
headline("Not the last one.")

# %%
headline(f"P/N fell at profile {os.environ['COURSE_PROFILE']}.")
"""

MakeCourse = Callable[..., Path]


def write_course(root: Path, repository: str = "", **sources: str) -> Path:
    """Write a checkout with these sources, named as in `_01_ratio="..."`."""
    folder = root / "notebooks" / "src"
    folder.mkdir(parents=True, exist_ok=True)
    (root / "pyproject.toml").write_text(f'[tool.course]\nrepository = "{repository}"\n', encoding="utf-8")
    for name, text in sources.items():
        (folder / f"{name.removeprefix('_')}.py").write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """The course of two lessons."""
    return write_course(tmp_path, _00_start=START, _01_ratio=RATIO)


@pytest.fixture
def make_course(tmp_path: Path) -> MakeCourse:
    """Write a course of one's own: `make_course(_01_ratio="...")`."""

    def make(repository: str = "", **sources: str) -> Path:
        return write_course(tmp_path, repository, **sources)

    return make


@pytest.fixture(scope="module")
def module_course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course of two lessons, shared by the tests of one module."""
    return write_course(tmp_path_factory.mktemp("course"), _00_start=START, _01_ratio=RATIO)
