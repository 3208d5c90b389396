"""Interventions: four ways to tell a model which feature the labels stand for (Si et al., section 4).

Every text is put together from the clauses, label words and question of the one hypothesis it steers to.
Nothing is written twice, so the texts for label 0 and label 1, or of two kinds, cannot contradict each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

from course_lib.checks.calls import border
from course_lib.errors import CourseError
from course_lib.icl.hypotheses import Hypothesis, find_hypothesis, two_texts

InterventionKind = Literal["instruction", "verbalizer", "explanation", "disambiguation"]
Direction = Literal["h1", "h2"]
INTERVENTION_KINDS: tuple[InterventionKind, ...] = get_args(InterventionKind)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
# Kind and direction of everything that is measured for a pair: nothing, then each intervention both ways.
STEERS: tuple[tuple[InterventionKind | None, Direction | None], ...] = (
    (None, None),
    *product(INTERVENTION_KINDS, DIRECTIONS),
)
LABELS = ("0", "1")


@dataclass(frozen=True)
class Intervention:
    """One change of the prompt that steers a model to one of two hypotheses.

    Args:
        kind: one of `INTERVENTION_KINDS`.
        direction: "h1" or "h2", the hypothesis it steers to.
        instruction: the sentences in front of the prompt, or None.
        verbalizer: the words shown for label 0 and for label 1, or None for the prompt's own.
        explanations: the sentence that goes with a demonstration of label 0, and of label 1, or None.
        disambiguate: whether half of the demonstrations are replaced (`disambiguating_demonstrations`).
        question: a question to ask before each label, where the verbalizer answers one ("no", "yes").
    """

    kind: InterventionKind
    direction: Direction
    instruction: str | None
    verbalizer: tuple[str, str] | None
    explanations: tuple[str, str] | None
    disambiguate: bool
    question: str | None = None


def _instruction(hypothesis: Hypothesis, labels: tuple[str, str]) -> str:
    """Returns in words which labels a hypothesis gives."""
    zero, one = hypothesis.clauses
    return f"The label is {labels[1]} if {one}. The label is {labels[0]} if {zero}. Nothing else matters."


def _explanations(hypothesis: Hypothesis, labels: tuple[str, str]) -> tuple[str, str]:
    """Returns the reason for a demonstration's label: a sentence for label 0, and one for label 1."""
    zero, one = (
        f"The label is {label} because {clause}."
        for label, clause in zip(labels, hypothesis.clauses, strict=True)
    )
    return zero, one


@border(labels=two_texts)
def find_intervention(
    kind: InterventionKind,
    direction: Direction,
    h1: Hypothesis | str,
    h2: Hypothesis | str,
    labels: tuple[str, str] = LABELS,
) -> Intervention:
    """Builds one intervention for a pair of hypotheses.

    Args:
        kind: one of `INTERVENTION_KINDS`.
        direction: "h1" or "h2".
        h1: the first hypothesis, or its name.
        h2: the second.
        labels: how labels 0 and 1 are written in the prompt.

    Raises:
        CourseError: unknown kind or direction; labels that are the same; hypotheses that are the same, or of
            different tasks.

    Example:
        >>> find_intervention("instruction", "h1", "sentiment", "sentiment.domain").instruction
        'The label is 1 if the text is positive. The label is 0 if the text is negative. Nothing else matters.'
        >>> find_intervention("explanation", "h1", "sentiment", "sentiment.domain").explanations
        ('The label is 0 because the text is negative.', 'The label is 1 because the text is positive.')
    """
    first, second = find_hypothesis(h1), find_hypothesis(h2)
    if first.name == second.name or first.task != second.task:
        raise CourseError(
            "An intervention chooses between two hypotheses of one task.",
            given=(first.name, second.name),
            mend='Use two, for example "sentiment" and "sentiment.domain".',
        )
    intended = first if direction == "h1" else second
    return Intervention(
        kind=kind,
        direction=direction,
        instruction=_instruction(intended, labels) if kind == "instruction" else None,
        verbalizer=intended.label_words if kind == "verbalizer" else None,
        explanations=_explanations(intended, labels) if kind == "explanation" else None,
        disambiguate=kind == "disambiguation",
        question=intended.question if kind == "verbalizer" else None,
    )


def all_interventions(
    h1: Hypothesis | str, h2: Hypothesis | str, labels: tuple[str, str] = LABELS
) -> list[Intervention]:
    """Builds all four kinds in both directions, those towards h1 first.

    Args:
        h1: the first hypothesis, or its name.
        h2: the second.
        labels: how labels 0 and 1 are written in the prompt.

    Raises:
        CourseError: as `find_intervention`.
    """
    return [
        find_intervention(kind, direction, h1, h2, labels)
        for direction, kind in product(DIRECTIONS, INTERVENTION_KINDS)
    ]
