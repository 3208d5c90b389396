"""The tuning of an adapter on episodes: the loss on their labels, one episode a step.

Nothing in a step is drawn at random, and each number has its episode. So a run that goes on from a checkpoint needs no
state of any random generator, and ends with the same weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tqdm.auto import tqdm

from course_lib.checks.calls import a_model_and_tokenizer, border, check_fields, each, of_type, optional
from course_lib.checks.types import Count, Flag, Positive, Seed, Share, Whole
from course_lib.checks.values import check_callable, check_count, check_path
from course_lib.errors import CourseError
from course_lib.finetuning.optimizing import descend, linear_rate
from course_lib.icl.tuning.episodes import EpisodeTokens
from course_lib.models.context import find_context_length, refuse_too_long
from course_lib.models.fingerprint import model_fingerprint
from course_lib.models.loaded import ModelAndTokenizer
from course_lib.models.outputs import output_only_at
from course_lib.runs.checkpoints import CHECKPOINT_FILE, read_checkpoint, tensors_hash, write_checkpoint


@dataclass(frozen=True)
class TuningSettings:
    """What shapes the tuning of an adapter.

    Args:
        num_episodes: episodes, one a step.
        num_demonstrations: texts of an episode, half of each label.
        exchanged_share: probability that an episode's labels are exchanged.
        num_unscored: the first labels of an episode, which do not count.
        rank: of LoRA's two matrices beside every projection.
        alpha: LoRA's scale; what the two matrices give is multiplied by alpha / rank.
        learning_rate: peak learning rate of AdamW.
        num_warmup: steps over which the rate rises; it then falls to zero. At most half of the episodes.
        max_grad_norm: gradients longer than this are shortened to it.
        num_held_out: episodes of texts never trained on, for the held-out curve.
        evaluate_every: episodes between evaluations; there is one before the first and one after the last.
        checkpoint_every: episodes between checkpoints.
        seed: seed of the episodes and of the adapter's start.

    Raises:
        CourseError: a setting out of its range.
    """

    num_episodes: Count = 90
    num_demonstrations: int = 12
    exchanged_share: Share = 0.3
    num_unscored: Whole = 2
    rank: Count = 8
    alpha: Count = 16
    learning_rate: Positive = 1e-3
    num_warmup: Whole = 10
    max_grad_norm: Positive = 1.0
    num_held_out: Count = 6
    evaluate_every: Count = 30
    checkpoint_every: Count = 10
    seed: Seed = 0

    def __post_init__(self) -> None:
        # First: what may be left unscored depends on it.
        check_count("num_demonstrations", self.num_demonstrations, least=4)
        check_fields(self, num_unscored=partial(check_count, least=0, most=self.num_demonstrations - 1))

    def learning_rate_at(self, step: int) -> float:
        """Returns the learning rate of a step, counted from 1."""
        warmup = min(self.num_warmup, self.num_episodes // 2)
        return linear_rate(step, peak=self.learning_rate, num_warmup=warmup, num_steps=self.num_episodes)


@dataclass(frozen=True)
class TuningStep:
    """What one optimizer step was.

    Args:
        step: number of the step, from 1.
        loss: mean cross-entropy of the episode's label tokens in the whole vocabulary, in nats.
        learning_rate: the learning rate it was taken with.
        gradient_norm: length of the gradient before it was shortened.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float


@dataclass(frozen=True)
class TuningEvaluation:
    """How the model did on held-out episodes.

    Args:
        step: optimizer steps before it.
        loss: mean cross-entropy of the label tokens, in nats.
        accuracy: share of the labels that are more probable than the other.
    """

    step: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class TuningResult:
    """A tuned model, and how it became so.

    Args:
        loaded: the model with its adapter, in evaluation mode, and its tokenizer.
        steps: one for each episode.
        evaluations: on the held-out episodes, if there were any.
    """

    loaded: ModelAndTokenizer
    steps: list[TuningStep]
    evaluations: list[TuningEvaluation]


_some_episodes = each(of_type("course_lib.icl.tuning.episodes.EpisodeTokens"), least=0)


@border(
    loaded=a_model_and_tokenizer,
    episodes=_some_episodes,
    settings=optional(of_type("course_lib.icl.tuning.train.TuningSettings")),
    heldout=_some_episodes,
    checkpoint_folder=optional(check_path),
    after_step=optional(check_callable),
)
def tune_adapter(
    loaded: ModelAndTokenizer,
    episodes: Sequence[EpisodeTokens],
    settings: TuningSettings | None = None,
    *,
    heldout: Sequence[EpisodeTokens] = (),
    checkpoint_folder: Path | None = None,
    after_step: Callable[[TuningStep], None] | None = None,
    progress: Flag = True,
) -> TuningResult:
    """Tunes a LoRA adapter on a causal language model; the model's own weights stay as they are.

    The adapter is put into the model that is given: use what is returned from here on.

    Args:
        loaded: a causal language model without an adapter, and its tokenizer.
        episodes: one for each step.
        settings: see `TuningSettings`.
        heldout: episodes for the held-out curve.
        checkpoint_folder: where the state of the run is kept; a run that was stopped goes on from there.
        after_step: called with each step once the weights have moved.
        progress: whether to show a progress bar.

    Returns:
        The model with its adapter, and the curves.

    Raises:
        CourseError: another number of episodes than the settings say; an episode longer than the context; a model
            that has an adapter already; a checkpoint of another run; a loss or gradient that is not a finite number.

    Source: LoRA by Hu et al., ICLR 2022; tuning on in-context episodes as in MetaICL, Min et al., NAACL 2022.
    """
    settings = settings or TuningSettings()
    if len(episodes) != settings.num_episodes:
        raise CourseError(
            f"There must be one episode for each of the {settings.num_episodes} steps.", given=len(episodes)
        )
    context_length = find_context_length(loaded.model)
    refuse_too_long([episode.ids for episode in [*episodes, *heldout]], context_length)
    fingerprint = model_fingerprint(loaded.model)
    run = _Tuning(with_adapter(loaded, settings), settings, episodes, heldout, checkpoint_folder)
    run.identity = run.describe(list(fingerprint.sampled_weights))
    return run.finish(after_step, progress)


def with_adapter(loaded: ModelAndTokenizer, settings: TuningSettings) -> ModelAndTokenizer:
    """Puts an untrained LoRA adapter beside every projection of a model, whose scores stay as they are.

    Args:
        loaded: a causal language model; it is changed in place.
        settings: rank, alpha and seed.

    Raises:
        CourseError: a model that has an adapter already, or none that PEFT can put one beside.
    """
    model: Any = loaded.model
    if isinstance(model, PeftModel) or hasattr(model, "peft_config"):
        raise CourseError(
            "This model has an adapter already.",
            given=type(model).__name__,
            mend="Tune the model that the adapter is for, or merge the adapter into it (`merge_and_unload`).",
        )
    config = LoraConfig(
        task_type="CAUSAL_LM", r=settings.rank, lora_alpha=settings.alpha, target_modules="all-linear"
    )
    # fresh weights are drawn on the CPU
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(settings.seed)
        try:
            adapted: Any = get_peft_model(model, config)
        except (ValueError, NotImplementedError, TypeError) as error:
            raise CourseError(
                f"No adapter can be put into this model: {str(error).splitlines()[0]}",
                given=type(model).__name__,
                mend="Use a causal language model of `transformers`.",
            ) from error
    return ModelAndTokenizer(adapted.eval(), loaded.tokenizer)


@border(episode=of_type("course_lib.icl.tuning.episodes.EpisodeTokens"))
def label_token_loss(model: Any, episode: EpisodeTokens) -> torch.Tensor:
    """Computes the loss of an episode.

    Args:
        model: a causal language model.
        episode: its tokens, and the labels that count.

    Returns:
        Mean cross-entropy of the label tokens in the whole vocabulary, a scalar with its gradient.
    """
    logits, tokens = _label_logits(model, episode)
    return torch.nn.functional.cross_entropy(logits, tokens)


def _label_logits(model: Any, episode: EpisodeTokens) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns what the model says before each label token, float32 [k, V], and the tokens, int [k]."""
    places = [place for answer in episode.answers for place in answer.places]
    ids = torch.tensor([episode.ids], device=model.device)
    with output_only_at(model, [0] * len(places), [place - 1 for place in places]):
        logits = model(input_ids=ids, use_cache=False).logits[0]
    return logits.float(), ids[0, places]


class _Tuning:
    """A run: its weights, its optimizer, its curves, and its checkpoint."""

    def __init__(
        self,
        loaded: ModelAndTokenizer,
        settings: TuningSettings,
        episodes: Sequence[EpisodeTokens],
        heldout: Sequence[EpisodeTokens],
        folder: Path | None,
    ) -> None:
        self.loaded, self.settings, self.episodes, self.heldout = loaded, settings, episodes, heldout
        self.file = None if folder is None else folder / CHECKPOINT_FILE
        self.named: dict[str, torch.nn.Parameter] = {
            name: weight for name, weight in loaded.model.named_parameters() if weight.requires_grad
        }
        self.optimizer = torch.optim.AdamW(self.named.values(), lr=settings.learning_rate, weight_decay=0.0)
        self.steps: list[TuningStep] = []
        self.evaluations: list[TuningEvaluation] = []
        self.identity: dict[str, Any] = {}

    def describe(self, model_weights: list[float]) -> dict[str, Any]:
        """Returns what must be the same for a checkpoint to be of this run."""
        digests = [
            hashlib.sha256(json.dumps(part).encode()).hexdigest() for part in (self.episodes, self.heldout)
        ]
        shaping = {name: value for name, value in asdict(self.settings).items() if name != "checkpoint_every"}
        found = {
            **shaping,
            "episodes": digests[0],
            "held-out episodes": digests[1],
            "initial adapter": tensors_hash(dict(self.named)),
            "language model": model_weights,
        }
        return dict(json.loads(json.dumps(found)))

    def finish(self, after_step: Callable[[TuningStep], None] | None, progress: bool) -> TuningResult:
        """Takes all steps that are left."""
        self._resume()
        total = self.settings.num_episodes
        if not self.steps:
            self._look()
        bar = tqdm(total=total, initial=len(self.steps), desc="episodes", disable=not progress, leave=False)
        numbers = range(len(self.steps) + 1, total + 1)
        with bar:
            updates = descend(
                self.optimizer, self._compute_gradient, numbers, max_grad_norm=self.settings.max_grad_norm
            )
            for update in updates:
                self.steps.append(
                    TuningStep(update.step, update.loss, update.learning_rate, update.gradient_norm)
                )
                if self._is_due(self.settings.evaluate_every):
                    self._look()
                if self._is_due(self.settings.checkpoint_every):
                    self._save()
                if after_step:
                    after_step(self.steps[-1])
                bar.set_postfix_str(f"loss {update.loss:.3f}", refresh=False)
                bar.update()
        self._refuse_spoilt()
        return TuningResult(self.loaded, self.steps, self.evaluations)

    def _compute_gradient(self, number: int) -> float:
        self.optimizer.param_groups[0]["lr"] = self.settings.learning_rate_at(number)
        loss = label_token_loss(self.loaded.model, self.episodes[number - 1])
        loss.backward()
        return loss.item()

    def _is_due(self, every: int) -> bool:
        return len(self.steps) % every == 0 or len(self.steps) == self.settings.num_episodes

    def _look(self) -> None:
        if self.heldout:
            loss, accuracy = evaluate_episodes(self.loaded, self.heldout)
            self.evaluations.append(TuningEvaluation(len(self.steps), loss, accuracy))

    def _refuse_spoilt(self) -> None:
        """Refuses what the last step made of the adapter: no loss has been computed since."""
        if not all(bool(weight.isfinite().all()) for weight in self.named.values()):
            raise CourseError(
                "After the last step the adapter's weights are not finite numbers.",
                given=f"learning_rate={self.settings.learning_rate:g}",
                mend="Use a smaller learning rate.",
            )

    # --- checkpoints -------------------------------------------------------------------------------

    def _save(self) -> None:
        if self.file is None:
            return
        tensors = dict[str, torch.Tensor](self.named)
        for name, weight in self.named.items():
            state = self.optimizer.state[weight]
            tensors |= {f"{key}:{name}": state[key] for key in ("exp_avg", "exp_avg_sq")}
        record = {
            "steps": [list(asdict(step).values()) for step in self.steps],
            "evaluations": [list(asdict(evaluation).values()) for evaluation in self.evaluations],
        }
        write_checkpoint(self.file, tensors, self.identity, record)

    def _resume(self) -> None:
        """Takes up the checkpoint, if there is one."""
        found = self.file and read_checkpoint(self.file, self.identity)
        if not found:
            return
        tensors, record = found
        self.steps = [TuningStep(*values) for values in record["steps"]]
        self.evaluations = [TuningEvaluation(*values) for values in record["evaluations"]]
        states = {}
        with torch.no_grad():
            for number, (name, weight) in enumerate(self.named.items()):
                weight.copy_(tensors[name])
                averages = {key: tensors[f"{key}:{name}"] for key in ("exp_avg", "exp_avg_sq")}
                states[number] = {"step": torch.tensor(float(len(self.steps))), **averages}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})


@border(loaded=a_model_and_tokenizer, episodes=_some_episodes)
def evaluate_episodes(loaded: ModelAndTokenizer, episodes: Sequence[EpisodeTokens]) -> tuple[float, float]:
    """Measures a model on episodes.

    Args:
        loaded: a causal language model in evaluation mode, and its tokenizer.
        episodes: at least one.

    Returns:
        Mean loss of an episode, and the share of labels that are more probable than the other.
    """
    losses, right = [], []
    for episode in episodes:
        with torch.inference_mode():
            logits, tokens = _label_logits(loaded.model, episode)
        losses.append(float(torch.nn.functional.cross_entropy(logits, tokens)))
        first = 0
        for answer in episode.answers:
            right.append(int(logits[first, answer.choices].argmax()) == answer.label)
            first += len(answer.places)
    return sum(losses) / len(losses), sum(right) / len(right)
