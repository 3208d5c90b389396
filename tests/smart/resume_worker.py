"""The runs of the test that kills training, in a process of their own: whole, killed, resumed.

Usage: python -m tests.smart.resume_worker FOLDER RUN [RUN ...]
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from transformers import TrainerCallback

from course_lib.smart import SmartTrainer
from tests.smart.training_parts import STRONG, rows, settings, tiny_model, weights


class Killer(TrainerCallback):
    """Kills this process as a machine that fails would: no signal handler, no cleaning up."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 8:
            os.kill(os.getpid(), signal.SIGKILL)


def run(folder: Path, name: str) -> None:
    """Train with dropout, an epoch of four steps and a checkpoint every three, and save the weights."""
    arguments = settings(
        folder / ("whole" if name == "whole" else "killed"), max_steps=10, save_strategy="steps", save_steps=3,
        gradient_accumulation_steps=2, per_device_train_batch_size=2, optim="adamw_torch", **STRONG,
    )  # fmt: skip
    arguments.learning_rate = 1e-3
    callbacks: list[TrainerCallback] = [Killer()] if name == "killed" else []
    trainer = SmartTrainer(tiny_model(dropout=0.2), arguments, train_dataset=rows(16), callbacks=callbacks)
    trainer.train(resume_from_checkpoint=name == "resumed")
    assert trainer.smart_loss is not None
    assert trainer.smart_loss.proximal is not None
    anchor = {key: value.clone() for key, value in trainer.smart_loss.proximal.state_dict().items()}
    safetensors.torch.save_file({**weights(trainer.model), **anchor}, folder / f"{name}.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in sys.argv[2:]:
        run(Path(sys.argv[1]), each)
