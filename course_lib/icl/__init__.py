"""Chapter 4: the inductive bias of in-context learning, measured by h-accuracy."""

from typing import TYPE_CHECKING

from course_lib.lazy import lazy_face

if TYPE_CHECKING:
    from course_lib.icl.bias import h_accuracy as h_accuracy
    from course_lib.icl.calibration import content_free_rows as content_free_rows
    from course_lib.icl.calibration import contextual_scores as contextual_scores
    from course_lib.icl.calibration import decide as decide
    from course_lib.icl.drawing import label_texts as label_texts
    from course_lib.icl.experiments.conditions import choose_condition as choose_condition
    from course_lib.icl.experiments.conditions import condition_table as condition_table
    from course_lib.icl.experiments.conditions import split_rows as split_rows
    from course_lib.icl.experiments.conditions import sweep as sweep
    from course_lib.icl.experiments.context_size import context_run as context_run
    from course_lib.icl.experiments.context_size import context_table as context_table
    from course_lib.icl.experiments.effects import intended_change as intended_change
    from course_lib.icl.experiments.effects import intervention_effects as intervention_effects
    from course_lib.icl.experiments.effects import published_baselines as published_baselines
    from course_lib.icl.experiments.effects import published_effects as published_effects
    from course_lib.icl.experiments.effects import steering as steering
    from course_lib.icl.experiments.embedded import bias_run as bias_run
    from course_lib.icl.experiments.embedded import intervention_sweep as intervention_sweep
    from course_lib.icl.experiments.measuring import measure_set as measure_set
    from course_lib.icl.experiments.pairs import measure_pair as measure_pair
    from course_lib.icl.experiments.pooling import bias_texts as bias_texts
    from course_lib.icl.experiments.pooling import pool_texts as pool_texts
    from course_lib.icl.experiments.tables import bias_table as bias_table
    from course_lib.icl.experiments.tables import compare_models as compare_models
    from course_lib.icl.experiments.tables import feature_table as feature_table
    from course_lib.icl.hypotheses import HYPOTHESES as HYPOTHESES
    from course_lib.icl.hypotheses import Hypothesis as Hypothesis
    from course_lib.icl.hypotheses import competitors as competitors
    from course_lib.icl.hypotheses import find_hypothesis as find_hypothesis
    from course_lib.icl.interventions import all_interventions as all_interventions
    from course_lib.icl.invariance import invariance_table as invariance_table
    from course_lib.icl.prompting import DemonstrationPrompt as DemonstrationPrompt
    from course_lib.icl.prompting import InstanceTemplate as InstanceTemplate
    from course_lib.icl.prompting import prompt_for as prompt_for
    from course_lib.icl.prompting import prompt_ids as prompt_ids
    from course_lib.icl.scorers.endpoint import EndpointScorer as EndpointScorer
    from course_lib.icl.scorers.naive import NaiveScorer as NaiveScorer
    from course_lib.icl.scorers.prefix_cached import PrefixCachedScorer as PrefixCachedScorer
    from course_lib.icl.scorers.prefix_cached import find_scorer as find_scorer
    from course_lib.icl.underspecified import UnderspecifiedPool as UnderspecifiedPool
    from course_lib.icl.underspecified import cell_counts as cell_counts
    from course_lib.icl.underspecified import disambiguating_demonstrations as disambiguating_demonstrations
    from course_lib.icl.underspecified import underspecified_split as underspecified_split
    from course_lib.prompts.verbalizers import Verbalizer as Verbalizer
else:
    __getattr__, __dir__, __all__ = lazy_face(__name__, __file__)
