"""What all tests share, the library's doctests included."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Numbers do not depend on how many tests run side by side, and processes that share the cores do not wait for
# each other. Set before anything loads torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def _no_progress_from_tests() -> Iterator[None]:
    """What the tests check is nobody's progress; tests of progress turn it on in a cache of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_PROGRESS", "off")
        yield
