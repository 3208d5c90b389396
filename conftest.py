"""What all tests share, the library's doctests included."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _no_progress_from_tests() -> Iterator[None]:
    """What the tests check is nobody's progress; tests of progress turn it on in a cache of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_PROGRESS", "off")
        yield
