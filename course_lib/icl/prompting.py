"""Prompts of demonstrations: instruction, examples with their labels, then the example to be labelled.

A prompt is cut in two. The prefix (instruction and demonstrations) is the same for every test item; the
item's part is what differs. The separator between examples belongs to the part behind it: a tokenizer
may fuse blank lines at the end of a text into one token that it would split before a word, whereas a cut
between a word and a line break is one that the tokenizer makes itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from numbers import Real
from typing import Any, Literal, NamedTuple

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from course_lib.checks.calls import border, check_choice, check_fields, each, optional
from course_lib.checks.types import Count, Flag, Text
from course_lib.checks.values import check_count, check_mapping, check_text, check_texts
from course_lib.errors import CourseError
from course_lib.icl.interventions import LABELS, Intervention
from course_lib.models.context import refuse_too_long
from course_lib.prompts.templates import Template
from course_lib.prompts.verbalizers import Verbalizer, a_tokenizer, shared_length, some_texts, text_ids

a_row = partial(check_mapping, least=0)
# Stands for the last user message while a chat template is filled; no text holds it.
_PLACEHOLDER = "\ue000item\ue000"


@dataclass(frozen=True)
class InstanceTemplate(Template):
    """How one example is written, up to its label word.

    Args:
        instance: the example, with the row's columns as fields in braces.
        cue: what asks for the label. It must not end in a space: the space belongs to the label word.
        joint: what stands between the example and an explanation, if there is one.

    Raises:
        CourseError: no field, a field that is no plain name, a cue that ends in a space.

    Example:
        >>> InstanceTemplate().fill({"text": "Fine."})
        'Input: Fine. Label:'
        >>> TEMPLATES["pair"].fill({"premise": "It rains.", "hypothesis": "It is dry."})
        'Premise: It rains.\\nHypothesis: It is dry.\\nLabel:'
    """

    instance: Text = "Input: {text}"
    cue: Text = " Label:"
    joint: Text = " "

    def __post_init__(self) -> None:
        check_fields(self)
        self.check_fields("Input: {text}")
        if self.cue.endswith(" "):
            raise CourseError(
                "The cue ends in a space, which tokenizers merge with the label word.",
                given=self.cue,
                mend="Leave the space out: the label word brings it.",
            )

    @property
    def text_with_fields(self) -> str:
        """The example, without its cue."""
        return self.instance

    @border(row=a_row)
    def fill(self, row: Mapping[str, Any], explanation: Text | None = None) -> str:
        """Writes one example, up to its label word.

        Args:
            row: the example's columns.
            explanation: a sentence behind the example and before the cue.

        Raises:
            CourseError: the row lacks a field, or the field holds neither a text nor a finite number.
        """
        return self.write(row) + (f"{self.joint}{explanation}" if explanation else "") + self.cue

    def field_text(self, row: Mapping[str, Any], field: str) -> str:
        """Returns what stands in the place of a field."""
        value = self.value(row, field)
        is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
        return str(value) if is_number else check_text(f"The row's field {field!r}", value)


TemplateName = Literal["text", "lines", "pair", "question"]
TEMPLATES: dict[TemplateName, InstanceTemplate] = {
    "text": InstanceTemplate(),
    "lines": InstanceTemplate("Input: {text}", "\nLabel:", "\n"),
    "pair": InstanceTemplate("Premise: {premise}\nHypothesis: {hypothesis}", "\nLabel:", "\n"),
    "question": InstanceTemplate("Passage: {passage}\nQuestion: {question}", "\nLabel:", "\n"),
}


TASK_TEMPLATES = {
    "sentiment": TEMPLATES["text"],
    "toxicity": TEMPLATES["text"],
    "nli": TEMPLATES["pair"],
    "qa": TEMPLATES["question"],
}


class PromptIds(NamedTuple):
    """Token ids of a prefix and of the items behind it; joined, they are the tokens of the whole prompt."""

    prefix: list[int]
    items: list[list[int]]


@dataclass(frozen=True)
class DemonstrationPrompt:
    """The prompt of in-context learning: `prefix(…) + item(row) + continuation` is the whole text.

    Args:
        template: how one example is written.
        verbalizer: the label words.
        instruction: a text before the demonstrations.
        explanations: for each label, a sentence behind every demonstration of it. Test items have none.
        separator: what stands between examples; it begins with a line break or a space.
        zero_shot: the prompt has no demonstrations.
        chat: write demonstrations as turns of a conversation, in the tokenizer's chat template; the
            instruction is the system message.
        tokenizer: only for `chat`: whose template it is.

    Raises:
        CourseError: a number of explanations other than that of labels; explanations without demonstrations;
            a separator that does not begin with white space; chat without a chat template.

    Source: the form of Si et al. 2023, section 3; all words are this course's.

    Example:
        >>> prompt = DemonstrationPrompt(InstanceTemplate(), Verbalizer(["0", "1"]))
        >>> prompt.prefix([{"text": "Dull."}, {"text": "Great."}], [0, 1])
        'Input: Dull. Label: 0\\n\\nInput: Great. Label: 1'
        >>> prompt.item({"text": "Fine."})
        '\\n\\nInput: Fine. Label:'
    """

    template: InstanceTemplate
    verbalizer: Verbalizer
    instruction: Text | None = None
    explanations: Sequence[str] | None = None
    separator: Text = "\n\n"
    zero_shot: Flag = False
    chat: Flag = False
    tokenizer: PreTrainedTokenizerBase | None = None

    def __post_init__(self) -> None:
        check_fields(self, explanations=optional(check_texts), tokenizer=optional(a_tokenizer))
        if self.explanations is not None and len(self.explanations) != self.verbalizer.num_labels:
            raise CourseError(
                f"There must be one explanation for each of the {self.verbalizer.num_labels} labels.",
                given=list(self.explanations),
                mend="Give a list in the order of the label words.",
            )
        if self.explanations is not None and self.zero_shot:
            raise CourseError(
                "Explanations stand behind demonstrations, and a zero-shot prompt has none.",
                mend="Leave the explanations out.",
            )
        if not self.separator[:1].isspace():
            raise CourseError(
                "The separator must begin with a line break or a space.",
                given=self.separator,
                mend="Use a blank line, '\\n\\n'.",
            )
        if self.chat and getattr(self.tokenizer, "chat_template", None) is None:
            raise CourseError(
                "A chat prompt needs a tokenizer that has a chat template.",
                given=type(self.tokenizer).__name__,
                mend="Pass an instruction-tuned model's tokenizer, or leave `chat` out.",
            )

    @property
    def continuations(self) -> tuple[str, ...]:
        """What follows the prompt for each label, to be given to a scorer."""
        # a turn of a conversation begins with its first word, without a space
        return tuple(self.verbalizer.label_words) if self.chat else self.verbalizer.continuations

    def prefix(self, demonstrations: Sequence[Mapping[str, Any]], labels: Sequence[int]) -> str:
        """Writes the shared part: the instruction and the demonstrations with their label words.

        Args:
            demonstrations: rows with the template's fields; none for a zero-shot prompt.
            labels: their labels, as indices of the label words.

        Raises:
            CourseError: no demonstrations, or all of one label; demonstrations in a zero-shot prompt; unequal
                lengths; a label without a word.
        """
        demonstrations = each(a_row, least=0)("demonstrations", demonstrations)
        labels = self._checked_labels(demonstrations, labels)
        if self.chat:
            return self._chat_parts(demonstrations, labels)[0]
        examples = [
            self.template.fill(row, self._explanation(label)) + self.verbalizer.continuations[label]
            for row, label in zip(demonstrations, labels, strict=True)
        ]
        return self.separator.join([self.instruction, *examples] if self.instruction else examples)

    def item(self, row: Mapping[str, Any]) -> str:
        """Writes a test item's part, up to its label word.

        Args:
            row: the template's fields.
        """
        text = self.template.fill(row)
        if self.chat:
            return text.strip() + self._chat_end
        # only a zero-shot prompt without instruction has nothing before the item to be separated from
        return text if self.zero_shot and not self.instruction else self.separator + text

    def _explanation(self, label: int) -> str | None:
        return self.explanations[label] if self.explanations else None

    def _checked_labels(
        self, demonstrations: Sequence[Mapping[str, Any]], labels: Sequence[int]
    ) -> list[int]:
        a_label = partial(check_count, least=0, most=self.verbalizer.num_labels - 1)
        labels = list(each(a_label, least=0)("labels", labels))
        if len(demonstrations) != len(labels):
            raise CourseError(
                "There must be one label for each demonstration.",
                given=f"{len(demonstrations)} demonstrations, {len(labels)} labels",
                mend="Pass lists of equal length.",
            )
        if self.zero_shot and labels:
            raise CourseError(
                "A zero-shot prompt has no demonstrations.",
                given=len(labels),
                mend="Pass none, or leave `zero_shot` out.",
            )
        if not self.zero_shot and len(set(labels)) < 2:
            raise CourseError(
                "The demonstrations are of one label only." if labels else "There are no demonstrations.",
                given=labels,
                mend="Take demonstrations of every label, or ask for a prompt without any with zero_shot=True.",
            )
        return labels

    @cached_property
    def _chat_end(self) -> str:
        return self._chat_parts([], [])[1]

    def _chat_parts(
        self, demonstrations: Sequence[Mapping[str, Any]], labels: Sequence[int]
    ) -> tuple[str, str]:
        """Returns the conversation before the last user message, and what follows it up to the label word."""
        messages = [{"role": "system", "content": self.instruction}] if self.instruction else []
        for row, label in zip(demonstrations, labels, strict=True):
            question = self.template.fill(row, self._explanation(label)).strip()
            messages.append({"role": "user", "content": question})
            messages.append({"role": "assistant", "content": self.verbalizer.label_words[label]})
        messages.append({"role": "user", "content": _PLACEHOLDER})
        tokenizer: Any = self.tokenizer
        text = self._render(tokenizer, messages)
        before, found, after = text.partition(_PLACEHOLDER)
        if not found:
            raise CourseError("This chat template does not show the user's message.", given=text[-200:])
        start = tokenizer.bos_token or ""
        if start and text_ids(tokenizer, [""])[0]:
            before = before.removeprefix(start)  # the tokenizer adds the start token itself
        return before, after

    def _render(self, tokenizer: Any, messages: list[dict[str, Any]]) -> str:
        try:
            return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        except TemplateError as error:
            raise CourseError(
                f"The chat template refuses the conversation: {error}.",
                given=[message["role"] for message in messages][:4],
                mend="If it knows no system message, leave the instruction out.",
            ) from error


@border(task=partial(check_text, empty_ok=False))
def prompt_for(
    task: str, intervention: Intervention | None = None, template: InstanceTemplate | None = None
) -> DemonstrationPrompt:
    """Builds the prompt of a task, changed by an intervention where there is one.

    Args:
        task: "sentiment", "toxicity", "nli" or "qa"; any other where the template is given.
        intervention: what steers the model; None for labels "0" and "1" and nothing else.
        template: how one example is written; the task's own by default.

    Raises:
        CourseError: an unknown task, without a template.
    """
    template = template or TASK_TEMPLATES[check_choice("task", task, TASK_TEMPLATES)]
    if intervention is None:
        return DemonstrationPrompt(template, Verbalizer(LABELS))
    if intervention.question:
        template = replace(template, cue=f"{template.joint}{intervention.question}{template.cue}")
    return DemonstrationPrompt(
        template,
        Verbalizer(intervention.verbalizer or LABELS),
        instruction=intervention.instruction,
        explanations=intervention.explanations,
    )


@border(tokenizer=a_tokenizer, items=some_texts)
def prompt_ids(
    tokenizer: PreTrainedTokenizerBase,
    prefix: Text,
    items: Sequence[str],
    *,
    context_length: Count | None = None,
) -> PromptIds:
    """Tokenizes whole prompts, and cut them where the last shared token of the prefix ends.

    Args:
        tokenizer: the model's tokenizer.
        prefix: the shared text.
        items: the texts behind it.
        context_length: the most tokens that the model reads; None to skip the check.

    Returns:
        The tokens of the prefix, without any that an item's text would change, and of each item.

    Raises:
        CourseError: a prompt longer than the context. Nothing is ever cut off.
    """
    wholes = text_ids(tokenizer, [prefix + item for item in items])
    refuse_too_long(wholes, context_length)
    alone = text_ids(tokenizer, [prefix])[0]
    cut = shared_length([alone, *wholes])
    return PromptIds(alone[:cut], [whole[cut:] for whole in wholes])
