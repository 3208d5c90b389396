"""Pre-trained models: loading them, and what the chapters ask of them."""

from typing import TYPE_CHECKING

from course_lib.lazy import lazy_face

if TYPE_CHECKING:
    from course_lib.models.context import find_context_length as find_context_length
    from course_lib.models.context import num_virtual_tokens as num_virtual_tokens
    from course_lib.models.context import refuse_too_long as refuse_too_long
    from course_lib.models.context import rope_border as rope_border
    from course_lib.models.context import text_config as text_config
    from course_lib.models.generating import complete as complete
    from course_lib.models.generating import embed as embed
    from course_lib.models.generating import next_token_probabilities as next_token_probabilities
    from course_lib.models.loaded import EMBEDDED as EMBEDDED
    from course_lib.models.loaded import ModelAndTokenizer as ModelAndTokenizer
    from course_lib.models.loaded import floating_dtype as floating_dtype
    from course_lib.models.loading import kept_language_model as kept_language_model
    from course_lib.models.loading import load_classifier as load_classifier
    from course_lib.models.loading import load_encoder as load_encoder
    from course_lib.models.loading import load_language_model as load_language_model
    from course_lib.models.outputs import output_only_at as output_only_at
    from course_lib.models.outputs import refuse_looking_ahead as refuse_looking_ahead
    from course_lib.models.weights import count_parameters as count_parameters
    from course_lib.models.weights import encoder_weights as encoder_weights
    from course_lib.models.weights import relative_distance as relative_distance
    from course_lib.runs.hardware import choose_device as choose_device
else:
    __getattr__, __dir__, __all__ = lazy_face(__name__, __file__)
