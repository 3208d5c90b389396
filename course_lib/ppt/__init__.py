"""Chapter 3: pre-trained prompt tuning."""

from course_lib.models.fingerprint import (
    ModelFingerprint,
    model_fingerprint,
    weights_hash,
)
from course_lib.ppt.examples import (
    PromptExample,
)
from course_lib.ppt.fewshot.run import (
    choose_learning_rates,
    few_shot_run,
    few_shot_table,
    median_accuracy,
    pilot_differences,
    pilot_rows,
    pilot_run,
    pilot_variants,
)
from course_lib.ppt.fewshot.tasks import (
    METHODS,
    TASKS,
    FewShotMethod,
    FewShotSplit,
    FewShotTask,
    few_shot_split,
)
from course_lib.ppt.fewshot.tuning import finetune_language_model
from course_lib.ppt.label_scoring import (
    label_loss,
    label_scores,
    make_label_batch,
)
from course_lib.ppt.patterns import (
    PATTERNS,
    Pattern,
    as_multiple_choice,
    choice_pattern,
    find_pattern,
    nli_pattern,
    pair_pattern,
    sentiment_pattern,
    single_pattern,
    unified_pattern,
)
from course_lib.ppt.pretraining.documents import (
    Labeller,
    build_cls_examples,
    build_nsp_examples,
    build_nss_examples,
    build_unified_examples,
    examples_per_second,
    labeller_texts,
    split_sentences,
    train_labeller,
)
from course_lib.ppt.pretraining.probing import probe_task
from course_lib.ppt.pretraining.shipped import (
    evaluate_shipped,
    evaluate_task,
    pretrain_task,
    shipped_folder,
    shipped_training,
)
from course_lib.ppt.pretraining.tasks import (
    pretraining_examples,
    pretraining_rows,
    pseudo_labels,
    write_examples,
)
from course_lib.ppt.soft_prompt import (
    SoftPrompt,
    initialise,
    load_soft_prompt,
)
from course_lib.ppt.training import (
    PromptTrainingResult,
    PromptTrainingSettings,
    evaluate_prompt,
    pretrain_prompt,
    train_prompt,
)
from course_lib.ppt.user_tuning import tune_prompt

__all__ = [
    "METHODS",
    "PATTERNS",
    "TASKS",
    "FewShotMethod",
    "FewShotSplit",
    "FewShotTask",
    "Labeller",
    "ModelFingerprint",
    "Pattern",
    "PromptExample",
    "PromptTrainingResult",
    "PromptTrainingSettings",
    "SoftPrompt",
    "as_multiple_choice",
    "build_cls_examples",
    "build_nsp_examples",
    "build_nss_examples",
    "build_unified_examples",
    "choice_pattern",
    "choose_learning_rates",
    "evaluate_prompt",
    "evaluate_shipped",
    "evaluate_task",
    "examples_per_second",
    "few_shot_run",
    "few_shot_split",
    "few_shot_table",
    "find_pattern",
    "finetune_language_model",
    "initialise",
    "label_loss",
    "label_scores",
    "labeller_texts",
    "load_soft_prompt",
    "make_label_batch",
    "median_accuracy",
    "model_fingerprint",
    "nli_pattern",
    "pair_pattern",
    "pilot_differences",
    "pilot_rows",
    "pilot_run",
    "pilot_variants",
    "pretrain_prompt",
    "pretrain_task",
    "pretraining_examples",
    "pretraining_rows",
    "probe_task",
    "pseudo_labels",
    "sentiment_pattern",
    "shipped_folder",
    "shipped_training",
    "single_pattern",
    "split_sentences",
    "train_labeller",
    "train_prompt",
    "tune_prompt",
    "unified_pattern",
    "weights_hash",
    "write_examples",
]
