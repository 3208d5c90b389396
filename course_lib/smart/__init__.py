"""Chapter 2: SMART, smoothness-inducing regularization and Bregman proximal point optimization."""

from typing import TYPE_CHECKING, Any

from course_lib.smart.divergence import squared_difference, symmetric_kl
from course_lib.smart.embeddings import forward_from_embeddings, word_embeddings
from course_lib.smart.loss import SmartLoss, SmartTerms
from course_lib.smart.proximal import BregmanProximalPoint, beta_from_half_life
from course_lib.smart.smoothness import SmoothnessRegularizer
from course_lib.smart.weight import smoothness_shares

if TYPE_CHECKING:
    from course_lib.smart.replay import DropoutReplay
    from course_lib.smart.trainer import SmartTrainer, SmartTrainingArguments

__all__ = [
    "BregmanProximalPoint",
    "DropoutReplay",
    "SmartLoss",
    "SmartTerms",
    "SmartTrainer",
    "SmartTrainingArguments",
    "SmoothnessRegularizer",
    "beta_from_half_life",
    "forward_from_embeddings",
    "smoothness_shares",
    "squared_difference",
    "symmetric_kl",
    "word_embeddings",
]


def __getattr__(name: str) -> Any:
    """Import what needs torch and transformers only when it is asked for."""
    if name == "DropoutReplay":
        from course_lib.smart.replay import DropoutReplay

        return DropoutReplay
    if name in ("SmartTrainer", "SmartTrainingArguments"):
        from course_lib.smart import trainer

        return getattr(trainer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
