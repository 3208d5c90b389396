"""Chapter 4: the inductive bias of in-context learning, measured by h-accuracy."""

from course_lib.icl.bias import FeatureBias, feature_bias, h_accuracy
from course_lib.icl.calibration import CALIBRATIONS, contextual_scores, decide, median_scores
from course_lib.icl.endpoint import EndpointScorer
from course_lib.icl.hypotheses import HYPOTHESES, Hypothesis, find_hypothesis, label_texts, pool_texts
from course_lib.icl.interventions import INTERVENTION_KINDS, find_intervention, interventions
from course_lib.icl.invariance import equivariance_error
from course_lib.icl.measuring import (
    bias_run,
    bias_table,
    feature_run,
    feature_table,
    measure_pair,
    measure_set,
    measure_split,
)
from course_lib.icl.prompting import TEMPLATES, DemonstrationPrompt, InstanceTemplate
from course_lib.icl.scoring import NaiveScorer, PrefixCachedScorer, Scorer
from course_lib.icl.underspecified import single_feature_split, underspecified_split
from course_lib.verbalizers import Verbalizer

__all__ = [
    "CALIBRATIONS",
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
    "contextual_scores",
    "decide",
    "equivariance_error",
    "feature_bias",
    "feature_run",
    "feature_table",
    "find_hypothesis",
    "find_intervention",
    "h_accuracy",
    "interventions",
    "label_texts",
    "measure_pair",
    "measure_set",
    "measure_split",
    "median_scores",
    "pool_texts",
    "single_feature_split",
    "underspecified_split",
]
