"""Chapter 1: model complexity, overfitting, and updates that step too far."""

from course_lib.complexity.capacity import generalization_gaps, sample_size_sweep
from course_lib.complexity.descent import bowl, gradient_descent, largest_stable_step
from course_lib.complexity.polynomial import degree_sweep, draw_points, fit_polynomial, mean_squared_error
from course_lib.complexity.ratio import parameter_ratio, ratio_table
from course_lib.complexity.updating import (
    learning_rate_sweep,
    retrieval_accuracy,
    split_run_rows,
)

__all__ = [
    "bowl",
    "degree_sweep",
    "draw_points",
    "fit_polynomial",
    "generalization_gaps",
    "gradient_descent",
    "largest_stable_step",
    "learning_rate_sweep",
    "mean_squared_error",
    "parameter_ratio",
    "ratio_table",
    "retrieval_accuracy",
    "sample_size_sweep",
    "split_run_rows",
]
