"""Exercises of lesson 04, Proximal point and full SMART."""

from __future__ import annotations

import numpy as np

from course_lib.classroom.exercises.framework import Inputs, answer_exercise, exercise


def proximal_step(anchor: np.ndarray, optimum: np.ndarray, curvatures: np.ndarray, mu: float) -> np.ndarray:
    """Give the point that makes a quadratic loss plus a leash to the anchor smallest.

    Args:
        anchor: array of shape (D,).
        optimum: array of shape (D,), where the loss alone is smallest.
        curvatures: array of shape (D,), the loss's second derivatives, all positive.
        mu: weight of the leash.

    Returns:
        Array of shape (D,): the minimum of ½ Σ c (θ - optimum)² + ½ μ Σ (θ - anchor)².
    """
    return (curvatures * optimum + mu * anchor) / (curvatures + mu)


def momentum_anchor(weights: np.ndarray, beta: float) -> np.ndarray:
    """Follow training weights with a momentum anchor.

    Args:
        weights: array of shape (T + 1, D), the weights before training and after each of T updates.
        beta: share of the old anchor that each update keeps.

    Returns:
        Array of shape (D,): the anchor after the T updates.
    """
    anchor = weights[0]
    for current in weights[1:]:
        anchor = (1 - beta) * current + beta * anchor
    return anchor


def weight_left(beta: float, late_beta: float, num_early: int, num_updates: int) -> float:
    """Give the weight that the untrained start still has in the anchor.

    Args:
        beta: β of the first updates.
        late_beta: β of the later updates.
        num_early: how many updates `beta` holds for.
        num_updates: how many updates there were.

    Returns:
        A share from 0 to 1.
    """
    early = min(num_early, num_updates)
    return beta**early * late_beta ** (num_updates - early)


def expected_calibration_error(confidence: np.ndarray, is_right: np.ndarray, num_bins: int) -> float:
    """Give how far confidence lies from accuracy, over bins of equal width.

    Args:
        confidence: array of shape (n,), the probability of each predicted label.
        is_right: whole numbers of shape (n,), 1 where the prediction is right and 0 where it is not.
        num_bins: number of bins from 0 to 1.

    Returns:
        The mean of |accuracy - mean confidence| over the bins, weighted by their examples.
    """
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    gaps = [abs(np.sum((is_right - confidence)[bins == k])) for k in range(num_bins)]
    return float(np.sum(gaps) / len(confidence))


# --- 04.proximal_step


@exercise(
    "04.proximal_step",
    proximal_step,
    hint="Set the derivative c (θ - optimum) + μ (θ - anchor) to zero, axis by axis, and solve for θ.",
)
def _proximal_step(rng: np.random.Generator) -> Inputs:
    """Return the θ where ½ Σ c (θ - optimum)² + ½ μ Σ (θ - anchor)² is smallest."""
    return [
        (np.array([1.2]), np.array([0.0]), np.array([1.0]), 2.0),
        (np.array([-2.5, 1.5]), np.array([0.0, 0.0]), np.array([1.0, 10.0]), 5.0),
        (
            np.round(rng.normal(0, 2, 3), 1),
            np.round(rng.normal(0, 2, 3), 1),
            np.round(rng.uniform(0.5, 4, 3), 1),
            0.5,
        ),
        (np.array([3.0, 1.0]), np.array([1.0, -1.0]), np.array([2.0, 0.5]), 1e6),  # a very short leash
    ]


@_proximal_step.mistakes.add
def _weights_swapped(anchor, optimum, curvatures, mu):
    """The optimum and the anchor have each other's weights: the loss pulls with c, the leash with μ."""
    return (mu * optimum + curvatures * anchor) / (curvatures + mu)


@_proximal_step.mistakes.add
def _no_leash(anchor, optimum, curvatures, mu):
    """This is where the loss alone is smallest. The leash holds the point near the anchor."""
    return optimum + 0 * anchor


@_proximal_step.mistakes.add
def _gradient_step(anchor, optimum, curvatures, mu):
    """This is one gradient step with step size 1/μ from the anchor, and it can step over the optimum. Solve for
    the minimum instead."""
    return anchor - curvatures * (anchor - optimum) / mu


@_proximal_step.mistakes.add
def _leash_without_a_half(anchor, optimum, curvatures, mu):
    """The leash pulls twice as hard as it should: it is ½ μ times the squared distance."""
    return proximal_step(anchor, optimum, curvatures, 2 * mu)


@_proximal_step.mistakes.add
def _curvatures_averaged(anchor, optimum, curvatures, mu):
    """All axes move by the same share. Each axis has a curvature of its own."""
    return proximal_step(anchor, optimum, np.full_like(curvatures, np.mean(curvatures)), mu)


# --- 04.momentum_anchor


@exercise(
    "04.momentum_anchor",
    momentum_anchor,
    hint="Start with a copy of weights[0]. For each later row: anchor = (1 - beta) * row + beta * anchor.",
)
def _momentum_anchor(rng: np.random.Generator) -> Inputs:
    """Return the anchor after all updates: it starts at weights[0], and each update keeps β of it."""
    return [
        (np.array([[0.0], [1.0], [2.0]]), 0.9),
        (np.arange(11.0).reshape(-1, 1), 0.99),
        (np.array([[2.0, -1.0]]), 0.9),  # no update: the start
        (np.round(rng.normal(0, 1, (5, 3)), 1), 0.5),
        (np.round(rng.normal(0, 1, (8, 2)), 1), 0.8),
    ]


@_momentum_anchor.mistakes.add
def _teacher_by_reference(weights, beta):
    """The anchor equals the newest weights, as a teacher does that was stored by reference and not copied: then
    D_Breg is 0 for ever."""
    return weights[-1]


@_momentum_anchor.mistakes.add
def _teacher_never_updated(weights, beta):
    """The anchor still stands where it started. Move it a little with every update."""
    return weights[0]


@_momentum_anchor.mistakes.add
def _β_and_one_minus_β_swapped(weights, beta):
    """The shares are swapped: β is the share of the old anchor that is kept."""
    return momentum_anchor(weights, 1 - beta)


@_momentum_anchor.mistakes.add
def _starts_at_zero(weights, beta):
    """The anchor starts at 0. It starts at the weights before training."""
    return momentum_anchor(np.concatenate([0 * weights[:1], weights[1:]]), beta)


@_momentum_anchor.mistakes.add
def _plain_average(weights, beta):
    """This is the plain mean of all weights. With momentum older weights count less and less."""
    return np.mean(weights, axis=0)


@_momentum_anchor.mistakes.add
def _last_update_left_out(weights, beta):
    """The newest weights are missing. The anchor moves after every update, the last one too."""
    return momentum_anchor(weights[:-1], beta)


# --- 04.weight_left


@exercise(
    "04.weight_left",
    weight_left,
    tolerance=1e-6,
    hint="Each update multiplies the share of the start by the β that holds then. How many updates have which β?",
)
def _weight_left(rng: np.random.Generator) -> Inputs:
    """Return the share of the anchor that is still the untrained start after num_updates updates, from 0 to 1."""
    return [
        (0.5, 0.9, 1, 3),
        (0.99, 0.999, 15, 150),  # the published values on a run of 150 updates: about three quarters
        (0.9, 0.99, 10, 4),  # stopped early
        (0.9, 0.99, 5, 5),  # stopped just there
        (0.9, 0.99, 0, 4),  # nothing early
        (0.9, 0.99, 3, 0),  # no update
        (round(float(rng.uniform(0.8, 0.95)), 2), 0.98, int(rng.integers(2, 6)), int(rng.integers(10, 30))),
    ]


@_weight_left.mistakes.add
def _early_β_throughout(beta, late_beta, num_early, num_updates):
    """The first β is used for all updates. After num_early of them late_beta holds."""
    return beta**num_updates


@_weight_left.mistakes.add
def _late_β_throughout(beta, late_beta, num_early, num_updates):
    """late_beta is used for all updates. For the first num_early of them beta holds."""
    return late_beta**num_updates


@_weight_left.mistakes.add
def _early_updates_counted_twice(beta, late_beta, num_early, num_updates):
    """num_early of the updates are counted twice: late_beta holds for the rest only."""
    return beta ** min(num_early, num_updates) * late_beta**num_updates


@_weight_left.mistakes.add
def _what_is_new(beta, late_beta, num_early, num_updates):
    """This is the share of the trained weights. The question is for the share of the start."""
    return 1 - weight_left(beta, late_beta, num_early, num_updates)


@_weight_left.mistakes.add
def _run_shorter_than_the_early_part(beta, late_beta, num_early, num_updates):
    """With fewer updates than num_early, only as many count as there were."""
    return beta**num_early * late_beta ** max(0, num_updates - num_early)


# --- 04.expected_calibration_error


@exercise(
    "04.expected_calibration_error",
    expected_calibration_error,
    hint="Put each example into bin int(confidence * num_bins), a confidence of 1 into the last. In each bin take "
    "|mean of is_right - mean of confidence| times its number of examples; sum up and divide by n.",
)
def _expected_calibration_error(rng: np.random.Generator) -> Inputs:
    """Return the mean over bins of |accuracy - mean confidence|, each bin weighted by its examples; an edge
    belongs to the bin above it, and 1.0 to the last bin."""
    return [
        (np.array([0.9, 0.9, 0.6, 0.6]), np.array([1, 0, 1, 1]), 10),
        # just at the edges of bins, each with another share of right answers
        (np.array([0.5, 0.5, 0.75, 0.7, 0.3, 1.0]), np.array([1, 1, 0, 1, 0, 1]), 4),
        (np.array([1.0, 1.0, 0.55]), np.array([1, 0, 1]), 10),
        (
            # odd hundredths, never at an edge: 0.6 * 5 is 3, and the third edge of np.linspace lies above 0.6
            (2 * rng.integers(25, 50, 8) + 1) / 100,
            rng.integers(0, 2, 8),
            5,
        ),
        (np.round(rng.uniform(0.3, 1.0, 12), 2), np.array([1, 0] * 6), 4),
        # the ends, each with another in its bin
        (np.array([1.0, 0.8, 0.0, 0.1]), np.array([0, 1, 1, 0]), 4),
    ]


def _per_bin(
    confidence: np.ndarray, is_right: np.ndarray, num_bins: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Give confidence and rightness of each bin that has examples."""
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    return [(confidence[bins == k], is_right[bins == k]) for k in np.unique(bins)]


@_expected_calibration_error.mistakes.add
def _one_bin(confidence, is_right, num_bins):
    """All examples are in one bin, so too sure and not sure enough cancel out. Take the gap bin by bin."""
    return abs(np.mean(is_right) - np.mean(confidence))


@_expected_calibration_error.mistakes.add
def _bins_not_weighted(confidence, is_right, num_bins):
    """Every bin counts the same. Weight each by its share of the examples."""
    return np.mean(
        [abs(np.mean(right) - np.mean(sure)) for sure, right in _per_bin(confidence, is_right, num_bins)]
    )


@_expected_calibration_error.mistakes.add
def _example_by_example(confidence, is_right, num_bins):
    """The gap is taken for each example. Average inside a bin first: one example is right or wrong, and only a
    bin has an accuracy."""
    return np.mean(np.abs(is_right - confidence))


@_expected_calibration_error.mistakes.add
def _largest_bin_gap(confidence, is_right, num_bins):
    """This is the largest gap of any bin, another measure. Take the weighted mean."""
    return max(
        abs(np.mean(right) - np.mean(sure)) for sure, right in _per_bin(confidence, is_right, num_bins)
    )


# --- 04.useless_refresh

_USELESS_REFRESH = answer_exercise(
    name="04.useless_refresh",
    task="Without momentum the anchor is refreshed every S updates. For which S is D_Breg zero in every step?",
    expected=1,
    hint="The term compares the model with the anchor before the step. When are both the same in every step?",
    mistakes={
        0: "An anchor cannot be refreshed every 0 updates. The smallest S is 1.",
        2: "With S = 2 every second step compares the model with weights that are one update old: not zero.",
        "inf": "An anchor that is never refreshed stays at θ₀, and the model moves away from it.",
        "all": "With a larger S the model has moved on when the term is taken. Only one S makes it zero.",
    },
)
