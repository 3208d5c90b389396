"""Assignment a2, SMART: the trusted side. The notebook: notebooks/src/assignments/a2.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from course_lib.classroom.assignments.assignment import (
    AS_GIVEN,
    Assignment,
    Case,
    Measured,
    Mistake,
    Task,
    Variant,
    first_problem,
    shown_source,
)
from course_lib.classroom.checking.answers import as_numbers

# --- a2.ascend: an ascent step in another norm, for one batch with padding

Size = Callable[[np.ndarray, np.ndarray], np.ndarray]
Projection = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def _token_length(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.linalg.norm(values, axis=2, keepdims=True)


def _example_length(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.sqrt((values**2).sum(axis=(1, 2), keepdims=True))


def _root_mean_square(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    count = mask.sum(axis=1)[:, None, None] * values.shape[2]
    return _example_length(values, mask) / np.sqrt(count)


def _magnitudes(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.abs(values).sum(axis=(1, 2), keepdims=True)


def _largest(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.abs(values).max(axis=(1, 2), keepdims=True)


def _scaled(size: Size, moved: np.ndarray, mask: np.ndarray, epsilon: float) -> np.ndarray:
    return moved * np.minimum(1, epsilon / _nonzero(size(moved, mask)))


def _shrunk(moved: np.ndarray, mask: np.ndarray, epsilon: float) -> np.ndarray:
    """Give the nearest point whose magnitudes add up to ε at most, example by example."""
    magnitudes = np.abs(moved).reshape(len(moved), -1)
    ordered = -np.sort(-magnitudes, axis=1)
    excess = (np.cumsum(ordered, axis=1) - epsilon) / np.arange(1, magnitudes.shape[1] + 1)
    threshold = np.maximum(excess.max(axis=1), 0)[:, None, None]
    return np.sign(moved) * np.maximum(np.abs(moved) - threshold, 0)


def _nonzero(sizes: np.ndarray) -> np.ndarray:
    return np.where(sizes > 0, sizes, 1.0)


def _ascended(
    delta: np.ndarray,
    gradient: np.ndarray,
    mask: np.ndarray,
    step_size: float,
    epsilon: float,
    *,
    normalised: Callable[[np.ndarray, np.ndarray], np.ndarray],
    projected: Projection,
    sign: int = 1,
    padded: bool = True,
) -> np.ndarray:
    kept = np.asarray(mask)[:, :, None] if padded else 1
    delta, gradient = delta * kept, gradient * kept
    return projected(delta + sign * step_size * normalised(gradient, mask), mask, epsilon)


def _over(size: Size, gradient: np.ndarray, mask: np.ndarray, *, guarded: bool = True) -> np.ndarray:
    sizes = size(gradient, mask)
    with np.errstate(all="ignore"):
        return gradient / (_nonzero(sizes) if guarded else sizes)


def _step_alone(
    delta: np.ndarray,
    gradient: np.ndarray,
    mask: np.ndarray,
    step_size: float,
    epsilon: float,
    *,
    right: Callable[..., np.ndarray],
) -> np.ndarray:
    step = right(np.zeros_like(delta), gradient, mask, step_size, epsilon)
    return delta * np.asarray(mask)[:, :, None] + step


def _ascent_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    # ((examples, tokens, entries), real tokens, step size, radius, size of δ over the radius). The third stays
    # inside every ball.
    sizes: list[tuple[tuple[int, ...], list[int], float, float, float]] = [
        ((1, 1, 3), [1], 0.4, 0.5, 0.6),
        ((2, 3, 2), [3, 2], 2.0, 0.4, 0.6),
        ((2, 2, 4), [1, 2], 0.01, 5.0, 0.02),
        ((3, 4, 3), [4, 2, 3], 0.7, 0.9, 0.6),
        ((2, 3, 3), [3, 3], 1e-3, 1e-5, 0.6),
    ]
    cases = [_ascent_case(rng, *size) for size in sizes]
    # A gradient of zero is no direction: the last example of this batch stays where it is.
    cases[3].arguments["gradient"][-1] = 0
    return [*cases, _ascent_borders(rng), _ascent_padded_before(rng), _ascent_tiny(rng)]


def _ascent_borders(rng: np.random.Generator) -> Case:
    """Draw examples without a step: inside every ball, on the border of most, outside, and at 0; and a token without.

    Entries of one size, so that a sort of them has ties.
    """
    case = _ascent_case(rng, (5, 2, 2), [2, 1, 2, 2, 2], 0.5, 1.0, 0.3)
    delta, gradient = case.arguments["delta"], case.arguments["gradient"]
    delta[:4] = np.array([0.125, 1, 3, 0])[:, None, None] * np.array([[1.0, -1.0], [1.0, 1.0]])
    delta[1] = [[1.0, 0.0], [7.0, 7.0]]
    gradient[:4] = 0
    gradient[1, 1] = 5.0
    gradient[4, 0] = 0
    return case


def _ascent_padded_before(rng: np.random.Generator) -> Case:
    """Draw a batch with padding before and between its tokens."""
    case = _ascent_case(rng, (3, 4, 2), [4, 4, 4], 0.6, 0.7, 0.6)
    case.arguments["mask"][:] = [[0, 0, 1, 1], [1, 0, 1, 0], [0, 1, 0, 0]]
    return case


def _ascent_tiny(rng: np.random.Generator) -> Case:
    """Draw gradients whose size is nearly 0, but is not: they give a whole step."""
    case = _ascent_case(rng, (2, 2, 3), [2, 1], 0.4, 0.5, 0.6)
    case.arguments["gradient"][:] *= 1e-8
    return case


def _ascent_case(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    lengths: Sequence[int],
    step_size: float,
    epsilon: float,
    size: float,
) -> Case:
    mask = (np.arange(shape[1]) < np.array(lengths)[:, None]).astype(int)
    scales = rng.uniform(0.1, 5, (shape[0], 1, 1))
    return Case(
        {
            "delta": np.round(rng.normal(0, 1, shape), 2) * epsilon * size,
            "gradient": np.round(scales * rng.normal(0, 1, shape), 3),
            "mask": mask,
            "step_size": step_size,
            "epsilon": epsilon,
        }
    )


def _where_it_was(
    delta: np.ndarray,
    gradient: np.ndarray,
    mask: np.ndarray,
    step_size: float,
    epsilon: float,
    *,
    right: Callable[..., np.ndarray],
) -> np.ndarray:
    delta, gradient = (values * np.asarray(mask)[:, :, None] for values in (delta, gradient))
    moved = right(delta, gradient, mask, step_size, epsilon)
    return np.where((gradient == 0).all(axis=(1, 2), keepdims=True), delta, moved)


def _ascent_variant(
    name: str,
    size: Size,
    projected: Projection,
    texts: Mapping[str, str],
    *,
    other: Size,
    other_hint: str,
    further: Sequence[Mistake] = (),
) -> Variant:
    right = partial(_ascended, normalised=partial(_over, size), projected=projected)
    gradient, mask = np.array([[[3.0, 4.0], [9.0, 9.0]]]), np.array([[1, 0]])
    value = right(np.zeros_like(gradient), gradient, mask, 0.5, 10.0)
    texts = {**texts, "value": str(value.round(4).tolist())}
    return Variant(
        name,
        {f"ascend.{key}": text for key, text in texts.items()},
        right,
        (
            Mistake(
                "ε as a floor",
                "Epsilon is the radius of the ball. Added to a denominator, it leaves the perturbation about as "
                "large as 1, whatever epsilon is.",
                partial(right, projected=lambda v, mask, e: v / (size(v, mask) + e)),
            ),
            Mistake(
                "always to the border",
                "Everything is scaled to the border. What lies inside the ball stays where it is.",
                partial(right, projected=lambda v, mask, e: e * v / _nonzero(size(v, mask))),
            ),
            Mistake(
                "clipped",
                "The entries are clipped. That is the projection to the ball of the largest entry, not to this one.",
                partial(right, projected=lambda v, mask, e: np.clip(v, -e, e)),
            ),
            Mistake(
                "not projected",
                "The result can lie outside the ball: the projection is missing.",
                partial(right, projected=lambda v, mask, e: v),
            ),
            Mistake(
                "step alone projected",
                "Only the step is projected. It is the perturbation after the step that must lie in the ball.",
                partial(_step_alone, right=right),
            ),
            Mistake(
                "largest entry",
                "The gradient is divided by its largest entry. Here it is normalised in the norm of the ball.",
                partial(right, normalised=partial(_over, _largest)),
            ),
            Mistake(
                "not normalised",
                "The gradient is taken as it is, so its size decides how far the step goes. Normalise it first.",
                partial(right, normalised=lambda gradient, mask: gradient),
            ),
            Mistake(
                "downhill",
                "The step goes down. The perturbation looks for the largest change, so it goes up the gradient.",
                partial(right, sign=-1),
            ),
            Mistake(
                "padding moved",
                "Padding has a perturbation or a part in the norm. It is no token: set it to 0 first of all.",
                partial(right, padded=False),
            ),
            Mistake(
                "no direction",
                "Where a gradient is 0 this divides by 0. Without a direction there is no step.",
                partial(right, normalised=partial(_over, size, guarded=False)),
            ),
            Mistake(
                "left outside",
                "An example without a step is left where it was. It goes to the nearest point of the ball as well.",
                partial(_where_it_was, right=right),
            ),
            Mistake("other norm", other_hint, partial(right, normalised=partial(_over, other))),
            *further,
        ),
    )


def _over_everything(values: np.ndarray, mask: np.ndarray, *, size: Size) -> np.ndarray:
    """Give one size for the whole batch, as if it were one example."""
    one = values.reshape(1, -1, values.shape[2])
    return size(one, np.asarray(mask).reshape(1, -1))


def _mean_with_padding(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return _root_mean_square(values, np.ones_like(mask))


_WHOLE_BATCH = (
    "One size is taken for the whole batch. Each example has its own: it must not depend on the others."
)

ASCEND = Task(
    name="a2.ascend",
    title="An ascent step and its projection in another norm",
    marks=5,
    cases=_ascent_cases,
    variants=(
        _ascent_variant(
            "the length of each token",
            _token_length,
            partial(_scaled, _token_length),
            {
                "norm": r"$\|v\|_t = \sqrt{\sum_d v_{td}^2}$, **one length for each token**; the ball holds every "
                r"$\delta$ whose tokens all have a length of at most $\varepsilon$",
                "nearest": "A token that is too long is shortened to the length $\\varepsilon$ in its own direction. "
                "One that is not stays",
                "size": "size = np.linalg.norm(gradient, axis=2, keepdims=True)",
                "project": "length = np.linalg.norm(moved, axis=2, keepdims=True)\n"
                "return moved * np.minimum(1, epsilon / np.where(length > 0, length, 1))",
            },
            other=_example_length,
            other_hint="One length is taken for a whole example. Here each token has its own.",
        ),
        _ascent_variant(
            "the root mean square of each example",
            _root_mean_square,
            partial(_scaled, _root_mean_square),
            {
                "norm": r"$\|v\| = \sqrt{\frac{1}{n D} \sum_{td} v_{td}^2}$, where $n$ is the number of the "
                r"example's **real** tokens; the ball holds every $\delta$ with $\|\delta\| \le \varepsilon$",
                "nearest": "An example that is too large is scaled down to the norm $\\varepsilon$ as a whole. One "
                "that is not stays",
                "size": "count = mask.sum(1)[:, None, None] * delta.shape[2]\n"
                "size = np.sqrt((gradient**2).sum((1, 2), keepdims=True) / count)",
                "project": "size = np.sqrt((moved**2).sum((1, 2), keepdims=True) / count)\n"
                "return moved * np.minimum(1, epsilon / np.where(size > 0, size, 1))",
            },
            other=partial(_over_everything, size=_root_mean_square),
            other_hint=_WHOLE_BATCH,
            further=(
                Mistake(
                    "sum of squares",
                    "The squares are summed up. The mean over an example's entries is asked for.",
                    partial(
                        _ascended,
                        normalised=partial(_over, _example_length),
                        projected=partial(_scaled, _example_length),
                    ),
                ),
                Mistake(
                    "mean over padding",
                    "The mean counts padding too. An example's size must not depend on how far it is padded.",
                    partial(
                        _ascended,
                        normalised=partial(_over, _mean_with_padding),
                        projected=partial(_scaled, _mean_with_padding),
                    ),
                ),
            ),
        ),
        _ascent_variant(
            "the sum of magnitudes of each example",
            _magnitudes,
            _shrunk,
            {
                "norm": r"$\|v\| = \sum_{td} |v_{td}|$; the ball holds every $\delta$ with "
                r"$\|\delta\| \le \varepsilon$",
                "nearest": "An example that is not too large stays. In one that is, every magnitude becomes smaller "
                "by the same number $\\tau > 0$, but none falls below 0, and no entry changes its sign. $\\tau$ is "
                "such that the norm becomes $\\varepsilon$. To find it, sort the magnitudes. If the $k$ largest stay "
                "above 0, their sum less $k\\,\\tau$ is $\\varepsilon$",
                "size": "size = np.abs(gradient).sum((1, 2), keepdims=True)",
                "project": "ordered = -np.sort(-np.abs(moved).reshape(len(moved), -1), axis=1)\n"
                "excess = (np.cumsum(ordered, axis=1) - epsilon) / np.arange(1, ordered.shape[1] + 1)\n"
                "threshold = np.maximum(excess.max(axis=1), 0)[:, None, None]\n"
                "return np.sign(moved) * np.maximum(np.abs(moved) - threshold, 0)",
            },
            other=partial(_over_everything, size=_magnitudes),
            other_hint=_WHOLE_BATCH,
            further=(
                Mistake(
                    "scaled down",
                    "The example is scaled down as a whole. That lies in the ball, but it is not the nearest point.",
                    partial(
                        _ascended,
                        normalised=partial(_over, _magnitudes),
                        projected=partial(_scaled, _magnitudes),
                    ),
                ),
            ),
        ),
    ),
    hint="In this order: padding to 0, the gradient over its norm, the step, and the nearest point of the ball.",
)


# --- a2.divergence: another measure of how far two outputs are apart, at a temperature


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _kl(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    return np.sum(np.exp(log_p) * (log_p - log_q), axis=-1)


Rows = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def _jensen_shannon(log_p: np.ndarray, log_q: np.ndarray, temperature: float) -> np.ndarray:
    log_m = np.logaddexp(log_p, log_q) - np.log(2)
    return (_kl(log_p, log_m) + _kl(log_q, log_m)) / 2


def _one_half(log_p: np.ndarray, log_q: np.ndarray, temperature: float) -> np.ndarray:
    return _kl(log_p, np.logaddexp(log_p, log_q) - np.log(2))


def _to_geometric_mean(log_p: np.ndarray, log_q: np.ndarray, temperature: float) -> np.ndarray:
    log_m = _log_softmax((log_p + log_q) / 2)
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
    log_softmax: Callable[[np.ndarray], np.ndarray] = _log_softmax,
    factor: float = 1,
) -> float:
    log_p, log_q = (log_softmax(np.asarray(logits) / temperature) for logits in (logits_p, logits_q))
    return factor * float(np.mean(rows(log_p, log_q, temperature)))


def _overflowing(logits: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.log(np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True))


def _overflowed(logits_p: np.ndarray, logits_q: np.ndarray, temperature: float, *, rows: Rows) -> float:
    with np.errstate(all="ignore"):
        return _diverged(logits_p, logits_q, temperature, rows=rows, log_softmax=_overflowing)


def _divergence_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    cases = [
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
        cases.append(
            (np.round(rng.normal(0, 2, shape), 2), np.round(rng.normal(0, 2, shape), 2), temperature)
        )
    return [Case({"logits_p": p, "logits_q": q, "temperature": t}) for p, q, t in cases]


def _divergence_variant(
    name: str, rows: Rows, formula: str, code: str, factors: Sequence[Mistake], *, scaled: bool = False
) -> Variant:
    right = partial(_diverged, rows=rows)
    value = right(np.array([[1.0, 0.0, -1.0]]), np.array([[0.8, 0.1, -0.9]]), 2.0)
    texts = {"name": name, "formula": formula, "code": code, "value": f"{value:.6f}"}
    return Variant(
        name,
        {f"divergence.{key}": text for key, text in texts.items()},
        right,
        (
            Mistake(
                "summed over the batch",
                "The rows are summed up. Take their mean, or λ changes its meaning with the batch size.",
                lambda logits_p, logits_q, temperature: (
                    right(logits_p, logits_q, temperature) * len(logits_p)
                ),
            ),
            Mistake(
                "mean over classes",
                "The mean runs over the classes too. Sum over the classes, then take the mean over the rows.",
                lambda logits_p, logits_q, temperature: (
                    right(logits_p, logits_q, temperature) / np.shape(logits_p)[1]
                ),
            ),
            Mistake(
                "multiplied",
                "The logits are multiplied by the temperature. A higher temperature makes a distribution flatter.",
                lambda logits_p, logits_q, temperature: _diverged(
                    np.asarray(logits_p) * temperature**2,
                    np.asarray(logits_q) * temperature**2,
                    temperature,
                    rows=rows,
                ),
            ),
            Mistake(
                "temperature left out",
                "The temperature has no effect on the distributions.",
                lambda logits_p, logits_q, temperature: (
                    right(logits_p, logits_q, 1.0) * (temperature**2 if scaled else 1)
                ),
            ),
            Mistake(
                "overflow",
                "Right, but for large logits the exponential overflows: subtract each row's largest logit first, and "
                "stay with logarithms.",
                partial(_overflowed, rows=rows),
            ),
            *factors,
        ),
    )


DIVERGENCE = Task(
    name="a2.divergence",
    title="Another divergence, at a temperature",
    marks=4,
    cases=_divergence_cases,
    variants=(
        _divergence_variant(
            "the Jensen–Shannon divergence",
            _jensen_shannon,
            r"\ell(P, Q) = \tfrac{1}{2} KL(P \| M) + \tfrac{1}{2} KL(Q \| M), \qquad M = \tfrac{1}{2}(P + Q)",
            "log_m = np.logaddexp(log_p, log_q) - np.log(2)\n"
            "rows = (np.exp(log_p) * (log_p - log_m) + np.exp(log_q) * (log_q - log_m)) / 2",
            (
                Mistake(
                    "not halved",
                    "This is twice as much. Both halves enter with ½.",
                    partial(_diverged, rows=_jensen_shannon, factor=2),
                ),
                Mistake(
                    "bits",
                    "This is in bits. Take the natural logarithm: the answer is in nats.",
                    partial(_diverged, rows=_jensen_shannon, factor=1 / np.log(2)),
                ),
                Mistake(
                    "one half only",
                    "This is KL(P‖M) alone, so P and Q are not treated alike.",
                    partial(_diverged, rows=_one_half),
                ),
                Mistake(
                    "mean of logits",
                    "M is made of the means of logits. It is the mean of the two distributions.",
                    partial(_diverged, rows=_to_geometric_mean),
                ),
            ),
        ),
        _divergence_variant(
            "the symmetric KL divergence times the squared temperature",
            _both_directions,
            r"\ell(P, Q) = \tau^2 \left( KL(P \| Q) + KL(Q \| P) \right)",
            "rows = temperature**2 * (np.exp(log_p) - np.exp(log_q)) * (log_p - log_q)",
            (
                Mistake(
                    "not scaled back",
                    "The factor τ² is missing. Without it the gradient shrinks as the temperature grows.",
                    partial(_diverged, rows=lambda p, q, t: _kl(p, q) + _kl(q, p)),
                ),
                Mistake(
                    "scaled once",
                    "The factor is τ. It is its square.",
                    partial(_diverged, rows=lambda p, q, t: t * (_kl(p, q) + _kl(q, p))),
                ),
                Mistake(
                    "P to Q",
                    "This is KL(P‖Q) alone. Both directions are added.",
                    partial(_diverged, rows=lambda p, q, t: t**2 * _kl(p, q)),
                ),
                Mistake(
                    "Q to P",
                    "This is KL(Q‖P) alone. Both directions are added.",
                    partial(_diverged, rows=lambda p, q, t: t**2 * _kl(q, p)),
                ),
                Mistake(
                    "halved",
                    "This is half of it: the two directions are added, not averaged.",
                    partial(_diverged, rows=_both_directions, factor=0.5),
                ),
            ),
            scaled=True,
        ),
        _divergence_variant(
            "the squared Hellinger distance",
            _hellinger,
            r"\ell(P, Q) = \tfrac{1}{2} \sum_c \left( \sqrt{P_c} - \sqrt{Q_c} \right)^2",
            "rows = (np.exp(log_p / 2) - np.exp(log_q / 2)) ** 2 / 2",
            (
                Mistake(
                    "not halved",
                    "This is twice as much: the factor ½ is missing.",
                    partial(_diverged, rows=_hellinger, factor=2),
                ),
                Mistake(
                    "root taken",
                    "This is the distance. Its square is asked for: no root of the sum.",
                    partial(_diverged, rows=lambda p, q, t: np.sqrt(_hellinger(p, q, t))),
                ),
                Mistake(
                    "no roots",
                    "These are squared differences of the probabilities. Their roots are compared.",
                    partial(
                        _diverged, rows=lambda p, q, t: np.sum((np.exp(p) - np.exp(q)) ** 2, axis=-1) / 2
                    ),
                ),
            ),
        ),
    ),
    hint="Log-softmax of the logits over τ, along the classes; then one number a row; then the mean over rows.",
)


# --- a2.follow: a momentum anchor whose β has a schedule

Schedule = Callable[[float, float, float], float]
HALF_LIFE_NAME = "a half-life that grows evenly"


def _linear(first: float, last: float, share: float) -> float:
    return first + (last - first) * share


def _cosine(first: float, last: float, share: float) -> float:
    return float(last - (last - first) * (1 + np.cos(np.pi * share)) / 2)


def _half_life(first: float, last: float, share: float) -> float:
    return float(0.5 ** (1 / _linear(first, last, share)))


def _followed(
    weights: np.ndarray,
    first: float,
    last: float,
    *,
    schedule: Schedule,
    offset: int = 0,
    short: int = 0,
    newest: int = 1,
    start: float = 1,
    swapped: bool = False,
) -> dict[str, Any]:
    weights = np.asarray(weights, dtype=float)
    num_updates = len(weights) - 1
    anchors, share_left = [start * weights[0]], 1.0
    for update in range(num_updates):
        beta = schedule(first, last, (update + offset) / max(1, num_updates - short))
        beta = 1 - beta if swapped else beta
        anchors.append(beta * anchors[-1] + (1 - beta) * weights[update + newest])
        share_left *= beta
    return {"anchors": np.stack(anchors), "start_share": share_left}


def _without_first_anchor(weights: np.ndarray, first: float, last: float, *, right: Callable) -> Any:
    result = right(weights, first, last)
    return {**result, "anchors": result["anchors"][1:]}


def _newest_share(weights: np.ndarray, first: float, last: float, *, right: Callable) -> Any:
    result = right(weights, first, last)
    return {**result, "start_share": 1 - result["start_share"]}


def _last_beta_power(
    weights: np.ndarray, first: float, last: float, *, right: Callable, schedule: Schedule
) -> Any:
    num_updates = len(weights) - 1
    beta = schedule(first, last, (num_updates - 1) / num_updates)
    return {**right(weights, first, last), "start_share": beta**num_updates}


def _follow_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    lives = variant == HALF_LIFE_NAME
    first, last = (1.0, 3.0) if lives else (0.5, 0.9)
    cases = [Case({"weights": np.array([[0.0], [1.0], [2.0]]), "first": first, "last": last})]
    for num_updates, dimension in ((1, 2), (5, 3), (12, 2), (30, 1)):
        first, last = rng.uniform([0.5, 4], [2, 12]) if lives else rng.uniform([0.5, 0.9], [0.8, 0.99])
        cases.append(_follow_case(rng, num_updates, dimension, first, last))
    # A schedule that falls, one that stays, and one from an end of the range.
    borders = [(0.9, 0.4), (0.7, 0.7), (0.0, 1.0), (0.995, 0.999)]
    if lives:
        borders = [(3.0, 0.5), (2.0, 2.0), (0.1, 200.0), (100.0, 200.0)]
    return [*cases, *(_follow_case(rng, 4, 2, *border) for border in borders)]


def _follow_case(
    rng: np.random.Generator, num_updates: int, dimension: int, first: float, last: float
) -> Case:
    steps = np.round(rng.normal(0, 0.3, (num_updates + 1, dimension)), 2)
    return Case(
        {
            "weights": np.round(1 + np.cumsum(steps, axis=0), 2),
            "first": round(float(first), 3),
            "last": round(float(last), 3),
        }
    )


def _follow_variant(name: str, schedule: Schedule, rule: str, code: str, *further: Mistake) -> Variant:
    right = partial(_followed, schedule=schedule)
    first, last = (1.0, 3.0) if name == HALF_LIFE_NAME else (0.5, 0.9)
    share = right(np.array([[0.0], [1.0], [2.0]]), first, last)["start_share"]
    texts = {
        "name": name,
        "rule": rule,
        "code": code,
        "example": f"{first}, {last}",
        "value": f"{share:.4f}",
    }
    return Variant(
        name,
        {f"follow.{key}": text for key, text in texts.items()},
        right,
        (
            Mistake(
                "counted from one",
                "The schedule is one update ahead: the first update has t = 0.",
                partial(right, offset=1),
            ),
            Mistake(
                "one update too short",
                "The schedule reaches its end at the last update. The number of updates divides, not one less.",
                partial(right, short=1),
            ),
            Mistake(
                "constant, first",
                "The first value holds throughout. It changes with every update.",
                partial(right, schedule=lambda first, last, share: schedule(first, last, 0)),
            ),
            Mistake(
                "constant, last",
                "The last value holds throughout. It is only approached.",
                partial(right, schedule=lambda first, last, share: schedule(first, last, 1)),
            ),
            Mistake(
                "swapped",
                "The shares are swapped: β is the share of the old anchor that is kept.",
                partial(right, swapped=True),
            ),
            Mistake(
                "one update behind",
                "The anchor follows the weights from before the update. It takes in those from after it.",
                partial(right, newest=0),
            ),
            Mistake(
                "starts at zero",
                "The anchor starts at 0. It starts at the weights before training.",
                partial(right, start=0),
            ),
            Mistake(
                "start missing",
                "The anchor before the first update belongs to the anchors.",
                partial(_without_first_anchor, right=right),
            ),
            Mistake(
                "share of the trained",
                "The anchors are right. The share is that of the trained weights; the start's is asked for.",
                partial(_newest_share, right=right),
            ),
            Mistake(
                "one β to the power of all",
                "The anchors are right. The share of the start is taken as if one β had held throughout.",
                partial(_last_beta_power, right=right, schedule=schedule),
            ),
            *further,
        ),
    )


FOLLOW = Task(
    name="a2.follow",
    title="A momentum anchor whose β changes",
    marks=3,
    cases=_follow_cases,
    variants=(
        _follow_variant(
            "a β that grows evenly",
            _linear,
            r"\beta_t = a + (b - a)\,\frac{t}{T}",
            "beta = first + (last - first) * update / num_updates",
        ),
        _follow_variant(
            "a β that grows along a half cosine",
            _cosine,
            r"\beta_t = b - (b - a)\,\frac{1 + \cos(\pi t / T)}{2}",
            "beta = last - (last - first) * (1 + np.cos(np.pi * update / num_updates)) / 2",
            Mistake(
                "straight", "This β grows evenly, not along a cosine.", partial(_followed, schedule=_linear)
            ),
        ),
        _follow_variant(
            HALF_LIFE_NAME,
            _half_life,
            r"\beta_t = \left(\tfrac{1}{2}\right)^{1 / h_t}, \qquad h_t = a + (b - a)\,\frac{t}{T}",
            "beta = 0.5 ** (1 / (first + (last - first) * update / num_updates))",
            Mistake(
                "β evenly",
                "Here β grows evenly from one half-life's to the other's. The half-life itself does.",
                partial(
                    _followed,
                    schedule=lambda first, last, share: _linear(
                        _half_life(first, last, 0), _half_life(first, last, 1), share
                    ),
                ),
            ),
        ),
    ),
    hint="Write down β for each of three updates by hand. Then one update after the other, the start first.",
)


# --- a2.smoothness: find the bug. The given functions are shown as they stand, so their lines are short.


def _smooth_right(weight, x, noise, step_size, epsilon, num_steps):  # type: ignore[no-untyped-def]
    clean, delta = np.tanh(x @ weight), np.clip(noise, -epsilon, epsilon)
    for _ in range(num_steps):
        output = np.tanh((x + delta) @ weight)
        slope = (2 * (output - clean) * (1 - output**2))[:, None] * weight
        largest = np.abs(slope).max(axis=1, keepdims=True)
        step = step_size * slope / np.where(largest > 0, largest, 1)
        delta = np.clip(delta + step, -epsilon, epsilon)
    change = np.tanh((x + delta) @ weight) - clean
    gradient = (change * (1 - (change + clean) ** 2)) @ (x + delta)
    gradient = gradient - (change * (1 - clean**2)) @ x
    return {"value": np.mean(change**2), "gradient": 2 * gradient / len(x)}


def _smooth_unprojected(weight, x, noise, step_size, epsilon, num_steps):  # type: ignore[no-untyped-def]
    clean, delta = np.tanh(x @ weight), np.clip(noise, -epsilon, epsilon)
    for _ in range(num_steps):
        output = np.tanh((x + delta) @ weight)
        slope = (2 * (output - clean) * (1 - output**2))[:, None] * weight
        largest = np.abs(slope).max(axis=1, keepdims=True)
        step = step_size * slope / np.where(largest > 0, largest, 1)
        delta = delta + np.clip(step, -epsilon, epsilon)
    change = np.tanh((x + delta) @ weight) - clean
    gradient = (change * (1 - (change + clean) ** 2)) @ (x + delta)
    gradient = gradient - (change * (1 - clean**2)) @ x
    return {"value": np.mean(change**2), "gradient": 2 * gradient / len(x)}


def _smooth_floor(weight, x, noise, step_size, epsilon, num_steps):  # type: ignore[no-untyped-def]
    clean, delta = np.tanh(x @ weight), np.clip(noise, -epsilon, epsilon)
    for _ in range(num_steps):
        output = np.tanh((x + delta) @ weight)
        slope = (2 * (output - clean) * (1 - output**2))[:, None] * weight
        moved = delta + step_size * slope
        largest = np.abs(moved).max(axis=1, keepdims=True)
        delta = moved / (largest + epsilon)
    change = np.tanh((x + delta) @ weight) - clean
    gradient = (change * (1 - (change + clean) ** 2)) @ (x + delta)
    gradient = gradient - (change * (1 - clean**2)) @ x
    return {"value": np.mean(change**2), "gradient": 2 * gradient / len(x)}


def _smooth_one_side(weight, x, noise, step_size, epsilon, num_steps):  # type: ignore[no-untyped-def]
    clean, delta = np.tanh(x @ weight), np.clip(noise, -epsilon, epsilon)
    for _ in range(num_steps):
        output = np.tanh((x + delta) @ weight)
        slope = (2 * (output - clean) * (1 - output**2))[:, None] * weight
        largest = np.abs(slope).max(axis=1, keepdims=True)
        step = step_size * slope / np.where(largest > 0, largest, 1)
        delta = np.clip(delta + step, -epsilon, epsilon)
    change = np.tanh((x + delta) @ weight) - clean
    gradient = (change * (1 - (change + clean) ** 2)) @ (x + delta)
    return {"value": np.mean(change**2), "gradient": 2 * gradient / len(x)}


def _smooth_whole_batch(weight, x, noise, step_size, epsilon, num_steps):  # type: ignore[no-untyped-def]
    clean, delta = np.tanh(x @ weight), np.clip(noise, -epsilon, epsilon)
    for _ in range(num_steps):
        output = np.tanh((x + delta) @ weight)
        slope = (2 * (output - clean) * (1 - output**2))[:, None] * weight
        largest = np.abs(slope).max()
        step = step_size * slope / np.where(largest > 0, largest, 1)
        delta = np.clip(delta + step, -epsilon, epsilon)
    change = np.tanh((x + delta) @ weight) - clean
    gradient = (change * (1 - (change + clean) ** 2)) @ (x + delta)
    gradient = gradient - (change * (1 - clean**2)) @ x
    return {"value": np.mean(change**2), "gradient": 2 * gradient / len(x)}


def _smoothness_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    # (examples, entries, step size, radius, steps): steps that end inside the ball, and steps that leave it.
    sizes = [(1, 2, 0.4, 0.1, 1), (2, 3, 0.05, 0.3, 1), (4, 3, 0.3, 0.2, 3), (3, 5, 0.02, 0.1, 2)]
    # Large changes, and none but that of the noise.
    sizes += [(6, 4, 0.5, 1.5, 3), (2, 3, 0.1, 0.5, 0)]
    cases = [_smoothness_case(rng, *size) for size in sizes]
    # Noise on both sides of the ball, in each case.
    for case in cases:
        case.arguments["noise"][0, :2] = np.array([2.0, -1.5]) * case.arguments["epsilon"]
    return [*cases, _smoothness_borders(rng)]


def _smoothness_borders(rng: np.random.Generator) -> Case:
    """Draw examples without a slope, since nothing has moved them or the output is all but 1, and a weight of 0."""
    case = _smoothness_case(rng, 3, 3, 0.05, 0.2, 2)
    case.arguments["weight"][:] = [1.5, 0.0, -0.5]
    case.arguments["x"][1] = [40.0, 0.0, -40.0]
    case.arguments["noise"][0] = 0
    return case


def _smoothness_case(
    rng: np.random.Generator,
    num_examples: int,
    dimension: int,
    step_size: float,
    epsilon: float,
    num_steps: int,
) -> Case:
    return Case(
        {
            "weight": np.round(rng.normal(0, 1, dimension), 2),
            "x": np.round(rng.normal(0, 0.7, (num_examples, dimension)), 2),
            "noise": np.round(rng.normal(0, epsilon, (num_examples, dimension)), 3),
            "step_size": step_size,
            "epsilon": epsilon,
            "num_steps": num_steps,
        }
    )


def _smoothness_bug(name: str, function: Callable, hint: str, symptom: str) -> Variant:
    others = {
        "projection": (
            _smooth_unprojected,
            "It is δ after the step that must lie within ±ε, not the step alone.",
        ),
        "floor": (_smooth_floor, "ε is the radius of the ball, not a guard against division by zero."),
        "one side": (_smooth_one_side, "The gradient flows through both outputs, the clean one too."),
        "whole batch": (_smooth_whole_batch, "Each example's slope is divided by its own largest entry."),
    }
    mistakes = [
        Mistake(key, (AS_GIVEN + hint) if wrong is function else text, wrong)
        for key, (wrong, text) in others.items()
    ]
    texts = {"bug": shown_source(function, "smoothness_with_bug"), "symptom": symptom}
    return Variant(
        name, {f"smoothness.{key}": text for key, text in texts.items()}, _smooth_right, tuple(mistakes)
    )


SMOOTHNESS = Task(
    name="a2.smoothness",
    title="Find the bug in a smoothness regularizer",
    marks=4,
    cases=_smoothness_cases,
    variants=(
        _smoothness_bug(
            "the bug is in the ball",
            _smooth_unprojected,
            "Start from noise at +ε and take one step upwards. Where does δ end?",
            "with a few steps the value grows beyond what any perturbation within $\\pm\\varepsilon$ can reach",
        ),
        _smoothness_bug(
            "the bug is in the radius",
            _smooth_floor,
            "How large does δ become for ε = 0.1, and how large for ε = 0.00001?",
            "the value hardly changes when $\\varepsilon$ becomes a thousand times smaller",
        ),
        _smoothness_bug(
            "the bug is in the gradient",
            _smooth_one_side,
            "Move `weight` a little with δ held fixed, and compare what the value does with the gradient.",
            "the value is right, but the gradient is not that of the value",
        ),
        _smoothness_bug(
            "the bug is in the normalisation",
            _smooth_whole_batch,
            "Call it with one example, then with the same example and a second one.",
            "what an example contributes depends on which others are in its batch",
        ),
    ),
    hint="Take one example of two entries and follow δ by hand; then check the gradient by a small change of weight.",
)


# --- a2.train_smoothly: the open experiment

# Which features move with the class by how much, and how noisy they are: (number, shift, noise).
DATA: dict[str, tuple[tuple[int, float, float], ...]] = {
    "two clear features among thirty faint ones": ((2, 1.0, 0.9), (30, 0.12, 0.3)),
    "four fairly clear features among forty faint ones": ((4, 0.8, 1.0), (40, 0.1, 0.3)),
}
PENALTIES = (0, 0.05, 0.1, 0.2, 0.4)
# What the parts are worth.
SMOOTH_MARKS = {"worst-case accuracy": 2, "accuracy without a perturbation": 1, "models as reported": 1}
# How far below the judge's own model a share of right answers may lie.
WORST_SHORTFALL = 0.04
# How far down the training loss has to come with each penalty, as a share of the judge's own training.
LEAST_DESCENT = 0.6
# How near the directions of the control's weight and the most penalised may be, as a cosine. Above is one model
# twice, be it scaled.
MOST_ALIKE = 0.96

Model = tuple[np.ndarray, float]


def _smooth_training_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    return [case for epsilon in rng.uniform(0.2, 0.25, 2) for case in _training_pair(rng, variant, epsilon)]


def _training_pair(rng: np.random.Generator, variant: str, epsilon: float) -> list[Case]:
    """Draw two cases that differ in their validation examples alone, and in what is hidden."""
    shifts = _shifts(rng, variant)
    x_train, y_train = _classes(rng, *shifts, 200)
    cases = []
    for _ in range(2):
        x_validation, y_validation = _classes(rng, *shifts, 400)
        x_test, y_test = _classes(rng, *shifts, 2000)
        arguments = {
            "x_train": x_train,
            "y_train": y_train,
            "x_validation": x_validation,
            "y_validation": y_validation,
            "epsilon": round(float(epsilon), 3),
        }
        cases.append(Case(arguments, {"x_test": x_test, "y_test": y_test}))
    return cases


def _shifts(rng: np.random.Generator, variant: str) -> tuple[np.ndarray, np.ndarray]:
    """Draw each feature's shift and noise, in any order and of any sign, so that no weight is right beforehand."""
    numbers, shifts, noises = zip(*DATA[variant], strict=True)
    shift, noise = np.repeat(shifts, numbers), np.repeat(noises, numbers)
    shift = shift * rng.uniform(0.85, 1.15, len(shift)) * rng.choice([-1, 1], len(shift))
    order = rng.permutation(len(shift))
    return shift[order], noise[order]


def _classes(
    rng: np.random.Generator, shift: np.ndarray, noise: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.permutation(np.repeat([-1, 1], count // 2))
    return np.round(labels[:, None] * shift + rng.normal(0, 1, (count, len(shift))) * noise, 3), labels


def _right_share(model: Model, x: np.ndarray, y: np.ndarray, *, radius: float) -> float:
    """Give the share of examples that a linear model gets right whatever moves an entry by up to the radius."""
    weight, bias = model
    return float(np.mean(y * (x @ weight + bias) > radius * np.abs(weight).sum()))


def _validation_share(case: Case, model: Model) -> float:
    given = case.arguments
    return _right_share(model, given["x_validation"], given["y_validation"], radius=given["epsilon"])


def _training_loss(case: Case, model: Model, penalty: float) -> float:
    x, y, (weight, bias) = case.arguments["x_train"], case.arguments["y_train"], model
    smooth = (case.arguments["epsilon"] * np.abs(weight).sum()) ** 2
    return float(np.mean(np.logaddexp(0, -y * (x @ weight + bias))) + penalty * smooth)


def _trained(case: Case, penalty: float) -> Model:
    x, y, epsilon = (case.arguments[name] for name in ("x_train", "y_train", "epsilon"))
    weight, bias = np.zeros(x.shape[1]), 0.0
    for step in range(300):
        slope = -y / (1 + np.exp(y * (x @ weight + bias)))
        smooth = 2 * penalty * epsilon**2 * np.abs(weight).sum() * np.sign(weight)
        rate = 0.3 / (1 + step / 50)
        weight, bias = weight - rate * (slope @ x / len(x) + smooth), bias - rate * slope.mean()
    return weight, float(bias)


def _smooth_training_properties(cases: Sequence[Case], answers: Sequence[Any]) -> list[Measured]:
    answers = [_tidied(answer) for answer in answers]
    unusable = first_problem(map(_models_problem, cases, answers))
    if unusable:
        return [Measured(name, marks, False, unusable) for name, marks in SMOOTH_MARKS.items()]
    models = [{penalty: _model(answer, penalty) for penalty in PENALTIES} for answer in answers]
    own = [{penalty: _trained(case, penalty) for penalty in PENALTIES} for case in cases]
    chosen = [tried[answer["penalty"]] for tried, answer in zip(models, answers, strict=True)]
    robust, clean = (min(map(partial(_shortfall, worst), cases, chosen, own)) for worst in (True, False))
    # Without a training the accuracies are a matter of luck, so that they earn nothing.
    untrained = first_problem(map(_training_problem, cases, models, own))
    problem = (
        untrained
        or first_problem(map(_validation_problem, cases, answers, models))
        or first_problem(map(_blindness_problem, models[::2], models[1::2]))
    )
    return [
        Measured(
            "worst-case accuracy",
            SMOOTH_MARKS["worst-case accuracy"],
            not untrained and robust >= -WORST_SHORTFALL,
            untrained
            or f"on hidden examples at worst {robust:+.3f} against a smoothly trained model; "
            f"{-WORST_SHORTFALL} is allowed.",
        ),
        Measured(
            "accuracy without a perturbation",
            SMOOTH_MARKS["accuracy without a perturbation"],
            not untrained and clean >= -WORST_SHORTFALL,
            untrained
            or f"on hidden examples at worst {clean:+.3f} against the same model; {-WORST_SHORTFALL} is allowed.",
        ),
        Measured(
            "models as reported",
            SMOOTH_MARKS["models as reported"],
            not problem,
            problem
            or "each is trained with its penalty, they do on the validation examples what you report, and yours is "
            "the best.",
        ),
    ]


def _tidied(answer: Any) -> Any:
    """Give an answer whose penalties are those asked for, also where they came as numbers of half the precision."""
    if not isinstance(answer, Mapping):
        return answer
    parts = {
        key: {_penalty(name): value for name, value in part.items()} if isinstance(part, Mapping) else part
        for key, part in answer.items()
    }
    return {**parts, "penalty": _penalty(answer["penalty"])} if "penalty" in answer else parts


def _penalty(value: Any) -> Any:
    found = as_numbers(value)
    return round(float(found), 6) if found.shape == () else value


def _models_problem(case: Case, answer: Any) -> str:
    if not isinstance(answer, Mapping):
        return "the function returns no dictionary."
    missing = [key for key in ("models", "validation", "penalty") if key not in answer]
    if missing:
        return f'the key "{missing[0]}" is missing.'
    for key in ("models", "validation"):
        if not isinstance(answer[key], Mapping) or set(answer[key]) != set(PENALTIES):
            return f'the keys of "{key}" are not the penalties {", ".join(map(str, PENALTIES))}.'
    if answer["penalty"] not in PENALTIES:
        return '"penalty" is none of the penalties.'
    dimension = case.arguments["x_train"].shape[1]
    if not all(_is_model(answer["models"][penalty], dimension) for penalty in PENALTIES):
        return 'an entry of "models" is no pair of a weight of shape [D] and a number, all finite.'
    return ""


def _is_model(pair: Any, dimension: int) -> bool:
    try:
        weight, bias = (np.asarray(part, dtype=float) for part in pair)
    except (TypeError, ValueError):
        return False
    # Larger than any training ends in, and sums of them would overflow.
    return (
        weight.shape == (dimension,) and bias.size == 1 and bool(np.all(np.abs([*weight, bias.sum()]) < 1e9))
    )


def _model(answer: Mapping[str, Any], penalty: float) -> Model:
    weight, bias = answer["models"][penalty]
    return np.asarray(weight, dtype=float), float(np.sum(bias))


def _shortfall(worst: bool, case: Case, model: Model, own: Mapping[float, Model]) -> float:
    """Give a model's accuracy on the hidden examples, less that of the judge's best on the validation examples."""
    best = max(own.values(), key=partial(_validation_share, case))
    test = case.hidden["x_test"], case.hidden["y_test"]
    radius = case.arguments["epsilon"] if worst else 0.0
    return _right_share(model, *test, radius=radius) - _right_share(best, *test, radius=radius)


def _training_problem(case: Case, models: Mapping[float, Model], own: Mapping[float, Model]) -> str:
    """Compare each model's training loss with that of the judge's own training with the same penalty."""
    untrained = np.zeros(case.arguments["x_train"].shape[1]), 0.0
    for penalty, model in models.items():
        start, reached, plain = (
            _training_loss(case, one, penalty) for one in (untrained, model, own[penalty])
        )
        if not start - reached >= LEAST_DESCENT * (start - plain):
            return (
                f"with λ = {penalty} the training loss with its penalty is {reached:.3f}; a plain training comes from "
                f"{start:.3f} down to {plain:.3f}."
            )
    control, smoothest = models[PENALTIES[0]][0], models[PENALTIES[-1]][0]
    if control @ smoothest > MOST_ALIKE * np.linalg.norm(control) * np.linalg.norm(smoothest):
        return "the models without a penalty and with the largest are the same, but for their scale."
    return ""


def _validation_problem(case: Case, answer: Mapping[str, Any], models: Mapping[float, Model]) -> str:
    reported = answer["validation"]
    own = {penalty: _validation_share(case, model) for penalty, model in models.items()}
    # One example more or less is rounding.
    rounding = 1.5 / len(case.arguments["y_validation"])
    wrong = [penalty for penalty in PENALTIES if not abs(reported[penalty] - own[penalty]) <= rounding]
    if wrong:
        return f"the model with λ = {wrong[0]} has another worst-case accuracy on the validation examples."
    if own[answer["penalty"]] < max(own.values()) - rounding:
        return "another penalty's model is better on the validation examples than the one you chose."
    return ""


def _blindness_problem(models: Mapping[float, Model], others: Mapping[float, Model]) -> str:
    """Compare the models of two calls that differ in their validation examples alone."""
    same = all(
        np.allclose([*models[penalty][0], models[penalty][1]], [*others[penalty][0], others[penalty][1]])
        for penalty in PENALTIES
    )
    return "" if same else "two calls that differ in the validation examples alone gave other models."


TRAIN_SMOOTHLY = Task(
    name="a2.train_smoothly",
    title="Open experiment: a linear model that a small change does not mislead",
    marks=4,
    cases=_smooth_training_cases,
    variants=tuple(Variant(name, {"train_smoothly.data": name}) for name in DATA),
    hint="Train once for each penalty on the training examples, keep every model, and choose the one that does best "
    "on the validation examples in the worst case.",
    measure=_smooth_training_properties,
)

ASSIGNMENT = Assignment(
    name="a2",
    title="SMART",
    tasks=(ASCEND, DIVERGENCE, FOLLOW, SMOOTHNESS, TRAIN_SMOOTHLY),
    blocked=(
        "course_lib.smart.smoothness.project",
        "course_lib.smart.smoothness.normalise",
        "course_lib.smart.smoothness.SmoothnessRegularizer",
        "course_lib.smart.divergence.symmetric_kl",
        "course_lib.smart.proximal.beta_from_half_life",
    ),
)
