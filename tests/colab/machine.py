"""A machine of Colab's kind: an environment that already holds torch and much else, at versions of its own."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from course_lib import assets
from course_lib.classroom.pipeline.colab import REPOSITORY_VARIABLE
from course_lib.locations import CACHE_VARIABLE, cache_folder
from course_lib.runs import PROFILE_VARIABLE

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = Path(__file__).with_name("packages.txt")
CELL_SECONDS = 240


@dataclass(frozen=True)
class ColabMachine:
    """An environment of Colab's kind and the folder its notebooks run in, both away from the checkout.

    Args:
        python: the environment's interpreter.
        home: where notebooks run.
        cache: where the course keeps its downloads and what it makes of them.
    """

    python: Path
    home: Path
    cache: Path

    def installed(self) -> dict[str, str]:
        """Give name and version of every installed distribution, as the machine's own pip lists them."""
        listed = run([self.python, "-m", "pip", "list", "--format=json"], cwd=self.home)
        return {canonicalize_name(entry["name"]): entry["version"] for entry in json.loads(listed)}

    def run_notebook(self, notebook: nbformat.NotebookNode, repository: str | None = None) -> None:
        """Run a notebook in a fresh kernel of this machine; its outputs go into the notebook.

        Args:
            notebook: the notebook.
            repository: what COURSE_REPOSITORY is; None leaves it unset.
        """
        client = NotebookClient(notebook, km=self._kernel_manager(), timeout=CELL_SECONDS, log=_quiet_log())
        client.execute(env=self._environment(repository), cwd=str(self.home), cleanup_kc=True)

    def run_cells(self, sources: Sequence[str], repository: str | None = None) -> str:
        """Run cells in a fresh kernel of this machine, and give what the last one printed."""
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        self.run_notebook(nbformat.v4.new_notebook(cells=cells), repository)
        return "".join(output.text for output in cells[-1].outputs if output.get("name") == "stdout")

    def _kernel_manager(self) -> AsyncKernelManager:
        command = [str(self.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]

        class OnlyThisKernel(KernelSpecManager):
            def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
                return KernelSpec(argv=command, language="python", display_name=kernel_name)

        return AsyncKernelManager(
            kernel_name="python3",
            kernel_spec_manager=OnlyThisKernel(),
            shutdown_wait_time=2.0,
            log=_quiet_log(),
        )

    def _environment(self, repository: str | None) -> dict[str, str]:
        """Give the kernel what the tests run with, less what would lead it to the checkout."""
        unwanted = (REPOSITORY_VARIABLE, "MPLBACKEND", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
        environment = {name: value for name, value in os.environ.items() if name not in unwanted}
        if repository is not None:
            environment[REPOSITORY_VARIABLE] = repository
        return environment | {
            CACHE_VARIABLE: str(self.cache),
            PROFILE_VARIABLE: "smoke",
            "HF_HUB_OFFLINE": "1",
            "IPYTHONDIR": str(self.home / ".ipython"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }


def build_machine(folder: Path) -> ColabMachine:
    """Build a machine of Colab's kind in an empty folder.

    torch and the course's downloads are linked, not downloaded again. What the course makes of its downloads
    (converted models, prepared texts) is not there: older packages have to make it, as on a first visit.
    """
    venv.create(folder / "environment", symlinks=os.name != "nt")
    scripts = folder / "environment" / ("Scripts" if os.name == "nt" else "bin")
    machine = ColabMachine(
        python=scripts / Path(sys.executable).name, home=folder / "content", cache=folder / "cache"
    )
    machine.home.mkdir()
    site_packages = Path(
        run([machine.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    )
    for name in with_requirements("torch") - pinned_names():
        link_distribution(name, site_packages)
    pip = [sys.executable, "-m", "pip", "--python", str(machine.python)]
    run([*pip, "install", "--no-compile", "-q", "-r", str(PACKAGES)], cwd=folder)
    add_google_colab(site_packages)
    for asset in assets.manifest().values():
        link(
            assets.fetch(asset.name, progress=False),
            machine.cache / asset.archive.relative_to(cache_folder()),
        )
    return machine


def export_checkout(folder: Path) -> str:
    """Commit the working tree as it stands, uncommitted work included, to a new git repository.

    Returns:
        The address that pip installs it from.
    """
    listed = run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=CHECKOUT)
    for name in filter(None, listed.split("\0")):
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, folder / name)
    author = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    run(["git", "init", "-q"], cwd=folder)
    run(["git", "add", "--all", "--force"], cwd=folder)
    run(["git", *author, "commit", "-q", "-m", "The course"], cwd=folder)
    return f"git+{folder.as_uri()}"


def pinned_requirements() -> dict[str, Requirement]:
    """Give what packages.txt asks for, by name; of two lines of one package the first, for older Pythons."""
    lines = [line for line in PACKAGES.read_text(encoding="utf-8").splitlines() if line[:1] not in ("", "#")]
    return {canonicalize_name(each.name): each for each in map(Requirement, reversed(lines))}


def pinned_names() -> set[str]:
    """Give the names in packages.txt."""
    return set(pinned_requirements())


def with_requirements(name: str) -> set[str]:
    """Give the names of an installed distribution and of all that it needs."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = canonicalize_name(waiting.pop())
        if current not in found:
            found.add(current)
            needs = map(Requirement, metadata.requires(current) or [])
            waiting += [
                each.name for each in needs if each.marker is None or each.marker.evaluate({"extra": ""})
            ]
    return found


def link_distribution(name: str, site_packages: Path) -> None:
    """Put an installed distribution into another environment as hard links.

    Scripts, which lie outside site-packages and name their interpreter, stay behind, and so do torch's
    thousands of C headers.
    """
    distribution = metadata.distribution(name)
    for file in distribution.files or []:
        source = Path(str(distribution.locate_file(file)))
        if source.is_file() and not {"..", "include"} & set(file.parts):
            link(source, site_packages / file)


def link(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy where that cannot be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def add_google_colab(site_packages: Path) -> None:
    """Install a `google.colab` that is empty, with the record of a distribution beside it."""
    package, record = site_packages / "google" / "colab", site_packages / "google_colab-1.0.0.dist-info"
    package.mkdir(parents=True)
    record.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (record / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: google-colab\nVersion: 1.0.0\n", encoding="utf-8"
    )


def run(command: Sequence[str | Path], cwd: Path | None = None) -> str:
    """Run a command, and give what it printed; if it fails, the error shows what it said."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stderr[-4000:]}"
    return done.stdout


def _quiet_log() -> logging.Logger:
    log = logging.getLogger("tests.colab.kernel")
    log.disabled = True
    return log
