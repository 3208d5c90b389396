"""Run tests, until one fails; with --report, all of them, watched.

Each line of standard input is a list of ids of tests in JSON; for each, a line with the status and what failed
comes back. The heavy packages are loaded once: every list is run by a fork of this process.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest


class Watch:
    """Notes the seconds of each test that passes and the lines of the library that it runs."""

    def __init__(self) -> None:
        import coverage

        self.seconds: dict[str, float] = {}
        self.coverage = coverage.Coverage(data_file=None, include=["course_lib/*"])
        self.coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        """Name the test whose lines are noted."""
        self.coverage.switch_context(item.nodeid)
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the seconds of a test that passes."""
        if report.passed:
            self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        elif report.failed:
            self.seconds.pop(report.nodeid, None)

    def report(self) -> dict[str, Any]:
        """Return the seconds, and the tests of each line."""
        self.coverage.stop()
        data, tests_of = self.coverage.get_data(), {}
        for file in data.measured_files():
            name = str(Path(file).relative_to(Path.cwd()))
            for line, contexts in data.contexts_by_lineno(file).items():
                ids = [one for one in contexts if one in self.seconds]
                if ids:
                    tests_of[f"{name}:{line}"] = ids
        return {"seconds": self.seconds, "tests_of": tests_of}


def main() -> None:
    """Answer the lists that come, one after the other."""
    report = sys.argv[-1] if "--report" in sys.argv else ""
    sys.path.insert(0, str(Path.cwd()))
    for name in (
        "torch",
        "transformers",
        "datasets",
        "peft",
        "sklearn",
        "scipy.stats",
        "pandas",
        "hypothesis",
    ):
        importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(_forked(json.loads(line), report)), flush=True)


def _forked(tests: list[str], report: str) -> tuple[int, str]:
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            os._exit(_run(tests, report))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        lines = output.read().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return status, (failed or lines[-1:] or [""])[0][:200]


def _run(tests: list[str], report: str) -> int:
    options = ["-q", "-p", "no:cacheprovider", "--no-header", "-m", "not slow"]
    if not report:
        return int(pytest.main([*options, "-x", "--tb=line", *tests]))
    watch = Watch()
    status = int(pytest.main([*options, "--tb=short", *tests], plugins=[watch]))
    Path(report).write_text(json.dumps(watch.report()), encoding="utf-8")
    return status


if __name__ == "__main__":
    main()
