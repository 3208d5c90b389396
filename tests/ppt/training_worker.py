"""Training of a prompt in processes of their own: whole, killed, resumed; and shared by several.

Usage: python -m tests.ppt.training_worker FOLDER RUN [RUN ...]
       torchrun --nproc_per_node=2 -m tests.ppt.training_worker FOLDER shared
A RUN is "whole", "resumed", or "killed-N", which kills itself once N steps are taken.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from course_lib.ppt.optimisation import PromptStep, PromptTrainingSettings
from course_lib.ppt.soft_prompt import initialise
from course_lib.ppt.training import PromptTrainingResult, pretrain_prompt
from tests.ppt.tiny import VERBALIZERS, tiny_examples, tiny_language_model

NUM_STEPS = 23
# seven batches an epoch, the last of them smaller; checkpoints and evaluations fall on different steps
SETTINGS = PromptTrainingSettings(
    num_steps=NUM_STEPS, batch_size=6, learning_rate=0.05, evaluate_every=5, checkpoint_every=4, keep="best"
)


def train(folder: Path | None, *, killed_after: int | None = None) -> PromptTrainingResult:
    """Train a prompt on options that differ in number, with label words of two tokens."""

    def kill(step: PromptStep) -> None:
        if step.step == killed_after:
            os.kill(os.getpid(), signal.SIGKILL)

    tiny = tiny_language_model()
    return pretrain_prompt(
        tiny,
        initialise("random", tiny, 4),
        tiny_examples(39, options=True),
        VERBALIZERS["two tokens"],
        SETTINGS,
        heldout=tiny_examples(50, seed=1, options=True),
        checkpoint_folder=folder,
        after_step=kill,
        progress=False,
    )


def run(folder: Path, name: str) -> None:
    """Train, and save everything that the run gives."""
    kind, _, number = name.partition("-")
    checkpoints = None if kind == "shared" else folder / ("whole" if kind == "whole" else "killed")
    result = train(checkpoints, killed_after=int(number) if number else None)
    rank = os.environ.get("RANK", "0")
    torch.save(
        {
            "prompt": result.prompt.embeddings.detach(),
            "steps": [asdict(step) for step in result.steps],
            "evaluations": [asdict(evaluation) for evaluation in result.evaluations],
            "kept_step": result.kept_step,
        },
        folder / f"{kind}_{rank}.pt",
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in sys.argv[2:]:
        run(Path(sys.argv[1]), each)
