"""The tuning of an adapter: the loss, what moves, what is refused, and going on after a stop."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from course_lib.errors import CourseError
from course_lib.icl.tuning.episodes import Answer, EpisodeTokens
from course_lib.icl.tuning.train import (
    TuningResult,
    TuningSettings,
    TuningStep,
    evaluate_episodes,
    label_token_loss,
    tune_adapter,
    with_adapter,
)
from course_lib.models.fingerprint import weights_hash
from course_lib.runs.checkpoints import CHECKPOINT_FILE
from tests.icl.tuning.tiny import SETTINGS, tiny_episodes, tiny_model

ROOT = Path(__file__).parents[3]


class _Spoken(torch.nn.Module):
    """A model whose logits at each position are known: token t follows position p with logit table[p, t]."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = table
        self.head = torch.nn.Identity()
        self.device = table.device

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head

    def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> Any:
        rows = self.head(self.table[None, : input_ids.shape[1]])
        return type("Output", (), {"logits": rows})


def test_the_loss_is_that_of_the_label_tokens_alone() -> None:
    table = torch.zeros(6, 4)
    # position 1 says token 2 with odds 3 : 1 : 1 : 1, position 4 any token alike; all others are sure, and wrong
    table[1, 2] = torch.log(torch.tensor(3.0))
    table[[0, 2, 3, 5], 0] = 50.0
    episode = EpisodeTokens([1, 1, 2, 1, 1, 3], [Answer([2], [2, 3], 0), Answer([5], [2, 3], 1)])
    loss = label_token_loss(_Spoken(table), episode)
    # (log 6/3 + log 4) / 2
    assert float(loss) == pytest.approx((0.6931472 + 1.3862944) / 2)


def test_accuracy_compares_the_labels_with_each_other() -> None:
    table = torch.zeros(6, 4)
    table[1] = torch.tensor([9.0, 0.0, 2.0, 1.0])
    table[4] = torch.tensor([9.0, 0.0, 2.0, 1.0])
    episode = EpisodeTokens([1, 1, 2, 1, 1, 3], [Answer([2], [2, 3], 0), Answer([5], [2, 3], 1)])
    loaded = tiny_model()._replace(model=_Spoken(table))  # type: ignore[arg-type]
    assert evaluate_episodes(loaded, [episode])[1] == 0.5


def test_the_learning_rate_rises_then_falls() -> None:
    settings = TuningSettings(num_episodes=6, num_warmup=2, learning_rate=1.0)
    assert [settings.learning_rate_at(step) for step in range(1, 7)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    # a short run has time for no more than half of the warm-up
    short = TuningSettings(num_episodes=2, num_warmup=10, learning_rate=1.0)
    assert [short.learning_rate_at(step) for step in (1, 2)] == [1.0, 1.0]


def _tune(folder: Path | None = None, settings: TuningSettings = SETTINGS, **options: Any) -> TuningResult:
    return tune_adapter(
        tiny_model(),
        tiny_episodes(settings),
        settings,
        heldout=tiny_episodes(settings, 2),
        checkpoint_folder=folder,
        progress=False,
        **options,
    )


def _weights(result: TuningResult) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in result.loaded.model.named_parameters() if "lora_" in name}


def test_only_the_adapter_moves_and_the_loss_falls() -> None:
    before = weights_hash(tiny_model().model)
    result = _tune(settings=dataclasses.replace(SETTINGS, num_episodes=30, evaluate_every=30))
    first, last = result.evaluations
    assert (first.step, last.step) == (0, 30)
    assert last.loss < first.loss - 0.5
    assert [step.step for step in result.steps] == list(range(1, 31))
    adapted: Any = result.loaded.model
    assert not adapted.training
    assert weights_hash(adapted.unload()) == before


def test_an_adapter_that_is_not_tuned_changes_nothing() -> None:
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        expected = tiny_model().model(input_ids=ids).logits
        found = with_adapter(tiny_model(), SETTINGS).model(input_ids=ids).logits
    assert torch.equal(found, expected)


class _StopError(Exception):
    pass


@pytest.mark.parametrize("last", [1, 2, 5, 6])
def test_a_stopped_run_ends_with_the_same_weights(tmp_path: Path, last: int) -> None:
    def stop(step: TuningStep) -> None:
        if step.step == last:
            raise _StopError

    with pytest.raises(_StopError):
        _tune(tmp_path, after_step=stop)
    resumed, whole = _tune(tmp_path), _tune()
    assert all(torch.equal(_weights(whole)[name], weight) for name, weight in _weights(resumed).items())
    assert (resumed.steps, resumed.evaluations) == (whole.steps, whole.evaluations)


# starts three processes that each load torch and PEFT
@pytest.mark.slow
@pytest.mark.parametrize("last", [3, 4])
def test_a_killed_run_writes_the_same_bytes(tmp_path: Path, last: int) -> None:
    def run(name: str, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.icl.tuning.worker", str(tmp_path), name, *options]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert run("killed", str(last)).returncode == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    # what a kill in the middle of writing leaves behind
    (tmp_path / "checkpoints-killed").mkdir(exist_ok=True)
    (tmp_path / "checkpoints-killed" / f".{CHECKPOINT_FILE}.1-abcd.part").write_bytes(b"half")
    for name in ("killed", "whole"):
        done = run(name)
        assert done.returncode == 0, done.stderr[-3000:]
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    _tune(tmp_path)
    with pytest.raises(CourseError, match="another run: learning_rate"):
        _tune(tmp_path, dataclasses.replace(SETTINGS, learning_rate=2e-2))
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"damaged")
    with pytest.raises(CourseError, match="damaged"):
        _tune(tmp_path)


def test_a_model_with_an_adapter_and_other_counts_are_refused() -> None:
    result = _tune()
    with pytest.raises(CourseError, match="adapter already"):
        tune_adapter(result.loaded, tiny_episodes(), SETTINGS, progress=False)
    with pytest.raises(CourseError, match="one episode for each of the 6 steps"):
        tune_adapter(tiny_model(), tiny_episodes()[:2], SETTINGS, progress=False)
    too_long = EpisodeTokens([5] * 600, [Answer([3], [5, 6], 0)])
    with pytest.raises(CourseError, match="600 tokens"):
        tune_adapter(tiny_model(), [too_long] * 6, SETTINGS, progress=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_episodes": 0}, {"num_demonstrations": 2}, {"exchanged_share": 1.1}, {"num_unscored": 12}, {"rank": 0},
        {"alpha": 0}, {"learning_rate": float("nan")}, {"num_warmup": -1}, {"num_held_out": 0}, {"seed": -1},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(CourseError, match=next(iter(wrong))):
        TuningSettings(**wrong)
