"""Fine-tuning: one loop of optimizer steps, and the training and evaluation of classifiers on it."""

from typing import TYPE_CHECKING

from course_lib.lazy import lazy_face

if TYPE_CHECKING:
    from course_lib.finetuning.batches import POOL_BATCHES as POOL_BATCHES
    from course_lib.finetuning.batches import TEXT_COLUMNS as TEXT_COLUMNS
    from course_lib.finetuning.batches import Batch as Batch
    from course_lib.finetuning.batches import collate as collate
    from course_lib.finetuning.batches import encode as encode
    from course_lib.finetuning.batches import length_bucketed_batches as length_bucketed_batches
    from course_lib.finetuning.batches import text_columns as text_columns
    from course_lib.finetuning.evaluating import Evaluation as Evaluation
    from course_lib.finetuning.evaluating import evaluate as evaluate
    from course_lib.finetuning.evaluating import refuse_padding_that_counts as refuse_padding_that_counts
    from course_lib.finetuning.loop import ExtraLoss as ExtraLoss
    from course_lib.finetuning.loop import FinetuningSettings as FinetuningSettings
    from course_lib.finetuning.loop import Step as Step
    from course_lib.finetuning.loop import finetune as finetune
    from course_lib.finetuning.optimizing import BestWeights as BestWeights
    from course_lib.finetuning.optimizing import Update as Update
    from course_lib.finetuning.optimizing import descend as descend
else:
    __getattr__, __dir__, __all__ = lazy_face(__name__, __file__)
