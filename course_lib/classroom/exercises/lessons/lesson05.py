"""Exercises of lesson 05, Prompts, verbalizers and few-shot trouble."""

from __future__ import annotations

import numpy as np

from course_lib.classroom.exercises.framework import Inputs, exercise


def stored_bytes(num_virtual_tokens: int, width: int, num_tasks: int) -> int:
    """Give the bytes that soft prompts for several tasks take, in float32.

    Args:
        num_virtual_tokens: rows of each prompt.
        width: numbers in a row.
        num_tasks: prompts, one a task.

    Returns:
        Bytes, four a number.
    """
    return 4 * num_virtual_tokens * width * num_tasks


def prepend(prompt: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Put a soft prompt in front of every text of a batch.

    Args:
        prompt: array of shape (P, W).
        embeddings: array of shape (B, T, W), the word embeddings of the texts.

    Returns:
        Array of shape (B, P + T, W).
    """
    front = np.broadcast_to(prompt, (len(embeddings), *prompt.shape))
    return np.concatenate([front, embeddings], axis=1)


def answer_column(attention_mask: np.ndarray, num_virtual_tokens: int) -> np.ndarray:
    """Find where the answer is read off each row behind a soft prompt.

    Args:
        attention_mask: whole numbers of shape (B, T), 1 for the tokens of a text, which stand on the left, and
            0 for what the row is filled up with.
        num_virtual_tokens: rows of the prompt in front.

    Returns:
        Whole numbers of shape (B,), the column of the text's last token, virtual tokens counted.
    """
    return num_virtual_tokens + attention_mask.sum(axis=1) - 1


def answer_loss(logits: np.ndarray, label_ids: np.ndarray, label: int) -> float:
    """Give the cross-entropy over the label words at the answer position.

    Args:
        logits: array of shape (V,), what the model expects next.
        label_ids: whole numbers of shape (num_labels,), the token of each label's word.
        label: the right label's number.

    Returns:
        The loss in nats.
    """
    return _cross_entropy(logits[label_ids], label)


def _cross_entropy(logits: np.ndarray, label: int) -> float:
    shifted = logits - logits.max()
    return float(np.log(np.exp(shifted).sum()) - shifted[label])


def random_rows(table: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Turn standard normal noise into rows that lie where word embeddings lie.

    Args:
        table: array of shape (V, W), the word embeddings.
        noise: array of shape (P, W), drawn from N(0, 1).

    Returns:
        Array of shape (P, W) whose columns have the mean and the standard deviation of the table's.
    """
    return table.mean(axis=0) + table.std(axis=0) * noise


# --- 05.stored_bytes


@exercise(
    "05.stored_bytes",
    stored_bytes,
    hint="A prompt is a matrix of num_virtual_tokens rows and width columns. How many bytes has one number?",
)
def _stored_bytes(rng: np.random.Generator) -> Inputs:
    """Return how many bytes the soft prompts of several tasks take in float32."""
    sizes = [(20, 576, 1), (100, 4096, 3), (8, 32, 2), tuple(rng.integers(2, 50, 3).tolist())]
    return sizes


@_stored_bytes.mistakes.add
def _numbers_not_bytes(num_virtual_tokens, width, num_tasks):
    """This counts numbers. In float32 each takes four bytes."""
    return num_virtual_tokens * width * num_tasks


@_stored_bytes.mistakes.add
def _one_task(num_virtual_tokens, width, num_tasks):
    """This is one prompt. Every task has one of its own."""
    return 4 * num_virtual_tokens * width


@_stored_bytes.mistakes.add
def _bits(num_virtual_tokens, width, num_tasks):
    """32 is the number of bits. A byte has eight of them."""
    return 32 * num_virtual_tokens * width * num_tasks


@_stored_bytes.mistakes.add
def _one_number_a_row(num_virtual_tokens, width, num_tasks):
    """A virtual token is a whole row of numbers, as wide as a word embedding."""
    return 4 * num_virtual_tokens * num_tasks


# --- 05.prepend


@exercise(
    "05.prepend",
    prepend,
    hint="Give every text a copy of the prompt, then join the two along the axis of the tokens.",
)
def _prepend(rng: np.random.Generator) -> Inputs:
    """Return the word embeddings of every text with the prompt's rows in front, as an array (B, P + T, W)."""
    # as many rows in the prompt as in a text, so that wrong ways to join them fit too
    shapes = [(2, 1, 2, 3), (2, 2, 2, 2), (3, 2, 3, 2), (2, 4, 2, 3)]
    return [
        (
            np.round(rng.normal(0, 1, (rows, width)), 2),
            np.round(rng.normal(0, 1, (batch, length, width)), 2),
        )
        for rows, batch, length, width in shapes
    ]


def _in_front(prompt: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    return np.broadcast_to(prompt, (len(embeddings), *prompt.shape))


@_prepend.mistakes.add
def _behind_the_text(prompt, embeddings):
    """The prompt stands behind the texts. It belongs in front, where every token can look at it."""
    return np.concatenate([embeddings, _in_front(prompt, embeddings)], axis=1)


@_prepend.mistakes.add
def _added_to_the_text(prompt, embeddings):
    """The prompt is added to the words. It gets places of its own."""
    return embeddings + prompt


@_prepend.mistakes.add
def _joined_along_the_batch(prompt, embeddings):
    """The prompt became further texts. Join along the axis of the tokens."""
    return np.concatenate([_in_front(prompt, embeddings), embeddings], axis=0)


@_prepend.mistakes.add
def _joined_along_the_width(prompt, embeddings):
    """The rows became wider. Join along the axis of the tokens."""
    return np.concatenate([_in_front(prompt, embeddings), embeddings], axis=2)


@_prepend.mistakes.add
def _first_row_repeated(prompt, embeddings):
    """Every virtual token is the prompt's first row. Each has a row of its own."""
    return prepend(np.repeat(prompt[:1], len(prompt), axis=0), embeddings)


# --- 05.answer_column


@exercise(
    "05.answer_column",
    answer_column,
    hint="The output at a text's last token says what comes next. Where does that token stand behind the prompt?",
)
def _answer_column(rng: np.random.Generator) -> Inputs:
    """Return for each row the column at which the label word is read off; columns count from 0, those of
    the virtual tokens first."""

    def mask(lengths: list[int], width: int) -> np.ndarray:
        return (np.arange(width) < np.array(lengths)[:, None]).astype(int)

    return [
        (mask([3, 2], 4), 2),
        (mask([5], 7), 20),
        (mask([4, 1, 3], 4), 3),  # a full row, a single token
        (mask(rng.integers(1, 8, 5).tolist(), 9), 10),
        (mask(rng.integers(1, 6, 3).tolist(), 6), 1),
    ]


@_answer_column.mistakes.add
def _last_column(attention_mask, num_virtual_tokens):
    """The last column is padding in all but the longest rows. Count each row's own tokens."""
    return np.full(len(attention_mask), num_virtual_tokens + attention_mask.shape[1] - 1)


@_answer_column.mistakes.add
def _virtual_tokens_forgotten(attention_mask, num_virtual_tokens):
    """The prompt stands in front and moves every token to the right."""
    return attention_mask.sum(axis=1) - 1


@_answer_column.mistakes.add
def _one_too_far(attention_mask, num_virtual_tokens):
    """One too far: the output at the last token already says what comes behind it."""
    return num_virtual_tokens + attention_mask.sum(axis=1)


@_answer_column.mistakes.add
def _padding_counted(attention_mask, num_virtual_tokens):
    """This counts what the row is filled up with. The mask is 1 where the text is."""
    return num_virtual_tokens + (1 - attention_mask).sum(axis=1) - 1


# --- 05.answer_loss


@exercise(
    "05.answer_loss",
    answer_loss,
    hint="Pick the label words' logits first. Then take -log softmax of them, at the right label.",
)
def _answer_loss(rng: np.random.Generator) -> Inputs:
    """Return the cross-entropy of the right label over the label words, in nats (natural logarithm), also
    for logits as large as 1,000."""
    return [
        (np.array([3.0, 1.0, 2.0, 0.0]), np.array([2, 1]), 1),
        (np.array([0.0, 5.0, -1.0, 2.0]), np.array([3, 0]), 0),
        (np.round(rng.normal(0, 2, 7), 1), np.array([5, 1, 3]), 2),
        (np.round(rng.normal(0, 2, 6), 1), np.array([4, 2, 0]), 1),
        # exp of these is infinite
        (np.array([1000.0, 2.0, 999.0, -5.0]), np.array([2, 0]), 0),
        # and of these zero
        (np.array([-1000.0, 2.0, -999.0, 5.0]), np.array([0, 2]), 0),
    ]


@_answer_loss.mistakes.add
def _plain_exponentials(logits, label_ids, label):
    """Right for small logits. np.exp of 1,000 is infinite: subtract the largest logit first."""
    return float(np.log(np.exp(logits[label_ids]).sum()) - logits[label_ids[label]])


@_answer_loss.mistakes.add
def _whole_vocabulary(logits, label_ids, label):
    """The softmax runs over the whole vocabulary. Only the label words compete."""
    return _cross_entropy(logits, label_ids[label])


@_answer_loss.mistakes.add
def _label_taken_for_a_token(logits, label_ids, label):
    """The label is the number of a label word, not that of a token."""
    return _cross_entropy(logits, label)


@_answer_loss.mistakes.add
def _sign(logits, label_ids, label):
    """This is the log-probability. The loss is its negative."""
    return -answer_loss(logits, label_ids, label)


@_answer_loss.mistakes.add
def _bits_loss(logits, label_ids, label):
    """This is in bits. Use the natural logarithm."""
    return answer_loss(logits, label_ids, label) / np.log(2)


@_answer_loss.mistakes.add
def _the_logit_alone(logits, label_ids, label):
    """This is a logit without its softmax: it says nothing of the other label words."""
    return -float(logits[label_ids[label]])


# --- 05.random_rows


@exercise(
    "05.random_rows",
    random_rows,
    hint="Scale each column of the noise by that column's standard deviation, then move it to the column's mean.",
)
def _random_rows(rng: np.random.Generator) -> Inputs:
    """Return random rows whose columns have the mean and the standard deviation (of all rows, ddof=0) of
    the table's columns."""
    scales = (
        np.array([0.1, 0.3]),
        np.array([1.0, 0.2, 0.5]),
        np.array([0.1, 0.4]),
        np.array([2.0, 0.1, 1.0]),
    )
    return [
        (
            np.round(rng.normal(0.3, 1, (6, len(scale))) * scale, 3),
            np.round(rng.normal(0, 1, (3, len(scale))), 2),
        )
        for scale in scales
    ]


@_random_rows.mistakes.add
def _plain_noise(table, noise):
    """N(0, 1) lies far from real word embeddings, whose entries are much smaller."""
    return noise


@_random_rows.mistakes.add
def _one_scale_for_all_columns(table, noise):
    """The columns differ in scale: use the mean and the standard deviation of each."""
    return table.mean() + table.std() * noise


@_random_rows.mistakes.add
def _mean_forgotten(table, noise):
    """The scale is right. The columns' means are not zero."""
    return table.std(axis=0) * noise


@_random_rows.mistakes.add
def _variance(table, noise):
    """This scales by the variance. The standard deviation is its root."""
    return table.mean(axis=0) + table.var(axis=0) * noise


@_random_rows.mistakes.add
def _the_same_row_again(table, noise):
    """All rows are the same. Virtual tokens that begin alike stay alike."""
    return random_rows(table, np.repeat(noise[:1], len(noise), axis=0))
