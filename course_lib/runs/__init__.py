"""What makes a run repeatable: its profile, its seed, its record, and the way to resume it."""

from typing import TYPE_CHECKING

from course_lib.lazy import lazy_face

if TYPE_CHECKING:
    from course_lib.runs.hardware import machine_summary as machine_summary
    from course_lib.runs.journal import Journal as Journal
    from course_lib.runs.profiles import PROFILE_NAMES as PROFILE_NAMES
    from course_lib.runs.profiles import PROFILE_VARIABLE as PROFILE_VARIABLE
    from course_lib.runs.profiles import Profile as Profile
    from course_lib.runs.profiles import profile as profile
    from course_lib.runs.records import ResultRecord as ResultRecord
    from course_lib.runs.records import load_published as load_published
    from course_lib.runs.records import load_record as load_record
    from course_lib.runs.records import package_versions as package_versions
    from course_lib.runs.resuming import run_resumable as run_resumable
    from course_lib.runs.seeds import seed_everything as seed_everything
else:
    __getattr__, __dir__, __all__ = lazy_face(__name__, __file__)
