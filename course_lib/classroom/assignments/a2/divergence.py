"""Another measure of how far two outputs are apart, at a temperature."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from course_lib.classroom.assignments.assignment import Case, Variant
from course_lib.classroom.assignments.building import Changes, log_softmax

TITLE = "Another divergence, at a temperature"
MARKS = 4
HINT = "Log-softmax of the logits over τ, along the classes; then one number a row; then the mean over rows."


def _kl(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    return np.sum(np.exp(log_p) * (log_p - log_q), axis=-1)


Rows = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def _jensen_shannon(log_p: np.ndarray, log_q: np.ndarray, temperature: float) -> np.ndarray:
    log_m = np.logaddexp(log_p, log_q) - np.log(2)
    return (_kl(log_p, log_m) + _kl(log_q, log_m)) / 2


def _both_directions(log_p: np.ndarray, log_q: np.ndarray, temperature: float) -> np.ndarray:
    return temperature**2 * (_kl(log_p, log_q) + _kl(log_q, log_p))


def _hellinger(log_p: np.ndarray, log_q: np.ndarray, temperature: float) -> np.ndarray:
    return np.sum((np.exp(log_p / 2) - np.exp(log_q / 2)) ** 2, axis=-1) / 2


def _diverged(
    logits_p: np.ndarray,
    logits_q: np.ndarray,
    temperature: float,
    *,
    rows: Rows,
    log_softmax: Callable[[np.ndarray], np.ndarray] = log_softmax,
    factor: float = 1,
) -> float:
    log_p, log_q = (log_softmax(np.asarray(logits) / temperature) for logits in (logits_p, logits_q))
    return factor * float(np.mean(rows(log_p, log_q, temperature)))


def _overflowing(logits: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.log(np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True))


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    pairs = [
        (np.array([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]]), np.array([[0.8, 0.1, -0.9], [0.2, 0.7, 0.1]]), 1.0),
        (np.array([[2000.0, 0.0], [0.0, -1800.0]]), np.array([[1990.0, 1990.0], [-3.0, -1801.0]]), 1.0),
        (np.ones((2, 2)), np.ones((2, 2)), 0.5),
        # Logits far below 0, rows of different heights, one row, one class.
        (np.array([[-2000.0, -2001.0]]), np.array([[-3000.0, -2999.0]]), 1.0),
        (np.array([[1000.0, 998.0], [0.5, -0.25]]), np.array([[2.0, 1.0], [-1000.0, -999.0]]), 2.0),
        (np.array([[0.5, -0.5, 1.5]]), np.array([[0.25, 1.0, -1.0]]), 0.25),
        (np.array([[3.0], [-1.0]]), np.array([[2.0], [5.0]]), 2.0),
    ]
    for shape, temperature in (((4, 3), 2.0), ((3, 5), 0.5), ((5, 2), round(float(rng.uniform(2.5, 4)), 2))):
        pairs.append(
            (np.round(rng.normal(0, 2, shape), 2), np.round(rng.normal(0, 2, shape), 2), temperature)
        )
    return [Case({"logits_p": p, "logits_q": q, "temperature": t}) for p, q, t in pairs]


_SHARED = Changes()


@_SHARED.add
def _summed_over_the_batch(right, logits_p, logits_q, temperature):
    """The rows are summed up. Take their mean, or λ changes its meaning with the batch size."""
    return right(logits_p, logits_q, temperature) * len(logits_p)


@_SHARED.add
def _mean_over_classes(right, logits_p, logits_q, temperature):
    """The mean runs over the classes too. Sum over the classes, then take the mean over the rows."""
    return right(logits_p, logits_q, temperature) / np.shape(logits_p)[1]


@_SHARED.add
def _multiplied(right, logits_p, logits_q, temperature):
    """The logits are multiplied by the temperature. A higher temperature makes a distribution flatter."""
    multiplied = (np.asarray(logits) * temperature**2 for logits in (logits_p, logits_q))
    return right(*multiplied, temperature)


@_SHARED.add
def _temperature_left_out(right, logits_p, logits_q, temperature):
    """The temperature has no effect on the distributions."""
    is_scaled = right.keywords["rows"] is _both_directions
    return right(logits_p, logits_q, 1.0) * (temperature**2 if is_scaled else 1)


@_SHARED.add
def _overflow(right, **case):
    """Right, but for large logits the exponential overflows: subtract each row's largest logit first, and stay with
    logarithms."""
    with np.errstate(all="ignore"):
        return right(**case, log_softmax=_overflowing)


def _divergence_variant(name: str, rows: Rows, changes: Changes, /, **texts: str) -> Variant:
    right = partial(_diverged, rows=rows)
    value = right(np.array([[1.0, 0.0, -1.0]]), np.array([[0.8, 0.1, -0.9]]), 2.0)
    return changes.variant(name, right, **texts, name=name, value=f"{value:.6f}")


_OF_JENSEN_SHANNON = Changes(_SHARED)


@_OF_JENSEN_SHANNON.with_arguments(factor=2)
def _not_halved():
    """This is twice as much. Both halves enter with ½."""


@_OF_JENSEN_SHANNON.with_arguments(factor=1 / np.log(2))
def _bits():
    """This is in bits. Take the natural logarithm: the answer is in nats."""


@_OF_JENSEN_SHANNON.as_argument("rows")
def _one_half_only(log_p, log_q, temperature):
    """This is KL(P‖M) alone, so P and Q are not treated alike."""
    return _kl(log_p, np.logaddexp(log_p, log_q) - np.log(2))


@_OF_JENSEN_SHANNON.as_argument("rows")
def _mean_of_logits(log_p, log_q, temperature):
    """M is made of the means of logits. It is the mean of the two distributions."""
    log_m = log_softmax((log_p + log_q) / 2)
    return (_kl(log_p, log_m) + _kl(log_q, log_m)) / 2


_OF_SYMMETRIC_KL = Changes(_SHARED)


@_OF_SYMMETRIC_KL.with_arguments(rows=lambda p, q, t: _kl(p, q) + _kl(q, p))
def _not_scaled_back():
    """The factor τ² is missing. Without it the gradient shrinks as the temperature grows."""


@_OF_SYMMETRIC_KL.with_arguments(rows=lambda p, q, t: t * (_kl(p, q) + _kl(q, p)))
def _scaled_once():
    """The factor is τ. It is its square."""


@_OF_SYMMETRIC_KL.with_arguments(rows=lambda p, q, t: t**2 * _kl(p, q))
def _p_to_q():
    """This is KL(P‖Q) alone. Both directions are added."""


@_OF_SYMMETRIC_KL.with_arguments(rows=lambda p, q, t: t**2 * _kl(q, p))
def _q_to_p():
    """This is KL(Q‖P) alone. Both directions are added."""


@_OF_SYMMETRIC_KL.with_arguments(factor=0.5)
def _halved():
    """This is half of it: the two directions are added, not averaged."""


_OF_HELLINGER = Changes(_SHARED)


@_OF_HELLINGER.with_arguments(factor=2)
def _distance_not_halved():
    """This is twice as much: the factor ½ is missing."""


@_OF_HELLINGER.with_arguments(rows=lambda p, q, t: np.sqrt(_hellinger(p, q, t)))
def _root_taken():
    """This is the distance. Its square is asked for: no root of the sum."""


@_OF_HELLINGER.with_arguments(rows=lambda p, q, t: np.sum((np.exp(p) - np.exp(q)) ** 2, axis=-1) / 2)
def _no_roots():
    """These are squared differences of the probabilities. Their roots are compared."""


VARIANTS = (
    _divergence_variant(
        "the Jensen–Shannon divergence",
        _jensen_shannon,
        _OF_JENSEN_SHANNON,
        formula=r"\ell(P, Q) = \tfrac{1}{2} KL(P \| M) + \tfrac{1}{2} KL(Q \| M), \qquad M = \tfrac{1}{2}(P + Q)",
        code="log_m = np.logaddexp(log_p, log_q) - np.log(2)\n"
        "rows = (np.exp(log_p) * (log_p - log_m) + np.exp(log_q) * (log_q - log_m)) / 2",
    ),
    _divergence_variant(
        "the symmetric KL divergence times the squared temperature",
        _both_directions,
        _OF_SYMMETRIC_KL,
        formula=r"\ell(P, Q) = \tau^2 \left( KL(P \| Q) + KL(Q \| P) \right)",
        code="rows = temperature**2 * (np.exp(log_p) - np.exp(log_q)) * (log_p - log_q)",
    ),
    _divergence_variant(
        "the squared Hellinger distance",
        _hellinger,
        _OF_HELLINGER,
        formula=r"\ell(P, Q) = \tfrac{1}{2} \sum_c \left( \sqrt{P_c} - \sqrt{Q_c} \right)^2",
        code="rows = (np.exp(log_p / 2) - np.exp(log_q / 2)) ** 2 / 2",
    ),
)
