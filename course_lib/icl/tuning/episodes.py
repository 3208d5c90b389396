"""Episodes: texts with their labels, of which a model is tuned to predict each from those before it.

An episode looks as the prompt of a measurement does, and every label in it is a task. Where labels are exchanged, only
what stands before tells which label means what: so a model is tuned to learn in context, not to know the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from course_lib.checks.calls import a_dataset, border, each, of_type
from course_lib.checks.types import Seed, Share
from course_lib.checks.values import check_count
from course_lib.errors import CourseError
from course_lib.icl.drawing import label_texts
from course_lib.icl.hypotheses import Hypothesis, find_hypothesis
from course_lib.icl.prompting import DemonstrationPrompt, a_row
from course_lib.icl.underspecified import SingleFeaturePool
from course_lib.prompts.verbalizers import a_tokenizer, find_label_ids, shared_length, text_ids

# A data set with fewer texts of each label for each one shown gives no episodes where another has as many: they would
# be much the same.
TEXTS_PER_DEMONSTRATION = 8


@dataclass(frozen=True)
class Episode:
    """Texts with the labels that they are shown with.

    Args:
        feature: name of the feature that the labels stand for.
        rows: the texts, in order.
        labels: label of each, 0 or 1.
        exchanged: whether 0 stands for what the feature calls 1, and the other way round.
        texts: the texts' hashes.
        groups: their documents.
    """

    feature: str
    rows: list[dict[str, Any]]
    labels: list[int]
    exchanged: bool
    texts: list[str]
    groups: list[str]


class Answer(NamedTuple):
    """Where an episode shows a label.

    Args:
        places: positions of the tokens in which it differs from the other labels.
        choices: for every label the first token in which they differ.
        label: the one shown.
    """

    places: list[int]
    choices: list[int]
    label: int


class EpisodeTokens(NamedTuple):
    """An episode as the model reads it.

    Args:
        ids: its token ids.
        answers: the labels that count in the loss.
    """

    ids: list[int]
    answers: list[Answer]


a_feature_list = each(lambda _, value: find_hypothesis(value))


class EpisodeSource:
    """Episodes drawn from texts; each number always gives the same one.

    The features take turns. An episode is of one data set, so that its labels say nothing of where a text is from.

    Args:
        texts: rows that the features can read; a column `domain` names the data set.
        features: the features that labels stand for, or their names, all of one task.
        num_demonstrations: texts of an episode, half of each label.
        exchanged_share: probability that an episode's labels are exchanged.
        seed: seed of all draws.

    Raises:
        CourseError: features of several tasks; an odd number of texts; too few texts of a label; what `label_texts`
            raises.
    """

    @border(texts=a_dataset, features=a_feature_list, num_demonstrations=partial(check_count, least=4))
    def __init__(
        self,
        texts: Dataset,
        features: Sequence[Hypothesis | str],
        *,
        num_demonstrations: int = 12,
        exchanged_share: Share = 0.3,
        seed: Seed = 0,
    ) -> None:
        self.features = [find_hypothesis(one) for one in features]
        self.num_demonstrations, self.exchanged_share, self.seed = num_demonstrations, exchanged_share, seed
        tasks = sorted({one.task for one in self.features})
        if len(tasks) > 1:
            raise CourseError("Episodes are of one task.", given=tasks, mend="Name features of one task.")
        self.task = tasks[0]
        if num_demonstrations % 2:
            raise CourseError(
                "num_demonstrations must be even, half for each label.",
                given=num_demonstrations,
                mend="Use 12.",
            )
        self.pools = [self._pools(texts, one) for one in self.features]

    def _pools(self, texts: Dataset, feature: Hypothesis) -> list[SingleFeaturePool]:
        """Returns the pool of each data set that has many texts of both labels; where none has, of each that can."""
        domains = texts["domain"][:] if "domain" in texts.column_names else [""] * len(texts)
        rows = {
            domain: [i for i, one in enumerate(domains) if one == domain] for domain in dict.fromkeys(domains)
        }
        labels = label_texts(texts, feature)
        counts = {
            domain: tuple([labels[row] for row in part].count(label) for label in (0, 1))
            for domain, part in rows.items()
        }
        needed = self.num_demonstrations // 2
        for least in (TEXTS_PER_DEMONSTRATION * needed, needed):
            if found := [domain for domain, both in counts.items() if min(both) >= least]:
                return [SingleFeaturePool(texts.select(rows[domain]), feature) for domain in found]
        raise CourseError(
            f"{feature.name}: an episode is of one data set, and none has {needed} texts of each label.",
            given="; ".join(
                f"{domain or 'texts'}: {zeros} and {ones}" for domain, (zeros, ones) in counts.items()
            ),
            mend="Use more texts, or fewer demonstrations.",
        )

    def at(self, number: int) -> Episode:
        """Returns the episode of a number, from 0."""
        rng = np.random.default_rng([self.seed, check_count("number", number, least=0)])
        turn = number % len(self.features)
        pools = self.pools[turn]
        pool = pools[rng.integers(len(pools))]
        drawn = pool.balanced(pool.rows, self.num_demonstrations, rng)
        exchanged = bool(rng.random() < self.exchanged_share)
        numbers = [row for row, _ in drawn]
        return Episode(
            feature=self.features[turn].name,
            rows=list(pool.texts.select(numbers)),
            labels=[1 - label if exchanged else label for _, label in drawn],
            exchanged=exchanged,
            texts=[pool.text_hash(row) for row in numbers],
            groups=[pool.document(row) for row in numbers],
        )

    def take(self, count: int) -> list[Episode]:
        """Returns the first `count` episodes."""
        return [self.at(number) for number in range(count)]


@border(
    tokenizer=a_tokenizer,
    prompt=of_type("course_lib.icl.prompting.DemonstrationPrompt"),
    rows=each(a_row),
    num_unscored=partial(check_count, least=0),
)
def episode_tokens(
    tokenizer: PreTrainedTokenizerBase,
    prompt: DemonstrationPrompt,
    rows: Sequence[dict[str, Any]],
    labels: Sequence[int],
    *,
    num_unscored: int = 0,
) -> EpisodeTokens:
    """Tokenizes an episode, and finds the tokens of its labels.

    A token that all labels begin with, such as a space of its own, says nothing of the label and does not count.

    Args:
        tokenizer: the model's tokenizer.
        prompt: how a demonstration is written.
        rows: the texts.
        labels: their labels.
        num_unscored: the first labels that do not count: nothing before them could tell what is meant.

    Returns:
        The tokens, and an answer for each label that counts.

    Raises:
        CourseError: as `DemonstrationPrompt.prefix` and `find_label_ids`; a tokenizer that joins a label with what
            stands behind it.
    """
    whole = text_ids(tokenizer, [prompt.prefix(rows, labels)])[0]
    befores, text = [], ""
    for number, (row, label) in enumerate(zip(rows, labels, strict=True)):
        befores.append(text + (prompt.separator if number else "") + prompt.template.fill(row))
        text = befores[-1] + prompt.continuations[label]
    answers = []
    found = find_label_ids(tokenizer, befores[num_unscored:], prompt.continuations)
    for (context, words), label in zip(found, labels[num_unscored:], strict=True):
        start, end = len(context), len(context) + len(words[label])
        if whole[:end] != context + words[label]:
            raise CourseError(
                "This tokenizer joins a label with what stands behind it.",
                given=prompt.separator,
                mend="Use another separator.",
            )
        common = shared_length(words)
        answers.append(Answer(list(range(start + common, end)), [word[common] for word in words], label))
    return EpisodeTokens(whole, answers)
