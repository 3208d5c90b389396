"""Find the bug in an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from course_lib.classroom.assignments.assignment import Case
from course_lib.classroom.assignments.building import Bug, bug_variants, shown

TITLE = "Find the bug in an evaluation"
MARKS = 2
HINT = "Write down for each step which examples are read, and what is taken from them."


def _report_right(development, development_labels, test, test_labels, label_ids):
    best, kept = -1.0, 0
    for step in range(len(development)):
        predicted = development[step][:, label_ids].argmax(axis=1)
        accuracy = (predicted == development_labels).mean()
        if accuracy > best:
            best, kept = accuracy, step
    predicted = test[kept][:, label_ids].argmax(axis=1)
    return {"kept": kept, "development": best, "test": (predicted == test_labels).mean()}


_CHOICE = "        if accuracy > best:\n            best, kept = accuracy, step\n"
_TESTED = "    predicted = test[kept][:, label_ids].argmax(axis=1)\n"
_ON_TEST = '"test": (predicted == test_labels).mean()'
_BUGS = (
    Bug(
        "vocabulary",
        "Any word that is no label counts as wrong: a prompt that knows the answer but says another word loses.",
        [
            ("[:, label_ids]", ""),
            ("== development_labels", "== np.array(label_ids)[development_labels]"),
            (
                "    return",
                "    accuracy = (predicted == np.array(label_ids)[test_labels]).mean()\n    return",
            ),
            (_ON_TEST, '"test": accuracy'),
        ],
        "the bug is in the predictions",
        "Which words can `predicted` be, and which are labels?",
        "a prompt that has not been tuned comes out far below chance, though its scores of the label words are "
        "no worse than chance",
    ),
    Bug(
        "best test",
        "The reported number is the best of many looks at the test set.",
        [
            ("best, kept = -1.0, 0", "best, kept, reported = -1.0, 0, 0.0"),
            (_TESTED, ""),
            (
                _CHOICE,
                f"{_CHOICE}        predicted = test[step][:, label_ids].argmax(axis=1)\n"
                "        reported = max(reported, (predicted == test_labels).mean())\n",
            ),
            (f"best, {_ON_TEST}", 'best, "test": reported'),
        ],
        "the bug is in the reported number",
        "Which step's prompt has the accuracy that is reported?",
        "on new examples, the prompt that was kept is worse than reported, run after run",
    ),
    Bug(
        "chosen on test",
        "The step is chosen on the examples that it is reported on.",
        [
            ("len(development)", "len(test)"),
            ("development[step]", "test[step]"),
            ("predicted == development_labels", "predicted == test_labels"),
            ("test[kept]", "development[kept]"),
            (
                f'"development": best, {_ON_TEST}',
                '"development": (predicted == development_labels).mean(), "test": best',
            ),
        ],
        "the bug is in the choice",
        "Which examples decide what is kept?",
        "the kept prompt is not the one with the best development accuracy, and it disappoints on new examples",
    ),
    Bug(
        "last of equals",
        "Of equally good steps, another one is kept.",
        [("accuracy > best", "accuracy >= best")],
    ),
    Bug(
        "last step",
        "This keeps the last step, however good the earlier ones were.",
        [(_CHOICE, "        best, kept = accuracy, step\n")],
    ),
    Bug(
        "test of the last step",
        "The test accuracy is that of the last step. Report that of the step that was kept.",
        [("test[kept]", "test[-1]")],
    ),
)


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    drawn = [_report_case(rng, *size) for size in [(3, 8, 2), (5, 12, 2), (6, 15, 3), (8, 16, 4)]]
    # The best step first, last, and alone; labels in any order of their tokens; nothing right at all.
    return [
        *drawn,
        *(_report_border(rng, best, num_steps) for best, num_steps in ((0, 4), (3, 4), (0, 1), (-1, 3))),
    ]


def _report_border(rng: np.random.Generator, best: int, num_steps: int) -> Case:
    """Draw scores of which one step's alone are all right on the development set; none's if the step is -1."""
    label_ids, num_tokens = [7, 2, 5], 10
    labels = {"development": rng.permutation(np.arange(9) % 3), "test": rng.permutation(np.arange(11) % 3)}
    scores = {}
    for name, right in labels.items():
        said = np.stack([(right + 1 + rng.integers(0, 2, len(right))) % 3 for _ in range(num_steps)])
        if best >= 0:
            said[best, 1 if name == "test" else 0 :] = right[1 if name == "test" else 0 :]
        scores[name] = np.round(rng.uniform(-1, 1, (*said.shape, num_tokens)), 3)
        np.put_along_axis(scores[name], np.array(label_ids)[said][..., None], 2.0, axis=2)
        # A word that is no label is likeliest, wherever it is looked for.
        scores[name][..., 3] = 5.0
    return Case(
        {
            "development": scores["development"],
            "development_labels": labels["development"],
            "test": scores["test"],
            "test_labels": labels["test"],
            "label_ids": label_ids,
        }
    )


def _report_case(rng: np.random.Generator, num_steps: int, num_examples: int, num_labels: int) -> Case:
    num_tokens = 3 * num_labels + 4
    label_ids = [int(token) for token in rng.choice(num_tokens, num_labels, replace=False)]
    skills = rng.permutation(np.linspace(0.2, 1.2, num_steps))
    development_labels = rng.integers(0, num_labels, num_examples)
    test_labels = rng.integers(0, num_labels, 2 * num_examples)
    development = _scored(rng, development_labels, label_ids, num_tokens, skills)
    test = _scored(rng, test_labels, label_ids, num_tokens, skills[::-1])
    right = [(part[:, label_ids].argmax(axis=1) == development_labels).mean() for part in development]
    best = int(np.argmax(right[:-1]))
    # Two steps are equally good, and neither is the last; the last one is worse. The test set prefers a third.
    development = np.concatenate([development[:-1], development[[best]], -development[[best]]])
    test = np.concatenate([test, -test[[best]]])
    third = 0 if best else 1
    test[third] = _scored(rng, test_labels, label_ids, num_tokens, np.array([2.5]))[0]
    return Case(
        {
            "development": development,
            "development_labels": development_labels,
            "test": test,
            "test_labels": test_labels,
            "label_ids": label_ids,
        }
    )


def _scored(
    rng: np.random.Generator,
    labels: np.ndarray,
    label_ids: Sequence[int],
    num_tokens: int,
    skills: np.ndarray,
) -> np.ndarray:
    logits = rng.normal(0, 1, (len(skills), len(labels), num_tokens))
    logits[:, np.arange(len(labels)), np.asarray(label_ids)[labels]] += skills[:, None]
    return np.round(logits, 3)


_REPORT_EXAMPLE: dict[str, Any] = {
    "development": np.array([[[5.0, 1.0, 0.0], [5.0, 0.0, 1.0]]]),
    "development_labels": np.array([0, 1]),
    "test": np.array([[[5.0, 1.0, 0.0]]]),
    "test_labels": np.array([1]),
    "label_ids": [1, 2],
}


VARIANTS = bug_variants("report", _report_right, _BUGS, value=shown(_report_right(**_REPORT_EXAMPLE)))
