"""Fine-tuning: length-bucketed batches beside a plain loop that pads to a fixed length."""

from __future__ import annotations

import torch

from course_lib.finetuning import FinetuningSettings, encode, finetune
from course_lib.models import ModelAndTokenizer, count_parameters, load_classifier
from course_lib.runs.hardware import machine_sentence
from course_lib.texts import load_texts, sample_texts, with_binary_labels
from tests.benchmarks.timing import interleaved_medians, matrix_rate

NUM_TEXTS = 256
BATCH_SIZE = 16
PADDED_LENGTH = 64


def plain_loop(classifier: ModelAndTokenizer, texts, padded_length: int | None) -> None:
    """Do what tutorials do: batches in random order, padded to a fixed length or to their longest."""
    model, tokenizer = classifier
    padding = "max_length" if padded_length else "longest"
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0)).tolist()
    model.train()
    for start in range(0, len(order), BATCH_SIZE):
        rows = texts[order[start : start + BATCH_SIZE]]
        length = padded_length or 128
        batch = tokenizer(
            rows["text"], padding=padding, truncation=True, max_length=length, return_tensors="pt"
        )
        loss = model(**batch, labels=torch.tensor(rows["label"])).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def table(rounds: int = 3) -> str:
    """Measure an epoch of each loop, and give the table."""
    texts = sample_texts(with_binary_labels(load_texts("movie", split="train")), NUM_TEXTS, seed=0)
    classifier = load_classifier(num_labels=2)
    num_tokens = sum(len(example["input_ids"]) for example in encode(classifier, texts))
    settings = FinetuningSettings(num_epochs=1, batch_size=BATCH_SIZE)
    rivals = {
        "`course_lib.finetuning`": lambda: finetune(classifier, texts, settings, progress=False),
        "plain loop, padded to the longest of the batch": lambda: plain_loop(classifier, texts, None),
        f"plain loop, padded to {PADDED_LENGTH} tokens": lambda: plain_loop(classifier, texts, PADDED_LENGTH),
    }
    seconds = interleaved_medians(rivals, rounds=rounds)
    rate = matrix_rate()
    # Six operations for each weight and token: two forward, four backward. Looking up an embedding costs none.
    embeddings = classifier.model.get_input_embeddings().weight.numel()
    operations = 6 * (count_parameters(classifier.model) - embeddings) * num_tokens
    ours = seconds["`course_lib.finetuning`"]
    lines = [
        f"| an epoch of {NUM_TEXTS} review sentences, batch {BATCH_SIZE} | tokens a second | time against ours "
        "| share of the matrix rate |",
        "| --- | --- | --- | --- |",
    ]
    for name, took in seconds.items():
        share = operations / took / rate
        lines.append(f"| {name} | {num_tokens / took:,.0f} | {took / ours:.2f} | {100 * share:.0f} % |")
    threads = torch.get_num_threads()
    note = f"Matrix rate: {rate / 1e9:.0f} GFLOP/s in float32 on {threads} threads. {machine_sentence()}"
    return "\n".join([*lines, "", note])
