"""The measurement from end to end, with scorers whose preference is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from typer.testing import CliRunner

from course_lib import cli
from course_lib.errors import CourseError
from course_lib.icl.experiments import embedded, measuring, pairs, pooling, user_texts
from course_lib.icl.experiments.measuring import measure_feature, measure_split
from course_lib.icl.experiments.tables import bias_table, feature_table
from course_lib.icl.hypotheses import find_hypothesis
from course_lib.icl.interventions import all_interventions, find_intervention
from course_lib.icl.prompting import prompt_for
from course_lib.icl.underspecified import (
    SingleFeaturePool,
    UnderspecifiedPool,
    underspecified_split,
)

SENTIMENT, SHORT = find_hypothesis("sentiment"), find_hypothesis("sentiment.short")


class KnownPreference:
    """Answers by a rule on the item's text, with an offset in favour of label 1; can be stopped after some sets."""

    def __init__(
        self, rule: Callable[[str], int], *, offset: float = 0.0, stop_after: int | None = None
    ) -> None:
        self.rule = rule
        self.offset = offset
        self.stop_after = stop_after
        self.calls: list[tuple[str, list[str], tuple[str, ...]]] = []

    def log_probabilities(
        self, prefix: str, items: Sequence[str], label_words: Sequence[str], progress: bool = True
    ) -> np.ndarray:
        if len(self.calls) == self.stop_after:
            raise KeyboardInterrupt
        self.calls.append((prefix, list(items), tuple(label_words)))
        logits = np.array([[0.0, self.offset + 2 * self.rule(item) - 1] for item in items])
        return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def is_good(item: str) -> int:
    return int("good" in item.split("Label:")[0])


def is_short(item: str) -> int:
    return int("word" not in item)


@pytest.fixture(scope="module")
def texts() -> Dataset:
    """Good and bad texts, short and long ones, 60 of each kind."""
    rows = [
        {
            "text": f"{'good' if label else 'bad'} {number}" + (" word" * 25) * (not short),
            "label": label,
            "document_id": f"{label}{short}{number}",
        }
        for number in range(60)
        for label in (0, 1)
        for short in (False, True)
    ]
    return Dataset.from_list(rows)


@pytest.fixture(scope="module")
def splits(texts: Dataset):
    return underspecified_split(texts, SENTIMENT, SHORT, 8, 40, num_sets=3, num_held_back=4)


def measured(scorer: KnownPreference, splits, **options) -> list[dict]:
    names = {"h1": "sentiment", "h2": "sentiment.short", "intervention": None, "direction": None}
    return [
        {**names, "set": number, **row}
        for number, split in enumerate(splits)
        for row in measure_split(scorer, split, "sentiment", **options)
    ]


@pytest.mark.parametrize(("rule", "expected"), [(is_good, 1.0), (is_short, 0.0)])
def test_the_preference_is_found(splits, rule, expected: float) -> None:
    table = bias_table(measured(KnownPreference(rule), splits)).set_index("calibration")
    assert table.loc["none", "h1_accuracy"] == expected
    assert table.loc["none", "has_preference"]
    assert table.loc["none", "share_of_1"] == 0.5
    assert table.loc["none", "num_items"] == 120
    assert table.loc["none", "num_sets"] == 3


def test_label_bias_hides_it_and_the_median_shows_it_again(splits) -> None:
    table = bias_table(measured(KnownPreference(is_short, offset=5.0), splits)).set_index("calibration")
    assert table.loc["none", "h1_accuracy"] == 0.5
    assert table.loc["none", "share_of_1"] == 1.0
    assert not table.loc["none", "has_preference"]
    assert table.loc["median", "h1_accuracy"] == 0.0


def test_prefix_and_items_are_the_prompt(splits) -> None:
    scorer = KnownPreference(is_good)
    measure_split(scorer, splits[0], "sentiment", calibrations=("none",))
    ((prefix, items, words),) = scorer.calls
    assert words == (" 0", " 1")
    assert len(items) == 40
    assert prefix.count("Label:") == 8
    assert all(f"Label: {label}" in prefix for label in (0, 1))
    assert all(item.endswith("Label:") for item in items)
    assert not any(item.strip() in prefix for item in items)


def test_template_order_and_set_reach_the_prompt(texts: Dataset) -> None:
    pool = UnderspecifiedPool(texts, "sentiment", "sentiment.short")

    def prefix(number: int = 1, **options: Any) -> str:
        scorer = KnownPreference(is_good)
        (row, *_) = measuring.measure_set(
            scorer,
            pool,
            number,
            num_demonstrations=8,
            test_size=8,
            **options,
        )
        assert (row["set"], row["n"]) == (number, 8)
        return scorer.calls[0][0]

    assert prefix() == prefix(template="text") != prefix(0)
    shown = prefix(kind="disambiguation", direction="h1")
    assert shown != prefix()
    assert shown.count("Label:") == 8
    assert prefix(template="lines").count("\nLabel:") == 8
    labels = [int(label) for label in re.findall(r"Label: (\d)", prefix(alternating=True))]
    assert labels == [1, 0] * 4 != [int(label) for label in re.findall(r"Label: (\d)", prefix())]


def test_a_feature_alone_is_measured_on_the_set_that_is_named(
    texts: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "feature_pool", lambda feature, _: SingleFeaturePool(texts, feature))

    def prefix(number: int, **options: Any) -> str:
        scorer = KnownPreference(is_good)
        monkeypatch.setattr(embedded, "find_scorer", lambda *_: scorer)
        rows = embedded.feature_run("sentiment", number, num_demonstrations=8, test_size=8, **options)
        assert {(row["model"], row["feature"], row["set"], row["n"]) for row in rows} == {
            ("embedded", "sentiment", number, 8)
        }
        assert rows[0]["num_right"] == 8
        return scorer.calls[0][0]

    assert prefix(0) == prefix(0)
    assert prefix(2) != prefix(0)
    assert prefix(0, template="lines").count("\nLabel:") == 8
    assert re.findall(r"Label: (\d)", prefix(0, alternating=True)) == ["1", "0"] * 4


def test_content_free_inputs_share_the_prefix(splits) -> None:
    scorer = KnownPreference(is_good)
    measure_split(scorer, splits[0], "sentiment", calibrations=("contextual",))
    ((_, items, _),) = scorer.calls
    assert [item.strip() for item in items[40:]] == [
        "Input: N/A Label:",
        "Input:  Label:",
        "Input: [MASK] Label:",
    ]


@pytest.mark.parametrize(
    "intervention", all_interventions(SENTIMENT, SHORT), ids=lambda i: f"{i.kind}-{i.direction}"
)
def test_every_intervention_reaches_the_prompt(splits, intervention) -> None:
    scorer, plain = KnownPreference(is_good), KnownPreference(is_good)
    rows = measure_split(scorer, splits[0], "sentiment", intervention=intervention)
    measure_split(plain, splits[0], "sentiment")
    (prefix, items, words), (plain_prefix, plain_items, _) = scorer.calls[0], plain.calls[0]
    assert prefix != plain_prefix
    assert rows[0]["n"] == 40
    intended = SENTIMENT if intervention.direction == "h1" else SHORT
    if intervention.kind == "instruction":
        assert prefix.startswith("The label is 1 if " + intended.clauses[1])
    if intervention.kind == "explanation":
        assert prefix.count(intended.clauses[1]) == prefix.count(intended.clauses[0]) == 4
    if intervention.kind == "verbalizer":
        assert words == tuple(f" {word}" for word in intended.label_words)
    else:
        assert items == plain_items
    if intervention.kind == "disambiguation":
        assert prefix.count("Label:") == 8


def test_disambiguating_demonstrations_are_labelled_by_the_intended_feature(splits) -> None:
    for direction, rule in (("h1", is_good), ("h2", is_short)):
        scorer = KnownPreference(is_good)
        intervention = find_intervention("disambiguation", direction, SENTIMENT, SHORT)
        measure_split(scorer, splits[0], "sentiment", intervention=intervention)
        shown = scorer.calls[0][0].split("\n\n")
        assert all(rule(each) == int(each.endswith("1")) for each in shown)


def test_a_question_stands_before_the_label_where_the_words_answer_one() -> None:
    uppercase = find_hypothesis("sentiment.uppercase")
    intervention = find_intervention("verbalizer", "h2", SENTIMENT, uppercase)
    item = prompt_for("sentiment", intervention).item({"text": "Fine."})
    assert item.strip() == f"Input: Fine. {uppercase.question} Label:"


def test_one_feature_alone(texts: Dataset) -> None:
    pool = SingleFeaturePool(texts, SHORT)
    rows = [
        row
        for number in range(2)
        for row in measure_feature(
            KnownPreference(is_short), pool, number, num_demonstrations=8, test_size=40
        )
    ]
    assert [(row["feature"], row["set"]) for row in rows] == [
        (SHORT.name, number) for number in (0, 0, 0, 1, 1, 1)
    ]
    table = feature_table(rows).set_index("calibration")
    assert table.loc["none", "accuracy"] == 1.0
    assert table.loc["none", "num_items"] == 80


def test_an_unknown_task_and_no_rows_are_refused() -> None:
    with pytest.raises(CourseError, match="task"):
        prompt_for("sentimnt")
    with pytest.raises(CourseError, match="no rows"):
        bias_table([])


@pytest.mark.parametrize("name", ["toxicity", "qa"])
def test_texts_of_the_hub_alone_are_named(name: str) -> None:
    with pytest.raises(CourseError, match="embedded"):
        pooling.bias_texts(name)


def test_capitals_do_not_give_the_domain_away() -> None:
    assert "product" not in set(pooling.bias_texts("sentiment", "sentiment.uppercase")["domain"])
    assert set(pooling.bias_texts("sentiment", "sentiment.domain")["domain"]) == {"movie", "product"}


def test_the_embedded_model_is_measured_and_repeats() -> None:
    runs = [
        embedded.bias_run("sentiment", "sentiment.short", 1, num_demonstrations=4, test_size=8)
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert [row["calibration"] for row in runs[0]] == ["none", "contextual", "median"]
    assert all(row["n"] == 8 and row["set"] == 1 for row in runs[0])
    median = runs[0][2]
    assert median["share_of_1"] == 0.5
    assert 0 <= median["num_h1"] <= 8


@pytest.mark.parametrize(("kind", "direction"), [("instruction", None), (None, "h1")])
def test_an_intervention_and_its_direction_go_together(texts: Dataset, kind, direction) -> None:
    with pytest.raises(CourseError, match="direction"):
        measuring.measure_set(
            KnownPreference(is_good), UnderspecifiedPool(texts, SENTIMENT, SHORT), 0, kind, direction
        )


def test_the_command_measures_texts_of_a_file(
    texts: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "find_scorer", lambda *_: KnownPreference(is_short))
    texts.to_csv(tmp_path / "texts.csv", index=False)
    found = CliRunner().invoke(
        cli.app,
        [
            *("bias", "--h1", "sentiment", "--h2", "sentiment.short", "--out", str(tmp_path / "bias.csv")),
            *("--texts", str(tmp_path / "texts.csv"), "--test-size", "20", "--num-sets", "2"),
        ],
    )
    assert found.exit_code == 0, found.output
    rows = pd.read_csv(tmp_path / "bias.csv")
    assert len(rows) == 2 * 3
    assert set(rows["set"]) == {0, 1}
    assert (rows.query("calibration == 'none'").num_h1 == 0).all()


def test_texts_of_a_file_are_typed_for_the_hypotheses(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label,group,note\n007,01,1,\nNA,02,1,\n")
    found = user_texts.named_texts(str(tmp_path / "a.csv"), "sentiment", "sentiment.short", ["02", "01"])
    assert found.to_list() == [
        {"text": "007", "label": 1, "group": "1"},
        {"text": "NA", "label": 0, "group": "1"},
    ]
    (tmp_path / "b.jsonl").write_text(
        '{"text": "a", "label": 1, "muslim": 0.5, "jewish": 0}\n{"text": "b", "label": 0, "muslim": 0, "jewish": 1}\n'
    )
    found = user_texts.named_texts(str(tmp_path / "b.jsonl"), "toxicity", "toxicity.religion_jewish")
    assert found["muslim"][:] == [0.5, 0.0]
    (tmp_path / "c.tsv").write_text("premise\thypothesis\tlabel\na b\ta\t2\na\tb\t-1\n")
    assert user_texts.named_texts(str(tmp_path / "c.tsv"), "nli", "nli.shorter")["label"][:] == [2, -1]


@pytest.mark.parametrize(
    ("content", "h2", "labels", "message"),
    [
        ("text,label\na,1\nb,2\n", "sentiment.short", None, "labels other than 0, 1.*'2'; first in row 2"),
        ("text,label\na,-1\n", "sentiment.short", None, "labels other than"),
        ("text,label\na,1\n", "sentiment.domain", None, "no column `domain`"),
        ("text,label\na,1\n", "sentiment.short", ["0", "1", "2"], "There must be 2 labels"),
        ("text,label\na,\n", "sentiment.short", None, "Row 1 has nothing in the column `label`"),
    ],
)
def test_texts_of_a_file_that_do_not_fit_are_refused(
    tmp_path: Path, content: str, h2: str, labels: list[str] | None, message: str
) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(CourseError, match=message):
        user_texts.named_texts(str(tmp_path / "a.csv"), "sentiment", h2, labels)


@pytest.fixture
def command(
    texts: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Any, KnownPreference]]:
    """Runs `course bias` on four sets with a scorer of known preference, which it gives back."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    texts.to_csv(tmp_path / "texts.csv", index=False)

    def run(out: str, scorer: KnownPreference, *options: str) -> tuple[Any, KnownPreference]:
        monkeypatch.setattr(pairs, "find_scorer", lambda *_: scorer)
        arguments = ["bias", "--h1", "sentiment", "--h2", "sentiment.short", "--out", out]
        arguments += ["--texts", "texts.csv", "--test-size", "20", "--num-sets", "4", *options]
        return CliRunner().invoke(cli.app, arguments), scorer

    return run


@pytest.mark.parametrize("num_finished", [0, 1, 3])
def test_a_stopped_run_goes_on(command, tmp_path: Path, num_finished: int) -> None:
    found, _ = command("whole.csv", KnownPreference(is_short))
    assert found.exit_code == 0, found.output
    found, _ = command("parts.csv", KnownPreference(is_short, stop_after=num_finished))
    assert found.exit_code == 130
    assert not (tmp_path / "parts.csv").exists()
    found, scorer = command("parts.csv", KnownPreference(is_short))
    assert found.exit_code == 0, found.output
    assert len(scorer.calls) == 4 - num_finished
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not list((tmp_path / "cache" / "runs").iterdir())


@pytest.mark.parametrize("options", [("--seed", "1"), ("--batch-size", "4"), ("--num-demonstrations", "8")])
def test_sets_of_other_settings_are_not_taken(command, options: tuple[str, str]) -> None:
    command("out.csv", KnownPreference(is_short, stop_after=3))
    found, scorer = command("out.csv", KnownPreference(is_short), *options)
    assert found.exit_code == 0, found.output
    assert len(scorer.calls) == 4


def test_sets_of_other_texts_are_not_taken(command, texts: Dataset, tmp_path: Path) -> None:
    command("out.csv", KnownPreference(is_short, stop_after=3))
    texts.select(range(len(texts) - 1)).to_csv(tmp_path / "texts.csv", index=False)
    assert len(command("out.csv", KnownPreference(is_short))[1].calls) == 4


@pytest.mark.parametrize(
    ("out", "options", "message"),
    [
        (".", [], "csv"),
        ("folder.csv", [], "folder stands"),
        ("texts.csv", [], "did not write"),
        ("texts.csv/out.csv", [], "Nothing can be written here|file stands"),
        ("out.txt", [], r"\.csv"),
        ("out.csv", ["--intervention", "instruction"], "direction"),
        ("out.csv", ["--intervention", "instrucion", "--towards", "h1"], "instruction"),
        ("out.csv", ["--test-size", "21"], "even"),
        ("out.csv", ["--num-demonstrations", "400"], "not enough texts"),
        ("out.csv", ["--batch-size", "0"], "batch_size"),
        ("out.csv", ["--dtype", "bfloat"], "bfloat16"),
        ("out.csv", ["--device", "gpu"], "device"),
        ("out.csv", ["--seed", "-1"], "seed"),
        ("out.csv", ["--labels", "neg"], "2 labels"),
        ("out.csv", ["--texts", "embedded", "--labels", "a,b"], "file of one's own"),
    ],
)
def test_everything_is_checked_before_a_model_is_loaded(
    command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, options: list[str], message: str
) -> None:
    (tmp_path / "folder.csv").mkdir()
    before = (tmp_path / "texts.csv").read_bytes()
    found, scorer = command(out, KnownPreference(is_short), *options)
    assert found.exit_code == 2, found.output
    assert re.search(message, found.stderr.replace("\n", " "))
    assert scorer.calls == []
    assert (tmp_path / "texts.csv").read_bytes() == before
    assert not (tmp_path / "out.csv").exists()


def test_the_model_is_loaded_as_asked(command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def find_scorer(*arguments: Any) -> KnownPreference:
        asked.append(arguments)
        return KnownPreference(is_short)

    found, _ = command("out.csv", KnownPreference(is_short))
    monkeypatch.setattr(pairs, "find_scorer", find_scorer)
    arguments = [
        "bias",
        "--h1",
        "sentiment",
        "--h2",
        "sentiment.short",
        "--out",
        "out.csv",
        "--texts",
        "texts.csv",
    ]
    arguments += [
        "--test-size",
        "20",
        "--dtype",
        "bfloat16",
        "--device",
        "cpu",
        "--model",
        "mine",
        "--batch-size",
        "4",
    ]
    found = CliRunner().invoke(cli.app, arguments)
    assert found.exit_code == 0, found.output
    assert asked == [("mine", 4, "bfloat16", "cpu")]
    assert set(pd.read_csv("out.csv").model) == {"mine"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--texts", "missing.csv"], "cannot be read"),
        (["--texts", "moovie"], "movie"),
        (["--h2", "sentiment.shrt"], "sentiment.short"),
        (["--num-sets", "0"], "num_sets"),
    ],
)
def test_bad_input_of_the_command_is_named_and_leaves_no_file(
    texts: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.setattr(pairs, "find_scorer", lambda *_: KnownPreference(is_short))
    monkeypatch.chdir(tmp_path)
    texts.to_json(tmp_path / "texts.jsonl")
    arguments = ["bias", "--h1", "sentiment", "--h2", "sentiment.short", "--out", "bias.csv"]
    found = CliRunner().invoke(cli.app, [*arguments, "--texts", "texts.jsonl", "--test-size", "20", *options])
    assert found.exit_code == 2
    assert message in found.stderr
    assert not (tmp_path / "bias.csv").exists()


@pytest.mark.parametrize(
    ("h1", "h2", "num_sets", "test_size"),
    [
        ("sentiment", "sentiment.short", 0, 4),
        ("sentiment", "sentiment.short", 2.5, 4),
        ("sentiment", "sentiment.short", 2, 0),
        ("sentiment", "sentiment.sort", 2, 4),
        (None, "sentiment.short", 2, 4),
    ],
)
def test_a_sweep_of_interventions_is_refused_before_a_model_is_loaded(
    h1: Any, h2: Any, num_sets: Any, test_size: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "find_scorer", lambda *_, **__: pytest.fail("loads a model"))
    with pytest.raises(CourseError):
        embedded.intervention_sweep(h1, h2, num_sets, test_size, progress=False)


@pytest.mark.parametrize("number", [-1, 0.5, None])
def test_a_set_that_cannot_be_is_refused(texts: Dataset, number: Any) -> None:
    pool = UnderspecifiedPool(texts, SENTIMENT, SHORT)
    with pytest.raises(CourseError, match="set_number"):
        measuring.measure_set(KnownPreference(is_good), pool, number, num_demonstrations=4, test_size=4)


def test_scores_that_are_not_one_row_an_item_are_refused(splits) -> None:
    """One row of scores once was broadcast to all items."""

    class OneRow:
        def log_probabilities(
            self, prefix: str, items: Sequence[str], continuations: Any, progress: bool = True
        ) -> Any:
            return np.log([[0.25, 0.75]])

    with pytest.raises(CourseError, match="must have 40 rows"):
        measure_split(OneRow(), splits[0], "sentiment", calibrations=("median",))


@pytest.mark.parametrize("calibrations", ["none", (), ("mean",)])
def test_calibrations_are_named_in_a_list(splits, calibrations: Any) -> None:
    with pytest.raises(CourseError):
        measure_split(KnownPreference(is_good), splits[0], "sentiment", calibrations=calibrations)


def test_texts_are_of_one_task() -> None:
    with pytest.raises(CourseError, match="one task"):
        pooling.bias_texts("sentiment", "nli.overlap")
