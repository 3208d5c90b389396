"""The figures of chapter 3 and the sentences under them."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from course_lib.plotting import ppt as figures
from course_lib.ppt import few_shot_table, pilot_differences

CURVES = {
    "pair": [
        {"step": 0, "loss": 1.5, "accuracy": 0.3},
        {"step": 100, "loss": 1.2, "accuracy": 0.5},
        {"step": 200, "loss": 1.1, "accuracy": 0.5},
    ]
}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def runs_of(accuracies: dict[str, list[float]], **more: object) -> list[dict]:
    return [
        {"task": "movie", "method": method, "seed": seed, "accuracy": value, **more}
        for method, values in accuracies.items()
        for seed, value in enumerate(values)
    ]


def held_out(trained: float, untrained: float, hard: float) -> pd.DataFrame:
    row: dict[str, object] = {
        "task": "pair",
        "num_test": 100,
        "guessing": 1 / 3,
        "apart": trained - 0.1 > max(untrained, hard),
    }
    for name, value in (("trained_hybrid", trained), ("untrained_hybrid", untrained), ("hard", hard)):
        row |= {name: value, f"{name}_low": value - 0.05, f"{name}_high": value + 0.05}
    return pd.DataFrame([row])


def test_the_curve_is_told_by_its_best_evaluation_with_the_lowest_loss() -> None:
    assert figures.training_sentence(CURVES) == "Held-out accuracy: pair from 0.30 to 0.50 after 200 steps."
    lines = figures.training_figure(CURVES).axes[1].get_lines()
    assert [list(line.get_ydata()) for line in lines] == [[0.3, 0.5, 0.5]]


def test_a_prompt_is_told_beside_its_better_rival() -> None:
    apart = figures.heldout_sentence(held_out(0.6, 0.34, 0.4))
    assert "pair 0.60 beside 0.40 (best hard pattern; intervals apart)" in apart
    overlap = figures.heldout_sentence(held_out(0.41, 0.4, 0.3))
    assert "pair 0.41 beside 0.40 (untrained prompt; intervals overlap)" in overlap
    figure = figures.heldout_figure(held_out(0.6, 0.34, 0.4))
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] != ""


def test_shares_of_places_are_told_beside_what_chance_allows() -> None:
    sentence = figures.place_sentence([0.25, 0.15, 0.2, 0.2, 0.2], 400)
    assert sentence == (
        "Shares from 0.150 to 0.250, where even ones are 0.200; in 400 examples two standard deviations of "
        "chance are 0.040."
    )
    bars = figures.place_figure([0.25, 0.75]).axes[0].patches
    assert [round(bar.get_height(), 2) for bar in bars] == [0.25, 0.75]


def test_a_difference_is_apart_from_zero_only_where_its_interval_is() -> None:
    clear = few_shot_table(runs_of({"prompt tuning": [0.5, 0.6, 0.7], "PPT": [0.61, 0.7, 0.79]}))
    assert figures.difference_sentence(clear, "PPT", "prompt tuning").endswith("] *.")
    vague = few_shot_table(runs_of({"prompt tuning": [0.5, 0.6, 0.7], "PPT": [0.7, 0.6, 0.6]}))
    sentence = figures.difference_sentence(vague, "PPT", "prompt tuning")
    assert "movie +3.3 [" in sentence
    assert "*" not in sentence


def test_the_cells_of_a_table_say_what_is_reached_and_what_is_stored() -> None:
    runs = runs_of({"prompt tuning": [0.5, 0.6, 0.7], "PPT": [0.61, 0.7, 0.79]}, trained_parameters=11520,
                   bytes_stored=46080)  # fmt: skip
    cells = figures.few_shot_cells(few_shot_table(runs))
    assert cells.loc[("movie", "prompt tuning"), "less prompt tuning"] == ""
    ours = cells.loc[("movie", "PPT")]
    assert ours["mean accuracy"].startswith("0.700 [")
    assert ours["less prompt tuning"].startswith("+10.0 [")
    assert ours["spread"] == "0.090"
    assert (ours["trained parameters"], ours["bytes a task"]) == ("11,520", "46,080")


def test_sample_efficiency_is_told_from_the_fewest_to_the_most() -> None:
    rows = pd.DataFrame(
        runs_of({"PPT": [0.5, 0.6]}, num_train=8)
        + runs_of({"PPT": [0.7, 0.8]}, num_train=512)
        + runs_of({"PPT": [0.9, 0.9]}, num_train=32)
    )
    assert figures.sample_efficiency_sentence(rows) == (
        "Mean accuracy with 8 and with 512 examples: PPT from 0.55 to 0.75."
    )
    line = figures.sample_efficiency_figure(rows).axes[0].get_lines()[0]
    assert np.allclose(line.get_ydata(), [0.55, 0.9, 0.75])


def test_the_pilot_names_best_and_worst() -> None:
    rows = pd.DataFrame(
        [
            {"finding": "pattern", "variant": variant, "seed": seed, "accuracy": value + 0.1 * seed}
            for variant, value in (("soft", 0.5), ("hybrid", 0.7))
            for seed in (0, 1)
        ]
    )
    assert figures.pilot_sentence(rows) == (
        "Mean accuracy over 2 seeds: pattern, from 0.55 (soft) to 0.75 (hybrid)."
    )
    assert figures.pilot_figure(rows).axes[0].get_title(loc="left") == "(a) pattern"


def test_the_pilot_marks_what_differs_from_the_first_variant() -> None:
    values = {"soft": [0.5, 0.6, 0.7], "hybrid": [0.61, 0.7, 0.79], "question": [0.7, 0.6, 0.6]}
    rows = [
        {"finding": "pattern", "variant": variant, "seed": seed, "accuracy": value}
        for variant, accuracies in values.items()
        for seed, value in enumerate(accuracies)
    ]
    differences = pilot_differences(rows)
    assert differences.difference.tolist() == pytest.approx([0, 0.1, 1 / 30])
    cells = figures.pilot_table(differences)["against the first, in points"].tolist()
    assert cells[0] == ""
    assert cells[1].startswith("+10.0 [")
    assert [cell.endswith("*") for cell in cells[1:]] == [True, False]
    assert figures.pilot_verdict(differences) == f"pattern: hybrid {cells[1]}."
    assert figures.pilot_verdict(differences[differences.variant != "hybrid"]) == (
        "pattern: nothing differs from soft by more than the seeds do."
    )


def test_every_method_has_its_row_in_each_task() -> None:
    rows = pd.DataFrame(runs_of({"prompt tuning": [0.5, 0.6], "PPT": [0.7, 0.8]}))
    axes = figures.few_shot_figure(rows).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["prompt tuning", "PPT"]


def test_a_probe_is_told_by_its_best_layer_and_its_last() -> None:
    rows = pd.DataFrame(
        [
            {"task": "pair", "layer": layer, "accuracy": value, "low": value - 0.1, "high": value + 0.1,
             "guessing": 1 / 3}
            for layer, value in ((3, 0.4), (9, 0.6), (30, 0.5))
        ]
    )  # fmt: skip
    assert figures.probe_sentence(rows) == (
        "Best layer of each task: pair 0.60 [0.50, 0.70] in layer 9, 0.50 in the last (guessing 0.33)."
    )
    curve, guessing = figures.probe_figure(rows).axes[0].get_lines()
    assert list(curve.get_ydata()) == [0.4, 0.6, 0.5]
    assert guessing.get_ydata()[0] == pytest.approx(1 / 3)
