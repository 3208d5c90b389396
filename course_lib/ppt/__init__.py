"""Chapter 3: pre-trained prompt tuning."""

from course_lib.ppt.corpus import (
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
from course_lib.ppt.fingerprint import (
    ModelFingerprint,
    model_fingerprint,
    weights_hash,
)
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
from course_lib.ppt.pretraining import (
    PromptTrainingResult,
    PromptTrainingSettings,
    evaluate_prompt,
    pretrain_prompt,
    train_prompt,
)
from course_lib.ppt.prompt_examples import (
    PromptExample,
)
from course_lib.ppt.soft_prompt import (
    SoftPrompt,
    initialise,
    load_soft_prompt,
)

__all__ = [
    "PATTERNS",
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
    "evaluate_prompt",
    "examples_per_second",
    "find_pattern",
    "initialise",
    "label_loss",
    "label_scores",
    "labeller_texts",
    "load_soft_prompt",
    "make_label_batch",
    "model_fingerprint",
    "nli_pattern",
    "pair_pattern",
    "pretrain_prompt",
    "sentiment_pattern",
    "single_pattern",
    "split_sentences",
    "train_labeller",
    "train_prompt",
    "unified_pattern",
    "weights_hash",
]
