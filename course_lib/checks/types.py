"""Types of arguments that carry their check: `border` and `check_fields` read it from the annotation."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from course_lib.checks.values import (
    a_positive,
    a_seed,
    an_open_share,
    check_count,
    check_flag,
    check_number,
    check_share,
    check_text,
    not_negative,
)

Count = Annotated[int, check_count]
Flag = Annotated[bool, check_flag]
Name = Annotated[str, partial(check_text, empty_ok=False)]
NotNegative = Annotated[float, not_negative]
Number = Annotated[float, check_number]
OpenShare = Annotated[float, an_open_share]
Positive = Annotated[float, a_positive]
Seed = Annotated[int, a_seed]
Share = Annotated[float, check_share]
Text = Annotated[str, check_text]
Whole = Annotated[int, partial(check_count, least=0)]
