"""Chapter 3: pre-trained prompt tuning."""

from typing import TYPE_CHECKING

from course_lib.lazy import lazy_face

if TYPE_CHECKING:
    from course_lib.ppt.examples import PromptExample as PromptExample
    from course_lib.ppt.examples import write_examples as write_examples
    from course_lib.ppt.fewshot.methods import METHODS as METHODS
    from course_lib.ppt.fewshot.pilot import pilot_differences as pilot_differences
    from course_lib.ppt.fewshot.pilot import pilot_rows as pilot_rows
    from course_lib.ppt.fewshot.pilot import pilot_run as pilot_run
    from course_lib.ppt.fewshot.pilot import pilot_variants as pilot_variants
    from course_lib.ppt.fewshot.run import few_shot_run as few_shot_run
    from course_lib.ppt.fewshot.tables import few_shot_table as few_shot_table
    from course_lib.ppt.fewshot.tasks import FEW_SHOT_TASKS as FEW_SHOT_TASKS
    from course_lib.ppt.label_scoring import label_loss as label_loss
    from course_lib.ppt.label_scoring import label_scores as label_scores
    from course_lib.ppt.label_scoring import make_label_batch as make_label_batch
    from course_lib.ppt.optimisation import PromptTrainingSettings as PromptTrainingSettings
    from course_lib.ppt.patterns import Pattern as Pattern
    from course_lib.ppt.pretraining.examples import build_cls_examples as build_cls_examples
    from course_lib.ppt.pretraining.examples import build_nsp_examples as build_nsp_examples
    from course_lib.ppt.pretraining.examples import build_nss_examples as build_nss_examples
    from course_lib.ppt.pretraining.examples import build_unified_examples as build_unified_examples
    from course_lib.ppt.pretraining.shipped import shipped_folder as shipped_folder
    from course_lib.ppt.pretraining.shipped import shipped_training as shipped_training
    from course_lib.ppt.pretraining.tasks import PRETRAINING_TASKS as PRETRAINING_TASKS
    from course_lib.ppt.pretraining.tasks import find_pattern as find_pattern
    from course_lib.ppt.pretraining.tasks import pretraining_examples as pretraining_examples
    from course_lib.ppt.pretraining.tasks import pretraining_rows as pretraining_rows
    from course_lib.ppt.soft_prompt import SoftPrompt as SoftPrompt
    from course_lib.ppt.soft_prompt import initialise as initialise
    from course_lib.ppt.soft_prompt import load_soft_prompt as load_soft_prompt
    from course_lib.ppt.training import PromptTrainingResult as PromptTrainingResult
    from course_lib.ppt.training import evaluate_prompt as evaluate_prompt
    from course_lib.ppt.training import pretrain_prompt as pretrain_prompt
    from course_lib.ppt.training import train_prompt as train_prompt
    from course_lib.ppt.user_texts import predict_texts as predict_texts
    from course_lib.ppt.user_texts import tune_prompt as tune_prompt
else:
    __getattr__, __dir__, __all__ = lazy_face(__name__, __file__)
