"""Training in several processes, started by torchrun; each process saves its weights and logs.

Usage: torchrun --nproc_per_node=2 -m tests.smart.torchrun_worker FOLDER
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch.nn.functional import cross_entropy

from tests.smart.training_parts import STRONG, noise_of_each_example, trained, weights

TERMS = ("loss", "task_loss", "smoothness", "proximal")


def loss_of_ones_own(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
    """Give a loss divided as the Trainer asks."""
    return 0.5 * cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch


# Every arrangement gives a step of the optimizer four examples.
ARRANGEMENTS: dict[str, dict[str, Any]] = {
    "batch": {"per_device_train_batch_size": 2},
    "accumulated": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2},
    "own_loss": {"per_device_train_batch_size": 2, "compute_loss_func": loss_of_ones_own},
}


def main(folder: Path) -> None:
    """Train every arrangement."""
    torch.set_num_threads(1)
    rank = os.environ["RANK"]
    for name, options in ARRANGEMENTS.items():
        with noise_of_each_example():
            trainer = trained(folder, **{**STRONG, **options})
        assert trainer.accelerator.num_processes == 2
        safetensors.torch.save_file(weights(trainer.model), folder / f"{name}_{rank}.safetensors")
        logs = [{key: entry[key] for key in TERMS} for entry in trainer.state.log_history if "loss" in entry]
        (folder / f"{name}_{rank}.json").write_text(json.dumps(logs))
    # together, and before the interpreter ends: who leaves first closes the sockets that the other may still use
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
