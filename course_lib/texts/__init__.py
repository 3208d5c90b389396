"""Real texts as `datasets.Dataset`, with documented columns and splits that do not leak."""

from typing import TYPE_CHECKING

from course_lib.lazy import lazy_face

if TYPE_CHECKING:
    from course_lib.texts.groups import MIN_SHARED_CHARACTERS as MIN_SHARED_CHARACTERS
    from course_lib.texts.groups import assign_groups as assign_groups
    from course_lib.texts.groups import normalise as normalise
    from course_lib.texts.loading import load_texts as load_texts
    from course_lib.texts.sampling import labelled_splits as labelled_splits
    from course_lib.texts.sampling import sample_texts as sample_texts
    from course_lib.texts.sampling import with_binary_labels as with_binary_labels
    from course_lib.texts.sources import IDENTITIES as IDENTITIES
    from course_lib.texts.sources import NLI_LABELS as NLI_LABELS
    from course_lib.texts.sources import SPLITS as SPLITS
    from course_lib.texts.sources import TEXT_SOURCES as TEXT_SOURCES
    from course_lib.texts.sources import Split as Split
    from course_lib.texts.sources import TextSource as TextSource
else:
    __getattr__, __dir__, __all__ = lazy_face(__name__, __file__)
