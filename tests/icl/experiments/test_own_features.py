"""Hypotheses of the user's own: a column of a file, through the command, and a `Hypothesis` object."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from datasets import Dataset
from typer.testing import CliRunner

from course_lib import cli
from course_lib.errors import CourseError
from course_lib.icl.experiments import measuring, pairs
from course_lib.icl.experiments.user_texts import named_hypotheses, named_texts
from course_lib.icl.hypotheses import Hypothesis, column_hypothesis
from course_lib.icl.underspecified import UnderspecifiedPool
from tests.icl.experiments.test_measuring import KnownPreference, is_good


def question_of(row: Any) -> int:
    return int(row["text"].endswith("?"))


QUESTION = Hypothesis(
    name="mine.question",
    task="sentiment",
    meanings=("no question", "a question"),
    label=question_of,
    columns=("text",),
    clauses=("the text asks nothing", "the text is a question"),
    label_words=("statement", "question"),
)


def rows() -> list[dict[str, Any]]:
    """Good and bad texts, questions and statements, six of each kind."""
    return [
        {
            # punctuation alone makes no other text
            "text": f"{'Is it' if question else 'It is'} a {'good' if label else 'bad'} film, number {number}"
            + ("?" if question else "."),
            "label": label,
            "is_question": question,
        }
        for number in range(6)
        for label in (0, 1)
        for question in (0, 1)
    ]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pairs, "journal_of", lambda out: tmp_path / "journal.jsonl")
    path = tmp_path / "texts.csv"
    pd.DataFrame(rows()).to_csv(path, index=False)
    return path


def command(*options: str) -> Any:
    arguments = ["bias", "--out", "out.csv", "--texts", "texts.csv", "--num-sets", "1"]
    return CliRunner().invoke(
        cli.app, [*arguments, "--num-demonstrations", "4", "--test-size", "8", *options]
    )


def test_a_column_of_a_file_is_measured_with_the_embedded_model(file: Path) -> None:
    """The column and the function that says the same give the same sets, and the same answers."""
    found = command("--h1", "sentiment", "--h2", "column:is_question")
    assert found.exit_code == 0, found.output
    table = pd.read_csv("out.csv")
    assert set(table.h2) == {"column:is_question"}
    assert table.n.tolist() == [8, 8, 8]
    by_function = pairs.measure_pair(
        "embedded",
        Dataset.from_list(rows()),
        "sentiment",
        QUESTION,
        num_sets=1,
        num_demonstrations=4,
        test_size=8,
    )
    assert [row["num_h1"] for row in by_function] == table.num_h1.tolist()
    assert {row["h2"] for row in by_function} == {"mine.question"}


@pytest.mark.parametrize(
    ("h1", "h2", "expected"),
    [
        ("sentiment", "column:is_question", 1.0),
        ("column:is_question", "sentiment", 0.0),
        ("column:is_good", "column:is_question", 1.0),
    ],
)
def test_either_feature_can_be_a_column(
    file: Path, monkeypatch: pytest.MonkeyPatch, h1: str, h2: str, expected: float
) -> None:
    monkeypatch.setattr(pairs, "find_scorer", lambda *_: KnownPreference(is_good))
    pd.DataFrame(rows()).assign(is_good=lambda table: table.label).to_csv(file, index=False)
    assert command("--h1", h1, "--h2", h2).exit_code == 0
    table = pd.read_csv("out.csv").set_index("calibration")
    assert table.num_h1["none"] / table.n["none"] == expected


def test_interventions_speak_of_the_column(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = KnownPreference(is_good)
    monkeypatch.setattr(pairs, "find_scorer", lambda *_: scorer)
    steered = ["--intervention", "instruction", "--towards", "h2"]
    assert command("--h1", "sentiment", "--h2", "column:is_question", *steered).exit_code == 0
    assert scorer.calls[0][0].startswith('The label is 1 if the feature "is question" is present.')


@pytest.mark.parametrize("value", ["2", "yes", "0.5", "True", "-1"])
def test_a_column_holds_0_or_1_and_the_row_is_named(file: Path, value: str) -> None:
    table = pd.DataFrame(rows()).astype({"is_question": str})
    table.loc[4, "is_question"] = value
    table.to_csv(file, index=False)
    found = command("--h1", "sentiment", "--h2", "column:is_question")
    assert found.exit_code == 2
    assert "Row 5 has no 0 or 1 in the column `is_question`" in found.stderr
    assert value in found.stderr
    assert not Path("out.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--h2", "column:is_qestion"), "no column `is_qestion`"),
        (("--h2", "column:"), "empty"),
        (("--h2", "column:is_question", "--texts", "movie"), "column of a file"),
        (("--h2", "column:is_question", "--texts", "embedded"), "column of a file"),
        (("--h2", "colum:is_question"), "hypothesis"),
    ],
)
def test_a_column_that_is_not_there_is_named(file: Path, options: tuple[str, ...], message: str) -> None:
    found = command("--h1", "sentiment", *options)
    assert found.exit_code == 2
    assert message in found.stderr.replace("\n", " ")


def test_a_column_is_of_the_other_features_task(file: Path) -> None:
    h1, h2 = named_hypotheses("column:is_short", "nli")
    assert (h1.task, h2.task) == ("nli", "nli")
    file.write_text("premise,hypothesis,label,is_short\nA dog runs.,A dog.,0,1\nIt rains.,It is dry.,-1,0\n")
    assert named_texts(str(file), h1, h2).to_list() == [
        {"premise": "A dog runs.", "hypothesis": "A dog.", "label": 0, "is_short": 1},
        {"premise": "It rains.", "hypothesis": "It is dry.", "label": -1, "is_short": 0},
    ]


def test_sets_of_another_feature_under_the_same_name_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = KnownPreference(is_good)
    monkeypatch.setattr(pairs, "find_scorer", lambda *_: scorer)

    def measure(h2: Hypothesis) -> None:
        pairs.measure_pair(
            "embedded", Dataset.from_list(rows()), "sentiment", h2, num_sets=2,
            num_demonstrations=4, test_size=8, journal=tmp_path / "journal.jsonl",
        )  # fmt: skip

    measure(QUESTION)
    measure(QUESTION)
    assert len(scorer.calls) == 2
    measure(replace(QUESTION, label=lambda row: 1 - question_of(row)))
    assert len(scorer.calls) == 4


def test_a_measurement_counts_what_h_accuracy_says(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = UnderspecifiedPool(Dataset.from_list(rows()), "sentiment", QUESTION)
    monkeypatch.setattr(measuring, "h_accuracy", lambda predictions, labels: 0.25)
    found = measuring.measure_set(KnownPreference(is_good), pool, 0, num_demonstrations=4, test_size=8)
    assert [row["num_h1"] for row in found] == [2, 2, 2]


def test_a_hypothesis_of_ones_own_without_a_known_task_needs_a_template() -> None:
    of_mine = [replace(one, task="mine") for one in (column_hypothesis("label"), QUESTION)]
    pool = UnderspecifiedPool(Dataset.from_list(rows()), *of_mine)
    sizes: dict[str, Any] = {"num_demonstrations": 4, "test_size": 8}
    found = measuring.measure_set(KnownPreference(is_good), pool, 0, template="text", **sizes)
    assert found[0]["num_h1"] == 8
    with pytest.raises(CourseError, match="task"):
        measuring.measure_set(KnownPreference(is_good), pool, 0, **sizes)
