"""Find the bug. The given functions are shown as they stand, so their lines are short."""

from __future__ import annotations

import numpy as np

from course_lib.classroom.assignments.assignment import Case
from course_lib.classroom.assignments.building import Bug, bug_variants

TITLE = "Find the bug in a smoothness regularizer"
MARKS = 4
HINT = "Take one example of two entries and follow δ by hand; then check the gradient by a small change of weight."


def _smooth_right(weight, x, noise, step_size, epsilon, num_steps):
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


_BUGS = (
    Bug(
        "projection",
        "It is δ after the step that must lie within ±ε, not the step alone.",
        [
            (
                "delta = np.clip(delta + step, -epsilon, epsilon)",
                "delta = delta + np.clip(step, -epsilon, epsilon)",
            )
        ],
        "the bug is in the ball",
        "Start from noise at +ε and take one step upwards. Where does δ end?",
        "with a few steps the value grows beyond what any perturbation within $\\pm\\varepsilon$ can reach",
    ),
    Bug(
        "floor",
        "ε is the radius of the ball, not a guard against division by zero.",
        [
            (
                "        largest = np.abs(slope)",
                "        moved = delta + step_size * slope\n        largest = np.abs(moved)",
            ),
            ("        step = step_size * slope / np.where(largest > 0, largest, 1)\n", ""),
            ("delta = np.clip(delta + step, -epsilon, epsilon)", "delta = moved / (largest + epsilon)"),
        ],
        "the bug is in the radius",
        "How large does δ become for ε = 0.1, and how large for ε = 0.00001?",
        "the value hardly changes when $\\varepsilon$ becomes a thousand times smaller",
    ),
    Bug(
        "one side",
        "The gradient flows through both outputs, the clean one too.",
        [("    gradient = gradient - (change * (1 - clean**2)) @ x\n", "")],
        "the bug is in the gradient",
        "Move `weight` a little with δ held fixed, and compare what the value does with the gradient.",
        "the value is right, but the gradient is not that of the value",
    ),
    Bug(
        "whole batch",
        "Each example's slope is divided by its own largest entry.",
        [("np.abs(slope).max(axis=1, keepdims=True)", "np.abs(slope).max()")],
        "the bug is in the normalisation",
        "Call it with one example, then with the same example and a second one.",
        "what an example contributes depends on which others are in its batch",
    ),
)


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    # (examples, entries, step size, radius, steps): steps that end inside the ball, and steps that leave it.
    sizes = [(1, 2, 0.4, 0.1, 1), (2, 3, 0.05, 0.3, 1), (4, 3, 0.3, 0.2, 3), (3, 5, 0.02, 0.1, 2)]
    # Large changes, and none but that of the noise.
    sizes += [(6, 4, 0.5, 1.5, 3), (2, 3, 0.1, 0.5, 0)]
    drawn = [_smoothness_case(rng, *size) for size in sizes]
    # Noise on both sides of the ball, in each case.
    for case in drawn:
        case.arguments["noise"][0, :2] = np.array([2.0, -1.5]) * case.arguments["epsilon"]
    return [*drawn, _smoothness_borders(rng)]


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


VARIANTS = bug_variants("smoothness", _smooth_right, _BUGS)
