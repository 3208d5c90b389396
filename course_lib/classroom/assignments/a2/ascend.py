"""An ascent step in another norm, for one batch with padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from course_lib.classroom.assignments.assignment import Case, Mistake, Variant
from course_lib.classroom.assignments.building import Changes

TITLE = "An ascent step and its projection in another norm"
MARKS = 5
HINT = "In this order: padding to 0, the gradient over its norm, the step, and the nearest point of the ball."

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


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    # ((examples, tokens, entries), real tokens, step size, radius, size of δ over the radius). The third stays
    # inside every ball.
    sizes: list[tuple[tuple[int, ...], list[int], float, float, float]] = [
        ((1, 1, 3), [1], 0.4, 0.5, 0.6),
        ((2, 3, 2), [3, 2], 2.0, 0.4, 0.6),
        ((2, 2, 4), [1, 2], 0.01, 5.0, 0.02),
        ((3, 4, 3), [4, 2, 3], 0.7, 0.9, 0.6),
        ((2, 3, 3), [3, 3], 1e-3, 1e-5, 0.6),
    ]
    drawn = [_ascent_case(rng, *size) for size in sizes]
    # A gradient of zero is no direction: the last example of this batch stays where it is.
    drawn[3].arguments["gradient"][-1] = 0
    return [*drawn, _ascent_borders(rng), _ascent_padded_before(rng), _ascent_tiny(rng)]


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


_SHARED = Changes()


@_SHARED.with_arguments(projected=lambda v, mask, e: np.clip(v, -e, e))
def _clipped():
    """The entries are clipped. That is the projection to the ball of the largest entry, not to this one."""


@_SHARED.with_arguments(projected=lambda v, mask, e: v)
def _not_projected():
    """The result can lie outside the ball: the projection is missing."""


@_SHARED.add
def _step_alone_projected(right, delta, gradient, mask, step_size, epsilon):
    """Only the step is projected. It is the perturbation after the step that must lie in the ball."""
    step = right(np.zeros_like(delta), gradient, mask, step_size, epsilon)
    return delta * np.asarray(mask)[:, :, None] + step


@_SHARED.with_arguments(normalised=partial(_over, _largest))
def _largest_entry():
    """The gradient is divided by its largest entry. Here it is normalised in the norm of the ball."""


@_SHARED.with_arguments(normalised=lambda gradient, mask: gradient)
def _not_normalised():
    """The gradient is taken as it is, so its size decides how far the step goes. Normalise it first."""


@_SHARED.with_arguments(sign=-1)
def _downhill():
    """The step goes down. The perturbation looks for the largest change, so it goes up the gradient."""


@_SHARED.with_arguments(padded=False)
def _padding_moved():
    """Padding has a perturbation or a part in the norm. It is no token: set it to 0 first of all."""


@_SHARED.add
def _left_outside(right, delta, gradient, mask, step_size, epsilon):
    """An example without a step is left where it was. It goes to the nearest point of the ball as well."""
    delta, gradient = (values * np.asarray(mask)[:, :, None] for values in (delta, gradient))
    moved = right(delta, gradient, mask, step_size, epsilon)
    return np.where((gradient == 0).all(axis=(1, 2), keepdims=True), delta, moved)


def _size_of(right):
    """Give the norm of a form's ball."""
    return right.keywords["normalised"].args[0]


@_SHARED.add
def _ε_as_a_floor(right, **case):
    """Epsilon is the radius of the ball. Added to a denominator, it leaves the perturbation about as large as 1,
    whatever epsilon is."""
    size = _size_of(right)
    return right(**case, projected=lambda v, mask, e: v / (size(v, mask) + e))


@_SHARED.add
def _always_to_the_border(right, **case):
    """Everything is scaled to the border. What lies inside the ball stays where it is."""
    size = _size_of(right)
    return right(**case, projected=lambda v, mask, e: e * v / _nonzero(size(v, mask)))


@_SHARED.add
def _no_direction(right, **case):
    """Where a gradient is 0 this divides by 0. Without a direction there is no step."""
    return right(**case, normalised=partial(_over, _size_of(right), guarded=False))


def _ascent_variant(
    name: str, size: Size, projected: Projection, changes: Changes, other: Size, hint: str, /, **texts: str
) -> Variant:
    right = partial(_ascended, normalised=partial(_over, size), projected=projected)
    gradient, mask = np.array([[[3.0, 4.0], [9.0, 9.0]]]), np.array([[1, 0]])
    texts["value"] = str(right(np.zeros_like(gradient), gradient, mask, 0.5, 10.0).round(4).tolist())
    other_norm = Mistake("other norm", hint, partial(right, normalised=partial(_over, other)))
    return Variant(name, texts, right, [*changes.of(right), other_norm])


def _over_everything(values: np.ndarray, mask: np.ndarray, *, size: Size) -> np.ndarray:
    """Give one size for the whole batch, as if it were one example."""
    one = values.reshape(1, -1, values.shape[2])
    return size(one, np.asarray(mask).reshape(1, -1))


def _mean_with_padding(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return _root_mean_square(values, np.ones_like(mask))


_WHOLE_BATCH = (
    "One size is taken for the whole batch. Each example has its own: it must not depend on the others."
)

_OF_ROOT_MEAN_SQUARE = Changes(_SHARED)


@_OF_ROOT_MEAN_SQUARE.with_arguments(
    normalised=partial(_over, _example_length), projected=partial(_scaled, _example_length)
)
def _sum_of_squares():
    """The squares are summed up. The mean over an example's entries is asked for."""


@_OF_ROOT_MEAN_SQUARE.with_arguments(
    normalised=partial(_over, _mean_with_padding), projected=partial(_scaled, _mean_with_padding)
)
def _mean_over_padding():
    """The mean counts padding too. An example's size must not depend on how far it is padded."""


_OF_MAGNITUDES = Changes(_SHARED)


@_OF_MAGNITUDES.with_arguments(
    normalised=partial(_over, _magnitudes), projected=partial(_scaled, _magnitudes)
)
def _scaled_down():
    """The example is scaled down as a whole. That lies in the ball, but it is not the nearest point."""


VARIANTS = (
    _ascent_variant(
        "the length of each token",
        _token_length,
        partial(_scaled, _token_length),
        _SHARED,
        _example_length,
        "One length is taken for a whole example. Here each token has its own.",
        norm=r"$\|v\|_t = \sqrt{\sum_d v_{td}^2}$, **one length for each token**; the ball holds every "
        r"$\delta$ whose tokens all have a length of at most $\varepsilon$",
        nearest="A token that is too long is shortened to the length $\\varepsilon$ in its own direction. "
        "One that is not stays",
        size="size = np.linalg.norm(gradient, axis=2, keepdims=True)",
        project="length = np.linalg.norm(moved, axis=2, keepdims=True)\n"
        "return moved * np.minimum(1, epsilon / np.where(length > 0, length, 1))",
    ),
    _ascent_variant(
        "the root mean square of each example",
        _root_mean_square,
        partial(_scaled, _root_mean_square),
        _OF_ROOT_MEAN_SQUARE,
        partial(_over_everything, size=_root_mean_square),
        _WHOLE_BATCH,
        norm=r"$\|v\| = \sqrt{\frac{1}{n D} \sum_{td} v_{td}^2}$, where $n$ is the number of the "
        r"example's **real** tokens; the ball holds every $\delta$ with $\|\delta\| \le \varepsilon$",
        nearest="An example that is too large is scaled down to the norm $\\varepsilon$ as a whole. One "
        "that is not stays",
        size="count = mask.sum(1)[:, None, None] * delta.shape[2]\n"
        "size = np.sqrt((gradient**2).sum((1, 2), keepdims=True) / count)",
        project="size = np.sqrt((moved**2).sum((1, 2), keepdims=True) / count)\n"
        "return moved * np.minimum(1, epsilon / np.where(size > 0, size, 1))",
    ),
    _ascent_variant(
        "the sum of magnitudes of each example",
        _magnitudes,
        _shrunk,
        _OF_MAGNITUDES,
        partial(_over_everything, size=_magnitudes),
        _WHOLE_BATCH,
        norm=r"$\|v\| = \sum_{td} |v_{td}|$; the ball holds every $\delta$ with "
        r"$\|\delta\| \le \varepsilon$",
        nearest="An example that is not too large stays. In one that is, every magnitude becomes smaller "
        "by the same number $\\tau > 0$, but none falls below 0, and no entry changes its sign. $\\tau$ is "
        "such that the norm becomes $\\varepsilon$. To find it, sort the magnitudes. If the $k$ largest stay "
        "above 0, their sum less $k\\,\\tau$ is $\\varepsilon$",
        size="size = np.abs(gradient).sum((1, 2), keepdims=True)",
        project="ordered = -np.sort(-np.abs(moved).reshape(len(moved), -1), axis=1)\n"
        "excess = (np.cumsum(ordered, axis=1) - epsilon) / np.arange(1, ordered.shape[1] + 1)\n"
        "threshold = np.maximum(excess.max(axis=1), 0)[:, None, None]\n"
        "return np.sign(moved) * np.maximum(np.abs(moved) - threshold, 0)",
    ),
)
