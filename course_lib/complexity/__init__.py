"""Chapter 1: model complexity, overfitting, and updates that step too far."""

from typing import TYPE_CHECKING

from course_lib.lazy import lazy_face

if TYPE_CHECKING:
    from course_lib.complexity.capacity import generalization_gaps as generalization_gaps
    from course_lib.complexity.capacity import sample_size_sweep as sample_size_sweep
    from course_lib.complexity.descent import bowl as bowl
    from course_lib.complexity.descent import gradient_descent as gradient_descent
    from course_lib.complexity.descent import largest_stable_step as largest_stable_step
    from course_lib.complexity.polynomial import degree_sweep as degree_sweep
    from course_lib.complexity.polynomial import draw_points as draw_points
    from course_lib.complexity.polynomial import fit_polynomial as fit_polynomial
    from course_lib.complexity.polynomial import mean_squared_error as mean_squared_error
    from course_lib.complexity.ratio import parameter_ratio as parameter_ratio
    from course_lib.complexity.ratio import ratio_table as ratio_table
    from course_lib.complexity.updating import learning_rate_sweep as learning_rate_sweep
    from course_lib.complexity.updating import retrieval_accuracy as retrieval_accuracy
    from course_lib.complexity.updating import split_run_rows as split_run_rows
else:
    __getattr__, __dir__, __all__ = lazy_face(__name__, __file__)
