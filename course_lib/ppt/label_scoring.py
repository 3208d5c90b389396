"""Log-probabilities of label words behind a soft prompt, read off at the answer position and nowhere else.

Why that is cheaper than a plain pass over everything. The output layer, which is as wide as the vocabulary,
sees only the answer positions. And the prompt is the same in every row of a batch and, standing first, sees
no row: under causal attention its keys and values are the same for all of them. So it is run once, not once
a row, along with the tokens that all rows begin with, and the gradient reaches it through those keys and
values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from course_lib.checks.arrays import check_labels
from course_lib.checks.calls import a_model, a_tensor, border, of_type, optional
from course_lib.checks.types import Flag
from course_lib.checks.values import check_count
from course_lib.errors import CourseError
from course_lib.models.context import rope_border
from course_lib.models.fingerprint import embedding_table
from course_lib.models.outputs import output_only_at
from course_lib.ppt.soft_prompt import SoftPrompt
from course_lib.prompts.verbalizers import LabelIds, lay_out_rows, shared_length


@dataclass(frozen=True)
class LabelBatch:
    """Token rows to be run behind a prompt, and where the labels are read off them.

    Labels of one token are all read at one position of one row. A label of several tokens is read token by
    token; its last token is only predicted, never read by the model.

    Args:
        input_ids: int tensor [R, T], filled up on the right. R is the number of examples, or more where labels
            have several tokens.
        num_tokens: tokens in all rows, without what they are filled up with.
        num_shared: leading columns that are the same in all rows and stand before every answer position.
        rows: int tensor [N], the row of each reading.
        columns: int tensor [N], the column whose output is read.
        tokens: int tensor [N], the token whose log-probability is read there.
        cells: int tensor [N], example × num_labels + label, where the reading is added.
        is_option: bool tensor [B, num_labels], false where an example does not have that label.
    """

    input_ids: torch.Tensor
    num_tokens: int
    num_shared: int
    rows: torch.Tensor
    columns: torch.Tensor
    tokens: torch.Tensor
    cells: torch.Tensor
    is_option: torch.Tensor


def make_label_batch(
    examples: Sequence[LabelIds], num_labels: int | None = None, *, device: Any = "cpu"
) -> LabelBatch:
    """Lay out the rows of a batch.

    Args:
        examples: for each example the tokens of its text, and of each label behind it.
        num_labels: columns of the scores; by default the most labels that an example has.
        device: where the tensors are to be.

    Returns:
        The batch.

    Raises:
        CourseError: no examples, more labels than `num_labels`, no token before the labels.

    Example:
        >>> batch = make_label_batch([LabelIds([7, 8, 9], [[1], [2]]), LabelIds([7, 8], [[1], [2]])])
        >>> batch.input_ids.tolist(), batch.num_shared, batch.columns.tolist()
        ([[7, 8, 9], [7, 8, 8]], 1, [2, 2, 1, 1])
    """
    if not isinstance(examples, Sequence) or not examples or not all(map(_is_label_ids, examples)):
        raise CourseError(
            "There must be at least one example, each the tokens of a text and of the labels behind it.",
            given=examples,
            mend="Use `Pattern.label_ids` or `find_label_ids`.",
        )
    most = max(len(example.labels) for example in examples)
    num_labels = most if num_labels is None else check_count("num_labels", num_labels)
    if most > num_labels:
        raise CourseError("An example has more labels than there are columns.", given=(most, num_labels))
    rows = lay_out_rows(examples)
    longest = max(map(len, rows.ids))
    padded = [row + row[-1:] * (longest - len(row)) for row in rows.ids]
    counts = torch.tensor([len(example.labels) for example in examples], device=device)
    readings = torch.tensor(rows.readings, device=device)
    row_of, column_of, token_of, example_of, label_of = readings.unbind(dim=1)
    return LabelBatch(
        input_ids=torch.tensor(padded, device=device),
        num_tokens=sum(map(len, rows.ids)),
        num_shared=min(shared_length(rows.ids), *rows.first_reading),
        rows=row_of,
        columns=column_of,
        tokens=token_of,
        cells=example_of * num_labels + label_of,
        is_option=torch.arange(num_labels, device=device) < counts[:, None],
    )


Reduction = Literal["mean", "sum", "none"]


@border(model=a_model, prompt=optional(of_type("course_lib.ppt.soft_prompt.SoftPrompt", "torch.Tensor")))
def label_scores(
    model: PreTrainedModel,
    prompt: SoftPrompt | torch.Tensor | None,
    batch: LabelBatch,
    *,
    share_prefix: Flag | None = None,
) -> torch.Tensor:
    """Return the log-probability of each label's whole continuation behind a soft prompt.

    The log-probabilities are those of the whole vocabulary. Their `log_softmax` compares the label words with
    each other alone, whatever else the model would rather say; `label_loss` does that.

    Args:
        model: a causal language model in evaluation mode.
        prompt: the prompt, its embeddings [num_virtual_tokens, width], or None for the text alone.
        batch: what `make_label_batch` gives.
        share_prefix: whether to run the prompt, and the tokens that all rows begin with, once for all rows. By
            default that is done on a CPU, where it saves a quarter of the work; a GPU would run two short
            passes where one fills it better. The scores are the same.

    Returns:
        float32 [B, num_labels], -inf where an example does not have that label. Gradients reach the prompt.

    Raises:
        CourseError: rows on both sides of the length at which a model of "longrope" changes its angles.
    """
    rows = prompt.embeddings if isinstance(prompt, SoftPrompt) else prompt
    embedded = embedding_table(model)
    width = embedded.weight.shape[1]
    if rows is not None and (rows.dim() != 2 or rows.shape[1] != width):
        raise CourseError(f"A prompt for this model has the shape [n, {width}].", given=tuple(rows.shape))
    front = embedded(batch.input_ids[:0, 0]) if rows is None else rows.to(embedded.weight)
    share = batch.input_ids.device.type == "cpu" if share_prefix is None else share_prefix
    columns = batch.columns
    if _is_beyond_border(model, batch, len(front)):
        share = False
    if share and len(front) + batch.num_shared and len(batch.input_ids) > 1 and _keeps_plain_cache(model):
        start = batch.num_shared
        arguments = _behind_shared(model, front, batch.input_ids, start)
        columns = columns - start
    else:
        texts = embedded(batch.input_ids)
        arguments = {"inputs_embeds": torch.cat([front.expand(len(texts), -1, -1), texts], dim=1)}
        columns = columns + len(front)
    # several labels are read at one place: each place once through the output layer
    places, slot = torch.stack([batch.rows, columns]).unique(dim=1, return_inverse=True)
    with output_only_at(model, places[0], places[1]):
        # filled up on the right, where no real token looks, so there is nothing to mask
        logits = model(**arguments, use_cache="past_key_values" in arguments).logits[0].float()
    found = logits.log_softmax(dim=-1)[slot, batch.tokens]
    sums = torch.zeros(batch.is_option.numel(), device=found.device).index_add(0, batch.cells, found)
    return sums.view(batch.is_option.shape).masked_fill(~batch.is_option, -torch.inf)


def _is_beyond_border(model: PreTrainedModel, batch: LabelBatch, num_front: int) -> bool:
    """Say whether all rows are so long that the model turns positions by its other angles (`rope_border`).

    Raises:
        CourseError: only some rows are, which one pass would read otherwise than each alone.
    """
    border = rope_border(model)
    if border is None:
        return False
    ends = torch.zeros(len(batch.input_ids), dtype=torch.long, device=batch.columns.device)
    ends = ends.scatter_reduce(0, batch.rows, batch.columns, "amax")
    is_beyond = ends + 1 + num_front > border
    if bool(is_beyond.any()) and not bool(is_beyond.all()):
        raise CourseError(
            f"The model reads texts of more than {border} tokens otherwise than shorter ones, and this batch "
            "holds both.",
            given=f"{int(is_beyond.sum())} of {len(is_beyond)} rows are longer",
            mend="Put them into batches of their own, or cut the texts to fewer tokens.",
        )
    return bool(is_beyond.any())


def _is_label_ids(example: Any) -> bool:
    return isinstance(example, LabelIds) and bool(example.labels)


@border(scores=a_tensor, labels=a_tensor)
def label_loss(scores: torch.Tensor, labels: torch.Tensor, *, reduction: Reduction = "mean") -> torch.Tensor:
    """Return the cross-entropy over the label words at the answer position, and over nothing else.

    Args:
        scores: float [B, num_labels], what `label_scores` gives.
        labels: int [B].
        reduction: "mean", "sum" or "none".

    Returns:
        In nats: a scalar, or [B].

    Raises:
        CourseError: scores or labels of another shape, or a label whose score is no finite number.
    """

    if scores.ndim != 2 or not scores.is_floating_point():
        raise CourseError(
            "The scores must be floats [B, num_labels].", given=(tuple(scores.shape), scores.dtype)
        )
    check_labels("labels", labels, num_labels=scores.shape[1], num_rows=scores.shape[0])
    if not bool(scores.gather(1, labels[:, None].to(scores.device)).isfinite().all()) or bool(
        scores.isnan().any()
    ):
        raise CourseError(
            "The score of a label is not a finite number.",
            given=scores.detach(),
            mend="Check that each row offers its label, and the model that gave the scores.",
        )
    return unchecked_label_loss(scores, labels, reduction=reduction)


def unchecked_label_loss(
    scores: torch.Tensor, labels: torch.Tensor, *, reduction: Reduction = "mean"
) -> torch.Tensor:
    """Return `label_loss` of what may be no number, for a loop that looks at the loss itself."""
    return torch.nn.functional.cross_entropy(scores, labels, reduction=reduction)


def _keeps_plain_cache(model: PreTrainedModel) -> bool:
    """Say whether the model keeps keys and values of all earlier tokens, which rows can share."""
    config: Any = model.config
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    if any(kind != "full_attention" for kind in kinds) or getattr(config, "sliding_window", None):
        return False
    layers = getattr(DynamicCache(config=config), "layers", None)
    return layers is not None and all(type(layer) is DynamicLayer for layer in layers)


def _behind_shared(
    model: PreTrainedModel, front: torch.Tensor, input_ids: torch.Tensor, start: int
) -> dict[str, Any]:
    """Run the prompt and the shared columns once; give the model's arguments for the rest of the rows."""
    shared = torch.cat([front, embedding_table(model)(input_ids[0, :start])])
    cache = model.base_model(inputs_embeds=shared[None], use_cache=True).past_key_values
    cache.batch_repeat_interleave(len(input_ids))
    return {"input_ids": input_ids[:, start:], "past_key_values": cache}
