"""What a frozen language model's hidden states know of a pre-training task, read off by a linear probe.

A prompt can only bring out what the model represents. Where a linear map of the hidden state at the answer
position does no better than guessing, a soft prompt in front has little to work with.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, TypedDict

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from course_lib.checks.arrays import check_labels, check_numbers
from course_lib.checks.calls import border, each
from course_lib.checks.types import Count, Seed, Whole
from course_lib.checks.values import check_count, check_texts
from course_lib.errors import CourseError
from course_lib.models.loaded import EMBEDDED, ModelAndTokenizer, ModelSource, evaluation_mode
from course_lib.models.loading import load_language_model
from course_lib.ppt.pretraining.labeller import PseudoLabels
from course_lib.ppt.pretraining.tasks import find_pattern, pretraining_rows
from course_lib.statistics import mean_interval

# Strengths of the probe's penalty, of which cross-validation on the training side takes one.
INVERSE_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
NUM_FOLDS = 3


class ProbeRow(TypedDict):
    """What a probe of one layer gave.

    Args:
        task: the pre-training task.
        layer: number of the layer; 0 is the word embedding.
        accuracy: share of the test examples that it gets right.
        low: lower end of its 95 % interval over test examples.
        high: upper end.
        guessing: the expected share of right answers of blind guesses.
        num_train: training examples.
        num_test: test examples.
    """

    task: str
    layer: int
    accuracy: float
    low: float
    high: float
    guessing: float
    num_train: int
    num_test: int


@border(texts=check_texts)
def answer_states(
    loaded: ModelAndTokenizer, texts: Sequence[str], layers: Sequence[int], *, batch_size: Count = 16
) -> np.ndarray:
    """Return the hidden states at each text's last token, where its answer would be read.

    Args:
        loaded: a causal language model; it is used in evaluation mode.
        texts: the texts.
        layers: numbers of layers; 0 is the word embedding, 1 the output of the first layer.
        batch_size: texts at a time; the states do not depend on it.

    Returns:
        float32 [len(texts), len(layers), width].

    Raises:
        CourseError: no texts, or a layer that the model does not have.
    """
    model: Any = loaded.model
    num_layers = model.config.num_hidden_layers
    layers = each(partial(check_count, least=0, most=num_layers))("layers", layers)
    ids = loaded.tokenizer(list(texts))["input_ids"]
    # texts of one length together waste no padding; every row is put back in its place
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    found = np.empty((len(ids), len(layers), model.config.hidden_size), dtype=np.float32)
    with torch.no_grad(), evaluation_mode(model):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            longest = len(ids[rows[-1]])
            # filled up on the right, where no real token looks
            padded = torch.tensor([ids[row] + ids[row][-1:] * (longest - len(ids[row])) for row in rows])
            states = model.base_model(
                padded.to(model.device), output_hidden_states=True, use_cache=False
            ).hidden_states
            last = torch.tensor([len(ids[row]) - 1 for row in rows])
            for place, layer in enumerate(layers):
                found[rows, place] = states[layer][torch.arange(len(rows)), last].float().cpu().numpy()
    return found


@border(states=partial(check_numbers, num_dims=3), test_states=partial(check_numbers, num_dims=3))
def probe_accuracies(
    states: np.ndarray, labels: Sequence[int], test_states: np.ndarray, test_labels: Sequence[int]
) -> list[list[float]]:
    """Fit a linear probe on each layer's states, and say for each test row whether it is right.

    The strength of the penalty is chosen by cross-validation among the training rows.

    Args:
        states: float [n, num_layers, width].
        labels: n whole numbers.
        test_states: float [m, num_layers, width].
        test_labels: m whole numbers.

    Returns:
        For each layer, m values 0.0 or 1.0.

    Raises:
        CourseError: states that are not numbers, fewer rows of a class than folds.
    """
    check_labels("labels", labels, num_rows=len(states))
    check_labels("test_labels", test_labels, num_rows=len(test_states))
    if states.shape[1:] != test_states.shape[1:]:
        raise CourseError("Both sides need the same layers.", given=(states.shape, test_states.shape))
    scarcest = min(np.unique(labels, return_counts=True)[1])
    if scarcest < NUM_FOLDS:
        raise CourseError(f"A probe needs {NUM_FOLDS} training rows of each class.", given=int(scarcest))
    right = []
    for layer in range(states.shape[1]):
        probe = GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)),
            {"logisticregression__C": INVERSE_PENALTIES},
            cv=NUM_FOLDS,
        )
        probe.fit(states[:, layer], labels)
        right.append((probe.predict(test_states[:, layer]) == np.array(test_labels)).astype(float).tolist())
    return right


@border()
def probe_task(
    task: str,
    *,
    layers: Sequence[Whole],
    num_train: Count,
    num_test: Count,
    seed: Seed = 0,
    model_source: ModelSource = EMBEDDED,
    dtype: str | None = None,
    loaded: ModelAndTokenizer | None = None,
    labelled: PseudoLabels | None = None,
) -> list[ProbeRow]:
    """Probe a language model behind the hard pattern of a pre-training task.

    Args:
        task: one of `PRETRAINING_TASKS`.
        layers: see `answer_states`.
        num_train: training examples of the probe, from the train side.
        num_test: examples of the test side.
        seed: seed of the examples.
        model_source: the language model: "embedded", a folder or a hub id.
        dtype: precision to compute the states in; None for float32.
        loaded: a loaded model and tokenizer instead of `model_source`.
        labelled: the sentences with pseudo-labels, for "single" only; `pseudo_labels` by default.

    Returns:
        One row a layer.

    Raises:
        CourseError: what `pretraining_rows` or `answer_states` refuses.
    """
    pattern = find_pattern(task, "hard")
    loaded = loaded or load_language_model(model_source, dtype="float32" if dtype is None else dtype)
    options: dict[str, Any] = {"seed": seed, "labelled": labelled}
    train = pretraining_rows(task, "train", num_train, loaded.tokenizer, **options)
    test = pretraining_rows(task, "test", num_test, loaded.tokenizer, **options)
    states, test_states = (
        answer_states(loaded, [pattern.text(row) for row in rows], layers) for rows in (train, test)
    )
    labels, test_labels = ([row["label"] for row in rows] for rows in (train, test))
    guessing = sum(1 / pattern.num_labels(row) for row in test) / len(test)
    rows: list[ProbeRow] = []
    for layer, right in zip(layers, probe_accuracies(states, labels, test_states, test_labels), strict=True):
        interval = mean_interval(right)
        rows.append(
            {
                "task": task,
                "layer": layer,
                "accuracy": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "guessing": guessing,
                "num_train": len(train),
                "num_test": len(test),
            }
        )
    return rows
