"""Inductive biases that can be checked with a number: what a layer cannot help but treat alike.

Each layer below has its bias built in. `equivariance_error` says how far it is from keeping it: change the
input, then apply the layer, or apply the layer, then change the output.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from course_lib.checks.arrays import check_numbers
from course_lib.checks.calls import border, optional
from course_lib.checks.types import Number, Seed
from course_lib.checks.values import check_callable, check_count
from course_lib.errors import CourseError

Layer = Callable[[np.ndarray], np.ndarray]


_matrix = partial(check_numbers, num_dims=2)


@border(
    layer=check_callable, change=check_callable, values=check_numbers, change_output=optional(check_callable)
)
def equivariance_error(
    layer: Layer, change: Layer, values: np.ndarray, change_output: Layer | None = None
) -> float:
    """Computes how far a layer is from commuting with a change of its input.

    Args:
        layer: maps an array to an array.
        change: a change of the input: a shift, a permutation.
        values: the input.
        change_output: the change that the output should show; the same one by default. The identity
            makes this the error of an invariance.

    Returns:
        The largest absolute entry of layer(change(x)) - change_output(layer(x)); 0 where the bias holds.

    Source: Battaglia et al., 2018, "Relational inductive biases, deep learning, and graph networks", table 1.

    Example:
        >>> import numpy as np
        >>> equivariance_error(np.cumsum, lambda x: x[::-1], np.array([1.0, 2.0]))
        2.0
    """
    after, before = layer(change(values)), (change_output or change)(layer(values))
    if np.shape(after) != np.shape(before):
        raise CourseError(
            "The output changes its shape with the input, so the two cannot be compared.",
            given=(np.shape(after), np.shape(before)),
        )
    return float(np.max(np.abs(after - before)))


@border(values=check_numbers, weights=_matrix)
def dense(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Connects every output to every input with a weight of its own: no place is like another.

    Args:
        values: float array [n].
        weights: float array [m, n].

    Returns:
        Float array [m].
    """
    _refuse_other_size("weights", weights.shape[1], len(values))
    return np.tanh(weights @ values)


@border(values=check_numbers, kernel=check_numbers)
def convolution(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Slides one small kernel over a ring of places: near places matter, and all are treated alike.

    Args:
        values: float array [n].
        kernel: float array [k], k at most n.

    Returns:
        Float array [n].
    """
    return np.tanh(sum(weight * np.roll(values, step) for step, weight in enumerate(kernel)))


@border(values=check_numbers)
def recurrence(values: np.ndarray, state_weight: Number, input_weight: Number) -> np.ndarray:
    """Carries a state along a sequence with the same step at every moment: order matters, the date does not.

    Args:
        values: float array [n].
        state_weight: weight of the state before.
        input_weight: weight of the input.

    Returns:
        The states, float array [n].
    """
    states, state = [], 0.0
    for value in values:
        state = float(np.tanh(state_weight * state + input_weight * value))
        states.append(state)
    return np.array(states)


@border(nodes=check_numbers, adjacency=_matrix)
def graph_layer(nodes: np.ndarray, adjacency: np.ndarray, own: Number, neighbours: Number) -> np.ndarray:
    """Lets every node see itself and the sum of its neighbours: who is linked matters, their numbering does not.

    Args:
        nodes: float array [n].
        adjacency: array [n, n], 1 where two nodes are linked.
        own: weight of the node itself.
        neighbours: weight of the sum over its neighbours.

    Returns:
        Float array [n].
    """
    _refuse_other_size("adjacency", adjacency.shape, (len(nodes), len(nodes)))
    return np.tanh(own * nodes + neighbours * (adjacency @ nodes))


def _refuse_other_size(name: str, size: object, wanted: object) -> None:
    if size != wanted:
        raise CourseError(f"{name} does not fit the input, whose size asks for {wanted}.", given=size)


@border(num_places=partial(check_count, least=3, most=1000))
def invariance_table(num_places: int = 8, seed: Seed = 0) -> pd.DataFrame:
    """Checks four layers against three changes of their input.

    Args:
        num_places: numbers that each layer reads and gives.
        seed: seed of the input and of all weights.

    Returns:
        A row for each layer, a column for each change: the `equivariance_error`. The shift goes round a ring,
        the delay puts a zero in front and drops the last number, and the renumbering permutes the places (and,
        for the graph, its links with them).
    """
    rng = np.random.default_rng(seed)
    values = rng.normal(size=num_places)
    weights, kernel = rng.normal(size=(num_places, num_places)), rng.normal(size=3)
    links = np.triu(rng.integers(0, 2, (num_places, num_places)), 1)
    links += links.T
    order = rng.permutation(num_places)

    def graph(nodes: np.ndarray, adjacency: np.ndarray = links) -> np.ndarray:
        return graph_layer(nodes, adjacency, 0.7, 0.3)

    def delay(x: np.ndarray) -> np.ndarray:
        return np.concatenate([[0.0], x[:-1]])

    layers: dict[str, Layer] = {
        "dense": lambda x: dense(x, weights),
        "convolution": lambda x: convolution(x, kernel),
        "recurrence": lambda x: recurrence(x, 0.7, 0.5),
        "graph": graph,
    }
    changes: dict[str, Layer] = {
        "shift round the ring": lambda x: np.roll(x, 1),
        "delay by one step": delay,
        "renumbering": lambda x: x[order],
    }
    errors = pd.DataFrame(
        {
            name: {layer: equivariance_error(f, change, values) for layer, f in layers.items()}
            for name, change in changes.items()
        }
    )
    renumbered = graph(values[order], links[np.ix_(order, order)])
    errors.loc["graph", "renumbering"] = np.abs(renumbered - graph(values)[order]).max()
    return errors
