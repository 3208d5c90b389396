"""Border checks: each says in one sentence what was expected, what came, and what to do.

A public function checks what it is given here, before it works, and goes on with what the check returns:
plain numbers, and NumPy arrays of the dtype and shape that were asked for. `border` is the short way to say
it, one check an argument, above the function:

    @border(values=check_numbers, confidence=partial(check_share, closed=False), seed=a_seed)
    def mean_of(values, *, confidence=0.95, seed=0): ...
"""

from typing import TYPE_CHECKING

from course_lib.lazy import lazy_face

if TYPE_CHECKING:
    from course_lib.checks.arrays import check_labels as check_labels
    from course_lib.checks.arrays import check_numbers as check_numbers
    from course_lib.checks.arrays import check_scores as check_scores
    from course_lib.checks.arrays import check_tensor as check_tensor
    from course_lib.checks.arrays import shaped as shaped
    from course_lib.checks.calls import Check as Check
    from course_lib.checks.calls import a_choice as a_choice
    from course_lib.checks.calls import a_dataset as a_dataset
    from course_lib.checks.calls import a_figure as a_figure
    from course_lib.checks.calls import a_frame as a_frame
    from course_lib.checks.calls import a_model as a_model
    from course_lib.checks.calls import a_model_and_tokenizer as a_model_and_tokenizer
    from course_lib.checks.calls import a_tensor as a_tensor
    from course_lib.checks.calls import an_axes as an_axes
    from course_lib.checks.calls import border as border
    from course_lib.checks.calls import check_choice as check_choice
    from course_lib.checks.calls import check_fields as check_fields
    from course_lib.checks.calls import each as each
    from course_lib.checks.calls import of_type as of_type
    from course_lib.checks.calls import optional as optional
    from course_lib.checks.tables import check_columns as check_columns
    from course_lib.checks.tables import check_dataset as check_dataset
    from course_lib.checks.tables import check_table as check_table
    from course_lib.checks.tables import dataset_with as dataset_with
    from course_lib.checks.tables import table_with as table_with
    from course_lib.checks.tables import with_columns as with_columns
    from course_lib.checks.types import Count as Count
    from course_lib.checks.types import Flag as Flag
    from course_lib.checks.types import Name as Name
    from course_lib.checks.types import NotNegative as NotNegative
    from course_lib.checks.types import Number as Number
    from course_lib.checks.types import OpenShare as OpenShare
    from course_lib.checks.types import Positive as Positive
    from course_lib.checks.types import Seed as Seed
    from course_lib.checks.types import Share as Share
    from course_lib.checks.types import Text as Text
    from course_lib.checks.types import Whole as Whole
    from course_lib.checks.values import MOST as MOST
    from course_lib.checks.values import a_positive as a_positive
    from course_lib.checks.values import a_seed as a_seed
    from course_lib.checks.values import an_open_share as an_open_share
    from course_lib.checks.values import check_callable as check_callable
    from course_lib.checks.values import check_count as check_count
    from course_lib.checks.values import check_file_name as check_file_name
    from course_lib.checks.values import check_flag as check_flag
    from course_lib.checks.values import check_mapping as check_mapping
    from course_lib.checks.values import check_number as check_number
    from course_lib.checks.values import check_path as check_path
    from course_lib.checks.values import check_rows as check_rows
    from course_lib.checks.values import check_same_length as check_same_length
    from course_lib.checks.values import check_seed as check_seed
    from course_lib.checks.values import check_share as check_share
    from course_lib.checks.values import check_text as check_text
    from course_lib.checks.values import check_texts as check_texts
    from course_lib.checks.values import mapping_to as mapping_to
    from course_lib.checks.values import not_negative as not_negative
else:
    __getattr__, __dir__, __all__ = lazy_face(__name__, __file__)
