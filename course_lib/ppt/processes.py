"""The processes that share the work of a training step."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from course_lib.errors import CourseError

if TYPE_CHECKING:
    import torch


class Processes:
    """The processes that share a step's batch: several where `torchrun` or `accelerate launch` started them.

    Args:
        device: the model's; None for this process alone.

    Raises:
        CourseError: several processes, and the model is not on this one's own device.
    """

    def __init__(self, device: torch.device | None) -> None:
        self.index, self.count, self._accelerator = 0, 1, None
        if device is None or int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return
        from accelerate import Accelerator

        accelerator: Any = Accelerator(cpu=device.type == "cpu")
        own = accelerator.device
        # a CPU's number means nothing: all processes share it
        if own.type != device.type or (own.type != "cpu" and own.index not in (None, device.index)):
            raise CourseError(
                "Each process needs its model on a device of its own.",
                given=f"the model is on {device}, this process is for {own}",
                mend=f"Load it with device='{own}'.",
            )
        self.index, self.count = accelerator.process_index, accelerator.num_processes
        self._accelerator = accelerator

    @classmethod
    def alone(cls) -> Processes:
        """Give this process alone, whatever others there are."""
        return cls(None)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Add up over all processes."""
        return values if self._accelerator is None else self._accelerator.reduce(values, reduction="sum")
