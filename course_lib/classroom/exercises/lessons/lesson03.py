"""Exercises of lesson 03, Smoothness-inducing regularization."""

from __future__ import annotations

import numpy as np

from course_lib.classroom.exercises.framework import Inputs, exercise


def symmetric_kl(logits_p: np.ndarray, logits_q: np.ndarray) -> float:
    """Give KL(P‖Q) + KL(Q‖P), mean over the batch.

    Args:
        logits_p: array of shape (B, C).
        logits_q: array of shape (B, C).

    Returns:
        The divergence in nats.
    """
    return float(np.mean(_kl(logits_p, logits_q) + _kl(logits_q, logits_p)))


def project(delta: np.ndarray, epsilon: float) -> np.ndarray:
    """Move a perturbation to the nearest point with no entry beyond ±ε.

    Args:
        delta: array of shape (T, D).
        epsilon: the radius.

    Returns:
        Array of shape (T, D).
    """
    return np.clip(delta, -epsilon, epsilon)


def ascent_step(delta: np.ndarray, gradient: np.ndarray, step_size: float, epsilon: float) -> np.ndarray:
    """Take one step up the normalised gradient, and project.

    Args:
        delta: array of shape (T, D), where the step starts.
        gradient: array of shape (T, D), of the change of the output.
        step_size: length of the step in the largest entry.
        epsilon: the radius.

    Returns:
        Array of shape (T, D).
    """
    return project(delta + step_size * gradient / np.max(np.abs(gradient)), epsilon)


def smoothness_gradient(weight: np.ndarray, embeddings: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Give the gradient of R_s with respect to the weight of a linear model.

    Args:
        weight: array of shape (D,); the model is f(x) = x · weight.
        embeddings: array of shape (B, D), the clean inputs x.
        delta: array of shape (B, D), their perturbations, held fixed.

    Returns:
        Array of shape (D,): the gradient of mean (f(x + δ) - f(x))², through both terms.
    """
    return 2 * np.mean((delta @ weight)[:, None] * delta, axis=0)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _kl(logits_p: np.ndarray, logits_q: np.ndarray) -> np.ndarray:
    log_p, log_q = _log_softmax(logits_p), _log_softmax(logits_q)
    return np.sum(np.exp(log_p) * (log_p - log_q), axis=-1)


# --- 03.symmetric_kl


@exercise(
    "03.symmetric_kl",
    symmetric_kl,
    hint="Take the log-softmax of both over the last axis. KL(P‖Q) of a row is the sum of p (log p - log q). "
    "Add both directions, then take the mean over the rows.",
)
def _symmetric_kl(rng: np.random.Generator) -> Inputs:
    """Return KL(P‖Q) + KL(Q‖P) of the distributions behind two arrays of logits, in nats, mean over the batch."""
    return [
        # the worked value of the lesson: 0.0349
        (np.array([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]]), np.array([[0.8, 0.1, -0.9], [0.2, 0.7, 0.1]])),
        (np.round(rng.normal(0, 2, (4, 3)), 1), np.round(rng.normal(0, 2, (4, 3)), 1)),
        (np.array([[100.0, -100.0]]), np.array([[90.0, -90.0]])),  # exp of these overflows if done plainly
        (np.array([[1000.0, 0.0, 1000.0]]), np.array([[1000.0, 0.0, 999.0]])),  # and of these in any case
        (np.array([[1000.0, 0.0]]), np.array([[0.0, 1000.0]])),  # each is sure of what the other excludes
        (np.ones((2, 2)), np.ones((2, 2))),  # equal: 0
    ]


@_symmetric_kl.mistakes.add
def _one_direction_p_first(logits_p, logits_q):
    """This is KL(P‖Q) alone. Add KL(Q‖P), so that neither side is the measure of the other."""
    return np.mean(_kl(logits_p, logits_q))


@_symmetric_kl.mistakes.add
def _one_direction_q_first(logits_p, logits_q):
    """This is KL(Q‖P) alone, the other direction. SMART adds both."""
    return np.mean(_kl(logits_q, logits_p))


@_symmetric_kl.mistakes.add
def _summed_over_the_batch(logits_p, logits_q):
    """The rows are summed up. Take their mean, or λ changes its meaning with the batch size."""
    return np.sum(_kl(logits_p, logits_q) + _kl(logits_q, logits_p))


@_symmetric_kl.mistakes.add
def _halved(logits_p, logits_q):
    """This is half of it. The two directions are added, not averaged."""
    return symmetric_kl(logits_p, logits_q) / 2


@_symmetric_kl.mistakes.add
def _mean_over_classes_too(logits_p, logits_q):
    """The mean runs over the classes too. Sum over the classes, then take the mean over the rows."""
    return symmetric_kl(logits_p, logits_q) / logits_p.shape[-1]


@_symmetric_kl.mistakes.add
def _mixed_reductions(logits_p, logits_q):
    """One direction is summed over the batch and the other averaged. Use the mean for both."""
    return np.sum(_kl(logits_p, logits_q)) + np.mean(_kl(logits_q, logits_p))


# --- 03.project


@exercise(
    "03.project",
    project,
    tolerance=1e-9,
    hint="Each entry on its own: where it is beyond ±epsilon it moves to ±epsilon, else it stays.",
)
def _project(rng: np.random.Generator) -> Inputs:
    """Return the nearest perturbation whose largest absolute entry is at most epsilon."""
    return [
        (np.array([[0.5, -2.0], [0.1, 0.0]]), 1.0),
        (np.round(rng.normal(0, 1, (3, 4)), 2), 0.5),
        (np.array([[0.2, -0.1]]), 1.0),  # inside: stays where it is
        (np.round(rng.normal(0, 3, (2, 3)), 1), 1e-5),
    ]


@_project.mistakes.add
def _ε_as_a_floor(delta, epsilon):
    """Dividing by the norm plus epsilon makes the largest entry nearly 1, whatever epsilon is. Epsilon is the
    radius, not a guard against division by zero."""
    return delta / (np.max(np.abs(delta)) + epsilon)


@_project.mistakes.add
def _always_scaled_to_the_border(delta, epsilon):
    """Everything is scaled to the border. What is inside the ball stays where it is."""
    return epsilon * delta / np.max(np.abs(delta))


@_project.mistakes.add
def _scaled_as_a_whole(delta, epsilon):
    """All entries shrink together. The nearest point of this ball is found entry by entry."""
    return delta * min(1.0, epsilon / np.max(np.abs(delta)))


@_project.mistakes.add
def _upper_side_only(delta, epsilon):
    """Only the upper side is bounded. An entry must not fall below -epsilon either."""
    return np.minimum(delta, epsilon)


@_project.mistakes.add
def _sign_only(delta, epsilon):
    """Every entry goes to the border. What is inside the ball stays where it is."""
    return epsilon * np.sign(delta)


# --- 03.ascent_step


@exercise(
    "03.ascent_step",
    ascent_step,
    hint="Three things in this order: divide the gradient by its largest absolute entry, add step_size times "
    "that to delta, clip to ±epsilon.",
)
def _ascent_step(rng: np.random.Generator) -> Inputs:
    """Step from delta up the gradient, divided by its largest absolute entry, and project to the ε-ball."""
    return [
        (np.array([[0.1, -0.1]]), np.array([[2.0, -0.5]]), 0.3, 1.0),
        (np.array([[0.1, -0.1]]), np.array([[0.5, -2.0]]), 0.3, 1.0),  # the largest entry is negative
        (np.array([[0.0, 0.1]]), np.array([[-1.0, -4.0]]), 0.3, 1.0),  # every entry is
        (np.array([[0.5, 0.2], [-0.4, 0.0]]), np.array([[4.0, 1.0], [-2.0, 0.4]]), 1.0, 0.6),
        # the largest entry is a negative one, and alone so
        (np.array([[0.1, 0.0]]), np.array([[-4.0, 1.0]]), 0.2, 1.0),
        (np.round(rng.normal(0, 0.1, (3, 2)), 2), np.round(rng.normal(0, 5, (3, 2)), 1), 0.5, 0.3),
        (np.round(rng.normal(0, 0.3, (2, 4)), 2), np.round(rng.normal(0, 0.01, (2, 4)), 4) + 1e-4, 0.2, 0.4),
    ]


@_ascent_step.mistakes.add
def _descent(delta, gradient, step_size, epsilon):
    """The step goes down. R_s looks for the worst perturbation, so it goes up the gradient."""
    return ascent_step(delta, gradient, -step_size, epsilon)


@_ascent_step.mistakes.add
def _not_normalised(delta, gradient, step_size, epsilon):
    """The gradient is used as it is. Divide it by its largest absolute entry, or the step length depends on how
    sure the model is."""
    return project(delta + step_size * gradient, epsilon)


@_ascent_step.mistakes.add
def _not_projected(delta, gradient, step_size, epsilon):
    """The step leaves the ball. Project after it."""
    return delta + step_size * gradient / np.max(np.abs(gradient))


@_ascent_step.mistakes.add
def _start_forgotten(delta, gradient, step_size, epsilon):
    """The step starts at 0. It starts at delta."""
    return ascent_step(0 * delta, gradient, step_size, epsilon)


@_ascent_step.mistakes.add
def _absolute_value_forgotten(delta, gradient, step_size, epsilon):
    """The gradient is divided by its largest entry with the sign. A large negative entry counts as well:
    compare absolute values."""
    return project(delta + step_size * gradient / np.max(gradient), epsilon)


@_ascent_step.mistakes.add
def _length_in_place_of_largest_entry(delta, gradient, step_size, epsilon):
    """The gradient is divided by its length over all entries. This ball is measured by the largest entry, and
    so is the gradient."""
    return project(delta + step_size * gradient / np.linalg.norm(gradient), epsilon)


@_ascent_step.mistakes.add
def _ε_as_a_floor_step(delta, gradient, step_size, epsilon):
    """Epsilon stands under the fraction, as a guard against zero. It is the radius: clip to ±epsilon."""
    return (delta + step_size * gradient) / (np.max(np.abs(delta + step_size * gradient)) + epsilon)


# --- 03.smoothness_gradient


@exercise(
    "03.smoothness_gradient",
    smoothness_gradient,
    hint="f(x + δ) - f(x) is δ · weight: the clean input cancels. Differentiate its square, and take the mean "
    "over the batch.",
)
def _smoothness_gradient(rng: np.random.Generator) -> Inputs:
    """For f(x) = x · weight, return the gradient of the mean over the batch of (f(x + δ) - f(x))² with
    respect to weight."""
    return [
        (np.array([1.0, 2.0]), np.array([[3.0, 0.0], [0.0, 1.0]]), np.array([[0.1, 0.0], [0.0, 0.1]])),
        (
            np.round(rng.normal(0, 1, 3), 1),
            np.round(rng.normal(0, 1, (4, 3)), 1),
            np.round(rng.normal(0, 0.1, (4, 3)), 2),
        ),
        (
            np.round(rng.normal(0, 1, 2), 1),
            np.round(rng.normal(0, 2, (3, 2)), 1),
            np.round(rng.normal(0, 0.5, (3, 2)), 2),
        ),
        (np.array([1.0, -1.0]), np.array([[2.0, 5.0]]), np.zeros((1, 2))),  # no perturbation: no gradient
    ]


@_smoothness_gradient.mistakes.add
def _f_detached(weight, embeddings, delta):
    """f(x) is treated as a constant. In the loss of the training step the gradient flows through f(x + δ) and
    through f(x); only in the search for δ is f(x) held fixed."""
    return 2 * np.mean((delta @ weight)[:, None] * (embeddings + delta), axis=0)


@_smoothness_gradient.mistakes.add
def _f_moved_detached(weight, embeddings, delta):
    """f(x + δ) is treated as a constant. The gradient flows through both."""
    return -2 * np.mean((delta @ weight)[:, None] * embeddings, axis=0)


@_smoothness_gradient.mistakes.add
def _summed_over_the_batch_gradient(weight, embeddings, delta):
    """The batch is summed up. R_s is a mean over the examples."""
    return 2 * np.sum((delta @ weight)[:, None] * delta, axis=0)


@_smoothness_gradient.mistakes.add
def _factor_2_forgotten(weight, embeddings, delta):
    """A factor 2 is missing: the derivative of a square is twice what is squared."""
    return np.mean((delta @ weight)[:, None] * delta, axis=0)
