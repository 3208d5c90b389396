"""Label words of several tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from course_lib.classroom.assignments.assignment import Case
from course_lib.classroom.assignments.building import Changes, log_softmax, shown

TITLE = "The loss over label words of several tokens"
MARKS = 4
HINT = "Three steps: log-probabilities of the tokens, one score a word, then a softmax over the words alone."


def _word_scores(
    logits: np.ndarray,
    words: Sequence[Sequence[int]],
    *,
    mean: bool = False,
    first_only: bool = False,
    labels_only: bool = False,
    padding: tuple[int, ...] = (),
    log_softmax: Callable[[np.ndarray], np.ndarray] = log_softmax,
) -> np.ndarray:
    logits = np.asarray(logits, dtype=float)
    if labels_only:
        tokens = sorted({token for word in words for token in word})
        kept = np.full(logits.shape[-1], -np.inf)
        kept[tokens] = 0.0
        logits = logits + kept
    found = log_softmax(logits)
    scores = np.zeros(logits.shape[:2])
    for number, word in enumerate(words):
        read = word[:1] if first_only else [*word, *padding * (logits.shape[2] - len(word))]
        steps = [found[:, number, step, token] for step, token in enumerate(read)]
        scores[:, number] = np.mean(steps, axis=0) if mean else np.sum(steps, axis=0)
    return scores


def _smoothed(log_shares: np.ndarray, labels: np.ndarray, strength: float, *, others: bool = False) -> Any:
    right = log_shares[np.arange(len(labels)), labels]
    num_labels = log_shares.shape[1]
    rest = log_shares.sum(axis=1) - (right if others else 0)
    return -((1 - strength) * right + strength * rest / (num_labels - others))


def _focal(log_shares: np.ndarray, labels: np.ndarray, strength: float, *, turned: bool = False) -> Any:
    right = log_shares[np.arange(len(labels)), labels]
    share = np.exp(right)
    return -((share if turned else 1 - share) ** strength) * right


def _label_loss(
    logits: np.ndarray,
    words: Sequence[Sequence[int]],
    labels: np.ndarray,
    strength: float,
    *,
    loss: Callable[..., Any],
    vocabulary: bool = False,
    together: Callable[[np.ndarray], Any] = np.mean,
    **scoring: Any,
) -> dict[str, Any]:
    scores = _word_scores(logits, words, **scoring)
    log_shares = scores if vocabulary else log_softmax(scores)
    return {"scores": scores, "loss": float(together(loss(log_shares, np.asarray(labels), strength)))}


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    # (lengths of the label words, examples, tokens in the vocabulary, what is added to all logits)
    sizes = [
        ((1, 2), 2, 8, 0.0),
        ((1, 3, 2), 4, 12, 0.0),
        ((2, 2, 1, 3), 5, 15, 3.0),
        ((2, 1, 2), 3, 10, 1000.0),
        ((1, 2), 2, 9, -1000.0),
    ]
    largest = 0.4 if variant == _SUMMED else 2.0
    drawn = [_logit_case(rng, *size, largest=largest) for size in sizes]
    # Examples of which one alone is large; labels that the model all finds next to impossible; one label and one
    # example; words of one token and a strength of 0.
    drawn.append(_logit_case(rng, (1, 3), 3, 9, 0.0, largest=largest))
    drawn[-1].arguments["logits"][0] += 1000.0
    drawn.append(_logit_case(rng, (1, 2, 1), 2, 12, 0.0, largest=largest))
    _make_impossible(drawn[-1])
    drawn.append(_logit_case(rng, (2,), 1, 6, 0.0, largest=largest))
    drawn.append(_logit_case(rng, (1, 1, 1), 4, 8, 0.0, largest=0.0))
    return drawn


def _make_impossible(case: Case) -> None:
    """Give a word that is no label nearly all of the probability."""
    used = {token for word in case.arguments["words"] for token in word}
    other = next(token for token in range(case.arguments["logits"].shape[-1]) if token not in used)
    case.arguments["logits"][..., other] = 1000.0


def _logit_case(
    rng: np.random.Generator,
    lengths: Sequence[int],
    num_examples: int,
    num_tokens: int,
    shift: float,
    *,
    largest: float,
) -> Case:
    first = int(rng.integers(num_tokens))
    words = [[int(token) for token in rng.choice(num_tokens, length, replace=False)] for length in lengths]
    # Two words of several tokens share their first one.
    for word in [word for word in words if len(word) > 1][:2]:
        word[:] = [first, *[token if token != first else (first + 1) % num_tokens for token in word[1:]]]
    shape = (num_examples, len(words), max(lengths), num_tokens)
    return Case(
        {
            "logits": np.round(rng.normal(0, 2, shape), 3) + shift,
            "words": words,
            "labels": rng.integers(0, len(words), num_examples),
            "strength": round(float(rng.uniform(0.25, 1) * largest), 3),
        }
    )


_SUMMED = "sums over tokens, smoothed labels"
_AVERAGED = "means over tokens, focal loss"


_LOSS_EXAMPLE: dict[str, Any] = {
    "logits": np.zeros((1, 2, 2, 4)),
    "words": [[1], [2, 3]],
    "labels": np.array([0]),
    "strength": 0.5,
}


_SHARED = Changes()


@_SHARED.with_arguments(first_only=True)
def _first_token():
    """A word is scored by its first token alone, which two labels can share."""


@_SHARED.with_arguments(labels_only=True)
def _label_tokens_alone():
    """A token's probability is one among the whole vocabulary. The labels are compared with each other
    afterwards."""


@_SHARED.with_arguments(vocabulary=True)
def _whole_vocabulary():
    """The scores are right. The loss compares each with the whole vocabulary; the labels were to be compared
    with each other."""


@_SHARED.as_argument("loss")
def _strength_without_effect(log_shares, labels, strength):
    """The scores are right; `strength` has no effect on the loss."""
    return -log_shares[np.arange(len(labels)), labels]


@_SHARED.with_arguments(together=np.sum)
def _summed():
    """The scores are right; the loss is summed over the examples."""


@_SHARED.with_arguments(padding=(0,))
def _padding_of_0():
    """What stands behind a word's end is counted too. The numbers there have no meaning."""


@_SHARED.with_arguments(padding=(-1,))
def _padding_of_1():
    """What stands behind a word's end is counted too. The numbers there have no meaning."""


@_SHARED.as_argument("log_softmax")
def _overflow_to_nan(logits):
    """With large logits, the exponentials overflow. Adding one number to all logits must change nothing."""
    with np.errstate(all="ignore"):
        return np.log(np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True))


@_SHARED.as_argument("log_softmax")
def _overflow_to_inf(logits):
    """With large logits, the exponentials overflow. Adding one number to all logits must change nothing."""
    with np.errstate(all="ignore"):
        return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


@_SHARED.add
def _other_length(right, **case):
    """Look again at what several tokens of one word make together: a sum, or a mean?"""
    return right(**case, mean=not right.keywords["mean"])


_OF_SUMS = Changes(_SHARED)


@_OF_SUMS.with_arguments(loss=partial(_smoothed, others=True))
def _others():
    """The smoothing leaves out the right label: ε is spread over all L labels."""


_OF_MEANS = Changes(_SHARED)


@_OF_MEANS.with_arguments(loss=partial(_focal, turned=True))
def _turned():
    """The weights are turned round: a focal loss gives little weight to what is right already."""


_SMOOTHED = partial(_label_loss, loss=_smoothed, mean=False)
_FOCAL = partial(_label_loss, loss=_focal, mean=True)
VARIANTS = (
    _OF_SUMS.variant(
        _SUMMED,
        _SMOOTHED,
        value=shown(_SMOOTHED(**_LOSS_EXAMPLE)),
        score=r"s_{bl} = \sum_{t} \log p_{blt}",
        loss=r"\ell_b = -(1 - \varepsilon) \log q_{b y_b} - \frac{\varepsilon}{L} \sum_{l} \log q_{bl}",
        symbol=r"\varepsilon",
        together="sum",
        code="losses = -(1 - strength) * right - strength * log_q.mean(axis=1)",
    ),
    _OF_MEANS.variant(
        _AVERAGED,
        _FOCAL,
        value=shown(_FOCAL(**_LOSS_EXAMPLE)),
        score=r"s_{bl} = \frac{1}{T_l} \sum_{t} \log p_{blt}",
        loss=r"\ell_b = -(1 - q_{b y_b})^{\gamma} \log q_{b y_b}",
        symbol=r"\gamma",
        together="mean",
        code="losses = -((1 - np.exp(right)) ** strength) * right",
    ),
)
