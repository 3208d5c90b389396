"""Small faults are made where code runs, one at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability import mutants
from tests.reliability._mutations import mutate, mutations
from tests.reliability.mutants import CHECKOUT, explanations, mutants_of

SOURCE = '''
"""Words stay."""
from __future__ import annotations

def smaller(a: int, b: int = 3) -> int:
    """Return the smaller; 1 stays."""
    if a < b:
        return a
    raise ValueError("not 1")
'''


def test_every_fault_is_a_program_of_its_own() -> None:
    programs = [mutate(SOURCE, mutation.index) for mutation in mutations(SOURCE)]
    assert len(set(programs)) == len(programs)
    for program in programs:
        compile(program, "mutant", "exec")


def test_what_runs_is_changed_and_what_speaks_is_not() -> None:
    says = [mutation.says for mutation in mutations(SOURCE)]
    assert "a < b  →  a <= b" in says
    assert "3  →  4" in says
    assert "return a  →  return" in says
    assert not any("1" in one.split("→")[0] for one in says)


def test_a_copy_that_is_left_out_is_among_them() -> None:
    says = [mutation.says for mutation in mutations("x = y.detach().clone()\nz = copy.deepcopy(x)\n")]
    assert "y.detach().clone()  →  y.detach()" in says
    assert "copy.deepcopy(x)  →  x" in says


def test_the_line_of_a_fault_is_its_own() -> None:
    by_line = {mutation.line: mutation.says for mutation in mutations("a = 1\nb = [\n    2,\n]\n")}
    assert by_line == {1: "1  →  2", 3: "2  →  3"}


def test_every_explained_fault_can_still_be_made() -> None:
    explained = explanations()
    assert all(reason.endswith(".") for reason in explained.values())
    files = {key.partition(" ")[0] for key in explained}
    known = {mutant.key for file in files for mutant in mutants_of("any", CHECKOUT / file)}
    assert set(explained) <= known


def test_the_draw_does_not_change_with_the_place_of_a_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutants, "CHECKOUT", tmp_path)
    monkeypatch.setitem(mutants.ROOMS, "any", (("file.py",), ()))
    (tmp_path / "file.py").write_text(SOURCE)
    first = [mutant.key for mutant in mutants.choose("any", 3, seed=0)]
    (tmp_path / "file.py").write_text(f"import os\n\n\n{SOURCE}")
    assert [mutant.key for mutant in mutants.choose("any", 3, seed=0)] == first
    assert len(set(first)) == 3
    assert [mutant.key for mutant in mutants.choose("any", 3, seed=1)] != first


def test_the_share_is_counted_with_and_without_what_is_explained() -> None:
    results = [{"key": str(number), "noticed": number < 18} for number in range(20)]
    counted = mutants._counted(results, {"18": "It changes nothing."})
    assert counted == "18 of 20 noticed (90.0%; without the explained 94.7%), 1 explained, 1 alive"
