"""A user's own texts: tuned on, predicted, evaluated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from course_lib import cli
from course_lib.errors import CourseError
from course_lib.models import ModelAndTokenizer
from course_lib.ppt import user_texts as predicting
from course_lib.ppt.adapter_files import COURSE_FILE
from course_lib.ppt.patterns import Pattern
from course_lib.ppt.soft_prompt import initialise, load_soft_prompt
from course_lib.ppt.training import evaluate_prompt
from course_lib.ppt.user_texts import PromptPredictions, predict_texts
from course_lib.prompts.verbalizers import Verbalizer
from course_lib.statistics import share_interval

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def test_spaces_behind_the_commas_change_nothing(tmp_path: Path, model_folder: Path) -> None:
    """`--words "bad, good"` once scored " ␣good", and `--labels "01, 02"` was refused."""
    texts = tmp_path / "texts.tsv"
    rows = [f"it was {'the' if i % 2 else 'not'} film\t{'02' if i % 2 else '01'}" for i in range(12)]
    texts.write_text("\n".join(["text\tlabel", *rows]) + "\n")
    told = []
    for number, (words, labels) in enumerate([("bad,good", "01,02"), ("bad, good", " 01 , 02")]):
        arguments = ["--texts", str(texts), "--model", str(model_folder), "--num-virtual-tokens", "3"]
        arguments += [
            "--num-steps",
            "2",
            "--words",
            words,
            "--labels",
            labels,
            "--out",
            str(tmp_path / str(number)),
        ]
        result = CliRunner().invoke(cli.app, ["ppt", "tune", *arguments])
        assert result.exit_code == 0, result.stderr
        told.append(result.stdout.partition("kept step")[0])
    assert told[0] == told[1]


def write_texts(path: Path, *, labelled: bool = True, count: int = 12) -> Path:
    """Write texts whose labels are the names 01 and 02."""
    lines = [f"it was {'the' if i % 2 else 'not'} film" + f",0{i % 2 + 1}" * labelled for i in range(count)]
    path.write_text("\n".join(["text,label" if labelled else "text", *lines]) + "\n", encoding="utf-8")
    return path


def call(*arguments: Any) -> Any:
    return CliRunner().invoke(cli.app, ["ppt", *map(str, arguments)])


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """A prompt that the command tuned, on two words for the labels 01 and 02."""
    folder = tmp_path_factory.mktemp("tuned")
    texts = write_texts(folder / "texts.csv")
    result = call("tune", "--texts", texts, "--model", model_folder, "--words", "bad,good", "--labels", "01,02",
                  "--num-virtual-tokens", 3, "--num-steps", 3, "--out", folder / "mine")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    return folder / "mine"


def test_the_prompt_keeps_how_texts_are_written(tuned: Path) -> None:
    task = json.loads((tuned / COURSE_FILE).read_text())["task"]
    assert task == {"template": "{soft}{text} It was", "words": ["bad", "good"], "labels": ["01", "02"]}


def test_predictions_are_those_of_the_prompt(tuned: Path, tiny: ModelAndTokenizer, tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "new.csv", labelled=False, count=5)
    found = predict_texts(texts, tuned, loaded=tiny)
    pattern = Pattern("own", "{soft}{text} It was", Verbalizer(["bad", "good"]))
    examples = [{"text": pattern.text(row), "label": 0} for row in found.rows]
    scores = evaluate_prompt(tiny, load_soft_prompt(tuned, tiny), examples, pattern.verbalizer).logits
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    odds = np.log(found.probabilities[:, 0] / found.probabilities[:, 1])
    np.testing.assert_allclose(odds, scores[:, 0] - scores[:, 1], atol=1e-5)
    table = found.table()
    assert list(table.columns) == ["row", "text", "predicted", "p_01", "p_02"]
    assert list(table.predicted) == [("01", "02")[number] for number in scores.argmax(axis=1)]
    with pytest.raises(CourseError, match="no labels"):
        _ = found.accuracy


def test_the_model_is_loaded_as_asked(
    tuned: Path, tiny: ModelAndTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def load(source: str, **options: Any) -> ModelAndTokenizer:
        asked.append((source, options))
        return tiny

    monkeypatch.setattr(predicting, "load_language_model", load)
    texts = write_texts(tmp_path / "new.csv", labelled=False, count=2)
    predict_texts(texts, tuned, model_source="mine", device="cpu")
    predict_texts(texts, tuned, model_source="mine", dtype="bfloat16")
    assert asked == [
        ("mine", {"dtype": "float32", "device": "cpu"}),
        ("mine", {"dtype": "bfloat16", "device": None}),
    ]


def test_the_command_predicts_and_evaluates(tuned: Path, model_folder: Path, tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "new.csv")
    common = ("--prompt", tuned, "--texts", texts, "--model", model_folder)
    predicted = call("predict", *common, "--out", tmp_path / "predictions.csv", "--batch-size", 5)
    assert predicted.exit_code == 0, predicted.stderr
    evaluated = call("evaluate", *common, "--out", tmp_path / "evaluated.csv")
    assert evaluated.exit_code == 0, evaluated.stderr
    table = pd.read_csv(tmp_path / "evaluated.csv", dtype=str)
    plain = pd.read_csv(tmp_path / "predictions.csv", dtype=str)
    assert list(plain.predicted) == list(table.predicted)
    assert list(table.label) == ["01", "02"] * 6
    right = int((table.label == table.predicted).sum())
    assert f"accuracy {share_interval(right, 12)} of 12 texts" in evaluated.stdout
    assert "given" in evaluated.stdout
    assert "given" not in predicted.stdout


def test_without_what_the_tuning_kept_words_and_template_are_asked_for(
    tiny: ModelAndTokenizer, tmp_path: Path
) -> None:
    folder = initialise("sample_vocab", tiny, 3).save(tmp_path / "plain", tiny)
    texts = write_texts(tmp_path / "new.csv")
    with pytest.raises(CourseError, match="does not say how texts are written"):
        predict_texts(texts, folder, loaded=tiny)
    options: dict[str, Any] = {
        "words": ["bad", "good"],
        "template": "{soft}{text} It was",
        "loaded": tiny,
    }
    assert predict_texts(texts, folder, **options).names == ("0", "1")
    found = predict_texts(texts, folder, labels=["01", "02"], labelled=True, **options)
    assert found.accuracy.n == 12
    assert found.shares().given.to_list() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "--out", "texts.csv"), "did not write"),
        (("predict", "--out", "out.txt"), ".csv"),
        (("predict", "--out", "out.csv", "--prompt", "nowhere"), "holds no prompt"),
        (("predict", "--out", "out.csv", "--texts", "nowhere.csv"), "cannot be read"),
        (("predict", "--out", "out.csv", "--words", "bad"), "two label words"),
        (("predict", "--out", "out.csv", "--labels", "a"), "as many labels"),
        (("predict", "--out", "out.csv", "--template", "{text} It was"), "no place for the soft prompt"),
        (("predict", "--out", "out.csv", "--template", "{soft}{words} It was"), "no column `words`"),
        (("predict", "--out", "out.csv", "--dtype", "int8"), "dtype"),
        (("predict", "--out", "out.csv", "--device", "gpu"), "device"),
        (("predict", "--out", "out.csv", "--batch-size", "0"), "batch_size"),
        (("evaluate", "--labels", "1,2"), "labels other than 1, 2"),
    ],
)
def test_everything_is_checked_before_a_model_is_loaded(
    tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(predicting, "load_language_model", load)
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path / "texts.csv")
    command, *options = arguments
    given = dict(zip(options[::2], options[1::2], strict=True))
    given = {"--prompt": str(tuned), "--texts": "texts.csv", **given}
    result = call(command, *(part for pair in given.items() for part in pair))
    assert result.exit_code == 2, result.output
    assert message in result.stderr.replace("\n", " ")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("alone", [("--prompt", "mine"), ("--texts", "texts.csv")])
def test_a_prompt_of_ones_own_is_evaluated_on_texts_of_ones_own(alone: tuple[str, str]) -> None:
    result = call("evaluate", *alone)
    assert result.exit_code == 2
    assert "go together" in result.stderr


def test_shares_and_accuracy_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]])
    found = PromptPredictions([{"text": "a"}] * 4, ("no", "yes"), probabilities, given=(0, 1, 1, 0))
    assert found.accuracy == share_interval(3, 4)
    assert found.shares().to_dict("list") == {
        "label": ["no", "yes"],
        "predicted": [0.25, 0.75],
        "given": [0.5, 0.5],
    }
