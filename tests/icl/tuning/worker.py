"""Tuning of a sibling in a process of its own, which may kill itself.

Usage: python -m tests.icl.tuning.worker FOLDER NAME [STEP]
The adapter goes to FOLDER/NAME; with STEP the process kills itself once that step is taken.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from course_lib.icl.tuning.siblings import Material, tune_sibling
from course_lib.icl.tuning.train import TuningStep
from tests.icl.tuning.tiny import SETTINGS, save_model, tiny_texts


def tune(folder: Path, name: str, killed_after: int | None) -> None:
    """Tunes the tiny model on a file of texts."""

    def kill(step: TuningStep) -> None:
        if step.step == killed_after:
            os.kill(os.getpid(), signal.SIGKILL)

    if not (folder / "model").exists():
        save_model(folder / "model")
        tiny_texts(with_domain=False).to_csv(folder / "texts.csv", index=False)
    tune_sibling(
        Material(["sentiment"], str(folder / "texts.csv")),
        folder / name,
        model_source=str(folder / "model"),
        settings=SETTINGS,
        checkpoint_folder=folder / f"checkpoints-{name}",
        after_step=kill,
        progress=False,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    tune(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None)
