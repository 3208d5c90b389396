"""Chapter 2: SMART, smoothness-inducing regularization and Bregman proximal point optimization."""

from course_lib.smart.divergence import squared_difference, symmetric_kl
from course_lib.smart.embeddings import DropoutReplay, forward_from_embeddings, word_embeddings
from course_lib.smart.proximal import BregmanProximalPoint, beta_from_half_life
from course_lib.smart.smoothness import SmoothnessRegularizer

__all__ = [
    "BregmanProximalPoint",
    "DropoutReplay",
    "SmoothnessRegularizer",
    "beta_from_half_life",
    "forward_from_embeddings",
    "squared_difference",
    "symmetric_kl",
    "word_embeddings",
]
