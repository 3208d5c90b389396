"""What a row of a measurement holds: the answers behind one set of demonstrations, with one calibration."""

from __future__ import annotations

from typing import TypedDict

from course_lib.icl.calibration import Calibration
from course_lib.icl.interventions import Direction, InterventionKind


class AnswersRow(TypedDict):
    """The answers to a test set.

    Args:
        calibration: how they were read off the scores.
        n: test items.
        share_of_1: share of the answers that are label 1.
        num_ties: items whose two labels had the same score.
    """

    calibration: Calibration
    n: int
    share_of_1: float
    num_ties: int


class PairAnswersRow(AnswersRow):
    """The answers where two hypotheses differ; `num_h1` of them agree with h1, n · h1-accuracy."""

    num_h1: int


class FeatureSetRow(AnswersRow):
    """What one feature alone gave behind one set; `num_right` of the answers agree with it."""

    feature: str
    set: int
    num_right: int


class SetRow(PairAnswersRow):
    """What a pair of hypotheses gave behind one set.

    Args:
        h1: name of the first hypothesis.
        h2: name of the second.
        set: the set's number, from 0.
        seed: seed of the draws.
        intervention: what steered the model, or None.
        direction: where to, or None.
    """

    h1: str
    h2: str
    set: int
    seed: int
    intervention: InterventionKind | None
    direction: Direction | None


class BiasRow(SetRow):
    """A `SetRow` with the model that it was measured on."""

    model: str


class FeatureRow(FeatureSetRow):
    """A `FeatureSetRow` with the model that it was measured on."""

    model: str


class ContextRow(AnswersRow):
    """The accuracy behind one set of demonstrations of one size."""

    num_demonstrations: int
    set: int
    accuracy: float


class PairConditionRow(BiasRow):
    """A `BiasRow` with the condition in which it was measured."""

    condition: str


class FeatureConditionRow(FeatureRow):
    """A `FeatureRow` with the condition in which it was measured."""

    condition: str
