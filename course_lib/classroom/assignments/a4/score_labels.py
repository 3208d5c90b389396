"""Find the bug. The given functions are shown as they stand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from course_lib.classroom.assignments.assignment import Case
from course_lib.classroom.assignments.building import Bug, bug_variants

TITLE = "Find the bug in a scorer of labels with several tokens"
MARKS = 4
HINT = "Write a prompt of two tokens and a label of two below each other, and draw which row guesses which token."


def _score_right(logits, prompt_length, label_ids):
    shifted = logits - logits.max(axis=2, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=2, keepdims=True))
    scores = []
    for row, ids in zip(log_p, label_ids, strict=True):
        ids = ids[ids != -1]
        places = prompt_length - 1 + np.arange(len(ids))
        scores.append(row[places, ids].sum())
    return {"scores": np.array(scores), "answer": int(np.argmax(scores))}


_BUGS = (
    Bug(
        "one late",
        "What is the model's guess for a token read off: that token, or the one before?",
        [("prompt_length - 1", "prompt_length")],
        "the bug is in the places",
        "Take a prompt of one token and a label of one token. Which row of logits is the guess for the label?",
        "a label that the model finds certain gets a low score",
    ),
    Bug(
        "padding",
        "A label's padding is no token; as an index, -1 is the last word.",
        [("        ids = ids[ids != -1]\n", "")],
        "the bug is in the padding",
        "Follow the tokens of the shortest label, and look at what its last index points to.",
        "a label's score changes when a longer label is added beside it",
    ),
    Bug(
        "first token",
        "The first token alone is scored. A label is all of its tokens.",
        [
            ("        places = prompt_length - 1 + np.arange(len(ids))\n", ""),
            ("row[places, ids].sum()", "row[prompt_length - 1, ids[0]]"),
        ],
        "the bug is in the tokens",
        "Which tokens does a score depend on? Try two labels that begin alike.",
        "where all labels begin with the same token, the answer is always 0",
    ),
    Bug(
        "other axis",
        "The probabilities of all words at one place sum to 1.",
        [("axis=2", "axis=1")],
        "the bug is in the probabilities",
        "Sum up the probabilities of all words at one place.",
        "a score depends on logits at places of the prompt that have nothing to do with the label",
    ),
    Bug("raw", "These are sums of logits, which are no log-probabilities.", [("zip(log_p", "zip(logits")]),
    Bug(
        "mean",
        "These are means over a label's tokens. Its log-probability is their sum.",
        [(".sum())\n    return", ".mean())\n    return")],
    ),
)


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    # (tokens of the prompt, tokens of each label, words of the vocabulary)
    sizes = [(2, (1, 2), 4), (5, (3, 1, 2), 7), (3, (2, 2), 5), (6, (1, 3), 9), (1, (2, 3, 3), 6)]
    drawn = [_scoring_case(rng, *size) for size in sizes]
    # One label; logits in the thousands, of either sign and at some places alone; the best label first, and last.
    drawn.append(_scoring_case(rng, 2, (2,), 5))
    for shift in (1000.0, -1000.0):
        drawn.append(_scoring_case(rng, 3, (2, 1), 5))
        drawn[-1].arguments["logits"][:] += shift
    drawn.append(_scoring_case(rng, 3, (1, 2), 5))
    drawn[-1].arguments["logits"][:, ::2] += 1000.0
    return [
        *drawn,
        _with_best(_scoring_case(rng, 2, (2, 1, 2), 6), 0),
        _with_best(_scoring_case(rng, 2, (1, 1, 2), 6), -1),
    ]


def _with_best(case: Case, best: int) -> Case:
    """Make one label's last token all but certain, and the others' all but impossible."""
    logits, label_ids = case.arguments["logits"], case.arguments["label_ids"]
    for label, ids in enumerate(label_ids):
        last = int((ids != -1).sum()) - 1
        certain = label == best % len(label_ids)
        logits[label, case.arguments["prompt_length"] - 1 + last, ids[last]] += 50.0 if certain else -50.0
    return case


def _scoring_case(
    rng: np.random.Generator, prompt_length: int, lengths: Sequence[int], num_words: int
) -> Case:
    longest = max(lengths)
    label_ids = rng.integers(0, num_words - 1, (len(lengths), longest))
    # As where every label begins with the same token for a space.
    label_ids[:, 0] = label_ids[0, 0]
    label_ids[np.arange(longest) >= np.array(lengths)[:, None]] = -1
    prompt = rng.normal(0, 2, (1, prompt_length, num_words))
    behind = rng.normal(0, 2, (len(lengths), longest, num_words))
    logits = np.concatenate([np.repeat(prompt, len(lengths), axis=0), behind], axis=1)
    return Case({"logits": np.round(logits, 2), "prompt_length": prompt_length, "label_ids": label_ids})


VARIANTS = bug_variants("score_labels", _score_right, _BUGS)
