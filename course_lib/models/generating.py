"""Texts in; vectors, next tokens and continuations out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from course_lib.checks.arrays import check_tensor
from course_lib.checks.calls import border
from course_lib.checks.types import Count, Text
from course_lib.checks.values import check_count, check_texts
from course_lib.errors import CourseError
from course_lib.models.context import find_context_length
from course_lib.models.loaded import ModelAndTokenizer, evaluation_mode


@border(texts=check_texts)
def embed(encoder: ModelAndTokenizer, texts: Sequence[str], *, batch_size: Count = 64) -> torch.Tensor:
    """Compute one unit vector for each text: the mean of its token vectors, as all-MiniLM-L6-v2 was trained.

    Args:
        encoder: an encoder, or a classifier whose encoder is then used.
        texts: the texts.
        batch_size: texts at a time; they are batched by length.

    Returns:
        Float tensor [n, D] on the CPU, in the order of the texts. The dot product of two rows is the
        cosine of the angle between them.

    Raises:
        CourseError: if there are no texts, or one is no text.
    """
    base: Any = encoder.model.base_model
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    vectors = torch.empty(len(texts), base.config.hidden_size)
    with torch.inference_mode(), evaluation_mode(base):
        for start in range(0, len(texts), batch_size):
            rows = order[start : start + batch_size]
            batch = encoder.tokenizer(
                [texts[i] for i in rows], padding=True, truncation=True, return_tensors="pt"
            ).to(base.device)
            hidden = base(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1)
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
            vectors[rows] = torch.nn.functional.normalize(mean, dim=1).float().cpu()
    return vectors


@border()
def complete(loaded: ModelAndTokenizer, prompt: Text, *, max_new_tokens: Count = 20) -> str:
    """Continue a text with the most probable token, again and again.

    Args:
        loaded: a causal language model.
        prompt: the text to continue.
        max_new_tokens: how many tokens at most.

    Returns:
        The continuation without the prompt.

    Raises:
        CourseError: if the prompt is empty, or it and its continuation are longer than the model reads.
    """
    ids = _prompt_ids(loaded, prompt, max_new_tokens)
    model: Any = loaded.model
    output = model.generate(**ids, max_new_tokens=max_new_tokens, do_sample=False)
    return str(loaded.tokenizer.decode(output[0, ids["input_ids"].shape[1] :], skip_special_tokens=True))


@border()
def next_token_probabilities(
    loaded: ModelAndTokenizer, prompt: Text, *, num_tokens: Count = 10
) -> list[tuple[str, float]]:
    """Compute the most probable next tokens of a text.

    Args:
        loaded: a causal language model.
        prompt: the text to continue.
        num_tokens: how many.

    Returns:
        Pairs of token text and probability, the most probable first.

    Raises:
        CourseError: if the prompt is empty or too long, the model has fewer tokens, or its logits are not finite.
    """
    with torch.inference_mode():
        logits = loaded.model(**_prompt_ids(loaded, prompt)).logits[0, -1]
    check_count("num_tokens", num_tokens, most=len(logits))
    check_tensor("The model's logits", logits)
    top = logits.float().softmax(dim=-1).topk(num_tokens)
    tokens = [str(loaded.tokenizer.decode([token])) for token in top.indices.tolist()]
    return list(zip(tokens, top.values.tolist(), strict=True))


def _prompt_ids(loaded: ModelAndTokenizer, prompt: str, num_new: int = 0) -> Any:
    if not prompt:
        raise CourseError("The prompt is empty.", given=prompt, mend="Write the beginning of a sentence.")
    ids = loaded.tokenizer(prompt, return_tensors="pt").to(loaded.model.device)
    length, limit = ids["input_ids"].shape[1] + num_new, find_context_length(loaded.model)
    if limit is not None and length > limit:
        raise CourseError(
            f"The model reads at most {limit:,} tokens, its own new ones among them.",
            given=length,
            mend="Shorten the prompt, or ask for fewer new tokens.",
        )
    return ids
