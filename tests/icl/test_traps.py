"""The traps that measurements of in-context learning fall into.

Each check runs twice: on ours, where it holds, and with the trap planted, where it fails. So the check is
known to see the trap. Checks of other test files are run again here, with the trap in what they call.

Planted elsewhere, and not again here:
- label 0 and label 1 with the same text, a whole hypothesis with reversed polarity, "nice" with the clauses
  of "food": `test_interventions.test_the_published_slips_would_be_found` and
  `test_an_instruction_for_nice_that_says_food_is_found`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

import tests.icl.scorers.test_scoring as scoring_tests
import tests.icl.test_calibration as calibration_tests
import tests.icl.test_interventions as intervention_tests
import tests.icl.test_underspecified as split_tests
from course_lib.errors import CourseError
from course_lib.icl import calibration, prompting
from course_lib.icl.drawing import Pool, label_texts
from course_lib.icl.hypotheses import HYPOTHESES, Hypothesis
from course_lib.icl.interventions import LABELS, find_intervention
from course_lib.icl.prompting import DemonstrationPrompt, InstanceTemplate
from course_lib.icl.scorers import naive, prefix_cached, reading, shared_prefix
from course_lib.icl.scorers.endpoint import EndpointScorer
from course_lib.icl.scorers.naive import NaiveScorer
from course_lib.icl.scorers.prefix_cached import PrefixCachedScorer
from course_lib.icl.scorers.reading import label_rows
from course_lib.icl.underspecified import UnderspecifiedSplit, underspecified_split
from course_lib.prompts.verbalizers import LabelIds, Rows, Verbalizer, find_label_ids, text_ids
from tests.icl.scorers.test_scoring import ITEMS, PREFIX, WORDS, by_hand, tiny_model, tiny_tokenizer
from tests.icl.test_interventions import explanations, instruction
from tests.smart.test_traps import ours_or_planted

right_padded = reading.right_padded
CONTEXT = 160  # tokens that the tiny models read
both_scorers = pytest.mark.parametrize("kind", [NaiveScorer, PrefixCachedScorer])


def passes(check: Callable[..., None], *arguments: Any) -> bool:
    """Say whether a check passes. What fails for another reason than the check's own is an error."""
    try:
        check(*arguments)
    except (AssertionError, pytest.fail.Exception):
        return False
    return True


def refused(call: Callable[[], Any]) -> bool:
    try:
        call()
    except CourseError:
        return True
    return False


def agrees_with_hand(
    scorer: Any, prefix: str = PREFIX, items: Sequence[str] = ITEMS, words: Sequence[str] = WORDS
) -> bool:
    """Say whether a scorer gives what whole prompts, read one at a time, give."""
    found = scorer.log_probabilities(prefix, list(items), list(words), progress=False)
    hand = by_hand(scorer.model, scorer.tokenizer, prefix, list(items), list(words))
    return np.allclose(found, hand, atol=1e-4)


# --- a pool of demonstrations that is too small ------------------------------------------------------


def whatever_there_is(
    pool: Any, set_number: int, num_demonstrations: int, seed: int
) -> tuple[np.random.Generator, list[tuple[int, int]]]:
    """Eight negatives and no positive, in one published run."""
    rng = np.random.default_rng(seed)
    rows = {label: pool.take(pool.rows[label], num_demonstrations // 2, rng) for label in (1, 0)}
    return rng, [(row, label) for label, found in rows.items() for row in found]


def fewer_unseen(
    pool: Any, set_number: int, num_demonstrations: int, seed: int
) -> tuple[np.random.Generator, list[tuple[int, int]]]:
    rng = np.random.default_rng(seed)
    return rng, pool.balanced(pool.rows, num_demonstrations, rng)


@ours_or_planted(Pool.demonstrations, whatever_there_is=whatever_there_is, fewer_unseen=fewer_unseen)
@pytest.mark.parametrize(
    "check",
    [
        split_tests.test_no_positives_and_eight_negatives_is_an_error,
        split_tests.test_seven_of_one_label_are_too_few_for_sixteen,
        split_tests.test_copies_do_not_fill_demonstrations,
    ],
)
def test_demonstrations_that_cannot_be_balanced_are_refused(
    monkeypatch: pytest.MonkeyPatch, check: Callable[[], None], implementation: Any, holds: bool
) -> None:
    monkeypatch.setattr(Pool, "demonstrations", implementation)
    assert passes(check) is holds


# --- 1,200 test items taken for granted --------------------------------------------------------------


def n_assumed(*arguments: Any, test_size: int = 1200) -> list[UnderspecifiedSplit]:
    return [replace(split, n=test_size) for split in underspecified_split(*arguments, test_size=test_size)]


def filled_up_with_copies(*arguments: Any, test_size: int = 1200) -> list[UnderspecifiedSplit]:
    found = []
    for split in underspecified_split(*arguments, test_size=test_size):
        rows = [row % split.n for row in range(test_size)]
        h1, h2 = ([labels[row] for row in rows] for labels in (split.h1_labels, split.h2_labels))
        found.append(replace(split, test=split.test.select(rows), h1_labels=h1, h2_labels=h2, n=test_size))
    return found


def filled_up_with_one_kind(
    texts: Dataset, h1: Hypothesis, h2: Hypothesis, test_size: int = 1200
) -> list[UnderspecifiedSplit]:
    first, second = label_texts(texts, h1), label_texts(texts, h2)
    rows = [row for row in range(len(texts)) if first[row] != second[row]][:test_size]
    labels = {"h1_labels": [first[row] for row in rows], "h2_labels": [second[row] for row in rows]}
    return [
        replace(split, test=texts.select(rows), n=len(rows), **labels)
        for split in underspecified_split(texts, h1, h2)
    ]


@ours_or_planted(
    underspecified_split,
    n_assumed=n_assumed,
    filled_up_with_copies=filled_up_with_copies,
    filled_up_with_one_kind=filled_up_with_one_kind,
)
def test_a_test_set_is_balanced_without_copies_and_its_size_reported(
    monkeypatch: pytest.MonkeyPatch, implementation: Any, holds: bool
) -> None:
    monkeypatch.setattr(split_tests, "underspecified_split", implementation)
    assert passes(split_tests.test_fewer_test_rows_than_asked_for_are_reported) is holds


# --- a prompt that is too long, cut ------------------------------------------------------------------


def cut_on_the_left(*arguments: Any) -> Rows:
    """Keep the last tokens of every row, as a tokenizer with truncation on the left does."""
    rows = label_rows(*arguments)
    lost = [max(0, len(ids) - CONTEXT + 1) for ids in rows.ids]
    return Rows(
        ids=[ids[cut:] for ids, cut in zip(rows.ids, lost, strict=True)],
        readings=[each._replace(position=each.position - lost[each.row]) for each in rows.readings],
        first_reading=[place - cut for place, cut in zip(rows.first_reading, lost, strict=True)],
    )


@ours_or_planted(label_rows, cut_on_the_left=cut_on_the_left)
@both_scorers
def test_a_prompt_that_is_too_long_is_refused(
    monkeypatch: pytest.MonkeyPatch, kind: Any, implementation: Any, holds: bool
) -> None:
    monkeypatch.setattr(reading, "label_rows", implementation)
    assert passes(scoring_tests.test_an_item_longer_than_the_context_is_named, kind) is holds


@ours_or_planted(reading.refuse_too_long, read_beyond_the_context=lambda prompts, context_length, **_: None)
@both_scorers
def test_no_model_reads_beyond_its_context(
    monkeypatch: pytest.MonkeyPatch, kind: Any, implementation: Any, holds: bool
) -> None:
    monkeypatch.setattr(reading, "refuse_too_long", implementation)
    assert passes(scoring_tests.test_an_item_longer_than_the_context_is_named, kind) is holds


@ours_or_planted(label_rows, cut_on_the_left=cut_on_the_left)
@both_scorers
@pytest.mark.parametrize("num_letters", [20, 200])
def test_an_instruction_is_read_or_the_prompt_refused(
    monkeypatch: pytest.MonkeyPatch, num_letters: int, kind: Any, implementation: Any, holds: bool
) -> None:
    """With demonstrations that fit, the planted cut changes nothing; with longer ones the instruction goes."""
    monkeypatch.setattr(reading, "label_rows", implementation)
    scorer = kind(tiny_model("Llama"), tiny_tokenizer())
    prefixes = [f"{told}\n\n{'h' * num_letters}: 0" for told in ("ab", "fg")]
    try:
        one, other = (scorer.log_probabilities(prefix, ITEMS, WORDS, progress=False) for prefix in prefixes)
        read = not np.allclose(one, other, atol=1e-3)
    except CourseError:
        read = True
    assert read is (holds or num_letters == 20)


# --- labels compared at the wrong place --------------------------------------------------------------


def first_token(tokenizer: Any, prompts: Any, words: Any) -> list[LabelIds]:
    """Compare what each label begins with: for " 0" and " 1" the same space."""
    return [
        LabelIds(context, [label[:1] for label in labels])
        for context, labels in find_label_ids(tokenizer, prompts, words)
    ]


def last_token(tokenizer: Any, prompts: Any, words: Any) -> list[LabelIds]:
    """Compare the words where the space stands."""
    return [
        LabelIds(context, [label[-1:] for label in labels])
        for context, labels in find_label_ids(tokenizer, prompts, words)
    ]


def alone(tokenizer: Any, prompts: Any, words: Any) -> list[LabelIds]:
    """Tokenize each label word by itself."""
    return [LabelIds(context, text_ids(tokenizer, words)) for context in text_ids(tokenizer, prompts)]


@ours_or_planted(find_label_ids, first_token=first_token, last_token=last_token)
@both_scorers
def test_labels_are_compared_where_they_differ(
    monkeypatch: pytest.MonkeyPatch, kind: Any, implementation: Any, holds: bool
) -> None:
    monkeypatch.setattr(reading, "find_label_ids", implementation)
    scorer = kind(tiny_model("Llama"), tiny_tokenizer())
    assert agrees_with_hand(scorer, words=[" 0", " 1"]) is holds


@ours_or_planted(find_label_ids, first_token=first_token)
@both_scorers
def test_not_every_item_gets_the_same_answer(
    monkeypatch: pytest.MonkeyPatch, kind: Any, implementation: Any, holds: bool
) -> None:
    monkeypatch.setattr(reading, "find_label_ids", implementation)
    scorer = kind(tiny_model("Llama"), tiny_tokenizer())
    found = scorer.log_probabilities(PREFIX, ITEMS, [" 0", " 1"], progress=False)
    decisions = calibration.decide(found, "median")
    assert (len(set(decisions.predictions.tolist())) == 2) is holds
    assert (decisions.num_ties < len(ITEMS)) is holds


@ours_or_planted(find_label_ids, alone=alone)
@both_scorers
def test_a_label_is_tokenized_in_its_place(
    monkeypatch: pytest.MonkeyPatch, kind: Any, implementation: Any, holds: bool
) -> None:
    """Behind "b", the label "c" is the end of the token "bc"."""
    monkeypatch.setattr(reading, "find_label_ids", implementation)
    scorer = kind(tiny_model("Llama"), tiny_tokenizer())
    assert agrees_with_hand(scorer, items=["\n\nab", "\n\nde: b"], words=["c", "d"]) is holds
    # where nothing is fused, both are right
    assert agrees_with_hand(scorer, words=["c", "d"])


# --- a cut behind the separator ----------------------------------------------------------------------


class BehindSeparator(DemonstrationPrompt):
    """The separator belongs to the prefix, whose last line breaks then become one token."""

    def prefix(self, demonstrations: Any, labels: Any) -> str:
        return super().prefix(demonstrations, labels) + self.separator

    def item(self, row: Any) -> str:
        return super().item(row).removeprefix(self.separator)


@ours_or_planted(DemonstrationPrompt, behind_separator=BehindSeparator)
def test_prefix_and_item_have_the_tokens_of_the_whole(implementation: Any, holds: bool) -> None:
    tokenizer: Any = tiny_tokenizer()
    prompt = implementation(InstanceTemplate("{text}", ":"), Verbalizer(LABELS))
    prefix = prompt.prefix([{"text": "abc"}, {"text": "de"}], [0, 1])
    item = prompt.item({"text": "fgh"})
    assert prefix + item == "abc: 0\n\nde: 1\n\nfgh:"
    ids = [tokenizer(text)["input_ids"] for text in (prefix, item, prefix + item)]
    assert (ids[0] + ids[1] == ids[2]) is holds


def tokenized_apart(tokenizer: Any, prefix: str, items: Any, words: Any) -> Rows:
    rows, start = label_rows(tokenizer, "", items, words), text_ids(tokenizer, [prefix])[0]
    return Rows(
        ids=[start + ids for ids in rows.ids],
        readings=[each._replace(position=each.position + len(start)) for each in rows.readings],
        first_reading=[place + len(start) for place in rows.first_reading],
    )


@ours_or_planted(label_rows, tokenized_apart=tokenized_apart)
@both_scorers
def test_a_prefix_cut_anywhere_is_read_as_the_whole(
    monkeypatch: pytest.MonkeyPatch, kind: Any, implementation: Any, holds: bool
) -> None:
    monkeypatch.setattr(reading, "label_rows", implementation)
    scorer = kind(tiny_model("Llama"), tiny_tokenizer())
    items = [item.removeprefix("\n\n") + ":" for item in ITEMS]
    assert agrees_with_hand(scorer, PREFIX + "\n\n", items) is holds
    # cut before the separator, where ours cuts, both are right
    assert agrees_with_hand(scorer, PREFIX, [f"\n\n{item}" for item in items])


# --- texts that contradict each other ----------------------------------------------------------------


def told(one: str, zero: str) -> str:
    return f"The label is 1 if {one}. The label is 0 if {zero}. Nothing else matters."


def explained(zero: str, one: str) -> tuple[str, str]:
    return f"The label is 0 because {zero}.", f"The label is 1 because {one}."


@ours_or_planted(
    explanations,
    copied_from_label_1=lambda hypothesis: explained(hypothesis.clauses[1], hypothesis.clauses[1]),
    other_polarity_than_the_instruction=lambda hypothesis: explained(*hypothesis.clauses[::-1]),
)
@pytest.mark.parametrize("name", HYPOTHESES)
def test_explanations_agree_with_the_hypothesis(
    monkeypatch: pytest.MonkeyPatch, name: str, implementation: Any, holds: bool
) -> None:
    monkeypatch.setattr(intervention_tests, "explanations", implementation)
    assert passes(intervention_tests.test_every_text_agrees_with_its_hypothesis, name) is holds


FOOD = HYPOTHESES["sentiment.food"]


@ours_or_planted(
    instruction,
    other_polarity_than_the_explanation=lambda hypothesis: told(*hypothesis.clauses),
    says_food=lambda hypothesis: instruction(FOOD),
)
@pytest.mark.parametrize("name", ["sentiment.nice", "nli.negation"])
def test_an_instruction_agrees_with_the_hypothesis(
    monkeypatch: pytest.MonkeyPatch, name: str, implementation: Any, holds: bool
) -> None:
    monkeypatch.setattr(intervention_tests, "instruction", implementation)
    assert passes(intervention_tests.test_every_text_agrees_with_its_hypothesis, name) is holds


# --- explanations by place, and copied ---------------------------------------------------------------


class ByPlace(DemonstrationPrompt):
    """The first explanation for the first demonstration, whatever its label."""

    def prefix(self, demonstrations: Any, labels: Any) -> str:
        sentences = [
            self.explanations[place % 2] if self.explanations else None for place in range(len(labels))
        ]
        examples = [
            self.template.fill(row, sentence) + self.continuations[label]
            for row, sentence, label in zip(demonstrations, sentences, labels, strict=True)
        ]
        return self.separator.join(examples)


class CopiedFromOne(DemonstrationPrompt):
    def _explanation(self, label: int) -> str | None:
        return super()._explanation(1)


@ours_or_planted(DemonstrationPrompt, by_place=ByPlace, copied_from_label_1=CopiedFromOne)
def test_an_explanation_gives_the_label_that_follows_it(
    monkeypatch: pytest.MonkeyPatch, implementation: Any, holds: bool
) -> None:
    monkeypatch.setattr(prompting, "DemonstrationPrompt", implementation)
    steered = find_intervention("explanation", "h2", HYPOTHESES["sentiment"], HYPOTHESES["sentiment.short"])
    labels = [1, 1, 0, 1, 0, 0]
    rows = [{"text": f"Text {number}."} for number in range(len(labels))]
    shown = prompting.prompt_for("sentiment", steered).prefix(rows, labels).split("\n\n")
    agree = [
        f"The label is {label} because" in example and example.endswith(f" {label}")
        for example, label in zip(shown, labels, strict=True)
    ]
    assert all(agree) is holds


# --- demonstrations of one label ---------------------------------------------------------------------


class AnyLabels(DemonstrationPrompt):
    def _checked_labels(self, demonstrations: Any, labels: Any) -> list[int]:
        return list(labels)


@ours_or_planted(DemonstrationPrompt, one_label_accepted=AnyLabels)
@pytest.mark.parametrize("labels", [[1, 1], [0, 0], []])
def test_demonstrations_show_more_than_one_label(labels: list[int], implementation: Any, holds: bool) -> None:
    prompt = implementation(InstanceTemplate(), Verbalizer(LABELS))
    rows = [{"text": "Dull."}, {"text": "Great!"}]
    assert not refused(lambda: prompt.prefix(rows, [0, 1]))
    assert refused(lambda: prompt.prefix(rows[: len(labels)], labels)) is holds


# --- a window of attention ---------------------------------------------------------------------------

WINDOWS: dict[str, dict[str, Any]] = {
    "Mistral": {},
    "Qwen2": {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1},
}


@ours_or_planted(
    (shared_prefix._has_window, set(), prefix_cached._window),
    ignored=(lambda config: False, {"sliding_window"}, lambda model: None),
)
@pytest.mark.parametrize("architecture", WINDOWS)
def test_no_token_sees_beyond_its_window(
    monkeypatch: pytest.MonkeyPatch, architecture: str, implementation: Any, holds: bool
) -> None:
    """Settings, the layer's arguments and a try beyond the window see it; the trap passes all three."""
    has_window, harmless, window = implementation
    monkeypatch.setattr(shared_prefix, "_has_window", has_window)
    monkeypatch.setattr(shared_prefix, "_HARMLESS", shared_prefix._HARMLESS | harmless)
    monkeypatch.setattr(prefix_cached, "_window", window)
    model = tiny_model(architecture, **WINDOWS[architecture])
    assert agrees_with_hand(PrefixCachedScorer(model, tiny_tokenizer())) is holds


# --- logits that are not numbers ---------------------------------------------------------------------


class PassedOn(reading.Readings):
    """Adds up whatever is read."""

    def batch(self, model: Any, batch: list[int], start: int, **arguments: Any) -> None:
        logits = self.repaired(model(**arguments).logits.float()).log_softmax(dim=-1)
        for i, row in enumerate(batch):
            for one in self.of_row[row]:
                value = logits[i, one.position - start, one.token].item()
                self.sums[one.item, one.label] += value

    def repaired(self, logits: torch.Tensor) -> torch.Tensor:
        return logits


class Repaired(PassedOn):
    """Makes some number of what is none."""

    def repaired(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.nan_to_num()


@ours_or_planted(reading.Readings, passed_on=PassedOn, repaired=Repaired)
@both_scorers
def test_logits_that_are_not_numbers_are_refused(
    monkeypatch: pytest.MonkeyPatch, kind: Any, implementation: Any, holds: bool
) -> None:
    for module in (naive, prefix_cached):
        monkeypatch.setattr(module, "Readings", implementation)
    # but for the check, the planted readings are right
    assert agrees_with_hand(kind(tiny_model("Llama"), tiny_tokenizer()))
    assert passes(scoring_tests.test_logits_that_are_not_numbers_are_an_error, kind) is holds


@ours_or_planted(calibration._checked, unchecked=lambda values: np.asarray(values, dtype=np.float64))
def test_what_is_no_number_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, implementation: Any, holds: bool
) -> None:
    monkeypatch.setattr(calibration, "_checked", implementation)
    assert passes(calibration_tests.test_what_was_not_scored_is_no_probability_of_zero) is holds


# --- a label that is missing among the most probable tokens ------------------------------------------


class MissingIsZero(EndpointScorer):
    """Gives labels that the server did not name a probability of 0."""

    def _score(self, prompt: str, words: Any, stop: Any) -> list[float]:
        (top,) = self._choice({}, stop)["logprobs"]["top_logprobs"]
        return [top.get(word, -np.inf) for word in words]


@ours_or_planted(EndpointScorer, missing_is_zero=MissingIsZero)
@pytest.mark.parametrize("named", [{" the": -0.5, " 0": -2.0}, {" the": -0.5, " a": -1.0}])
def test_a_label_that_is_missing_has_no_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: dict[str, float], implementation: Any, holds: bool
) -> None:
    # decisions as careless as the scorer: 0 / 0 is no number, and its largest entry is "the first"
    monkeypatch.setattr(calibration, "_checked", lambda values: np.asarray(values, dtype=np.float64))
    monkeypatch.setattr(
        EndpointScorer,
        "_choice",
        lambda *_: {"text": " the", "logprobs": {"tokens": [" the"], "top_logprobs": [named]}},
    )
    scorer = implementation("http://127.0.0.1:1", "toy", journal=tmp_path / "journal.jsonl")
    predictions: list[int] = []

    def answer() -> None:
        scores = scorer.log_probabilities(PREFIX, ITEMS, [" 0", " 1"], progress=False)
        with np.errstate(invalid="ignore"):
            decided = calibration.decide(scores, "contextual", np.log([[0.5, 0.5]]))
        predictions.extend(decided.predictions.tolist())

    assert refused(answer) is holds
    assert predictions == ([] if holds else [0] * len(ITEMS))


# --- results in another order than the items ---------------------------------------------------------


class InLengthOrder(PrefixCachedScorer):
    """Orders the items, and forgets to put the results back."""

    def log_probabilities(self, prefix: str, items: Any, words: Any, progress: bool = True) -> np.ndarray:
        ordered = sorted(items, key=len, reverse=True)
        return super().log_probabilities(prefix, ordered, words, progress)


@ours_or_planted(PrefixCachedScorer, in_length_order=InLengthOrder)
def test_results_come_back_in_the_order_of_the_items(
    monkeypatch: pytest.MonkeyPatch, implementation: Any, holds: bool
) -> None:
    assert agrees_with_hand(implementation(tiny_model("Llama"), tiny_tokenizer(), batch_size=2)) is holds
    monkeypatch.setattr(scoring_tests, "PrefixCachedScorer", implementation)
    assert passes(scoring_tests.test_batches_are_ordered_by_length_and_answers_are_not) is holds


def shortest_first(rows: list[list[int]], device: Any) -> torch.Tensor:
    return right_padded(sorted(rows, key=len), device)


@ours_or_planted(right_padded, shortest_first=shortest_first)
@both_scorers
def test_rows_of_a_batch_are_read_as_the_items_they_are_of(
    monkeypatch: pytest.MonkeyPatch, kind: Any, implementation: Any, holds: bool
) -> None:
    for module in (naive, prefix_cached):
        monkeypatch.setattr(module, "right_padded", implementation)
    assert agrees_with_hand(kind(tiny_model("Llama"), tiny_tokenizer(), batch_size=3)) is holds
