"""Small faults are made where code runs, one at a time."""

from __future__ import annotations

from tests.reliability._mutations import mutate, mutations

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
