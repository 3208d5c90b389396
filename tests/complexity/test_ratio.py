"""P/N, the deck's table and its two corrections."""

from __future__ import annotations

import pytest

from course_lib.complexity import parameter_ratio, ratio_table
from course_lib.errors import CourseError

# model -> P/N as the deck prints it
IN_THE_DECK = {
    "AlexNet": 50,
    "Inception v3": 19,
    "DenseNet-121": 6.7,
    "BERT, pre-training": 0.034,
    "BERT, fine-tuning": 5_500,
}


def computed() -> dict[str, float]:
    table = ratio_table()
    return dict(zip(table["model"], table["P/N"], strict=True))


@pytest.mark.parametrize(("model", "printed"), IN_THE_DECK.items())
def test_the_decks_ratios_come_out(model: str, printed: float) -> None:
    assert computed()[model] == pytest.approx(printed, rel=0.025)
    table = ratio_table().set_index("model")
    assert table.loc[model, "P/N in the deck"] == printed


def test_the_two_corrections_are_made_and_said() -> None:
    table = ratio_table().set_index("model")
    assert table.loc["Inception v1 (GoogLeNet)", "P/N"] == pytest.approx(5.5, abs=0.05)
    assert "v1" in table.loc["Inception v3", "note"]
    assert round(table.loc["BERT, pre-training", "P/N"], 4) == 0.0333
    assert "0.0333" in table.loc["BERT, pre-training", "note"]


def test_every_ratio_has_its_unit_beside_it() -> None:
    units = set(ratio_table()["unit of N"])
    assert {"images", "words"} <= units
    assert "" not in units


@pytest.mark.parametrize(("parameters", "examples"), [(-1, 1), (1, 0), (1, -1), (1, float("nan"))])
def test_ratios_of_nothing_are_refused(parameters: float, examples: float) -> None:
    with pytest.raises(CourseError, match=r"must be a finite number (above 0|of at least 0)"):
        parameter_ratio(parameters, examples)
