"""How much a model reads, and what of it is not text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from course_lib.errors import CourseError


def text_config(model: Any) -> Any:
    """Return the configuration of a model's text part, which composite models keep inside their own."""
    return model.config.get_text_config(decoder=True)


# How configurations call the most tokens that a model reads.
_CONTEXT_NAMES = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "context_length",
)


def find_context_length(model: PreTrainedModel) -> int | None:
    """Return the most tokens that a model reads, or None where its configuration names no limit."""
    config = text_config(model)
    lengths = (getattr(config, name, None) for name in _CONTEXT_NAMES)
    return next((length for length in lengths if isinstance(length, int) and length > 0), None)


def rope_border(model: Any) -> int | None:
    """Return the length above which a model turns its positions by other angles, None where there is none.

    With "longrope" (Phi-3 of long context) the longest row of a batch decides for all of them, so rows on both
    sides of the border are never read together, and no row beyond it behind keys of a prefix before it.
    """
    parameters = getattr(text_config(model), "rope_parameters", None) or {}
    kinds = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    borders = [
        kind["original_max_position_embeddings"] for kind in kinds if kind.get("rope_type") == "longrope"
    ]
    return min(borders, default=None)


def num_virtual_tokens(model: Any) -> int:
    """Return how many virtual tokens a prompt or prefix learnt with PEFT puts in front of every row."""
    learnt: Any = getattr(model, "active_peft_config", None)
    return int(learnt.num_virtual_tokens) if getattr(learnt, "is_prompt_learning", False) else 0


def refuse_too_long(
    prompts: Sequence[Sequence[int]],
    context_length: int | None,
    *,
    num_virtual_tokens: int = 0,
    first_number: int = 0,
) -> None:
    """Refuse prompts that do not fit into the model's context.

    Args:
        prompts: token ids of whole prompts.
        context_length: the most tokens that the model reads; None if it has no limit.
        num_virtual_tokens: rows of a soft prompt that stands before each of them.
        first_number: number of the first prompt, for the message.

    Raises:
        CourseError: names the first prompt that is too long, its length, and the limit.
    """
    if context_length is None:
        return
    behind = f" behind {num_virtual_tokens} virtual ones" if num_virtual_tokens else ""
    for number, ids in enumerate(prompts, first_number):
        if num_virtual_tokens + len(ids) > context_length:
            raise CourseError(
                f"The prompt of item {number} has {len(ids):,} tokens{behind}, and the model reads at most "
                f"{context_length:,}.",
                given=num_virtual_tokens + len(ids),
                mend="Use fewer or shorter demonstrations or virtual tokens, or leave long items out; nothing "
                "is cut off.",
            )
