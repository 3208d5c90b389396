"""The files around the library say what is so: paths, targets, versions, sources."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from course_lib import __version__

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
# What a run writes, and the names of an example.
NOT_IN_THE_REPOSITORY = (
    "build/",
    "set/",
    "notebooks/src/NN_",
    "course_lib/classroom/exercises/lessons/lessonNN",
)


def anchors(page: Path) -> set[str]:
    """Give the anchors of a page's headings, as the platforms that show it make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_links_lead_somewhere(subtests: pytest.Subtests) -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if link.startswith("http"):
                continue
            with subtests.test(page=page.name, link=link):
                file, _, anchor = link.partition("#")
                target = page.parent / file if file else page
                assert target.exists()
                assert not anchor or anchor in anchors(target)


def test_paths_that_are_named_exist(subtests: pytest.Subtests) -> None:
    for page in PAGES:
        named = re.findall(
            r"`((?:course_lib|tests|notebooks|data|docs)/[\w./]*)`", page.read_text(encoding="utf-8")
        )
        for path in named:
            if not path.startswith(NOT_IN_THE_REPOSITORY):
                with subtests.test(page=page.name, path=path):
                    assert (ROOT / path).exists()


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_make_targets_that_are_named_exist() -> None:
    files = [*PAGES, *WORKFLOWS, ROOT / ".ci" / "run", ROOT / ".pre-commit-config.yaml"]
    texts = "\n".join(path.read_text(encoding="utf-8") for path in files)
    named = set(re.findall(r"(?:`|^\s*|run: )make ([a-z]+)\b", texts, re.MULTILINE))
    assert {"check", "test", "course"} <= named <= make_targets()


def test_the_quick_tests_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    (listed,) = re.findall(r"^QUICK_TESTS := (.*)$", makefile, re.MULTILINE)
    assert [path for path in listed.split() if not (ROOT / path).exists()] == []


def test_the_newest_version_of_the_changelog_is_the_librarys() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    versions = [heading for heading in headings if heading != "Unreleased"]
    assert versions[0].split()[0] == __version__


def test_the_three_papers_are_cited() -> None:
    cited: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    papers = {
        (reference["authors"][0]["family-names"], reference["year"]) for reference in cited["references"]
    }
    assert papers == {("Jiang", 2020), ("Gu", 2022), ("Si", 2023)}
    assert all(re.fullmatch(r"10\.\d+/\S+", reference["doi"]) for reference in cited["references"])
    assert "version" not in cited  # it stands in course_lib/__init__.py alone


def test_the_workflow_on_linux_runs_what_ci_runs() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yml").read_text(encoding="utf-8"))["jobs"]
    runs = {name: [step.get("run", "") for step in job["steps"]] for name, job in jobs.items()}
    assert ".ci/run" in runs["whole"]
    assert "make check" in runs["quick"]
    assert jobs["quick"]["runs-on"].startswith("macos")


def test_hooks_run_programs_that_the_environment_has() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    programs = {Path(hook["entry"].split()[0]).name for hook in hooks}
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert all(f"\n{program}==" in pinned for program in programs - {"course"})
