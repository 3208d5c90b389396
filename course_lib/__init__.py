"""Adapting pre-trained language models: the library the course's notebooks stand on.

Importing it is light: torch and transformers are imported where they are used.
"""

from course_lib.errors import CourseError

__all__ = ["CourseError", "__version__"]
__version__ = "0.1.0"
