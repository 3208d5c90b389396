"""Soft prompts: one step beside PEFT's prompt tuning with its own loss, and examples built per second."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from peft import PromptTuningConfig, TaskType, get_peft_model

from course_lib.models import load_language_model
from course_lib.ppt.label_scoring import label_loss, label_scores, make_label_batch
from course_lib.ppt.pretraining.examples import (
    build_cls_examples,
    build_nsp_examples,
    build_nss_examples,
    build_unified_examples,
)
from course_lib.ppt.soft_prompt import initialise
from course_lib.ppt.training import quick_attention
from course_lib.prompts.verbalizers import LabelIds
from course_lib.runs.hardware import machine_sentence
from course_lib.texts import load_texts
from tests.benchmarks.timing import interleaved_medians

BATCH_SIZE, NUM_VIRTUAL, NUM_TOKENS = 16, 20, 48
NUM_EXAMPLES = 10_000
OURS, PEFT = "ours, label words at the answer", "PEFT, its own loss"
RIVALS = (OURS, PEFT)
DTYPES = ("float32", "bfloat16")
LABEL_WORDS = (" bad", " good")


class Step(NamedTuple):
    """A step of prompt tuning, and what it gives.

    Args:
        take: takes the step; gives its loss before the update.
        gradient: gives the prompt's gradient, float32 [NUM_VIRTUAL, width].
    """

    take: Callable[[], float]
    gradient: Callable[[], torch.Tensor]


def training_step(rival: str, dtype: str, *, whole_vocabulary: bool = False) -> Step:
    """Give one step: passes, backward, clipping, AdamW on the prompt alone.

    Args:
        rival: one of `RIVALS`.
        dtype: what the frozen model computes in.
        whole_vocabulary: whether our loss too compares the answer with the whole vocabulary, as PEFT's does.
    """
    loaded = load_language_model(dtype=dtype)
    model, tokenizer = loaded
    model.requires_grad_(False)
    words = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in LABEL_WORDS]
    ids = torch.randint(1000, 30000, (BATCH_SIZE, NUM_TOKENS), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(BATCH_SIZE) % 2
    prompt = initialise("sample_vocab", loaded, NUM_VIRTUAL)
    if rival == OURS:
        rows = prompt.embeddings
        batch = make_label_batch([LabelIds(text, words) for text in ids.tolist()])
        answers = torch.arange(BATCH_SIZE), labels

        def loss_of() -> torch.Tensor:
            with quick_attention(model, model.dtype):
                scores = label_scores(model, prompt, batch)
            return -scores[answers].mean() if whole_vocabulary else label_loss(scores, labels)
    else:
        rows, loss_of = _peft_loss(model, prompt.embeddings, ids, [words[label][0] for label in labels])
    optimizer = torch.optim.AdamW([rows], lr=1e-3)

    def take() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([rows], 1e9)
        optimizer.step()
        return loss.item()

    return Step(take, lambda: rows.grad.float().clone())


def _peft_loss(
    model: Any, start: torch.Tensor, ids: torch.Tensor, answers: list[int]
) -> tuple[torch.Tensor, Callable[[], torch.Tensor]]:
    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=NUM_VIRTUAL)
    peer: Any = get_peft_model(model, config).eval()
    rows = peer.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        rows.copy_(start)
    # the answer is the last token of the row, and the loss counts that alone
    whole = torch.cat([ids, torch.tensor(answers)[:, None]], dim=1)
    targets = whole.masked_fill(torch.arange(whole.shape[1]) < NUM_TOKENS, -100)
    mask = torch.ones_like(whole)
    return rows, lambda: peer(input_ids=whole, attention_mask=mask, labels=targets).loss


def largest_differences(dtype: str) -> tuple[float, float]:
    """Give how far loss and gradient are apart where both score the answer within the whole vocabulary.

    The gradient's difference is a share of its largest entry.
    """
    steps = [training_step(OURS, dtype, whole_vocabulary=True), training_step(PEFT, dtype)]
    losses = [step.take() for step in steps]
    ours, theirs = (step.gradient() for step in steps)
    return abs(losses[0] - losses[1]), float((ours - theirs).abs().max() / theirs.abs().max())


def peak_memory(rival: str, dtype: str, num_steps: int = 2) -> float:
    """Take a few steps in this process, and give its peak memory in MiB."""
    step = training_step(rival, dtype)
    for _ in range(num_steps):
        step.take()
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux `ru_maxrss` takes over the peak of the process that started this one
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def examples_per_second(
    build: Callable[..., Iterable[dict[str, Any]]],
    documents: Iterable[Mapping[str, Any]],
    *,
    num_examples: int,
    **options: Any,
) -> float:
    """Measure how many examples a second of one core's time are built, reading the documents included."""
    started = time.process_time()
    deque(build(documents, num_examples, 0, **options), maxlen=0)
    return num_examples / (time.process_time() - started)


def building_rates() -> dict[str, float]:
    """Give the examples that each builder makes a second, on one core."""
    documents = load_texts("newspaper", split="train")
    rates = {
        "sentence pairs": examples_per_second(build_nsp_examples, documents, num_examples=NUM_EXAMPLES),
        "choices of 6": examples_per_second(build_nss_examples, documents, num_examples=NUM_EXAMPLES),
        "choices of 2 to 16": examples_per_second(
            build_unified_examples, documents, num_examples=NUM_EXAMPLES
        ),
    }
    # the labeller's own time is not counted: sentences come with their probabilities
    sentences = [f"{text} {i}" for i, text in enumerate(load_texts("movie", split="train")["text"][:] * 2)]
    certain = np.eye(5)[np.arange(len(sentences)) % 5]
    rates["labelled sentences"] = examples_per_second(
        lambda given, number, seed: build_cls_examples(given, certain, number, seed),
        sentences,
        num_examples=NUM_EXAMPLES,
    )
    return rates


def table(rounds: int = 7) -> str:
    """Measure a step of each rival in both precisions, and give the tables."""
    context = multiprocessing.get_context("spawn")
    lines = [
        f"| a step of prompt tuning on {BATCH_SIZE} × ({NUM_VIRTUAL} + {NUM_TOKENS}) tokens | seconds "
        "| PEFT's time against ours | peak memory |",
        "| --- | --- | --- | --- |",
    ]
    notes = []
    for dtype in DTYPES:
        steps = {rival: training_step(rival, dtype).take for rival in RIVALS}
        seconds = interleaved_medians(steps, rounds=rounds)
        for rival in RIVALS:
            with context.Pool(1) as pool:  # a process each: a peak never falls again
                memory = pool.apply(peak_memory, (rival, dtype))
            ratio = seconds[rival] / seconds[OURS]
            lines.append(f"| {rival}, {dtype} | {seconds[rival]:.2f} | {ratio:.2f} | {memory:,.0f} MiB |")
        loss, gradient = largest_differences(dtype)
        notes.append(f"{dtype}: loss {loss:.1e}, gradient {gradient:.1e} of its largest entry")
    rates = building_rates()
    return "\n".join(
        [
            *lines,
            "",
            f"Medians of {rounds} rounds on {torch.get_num_threads()} threads. Largest differences where both "
            f"score the answer within the whole vocabulary, {'; '.join(notes)}. {machine_sentence()}",
            "",
            "| pre-training examples | a second, on one core |",
            "| --- | --- |",
            *(f"| {name} | {rate:,.0f} |" for name, rate in rates.items()),
        ]
    )
