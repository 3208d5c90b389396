"""The `bias` command on other models than the embedded one, in one process and in several."""

from __future__ import annotations

import contextlib
import copy
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import transformers
from datasets import Dataset
from typer.testing import CliRunner

from course_lib import cli
from course_lib.icl.experiments import pairs
from course_lib.icl.experiments.measuring import measure_set
from course_lib.icl.experiments.user_texts import named_texts
from course_lib.icl.scorers.naive import NaiveScorer
from course_lib.icl.underspecified import UnderspecifiedPool
from course_lib.models import load_language_model

ROOT = Path(__file__).parents[3]
NUM_SETS = 3
SIZES: dict[str, Any] = {"num_demonstrations": 4, "test_size": 12}
SETTINGS = [
    *("--h1", "sentiment", "--h2", "sentiment.short"),
    *("--num-sets", str(NUM_SETS), "--num-demonstrations", "4", "--test-size", "12", "--batch-size", "5"),
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_language_model().tokenizer


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own file: good and bad texts, short and long ones, ten of each kind."""
    path = tmp_path_factory.mktemp("texts") / "my texts.csv"
    rows = [
        {"text": f"A {'good' if label else 'bad'} film, number {number}." + " It goes on." * 10 * long, "label": label}
        for number in range(10)
        for label in (0, 1)
        for long in (0, 1)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def save_tiny_model(folder: Path, tokenizer: Any, *, seed: int, chat: bool) -> Path:
    """Save a random model with the embedded tokenizer, with or without its chat template."""
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.5,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    own = copy.deepcopy(tokenizer)
    own.chat_template = tokenizer.chat_template if chat else None
    own.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny base", tokenizer, seed=0, chat=False)


def measured(model: Path, texts: Path, out: Path) -> pd.DataFrame:
    """Run the command in this process."""
    paths = ["--model", str(model), "--texts", str(texts), "--out", str(out)]
    done = CliRunner().invoke(cli.app, ["bias", *SETTINGS, *paths])
    assert done.exit_code == 0, done.output
    return pd.read_csv(out)


def measured_whole(model: Path, texts: Path) -> pd.DataFrame:
    """Measure every set with whole prompts, on the model that is in the folder."""
    h1, h2 = "sentiment", "sentiment.short"
    scorer = NaiveScorer(*load_language_model(str(model)))
    pool = UnderspecifiedPool(named_texts(str(texts), h1, h2), h1, h2)
    rows = [row for number in range(NUM_SETS) for row in measure_set(scorer, pool, number, **SIZES)]
    return pd.DataFrame(rows)


@pytest.mark.slow
def test_two_processes_give_what_one_gives(base: Path, texts: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    command += ["--redirects=3", f"--log_dir={tmp_path / 'logs'}", "-m", "course_lib", "bias", *SETTINGS]
    command += ["--model", str(base), "--texts", str(texts), "--out", str(tmp_path / "two.csv")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    shown = [
        [path.read_text() for path in sorted(tmp_path.glob(f"logs/**/{rank}/{stream}.log"))]
        for rank in "01"
        for stream in ("stdout", "stderr")
    ]
    assert done.returncode == 0, (done.stderr[-1000:], shown)
    (first_told,), (first_bars,), (second_told,), (second_bars,) = shown

    measured(base, texts, tmp_path / "one.csv")
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    # the sets were shared among the processes: each bar begins once at 0 %
    assert [bars.count("scoring:   0%") for bars in (first_bars, second_bars)] == [2, 1]
    # and one of them wrote
    assert ["written:" in told for told in (first_told, second_told)] == [True, False]


def test_any_model_folder_is_measured(
    base: Path, texts: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base model, and its sibling with other weights and a chat template, in the folder one stands in."""
    monkeypatch.chdir(tmp_path)
    instruct = save_tiny_model(Path("tiny instruct"), tokenizer, seed=1, chat=True)
    templates = [load_language_model(str(folder)).tokenizer.chat_template for folder in (base, instruct)]
    assert templates == [None, tokenizer.chat_template]

    tables = []
    for number, folder in enumerate((base, instruct)):
        table = measured(folder, texts, tmp_path / f"{number}.csv")
        assert len(table) == NUM_SETS * 3
        assert (table.n == 12).all()
        expected = measured_whole(folder, texts)
        pd.testing.assert_frame_equal(
            table[["set", "calibration", "num_h1", "share_of_1"]],
            expected[["set", "calibration", "num_h1", "share_of_1"]],
        )
        tables.append(table)
    one, other = tables
    assert (one.num_h1 != other.num_h1).any()


@pytest.mark.parametrize("num_sets", [1, 2, 3, 5])
@pytest.mark.parametrize("num_processes", [1, 2, 4])
def test_every_set_is_measured_once_however_many_processes_there_are(
    num_sets: int, num_processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accelerate 1.13 gave each idle process the last set once more; the stand-in for its state does that."""
    texts = Dataset.from_dict({"text": ["One."], "label": [1]})
    measured_by: list[list[int]] = []

    class Launched:
        """One process of several, with the sharing of Accelerate 1.13."""

        def __init__(self, process_index: int) -> None:
            self.process_index, self.num_processes = process_index, num_processes

        @contextlib.contextmanager
        def split_between_processes(self, inputs: list[int]) -> Iterator[list[int]]:
            size, extras = divmod(len(inputs), self.num_processes)
            start = self.process_index * size + min(self.process_index, extras)
            own = inputs[start : start + size + (self.process_index < extras)]
            yield own if start < len(inputs) else inputs[-1:]

    def measure(scorer: Any, pool: Any, number: int, **options: Any) -> list[dict[str, int]]:
        measured_by[-1].append(number)
        return [{"set": number}]

    monkeypatch.setattr(pairs, "find_scorer", lambda *_: None)
    monkeypatch.setattr(pairs, "UnderspecifiedPool", lambda *_: None)
    monkeypatch.setattr(pairs, "steer_between", lambda *_: None)
    monkeypatch.setattr(pairs, "draw_set", lambda *_, **__: None)
    monkeypatch.setattr(pairs, "measure_set", measure)
    for index in range(num_processes):
        measured_by.append([])
        monkeypatch.setattr(pairs, "_launched_processes", lambda index=index: Launched(index))
        pairs.measure_pair("embedded", texts, "sentiment", "sentiment.short", num_sets=num_sets)
    assert sorted(number for own in measured_by for number in own) == list(range(num_sets))
    assert max(map(len, measured_by)) - min(map(len, measured_by)) <= 1


# --- a run that is stopped ---------------------------------------------------------------------------


def test_sets_of_other_weights_are_measured_anew(
    base: Path, texts: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same folder with other weights in it: the journal's sets are not the new model's."""
    folder = tmp_path / "model"
    shutil.copytree(base, folder)
    whole = measured(folder, texts, tmp_path / "whole.csv")
    measure, done = pairs.measure_set, []

    def stop_after_two(scorer: Any, pool: Any, number: int, **options: Any) -> list[dict[str, Any]]:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(number)
        return measure(scorer, pool, number, **options)

    monkeypatch.setattr(pairs, "measure_set", stop_after_two)
    arguments = [
        "bias",
        *SETTINGS,
        "--model",
        str(folder),
        "--texts",
        str(texts),
        "--out",
        str(tmp_path / "out.csv"),
    ]
    assert CliRunner().invoke(cli.app, arguments).exit_code == 130
    save_tiny_model(folder, tokenizer, seed=1, chat=False)

    done.clear()
    monkeypatch.setattr(pairs, "measure_set", lambda *a, **o: (done.append(a[2]), measure(*a, **o))[1])
    table = measured(folder, texts, tmp_path / "out.csv")
    assert done == [0, 1, 2]
    assert (table.num_h1 != whole.num_h1).any()


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bytes(
    base: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed as soon as a set is in the journal, and run again."""
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    command = [
        sys.executable,
        "-m",
        "course_lib",
        "bias",
        *SETTINGS,
        "--model",
        str(base),
        "--texts",
        str(texts),
    ]
    whole, parts = (tmp_path / name for name in ("whole.csv", "parts.csv"))
    measured(base, texts, whole)
    process = subprocess.Popen(
        [*command, "--out", str(parts)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not list((tmp_path / "cache" / "runs").glob("bias-*.jsonl")):
        time.sleep(0.005)
    process.kill()
    process.wait()
    measured(base, texts, parts)
    assert parts.read_bytes() == whole.read_bytes()
    assert not list((tmp_path / "cache" / "runs").glob("*"))
