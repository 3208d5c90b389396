"""a3's open task: a wrong learning rate loses with every draw of the hidden inputs, a plain tuning loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from course_lib.classroom.assignments.assignment import Variant
from tests.classroom.grading.test_assignment_tasks import (
    A3,
    ALL_OF_TUNING,
    TEST_ACCURACY,
    chosen_among,
    downhill,
    lost,
    solution,
    tuning_of,
)
from tests.classroom.grading.test_mistakes import DRAWS

# Every draw tunes hundreds of prompts before it is telling.
pytestmark = pytest.mark.slow

TASK = A3.tasks[-1]
FORMS = pytest.mark.parametrize("variant", TASK.variants, ids=lambda variant: variant.name)
# Learning rates and steps.
GOOD = [(0.1, 200), (0.5, 300), (1.0, 60)]
WRONG = [(rate, 300) for rate in (0.005, 0.02, 5.0, 20.0)] + [(0.02, 200), (20.0, 200), (1e-4, 300)]


def stays(slope: Callable[[Any], Any], start: Any) -> list[Any]:
    """Give candidates that are the start."""
    return downhill(1e-9, 20)(slope, start)


def upwards(slope: Callable[[Any], Any], start: Any) -> list[Any]:
    """Give candidates of an ascent."""
    return downhill(-0.5, 300)(slope, start)


@FORMS
@pytest.mark.parametrize("first", [0, 2, 4])
def test_marks_of_a_tuning_do_not_hang_on_the_draw(variant: Variant, first: int) -> None:
    good: dict[str, Callable[..., Any]] = {"the solution": solution("a3", TASK, variant)}
    good |= {f"{rate}, {steps}": chosen_among(TASK, variant, downhill(rate, steps)) for rate, steps in GOOD}
    wrong = {f"{rate}, {steps}": chosen_among(TASK, variant, downhill(rate, steps)) for rate, steps in WRONG}
    nothing = {"start": chosen_among(TASK, variant, stays), "upwards": chosen_among(TASK, variant, upwards)}
    faults = []
    for seed in DRAWS[first : first + 2]:
        found = {
            name: lost(tuning_of(TASK, variant, tune, seed))
            for name, tune in (good | wrong | nothing).items()
        }
        faults += [(seed, name, found[name]) for name in good if found[name] != []]
        faults += [(seed, name, found[name]) for name in wrong if TEST_ACCURACY not in found[name]]
        faults += [(seed, name, found[name]) for name in nothing if found[name] != ALL_OF_TUNING]
    assert faults == []
