"""Small models, rows and runs for the tests of training, in this process and in others."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast, TrainerCallback

from course_lib.smart import SmartTrainer, SmartTrainingArguments

VOCABULARY = 60
# Away from the paper's 1e-5, so that R_s weighs as much as the task loss and an error in it is seen.
STRONG = {"epsilon": 0.05, "step_size": 0.1, "noise_std": 0.01, "smoothness_weight": 2.0, "half_life": 2.0}


def tiny_model(*, dropout: float = 0.0, num_labels: int = 3, seed: int = 0) -> BertForSequenceClassification:
    """Give a random BERT of two small layers, with weights large enough for its outputs to differ."""
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        num_labels=num_labels,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.2,
    )
    torch.manual_seed(seed)
    return BertForSequenceClassification(config)


def rows(count: int, *, num_labels: int = 3, length: int = 6) -> list[dict[str, Any]]:
    """Give examples without padding; their label is a class, or a number where num_labels is 1."""
    ids = torch.randint(
        5, VOCABULARY, (count, length), generator=torch.Generator().manual_seed(count)
    ).tolist()
    labels: list[Any] = [i * 0.1 if num_labels == 1 else i % num_labels for i in range(count)]
    return [{"input_ids": row, "labels": label} for row, label in zip(ids, labels, strict=True)]


def settings(folder: Path, **options: Any) -> SmartTrainingArguments:
    """Give arguments for a short quiet run; SGD without clipping, so that a wrong scale is seen."""
    return SmartTrainingArguments(
        str(folder),
        **{
            "max_steps": 4,
            "per_device_train_batch_size": 4,
            "learning_rate": 0.1,
            "optim": "sgd",
            "max_grad_norm": 0.0,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "use_cpu": True,
            "log_level": "error",
            **options,
        },
    )


def trained(
    folder: Path, *, model: torch.nn.Module | None = None, data: list | None = None, **options: Any
) -> SmartTrainer:
    """Train a tiny model and give its trainer."""
    names = ("compute_loss_func", "callbacks")
    own = {name: options.pop(name) for name in names if name in options}
    trainer = SmartTrainer(
        model or tiny_model(), settings(folder, **options), train_dataset=data or rows(16), **own
    )
    trainer.train()
    return trainer


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Give a copy of a model's weights."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def distance(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """Give the largest difference of two sets of weights."""
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def logged(trainer: SmartTrainer, name: str) -> list[float]:
    """Give the values of one name in the training logs."""
    return [entry[name] for entry in trainer.state.log_history if "loss" in entry and name in entry]


@contextlib.contextmanager
def noise_of_each_example() -> Iterator[None]:
    """Make the noise ν a function of an example's own embeddings.

    ν is drawn for a whole batch, so an example gets another ν in another arrangement of the same batch, and
    R_s depends on it at any size of ν (the gradient at x itself is zero; ν decides where the ascent goes).
    With this stand-in two arrangements must agree but for rounding.
    """
    with mock.patch("torch.randn_like", lambda x: torch.cos(1000 * x.detach())):
        yield


class Recorder(TrainerCallback):
    """Keeps the weights before training and after each step of the optimizer."""

    def __init__(self) -> None:
        self.weights: list[dict[str, torch.Tensor]] = []

    def on_train_begin(self, *args: Any, model: torch.nn.Module, **kwargs: Any) -> None:
        self.weights = [weights(model)]

    def on_step_end(self, *args: Any, model: torch.nn.Module, **kwargs: Any) -> None:
        self.weights.append(weights(model))


class Passes:
    """Counts forward passes through every model of a class, copies included."""

    def __init__(self) -> None:
        self.count = 0

    @contextlib.contextmanager
    def counted(self) -> Iterator[Passes]:
        original = BertForSequenceClassification.forward

        @functools.wraps(original)  # the Trainer reads the signature
        def forward(model: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return original(model, *args, **kwargs)

        with mock.patch.object(BertForSequenceClassification, "forward", forward):
            yield self


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Give a tokenizer that knows the words w5 to w59, one token a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(5, VOCABULARY))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
