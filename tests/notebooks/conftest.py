"""Each test of a chapter's file is tried on each of the chapter's lessons."""

from __future__ import annotations

import pytest

from tests.notebooks.lesson_checks import NAMES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for argument, without in (("name", ()), ("with_exercises", ("00",))):
        if argument in metafunc.fixturenames:
            numbers = set(metafunc.module.LESSONS) - set(without)
            metafunc.parametrize(argument, [name for name in NAMES if name[:2] in numbers])
