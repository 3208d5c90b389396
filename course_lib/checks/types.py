"""Types of arguments that carry their check: `border` and `check_fields` read it from the annotation."""

from __future__ import annotations

from typing import Annotated

from course_lib.checks.values import (
    a_positive,
    a_seed,
    an_open_share,
    check_count,
    check_flag,
    check_share,
    check_text,
    not_negative,
)

Count = Annotated[int, check_count]
Flag = Annotated[bool, check_flag]
NotNegative = Annotated[float, not_negative]
OpenShare = Annotated[float, an_open_share]
Positive = Annotated[float, a_positive]
Seed = Annotated[int, a_seed]
Share = Annotated[float, check_share]
Text = Annotated[str, check_text]
