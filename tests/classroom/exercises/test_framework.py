from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import CourseError
from course_lib.classroom import exercises
from course_lib.classroom.exercises import EXERCISES, Exercise, Feedback, Mistake, check, check_exercise


def double(x: np.ndarray) -> np.ndarray:
    return 2 * x


DOUBLE = Exercise(
    name="99.double",
    task="Double x.",
    kind="function",
    reference=double,
    inputs=lambda rng: [(rng.normal(size=3),), (np.zeros(2),)],
    hint="general",
    mistakes=(
        Mistake("tripled", "You tripled it.", lambda x: 3 * x),
        Mistake("tripled, too", "You tripled it.", lambda x: x + x + x),
        Mistake("halved", "You halved it.", lambda x: x / 2),
        Mistake("halved, too", "One half.", lambda x: 0.5 * x),
    ),
)


def test_the_mistake_that_gives_the_same_results_gives_the_hint() -> None:
    assert check_exercise(DOUBLE, lambda x: x * 3).hint == "You tripled it."


def test_two_possible_hints_give_the_general_one() -> None:
    assert check_exercise(DOUBLE, lambda x: x * 0.5).hint == "general"


def test_other_results_give_the_general_hint() -> None:
    assert check_exercise(DOUBLE, lambda x: 5 * x).hint == "general"
    # Right where the mistake is right, but not the mistake elsewhere.
    assert check_exercise(DOUBLE, lambda x: 3 * x + (x == 0)).hint == "general"


def test_an_input_on_which_the_learner_fails_does_not_hide_the_hint() -> None:
    def solution(x: np.ndarray) -> np.ndarray:
        if not x.any():
            raise ValueError("zero")
        return 3 * x

    assert check_exercise(DOUBLE, solution).hint == "You tripled it."


def test_a_stub_is_not_written_yet() -> None:
    def stub(x: np.ndarray) -> np.ndarray:
        raise NotImplementedError("99.double")

    feedback = check_exercise(DOUBLE, stub)
    assert feedback.status == "not written yet"
    assert "Double x." in feedback.message
    assert check_exercise(DOUBLE, None).status == "not written yet"
    assert check_exercise(DOUBLE, ...).status == "not written yet"


def test_a_librarys_not_implemented_error_is_an_error() -> None:
    def solution(x: np.ndarray) -> np.ndarray:
        raise NotImplementedError("not implemented for 'Half'")

    assert check_exercise(DOUBLE, solution).status == "error"


def test_an_error_names_type_message_and_the_learners_line() -> None:
    def helper(x: np.ndarray) -> np.ndarray:
        return np.concatenate(x)  # the learner's line

    def solution(x: np.ndarray) -> np.ndarray:
        return helper(x)

    feedback = check_exercise(DOUBLE, solution)
    assert feedback.status == "error"
    assert "ValueError: zero-dimensional arrays cannot be concatenated" in feedback.message
    assert "return np.concatenate(x)  # the learner's line" in feedback.message
    assert "x = array([" in feedback.case


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), RecursionError(), BaseException("x")])
def test_every_exception_is_caught(error: BaseException) -> None:
    def solution(x: np.ndarray) -> np.ndarray:
        raise error

    assert check_exercise(DOUBLE, solution).status == "error"


def test_an_interrupt_goes_through() -> None:
    def solution(x: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_exercise(DOUBLE, solution)


def test_a_forgotten_return_is_named() -> None:
    def solution(x: np.ndarray) -> None:
        2 * x

    assert "Did you forget `return`?" in check_exercise(DOUBLE, solution).message


def test_renamed_parameters_are_accepted() -> None:
    assert check_exercise(DOUBLE, lambda values: 2 * values)
    assert check_exercise(DOUBLE, lambda *values: 2 * values[0])
    assert check_exercise(DOUBLE, lambda **values: 2 * values["x"])
    assert check("01.parameter_ratio", lambda p, n: p / n)
    assert check("01.parameter_ratio", lambda num_examples, num_parameters: num_parameters / num_examples)


def test_a_wrong_signature_says_what_is_expected() -> None:
    feedback = check("01.parameter_ratio", lambda ratio: ratio)
    assert feedback.status == "failed"
    assert feedback.message == (
        "The function is called as parameter_ratio(num_parameters, num_examples), but yours takes (ratio)."
    )


def test_the_result_in_place_of_the_function_is_named() -> None:
    feedback = check("01.parameter_ratio", 50.0)
    assert "asks for the function itself" in feedback.message
    assert "Write parameter_ratio, not parameter_ratio(...)." in feedback.message


def test_callables_without_a_signature_are_called_by_position() -> None:
    class Doubler:
        __signature__ = "nonsense"

        def __call__(self, x: np.ndarray) -> np.ndarray:
            return 2 * x

    assert check_exercise(DOUBLE, Doubler())


def test_a_changed_argument_is_named() -> None:
    def solution(x: np.ndarray) -> np.ndarray:
        x *= 2
        return x

    feedback = check_exercise(DOUBLE, solution)
    assert feedback.status == "failed"
    assert "changed its argument x" in feedback.message
    assert "work on a copy" in feedback.hint


def test_the_number_of_right_inputs_is_said() -> None:
    assert "Right on 1 of 2 inputs." in check_exercise(DOUBLE, lambda x: 3 * x).message
    assert "Right on" not in check_exercise(DOUBLE, lambda x: x + 1).message


def test_what_the_learner_prints_does_no_harm(capsys: pytest.CaptureFixture) -> None:
    def solution(x: np.ndarray) -> np.ndarray:
        print("here")
        return 2 * x

    assert check_exercise(DOUBLE, solution)
    assert "here" in capsys.readouterr().out


def test_the_seed_decides_the_inputs() -> None:
    wrong: Callable = lambda x: x + 1
    assert check_exercise(DOUBLE, wrong, seed=3) == check_exercise(DOUBLE, wrong, seed=3)
    assert check_exercise(DOUBLE, wrong, seed=3).case != check_exercise(DOUBLE, wrong, seed=4).case


@pytest.mark.parametrize("seed", [-1, 1.5, True, None])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    with pytest.raises(CourseError, match=r"A seed is a whole number from 0 on\."):
        check("01.parameter_ratio", len, seed=seed)


@pytest.mark.parametrize("name", ["01.parameter_ration", 7, None, ["01.parameter_ratio"], len])
def test_an_unknown_exercise_is_an_error_of_the_course(name: Any) -> None:
    with pytest.raises(CourseError, match="There is no exercise of this name"):
        check(name, len)
    with pytest.raises(CourseError, match=r"Did you mean '01\.parameter_ratio'"):
        check("01.parameter_ration", len)


def test_html_is_escaped() -> None:
    def solution(x: np.ndarray) -> np.ndarray:
        raise ValueError("<script>alert('hi')</script> & more")

    page = check_exercise(DOUBLE, solution)._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(&#x27;hi&#x27;)&lt;/script&gt; &amp; more" in page
    page = check_exercise(DOUBLE, lambda x: "<b onclick='x'>")._repr_html_()
    assert "<b " not in page


@pytest.mark.parametrize(
    ("solution", "mark", "words"),
    [
        (double, "✓", "passed"),
        (lambda x: 3 * x, "✗", "not right yet"),
        (lambda x: 1 / 0, "✗", "stopped with an error"),
        (None, "○", "not written yet"),
    ],
)
def test_mark_and_words_carry_the_outcome(solution: Any, mark: str, words: str) -> None:
    feedback = check_exercise(DOUBLE, solution)
    assert str(feedback).startswith(f"{mark} 99.double: {words}")
    assert repr(feedback) == str(feedback)
    page = feedback._repr_html_()
    assert f">{mark}</span>" in page
    assert f"99.double: {words}" in page
    assert "background" not in page


def test_a_failed_check_is_false() -> None:
    assert not check_exercise(DOUBLE, lambda x: 3 * x)
    assert check_exercise(DOUBLE, double).passed


class HostileObject:
    """Raises whatever is asked of it."""

    def _no(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no")

    __eq__ = __repr__ = __array__ = __float__ = __len__ = __iter__ = __bool__ = __str__ = _no  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]

    @property
    def __class__(self) -> type:
        raise RuntimeError("no")


class HostileFloat(float):
    __eq__ = __float__ = __repr__ = __array__ = HostileObject._no  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


class HostileText(str):
    __len__ = __getitem__ = __eq__ = __repr__ = __str__ = HostileObject._no  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


class HostileArray(np.ndarray):
    __eq__ = __sub__ = __repr__ = __getitem__ = __array_ufunc__ = HostileObject._no  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


class HostileDict(dict):
    __len__ = __iter__ = __contains__ = keys = items = HostileObject._no  # type: ignore[assignment]


class HostileError(Exception):
    __str__ = __repr__ = HostileObject._no  # type: ignore[assignment]


def hostile_error() -> None:
    raise HostileError


HOSTILE = [
    HostileObject(),
    HostileFloat(1.0),
    HostileText("text"),
    np.ones(3).view(HostileArray),
    HostileDict(a=1),
    np.frompyfunc(lambda _: HostileObject(), 1, 1)(np.zeros(1)),
    [HostileObject()],
    {"a": HostileObject()},
    HostileObject,
    10**5000,
    "\ud800",
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.binary(),
    st.just(np.nan),
    st.sampled_from([np.float32(1), np.int64(3), np.datetime64("NaT"), np.ma.masked]),
)
SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)
ARRAYS = st.builds(np.zeros, SHAPES, st.sampled_from(["f4", "i8", "b1", "O", "U3", "c16", "M8[s]", "S2"]))
JUNK = st.one_of(
    st.recursive(
        SCALARS | ARRAYS,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.lists(inner, max_size=4).map(tuple)
            | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    st.integers(0, len(HOSTILE) - 1).map(lambda index: HOSTILE[index]),
)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(EXERCISES)))
def test_check_never_raises_for_junk(data: st.DataObject, name: str) -> None:
    junk = data.draw(JUNK.map(lambda value: [value]).map(Boxed))
    for solution in (junk.value, lambda *args: junk.value):
        assert_is_feedback(check(name, solution))


@pytest.mark.parametrize("name", sorted(EXERCISES))
@pytest.mark.parametrize("index", range(len(HOSTILE)))
def test_check_never_raises_for_hostile_objects(name: str, index: int) -> None:
    for solution in (HOSTILE[index], lambda *args: HOSTILE[index], lambda *args: hostile_error()):
        feedback = check(name, solution)
        assert_is_feedback(feedback)
        assert not feedback.passed


class Boxed:
    """Keeps hypothesis from printing the value itself."""

    def __init__(self, values: list) -> None:
        self.value = values[0]

    def __repr__(self) -> str:
        return "Boxed(...)"


def assert_is_feedback(feedback: Feedback) -> None:
    assert feedback.status in ("passed", "failed", "error", "not written yet")
    assert str(feedback).encode("utf-8")
    assert feedback._repr_html_().encode("utf-8")


def test_importing_the_exercises_imports_no_torch() -> None:
    code = (
        "import sys, course_lib.classroom.exercises; sys.exit(bool({'torch', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_face_of_the_package() -> None:
    assert set(exercises.__all__) <= set(dir(exercises))


def _text_exercise() -> Exercise:
    return Exercise(
        name="99.text", task="Say it.", kind="function", reference=lambda: "Text. Label: 1",
        inputs=lambda rng: [()], hint="recipe",
    )  # fmt: skip


def test_a_text_that_differs_is_pointed_at() -> None:
    feedback = check_exercise(_text_exercise(), lambda: "Text. Lable: 1")
    assert "the first difference is at character 9 (after 'Text. Lab')" in feedback.message
    assert feedback.hint == "recipe"
    assert "got the end" in check_exercise(_text_exercise(), lambda: "Text. Label: ").message


@pytest.mark.parametrize("text", ["Text. Label:1", "text. Label: 1", "Text.  Label: 1", "Text Label: 1"])
def test_spaces_and_punctuation_get_a_hint_of_their_own(text: str) -> None:
    assert (
        "spaces, line breaks, punctuation or capitals" in check_exercise(_text_exercise(), lambda: text).hint
    )


@pytest.mark.parametrize("container", [list, tuple, np.array, torch.tensor])
def test_right_values_pass_in_any_container_and_a_mistake_gets_its_hint_in_all(container: Callable) -> None:
    assert check_exercise(DOUBLE, lambda x: container((2 * x).tolist()))
    assert check_exercise(DOUBLE, lambda x: container((3 * x).tolist())).hint == "You tripled it."


def test_rough_numbers_are_told_from_the_right_ones() -> None:
    exercise = replace(DOUBLE, reference=lambda x: 0.1, mistakes=(), tolerance=1e-12)
    message = check_exercise(exercise, lambda x: float(np.float32(0.1))).message
    assert "got 0.10000000149011612" in message


def test_a_slow_function_is_told_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 48.0])
    monkeypatch.setattr("course_lib.classroom.exercises.framework.time.perf_counter", lambda: next(clock))
    assert "took 48 seconds" in check_exercise(DOUBLE, lambda x: 2 * x).note
