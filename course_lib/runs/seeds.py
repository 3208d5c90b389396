"""One seed for every random generator."""

from __future__ import annotations

import random

import numpy as np
import torch

from course_lib.checks.calls import border
from course_lib.checks.types import Seed


@border()
def seed_everything(seed: Seed) -> None:
    """Seed Python's, NumPy's and torch's random generators, on every device.

    Args:
        seed: a whole number from 0 to 2**32 - 1.

    Raises:
        CourseError: if the seed is outside that range.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
