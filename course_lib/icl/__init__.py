"""Chapter 4: the inductive bias of in-context learning, measured by h-accuracy."""

from course_lib.icl.bias import FeatureBias, feature_bias, h_accuracy
from course_lib.icl.calibration import (
    CALIBRATIONS,
    content_free_rows,
    contextual_scores,
    decide,
    median_scores,
)
from course_lib.icl.experiments.conditions import (
    choose_condition,
    condition_run,
    condition_table,
    split_rows,
    sweep,
)
from course_lib.icl.experiments.context_size import context_run, context_table
from course_lib.icl.experiments.effects import (
    intended_change,
    intervention_effects,
    published_baselines,
    published_effects,
    steering,
)
from course_lib.icl.experiments.measuring import (
    EMBEDDED_PAIRS,
    bias_run,
    bias_texts,
    feature_run,
    find_scorer,
    intervention_sweep,
    measure_set,
    measure_split,
    prompt_for,
)
from course_lib.icl.experiments.pairs import measure_pair
from course_lib.icl.experiments.pooling import pool_texts
from course_lib.icl.experiments.tables import bias_table, compare_models, feature_table
from course_lib.icl.hypotheses import HYPOTHESES, Hypothesis, find_hypothesis, label_texts
from course_lib.icl.interventions import INTERVENTION_KINDS, find_intervention, interventions
from course_lib.icl.invariance import equivariance_error, invariance_table
from course_lib.icl.prompting import TEMPLATES, DemonstrationPrompt, InstanceTemplate, prompt_ids
from course_lib.icl.scorers.endpoint import EndpointScorer
from course_lib.icl.scorers.local import NaiveScorer, PrefixCachedScorer, Scorer
from course_lib.icl.underspecified import (
    cell_counts,
    disambiguating_demonstrations,
    single_feature_split,
    underspecified_split,
)
from course_lib.prompts.verbalizers import Verbalizer

__all__ = [
    "CALIBRATIONS",
    "EMBEDDED_PAIRS",
    "HYPOTHESES",
    "INTERVENTION_KINDS",
    "TEMPLATES",
    "DemonstrationPrompt",
    "EndpointScorer",
    "FeatureBias",
    "Hypothesis",
    "InstanceTemplate",
    "NaiveScorer",
    "PrefixCachedScorer",
    "Scorer",
    "Verbalizer",
    "bias_run",
    "bias_table",
    "bias_texts",
    "cell_counts",
    "choose_condition",
    "compare_models",
    "condition_run",
    "condition_table",
    "content_free_rows",
    "context_run",
    "context_table",
    "contextual_scores",
    "decide",
    "disambiguating_demonstrations",
    "equivariance_error",
    "feature_bias",
    "feature_run",
    "feature_table",
    "find_hypothesis",
    "find_intervention",
    "find_scorer",
    "h_accuracy",
    "intended_change",
    "intervention_effects",
    "intervention_sweep",
    "interventions",
    "invariance_table",
    "label_texts",
    "measure_pair",
    "measure_set",
    "measure_split",
    "median_scores",
    "pool_texts",
    "prompt_for",
    "prompt_ids",
    "published_baselines",
    "published_effects",
    "single_feature_split",
    "split_rows",
    "steering",
    "sweep",
    "underspecified_split",
]
