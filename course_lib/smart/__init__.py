"""Chapter 2: SMART, smoothness-inducing regularization and Bregman proximal point optimization."""

from typing import TYPE_CHECKING

from course_lib.lazy import lazy_face

if TYPE_CHECKING:
    from course_lib.smart.divergence import squared_difference as squared_difference
    from course_lib.smart.divergence import symmetric_kl as symmetric_kl
    from course_lib.smart.embeddings import forward_from_embeddings as forward_from_embeddings
    from course_lib.smart.embeddings import word_embeddings as word_embeddings
    from course_lib.smart.loss import SmartLoss as SmartLoss
    from course_lib.smart.loss import SmartTerms as SmartTerms
    from course_lib.smart.proximal import BregmanProximalPoint as BregmanProximalPoint
    from course_lib.smart.proximal import beta_from_half_life as beta_from_half_life
    from course_lib.smart.replay import DropoutReplay as DropoutReplay
    from course_lib.smart.smoothness import SmoothnessRegularizer as SmoothnessRegularizer
    from course_lib.smart.trainer import SmartTrainer as SmartTrainer
    from course_lib.smart.trainer import SmartTrainingArguments as SmartTrainingArguments
    from course_lib.smart.weight import smoothness_shares as smoothness_shares
else:
    __getattr__, __dir__, __all__ = lazy_face(__name__, __file__)
