"""SMART: a training step with each of its parts, beside plain fine-tuning and the peer from the index."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from pathlib import Path

import torch
from smart_pytorch import SMARTLoss, kl_loss, sym_kl_loss

from course_lib.models import load_classifier
from course_lib.runs.hardware import machine_sentence
from course_lib.smart import BregmanProximalPoint, SmartLoss, SmoothnessRegularizer
from tests.benchmarks.timing import interleaved_medians

BATCH_SIZE = 16
NUM_TOKENS = 48
PLAIN, OURS, OURS_BOTH, PEER = "plain", "ours, R_s", "ours, R_s and D_Breg", "smart-pytorch, R_s"
RIVALS = (PLAIN, OURS, OURS_BOTH, PEER)


def training_step(rival: str) -> Callable[[], None]:
    """Give one training step: passes, backward, clipping, AdamW, and the anchor's update."""
    model = load_classifier(num_labels=2).model.train()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 30000, (BATCH_SIZE, NUM_TOKENS), generator=generator)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    labels = torch.arange(BATCH_SIZE) % 2
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    regularizer = SmoothnessRegularizer() if rival in (OURS, OURS_BOTH) else None
    proximal = BregmanProximalPoint(model, num_steps=1000) if rival == OURS_BOTH else None
    smart = SmartLoss(model, regularizer, 1.0, proximal) if rival in (OURS, OURS_BOTH) else None

    def peer_loss(logits: torch.Tensor) -> torch.Tensor:
        def from_embeddings(embeddings: torch.Tensor) -> torch.Tensor:
            return model(inputs_embeds=embeddings, attention_mask=batch["attention_mask"]).logits

        embeddings = model.get_input_embeddings()(ids)
        return SMARTLoss(from_embeddings, kl_loss, sym_kl_loss)(embeddings, logits)

    def step() -> None:
        if smart:
            smart.before_pass()
        logits = model(**batch).logits
        loss = torch.nn.functional.cross_entropy(logits, labels)
        if smart:
            loss = loss + smart(model, batch, logits)
        if rival == PEER:
            loss = loss + peer_loss(logits)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if smart:
            smart.update()

    return step


def peak_memory(rival: str, num_steps: int = 3) -> float:
    """Run a few steps in this process, and give its peak memory in MiB."""
    step = training_step(rival)
    for _ in range(num_steps):
        step()
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux `ru_maxrss` takes over the peak of the process that started this one
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def table(rounds: int = 15) -> str:
    """Measure a step of each rival, and give the table."""
    seconds = interleaved_medians({rival: training_step(rival) for rival in RIVALS}, rounds=rounds)
    context = multiprocessing.get_context("spawn")
    memory = {}
    for rival in RIVALS:  # a process each: a peak never falls again
        with context.Pool(1) as pool:
            memory[rival] = pool.apply(peak_memory, (rival,))
    lines = [
        f"| a training step on {BATCH_SIZE} × {NUM_TOKENS} tokens | median ms | time against plain "
        "| peak memory against plain |",
        "| --- | --- | --- | --- |",
    ]
    for rival in RIVALS:
        lines.append(
            f"| {rival} | {1000 * seconds[rival]:.0f} | {seconds[rival] / seconds[PLAIN]:.2f} "
            f"| {memory[rival] - memory[PLAIN]:+.0f} MiB |"
        )
    threads = torch.get_num_threads()
    return "\n".join(
        [
            *lines,
            "",
            f"Medians of {rounds} rounds in float32 on {threads} threads; plain training peaks at "
            f"{memory[PLAIN]:,.0f} MiB. {machine_sentence()}",
        ]
    )
