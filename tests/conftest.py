"""What all tests share."""

from __future__ import annotations

import pytest

from course_lib import locations


@pytest.fixture(autouse=True)
def _no_profile_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile or repository chosen in the shell does not reach the tests."""
    monkeypatch.delenv("COURSE_PROFILE", raising=False)
    monkeypatch.delenv("COURSE_REPOSITORY", raising=False)


@pytest.fixture(autouse=True)
def _own_record_of_outputs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What tests write is not recorded in the cache of whoever runs them."""
    monkeypatch.setattr(locations, "OUTPUTS_FILE", str(tmp_path_factory.mktemp("record") / "outputs.sha256"))
