"""What a notebook carries for Google Colab: the cell that installs the course, and the badge."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from course_lib.errors import CourseError

REPOSITORY_VARIABLE = "COURSE_REPOSITORY"
BADGE_IMAGE = "https://colab.research.google.com/assets/colab-badge.svg"

# Every installed distribution is frozen at its version: pip may add packages, but not change torch, numpy,
# ipywidgets or anything else that Colab ships. Of two copies on the path the first counts, as it is the one
# that gets imported; a version that is no valid one (Debian has some) would stop pip, so it is left out.
_CELL = """\
# On Colab this installs the course and changes nothing that is installed. Elsewhere it does nothing.
import importlib.metadata, importlib.util, os, pathlib, re, subprocess, sys, tempfile

on_colab = importlib.util.find_spec("google") and importlib.util.find_spec("google.colab")
if on_colab and not importlib.util.find_spec("course_lib"):
    from packaging import utils, version

    if not (address := os.environ.get("{variable}") or {address}):
        raise RuntimeError("No address to install from. First run: %env {variable}=git+https://...")
    found = [(dist.metadata["Name"], dist.version) for dist in importlib.metadata.distributions()]
    found = [pair for pair in found if all(pair) and re.fullmatch(version.VERSION_PATTERN, pair[1], re.X | re.I)]
    kept = {{utils.canonicalize_name(name): number for name, number in reversed(found)}}
    frozen = pathlib.Path(tempfile.mkdtemp(), "constraints.txt")
    frozen.write_text("\\n".join(f"{{name}}=={{number}}" for name, number in sorted(kept.items())))
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-c", str(frozen), address], check=True)
"""


def colab_cell(repository: str) -> str:
    """Give the source of the cell that installs the course on Colab and does nothing elsewhere.

    Args:
        repository: the address to install from where COURSE_REPOSITORY is not set; may be empty.
    """
    return _CELL.format(variable=REPOSITORY_VARIABLE, address=json.dumps(repository)).rstrip("\n")


def colab_badge(repository: str, notebook: str) -> str:
    """Give the Markdown badge that opens a notebook on Colab.

    Args:
        repository: the course's address, for example "git+https://github.com/owner/name@branch".
        notebook: the notebook's path in the repository.

    Returns:
        The badge; empty where the address is empty or not on GitHub, the only host Colab opens from.
    """
    pattern = r"(?:git\+)?https://github\.com/(?P<name>[^/@]+/[^/@]+?)(?:\.git)?(?:@(?P<branch>[^#]+))?/?"
    match = re.fullmatch(pattern, repository)
    if match is None:
        return ""
    address = f"https://colab.research.google.com/github/{match['name']}/blob/{match['branch'] or 'main'}/"
    return f"[![Open in Colab]({BADGE_IMAGE})]({address}{notebook})"


def course_repository(root: Path) -> str:
    """Read the address of the course from `[tool.course]` in pyproject.toml.

    Raises:
        CourseError: if the file is not valid TOML or the address is not text.
    """
    path = root / "pyproject.toml"
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CourseError("This settings file cannot be read.", given=str(path), mend=str(error)) from error
    address = settings.get("tool", {}).get("course", {}).get("repository", "")
    if not isinstance(address, str):
        raise CourseError("[tool.course] repository is text.", given=address, mend="Write it in quotes.")
    return address
