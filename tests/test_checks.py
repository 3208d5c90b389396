"""Border checks: what is right goes through as plain numbers, everything else is named."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from course_lib.checks import (
    Count,
    NotNegative,
    Positive,
    Seed,
    a_choice,
    a_positive,
    a_seed,
    an_open_share,
    border,
    check_callable,
    check_choice,
    check_columns,
    check_count,
    check_dataset,
    check_fields,
    check_file_name,
    check_flag,
    check_labels,
    check_mapping,
    check_number,
    check_numbers,
    check_path,
    check_rows,
    check_same_length,
    check_scores,
    check_seed,
    check_share,
    check_table,
    check_tensor,
    check_text,
    check_texts,
    each,
    not_negative,
    of_type,
    optional,
    shaped,
)
from course_lib.errors import CourseError
from course_lib.runs.profiles import Profile

NO_NUMBERS = (None, "3", True, [3], math.nan, math.inf, -math.inf, 1j, object())


@pytest.mark.parametrize("value", [1, 7, np.int64(7), 10_000_000])
def test_a_count_is_an_int(value: Any) -> None:
    assert check_count("n", value) == value
    assert type(check_count("n", value)) is int


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, -1, 2.0, 2.5, 10**9])
def test_what_is_no_count_is_refused(value: Any) -> None:
    with pytest.raises(CourseError, match=r"n must be a whole number from 1 to 10000000\. Given: "):
        check_count("n", value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_what_it_was(value: float) -> None:
    assert check_number("x", value) == value


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(CourseError, match="x must be a finite number"):
        check_number("x", value)


@pytest.mark.parametrize(
    ("bounds", "right", "wrong"),
    [
        ({"above": 0}, 1e-300, 0),
        ({"least": 0}, 0, -1e-300),
        ({"below": 1}, 0.999, 1),
        ({"most": 1}, 1, 1.0001),
    ],
)
def test_a_bound_is_kept(bounds: dict[str, float], right: float, wrong: float) -> None:
    assert check_number("x", right, **bounds) == right
    with pytest.raises(CourseError, match="x must be a finite number"):
        check_number("x", wrong, **bounds)


def test_a_share_may_or_may_not_touch_its_ends() -> None:
    assert [check_share("s", end) for end in (0, 1)] == [0, 1]
    for end in (0, 1):
        with pytest.raises(CourseError, match="s must be a finite number above 0 and below 1"):
            check_share("s", end, closed=False)
        with pytest.raises(CourseError, match="s must be a finite number above 0 and below 1"):
            an_open_share("s", end)
    for outside in (-0.001, 1.001):
        with pytest.raises(CourseError, match="s must be a finite number of at least 0 and of at most 1"):
            check_share("s", outside)


def test_nothing_is_not_negative_and_not_positive_either() -> None:
    assert not_negative("x", 0) == 0
    with pytest.raises(CourseError, match="x must be a finite number above 0"):
        a_positive("x", 0)


@pytest.mark.parametrize("value", [0, 2**32 - 1, np.int64(7)])
def test_a_seed_is_an_int(value: Any) -> None:
    assert check_seed(value) == value
    assert type(check_seed(value)) is int


@pytest.mark.parametrize("value", [*NO_NUMBERS, -1, 2**32, 1.0])
def test_what_is_no_seed_is_refused(value: Any) -> None:
    with pytest.raises(CourseError, match="A seed is"):
        check_seed(value)


def test_a_choice_names_the_nearest() -> None:
    assert check_choice("profile", "smoke", ["smoke", "full"]) == "smoke"
    with pytest.raises(CourseError, match="Did you mean 'smoke'"):
        check_choice("profile", "smok", ["smoke", "full"])
    with pytest.raises(CourseError, match="no profile"):
        check_choice("profile", None, ["smoke", "full"])


@pytest.mark.parametrize(
    "values", [[1, 2], (1.0, 2.0), np.array([1, 2]), torch.tensor([1.0, 2.0]), range(1, 3)]
)
def test_numbers_come_from_any_container(values: Any) -> None:
    found = check_numbers("values", values)
    assert found.dtype == float
    assert found.tolist() == [1.0, 2.0]


def test_numbers_come_from_bfloat16() -> None:
    assert check_numbers("values", torch.tensor([1.0, 2.0], dtype=torch.bfloat16)).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "values",
    [
        None,
        3,
        "12",
        [],
        [[1, 2]],
        [[1], [1, 2]],
        ["1", "2"],
        [1, math.nan],
        [1, math.inf],
        [None],
        {1: 2},
        {1},
    ],
)
def test_what_are_no_numbers_is_refused(values: Any) -> None:
    with pytest.raises(CourseError, match="values must"):
        check_numbers("values", values)


def test_a_number_that_is_not_finite_is_named_with_its_place() -> None:
    with pytest.raises(CourseError, match=r"the one at \[1, 0\] is not\. Given: nan"):
        check_numbers("scores", [[1, 2], [math.nan, 3]], num_dims=2)


@pytest.mark.parametrize(
    "scores", [[1.0, 2.0], [[1.0]], [[1.0, 2.0]] * 3, [["a", "b"]] * 2, [[1, math.nan]] * 2]
)
def test_scores_of_another_shape_are_refused(scores: Any) -> None:
    with pytest.raises(CourseError, match="scores must"):
        check_scores("scores", scores, num_rows=2)


@pytest.mark.parametrize("labels", [[0, 1], (0, 1), np.array([0, 1], dtype=np.uint8), torch.tensor([0, 1])])
def test_labels_come_from_any_container(labels: Any) -> None:
    assert check_labels("labels", labels, num_labels=2, num_rows=2).tolist() == [0, 1]


@pytest.mark.parametrize(
    "labels",
    [
        None,
        1,
        "01",
        ["0", "1"],
        [0.0, 1.0],
        [True, False],
        [0, 2],
        [0, -1],
        [0, -100],
        [0],
        [[0], [1]],
        [0, None],
    ],
)
def test_what_are_no_labels_is_refused(labels: Any) -> None:
    with pytest.raises(CourseError, match="labels must"):
        check_labels("labels", labels, num_labels=2, num_rows=2)


@pytest.mark.parametrize(
    "texts", [None, "word", b"word", 3, [], [1], ["a", None], ["a", float("nan")], {"a": 1}]
)
def test_what_are_no_texts_is_refused(texts: Any) -> None:
    with pytest.raises(CourseError, match="words must"):
        check_texts("words", texts)


def test_an_empty_text_is_named_where_it_is_not_allowed() -> None:
    assert check_texts("words", ("a", "")) == ["a", ""]
    with pytest.raises(CourseError, match="the one at 1 is empty"):
        check_texts("words", ["a", ""], empty_ok=False)


def test_rows_are_checked_for_their_columns() -> None:
    rows: list[dict[str, int]] = [{"a": 1, "b": 2}]
    assert check_rows("rows", rows, ["a"]) == rows
    with pytest.raises(CourseError, match="Row 1 of rows lacks 'b'"):
        check_rows("rows", [{"a": 1, "b": 2}, {"a": 1}], ["a", "b"])


@pytest.mark.parametrize("rows", [None, [], [1], {"a": 1}, "ab"])
def test_what_are_no_rows_is_refused(rows: Any) -> None:
    with pytest.raises(CourseError, match="rows must"):
        check_rows("rows", rows, ["a"])


@pytest.mark.parametrize(
    "check", [check_count, check_number, check_numbers, check_labels, check_texts, check_rows]
)
def test_a_none_is_shown(check: Callable[[str, Any], Any]) -> None:
    with pytest.raises(CourseError, match=r"Given: None"):
        check("x", None)


@border(
    num_steps=check_count,
    rates=each(check_number),
    seed=a_seed,
    kind=a_choice("a", "b"),
    texts=optional(check_texts),
)
def _run(num_steps: int, rates: Any = (), *, seed: int = 0, kind: str = "a", texts: Any = None) -> tuple:
    """Return what it was handed."""
    return num_steps, rates, seed, kind, texts


def test_a_border_hands_on_what_its_checks_return() -> None:
    assert _run(np.int64(3), (1, 2)) == (3, [1.0, 2.0], 0, "a", None)
    assert _run(num_steps=3, texts=("x",)) == (3, (), 0, "a", ["x"])
    assert _run.__doc__ == "Return what it was handed."


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"num_steps": "3"}, "num_steps"),
        ({"rates": 3}, "rates must be a list"),
        ({"rates": "12"}, "rates must be a list"),
        ({"rates": []}, "rates must hold"),
        ({"rates": [1, math.nan]}, r"rates\[1\]"),
        ({"seed": -1}, "A seed"),
        ({"kind": "c"}, "no kind"),
        ({"texts": "x"}, "texts"),
    ],
)
def test_a_border_names_the_argument(wrong: dict[str, Any], name: str) -> None:
    with pytest.raises(CourseError, match=name):
        _run(**{"num_steps": 1, **wrong})


def test_a_border_knows_its_function() -> None:
    with pytest.raises(TypeError, match="no argument steps"):
        border(steps=check_count)(_run)


def test_fields_are_checked_and_stay() -> None:
    @dataclass(frozen=True)
    class Settings:
        size: Any

        def __post_init__(self) -> None:
            check_fields(self, size=check_count)

    assert Settings(3).size == 3
    with pytest.raises(CourseError, match="size must be"):
        Settings(2.5)


def test_a_type_is_checked_without_loading_it() -> None:
    tensor = torch.tensor([1.0])
    assert of_type("torch.Tensor", "numpy.ndarray")("x", tensor) is tensor
    for wrong in (None, [1.0], "x"):
        with pytest.raises(CourseError, match="x must be a Tensor, not a "):
            of_type("torch.Tensor")("x", wrong)
    with pytest.raises(CourseError, match="x must be a Thing"):
        of_type("never_loaded.Thing")("x", tensor)


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [(check_text, "a", 3), (check_flag, True, 1), (check_callable, len, "len"), (a_choice("a"), "a", None)],
)
def test_small_checks(check: Callable[[str, Any], Any], right: Any, wrong: Any) -> None:
    assert check("x", right) is right
    with pytest.raises(CourseError):
        check("x", wrong)


@pytest.mark.parametrize("value", ["data", Path("data")])
def test_a_path_comes_from_a_text_too(value: Any) -> None:
    assert check_path("folder", value) == Path("data")


@pytest.mark.parametrize("value", [None, 3, "", b"data", "a\0b"])
def test_what_is_no_path_is_refused(value: Any) -> None:
    with pytest.raises(CourseError, match="folder must be a path"):
        check_path("folder", value)


@pytest.mark.parametrize("value", [None, "", ".hidden", "..", "a/b", "a\\b", "/a", "a:b", "a\0"])
def test_what_could_lead_to_another_folder_is_no_file_name(value: Any) -> None:
    assert check_file_name("name", "ppt_prompts-2 v1.0") == "ppt_prompts-2 v1.0"
    with pytest.raises(CourseError, match="name must"):
        check_file_name("name", value)


def test_labels_without_a_number_of_classes_go_up_to_any_count() -> None:
    assert check_labels("labels", [0, 9_999_999]).tolist() == [0, 9_999_999]
    with pytest.raises(CourseError, match=r"labels must be whole numbers from 0\. Given: 10000000"):
        check_labels("labels", [0, 10_000_000])


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        (None, True),
        ((2, 3), True),
        ((None, 3), True),
        ((None, None), True),
        ((3, 2), False),
        ((None,), False),
    ],
)
def test_a_tensor_has_the_shape_that_is_asked_for(shape: Any, fits: bool) -> None:
    tensor = torch.ones(2, 3)
    if fits:
        assert check_tensor("x", tensor, shape=shape) is tensor
        return
    wanted = ", ".join("any" if size is None else str(size) for size in shape)
    with pytest.raises(CourseError, match=rf"x must have the shape \[{wanted}\], .* Given: \(2, 3\)"):
        check_tensor("x", tensor, shape=shape)
    with pytest.raises(CourseError, match="x must have the shape"):
        shaped(*shape)("x", tensor)


@pytest.mark.parametrize(
    ("values", "whole", "fits"),
    [
        ([0.5, -1.0], False, True),
        ([1, 2], False, False),
        ([1.0, math.nan], False, False),
        ([1.0, math.inf], False, False),
        ([0, 1], True, True),
        ([0, -1], True, False),
        ([0.0, 1.0], True, False),
        ([], False, False),
    ],
)
def test_a_tensor_holds_finite_floats_or_whole_numbers(values: list, whole: bool, fits: bool) -> None:
    tensor = torch.tensor(values)
    if fits:
        assert check_tensor("x", tensor, whole=whole) is tensor
        assert shaped(2, whole=whole)("x", tensor) is tensor
        return
    with pytest.raises(CourseError, match="x must"):
        check_tensor("x", tensor, whole=whole)


def test_what_goes_together_is_of_one_length() -> None:
    check_same_length(texts=["a", "b"], labels=[0, 1])
    check_same_length(texts=["a"])
    with pytest.raises(CourseError, match="texts and labels must be of one length"):
        check_same_length(texts=["a", "b"], labels=[0])


def test_a_mapping_is_a_dict_of_what_its_check_returns() -> None:
    assert check_mapping("sizes", {"a": np.int64(2)}, check_count) == {"a": 2}
    assert check_mapping("sizes", {"a": "any"}, keys=["a"]) == {"a": "any"}
    assert check_mapping("sizes", {}, least=0) == {}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "sizes must be a mapping of at least 1"),
        ([("a", 1)], "sizes must be a mapping of at least 1"),
        ({}, "sizes must be a mapping of at least 1"),
        ({"b": 1}, "sizes lacks 'a'"),
        ({"a": 1, "b": 0}, r"sizes\['b'\] must be a whole number"),
    ],
)
def test_what_is_no_such_mapping_is_refused(value: Any, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        check_mapping("sizes", value, check_count, keys=["a"])


TABLE = pd.DataFrame({"name": ["a"], "size": [1.5]})


@pytest.mark.parametrize("rows", [TABLE, [{"name": "a", "size": 1.5}]])
def test_a_table_is_a_frame_or_rows(rows: Any) -> None:
    assert check_table("sizes", rows, ["name"], finite=["size"]).to_dict("records") == [
        {"name": "a", "size": 1.5}
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, "sizes must be a list of rows"),
        ([], "sizes must hold at least 1"),
        (TABLE[:0], "at least 1 rows"),
        (TABLE[["name"]], "columns name, size"),
        ([{"name": "a"}], "Row 0 of sizes lacks 'size'"),
        ([{"name": "a", "size": math.nan}], "size of sizes must be a finite number"),
        ([{"name": "a", "size": "1"}], "size of sizes must be a finite number"),
    ],
)
def test_what_is_no_such_table_is_refused(rows: Any, message: str) -> None:
    with pytest.raises(CourseError, match=message):
        check_table("sizes", rows, ["name"], finite=["size"])


def test_frames_and_data_sets_have_their_columns_and_rows() -> None:
    texts = Dataset.from_list([{"text": "a"}])
    assert check_columns("sizes", TABLE, ["name"]) is TABLE
    assert check_dataset("texts", texts, ["text"]) is texts
    with pytest.raises(CourseError, match="texts must have the columns text, label and at least 1 rows"):
        check_dataset("texts", texts, ["text", "label"])
    with pytest.raises(CourseError, match="texts must have the columns text and at least 2 rows"):
        check_dataset("texts", texts, ["text"], least=2)
    with pytest.raises(CourseError, match="sizes must have the columns name and at least 2 rows"):
        check_columns("sizes", TABLE, ["name"], least=2)


@border(share=an_open_share)
def _annotated(
    n: Count, seed: Seed | None = None, radii: Sequence[Positive] = (), share: float = 0.5
) -> tuple[Any, ...]:
    return n, seed, radii, share


@dataclass
class _Settings:
    weight: NotNegative
    seed: Seed | None = None

    def __post_init__(self) -> None:
        check_fields(self)


@border()
def _choosing(
    profile: Profile, way: Literal["mean", "sum"] = "mean", other: Profile | str | None = None
) -> tuple[Any, ...]:
    return profile, way, other


def test_literals_and_own_classes_are_checked_too() -> None:
    smoke = Profile("smoke")
    assert _choosing(smoke, "sum", "smoke") == (smoke, "sum", "smoke")
    with pytest.raises(CourseError, match="There is no way of this name"):
        _choosing(smoke, "mode")  # type: ignore[arg-type]
    with pytest.raises(CourseError, match="profile must be a Profile, not a str"):
        _choosing("smoke")  # type: ignore[arg-type]


def test_an_annotation_carries_its_check() -> None:
    assert _annotated(np.int64(3), radii=(1, 2.0)) == (3, None, [1.0, 2.0], 0.5)
    assert _annotated(3, np.int64(4))[1] == 4
    assert _Settings(0.0, 3) == _Settings(weight=0.0, seed=3)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: _annotated(0), "n must be a whole number"),
        (lambda: _annotated(True), "n must be a whole number"),
        (lambda: _annotated(None), "n must be a whole number"),
        (lambda: _annotated(1, -1), "A seed is a whole number"),
        (lambda: _annotated(1, radii=[1.0, 0.0]), r"radii\[1\] must be a finite number above 0"),
        (lambda: _annotated(1, radii=2.0), "radii must be a list"),
        (lambda: _annotated(1, radii=list), "radii must be a list"),  # type: ignore[arg-type]
        (lambda: _annotated(1, share=1), "share must be"),
        (lambda: _Settings(-0.1), "weight must be a finite number of at least 0"),
        (lambda: _Settings(0.1, 2.5), "A seed is a whole number"),
    ],
)
def test_a_check_of_an_annotation_refuses(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(CourseError, match=said):
        call()


def test_half_a_character_is_no_text() -> None:
    """Tokenizers and files end in a bare UnicodeEncodeError or TypeError on it."""
    with pytest.raises(CourseError, match="must be a text"):
        check_text("prompt", "a\ud800b")
    with pytest.raises(CourseError, match="the one at 1 is no text"):
        check_texts("texts", ["가 🙂", "\ud800"])
    assert check_text("prompt", "가 🙂") == "가 🙂"
