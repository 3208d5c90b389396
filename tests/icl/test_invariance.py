"""Each layer keeps the bias it is built for, and a layer without it is found out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.errors import CourseError
from course_lib.icl.invariance import (
    convolution,
    dense,
    equivariance_error,
    graph_layer,
    invariance_table,
    recurrence,
)
from tests.smart.tiny import few

seeds = st.integers(0, 2**32 - 1)


@few
@given(seeds, st.integers(2, 12), st.integers(0, 11))
def test_a_convolution_is_equivariant_to_shifts_and_a_dense_layer_is_not(seed, size, shift) -> None:
    rng = np.random.default_rng(seed)
    values, kernel, weights = rng.normal(size=size), rng.normal(size=2), rng.normal(size=(size, size))
    moved = shift % size

    def roll(x: np.ndarray) -> np.ndarray:
        return np.roll(x, moved)

    assert equivariance_error(lambda x: convolution(x, kernel), roll, values) < 1e-12
    if moved:
        assert equivariance_error(lambda x: dense(x, weights), roll, values) > 1e-6


def test_a_recurrence_does_not_know_the_date_but_knows_the_order() -> None:
    values = np.array([0.5, -1.0, 2.0, 0.3])

    def wait(x: np.ndarray) -> np.ndarray:
        return np.concatenate([[0.0, 0.0], x])

    def layer(x: np.ndarray) -> np.ndarray:
        return recurrence(x, 0.7, 1.1)

    assert equivariance_error(layer, wait, values) < 1e-12
    assert equivariance_error(layer, lambda x: x[::-1], values) > 0.1


@few
@given(seeds, st.integers(2, 8))
def test_a_graph_layer_does_not_know_the_numbering(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    nodes, order = rng.normal(size=size), rng.permutation(size)
    links = np.triu(rng.integers(0, 2, (size, size)), 1)
    adjacency = links + links.T
    before = graph_layer(nodes, adjacency, 0.5, 0.3)
    after = graph_layer(nodes[order], adjacency[np.ix_(order, order)], 0.5, 0.3)
    assert np.allclose(after, before[order])


def test_an_invariance_is_an_output_that_does_not_change() -> None:
    values = np.array([3.0, 1.0, 2.0])
    assert equivariance_error(np.sum, lambda x: x[::-1], values, lambda y: y) == 0
    assert equivariance_error(lambda x: x[0], lambda x: x[::-1], values, lambda y: y) == 1


def test_outputs_of_other_shapes_cannot_be_compared() -> None:
    with pytest.raises(CourseError, match="shape"):
        equivariance_error(lambda x: x, lambda x: np.append(x, 0), np.ones(3), lambda y: y)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_structured_layer_keeps_its_own_symmetry_and_no_other(seed: int) -> None:
    errors = invariance_table(seed=seed)
    kept = {
        ("convolution", "shift round the ring"),
        ("recurrence", "delay by one step"),
        ("graph", "renumbering"),
    }
    for layer, row in errors.iterrows():
        for change, error in row.items():
            assert (error < 1e-12) == ((layer, change) in kept), (layer, change)


def test_a_layer_and_its_input_are_of_one_size() -> None:
    with pytest.raises(CourseError, match="weights"):
        dense(np.ones(3), np.ones((2, 2)))
    with pytest.raises(CourseError, match="adjacency"):
        graph_layer(np.ones(3), np.ones((2, 2)), 1.0, 1.0)
