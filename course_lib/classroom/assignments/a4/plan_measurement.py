"""The open experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from course_lib.classroom.assignments.assignment import Case, Measured, Variant
from course_lib.classroom.assignments.building import first_problem
from course_lib.classroom.checking.answers import as_numbers, as_whole_number

TITLE = "Open experiment: how many sets, and how many items"
MARKS = 4
HINT = (
    "How far do the sets' means differ, and how much of that is chance within a set? Then try every number of "
    "items with as many sets as the budget has room for."
)

# What the parts are worth.
PLANNING_MARKS = {"within the budget": 1, "standard error": 2, "standard error as reported": 1}
LEAST_ITEMS = 10
# Sets of the earlier run, and items a set: enough to tell how far sets differ, also where they hardly do.
EARLIER_SETS, EARLIER_ITEMS = 100, 100
# What drawing and checking a set costs where every item reads its whole prompt, in tokens.
SET_TOKENS = 40_000
CACHED_NAME = "the prefix is read once a set"
WHOLE_NAME = "whole prompts, and a fixed cost of each set"
# How much wider than the best plan's the true standard error may be.
WORST_WIDTH = 1.06
# The same for a plan that does not look at the earlier run: it is wider than this in one case of each pair.
LEAST_WIDTH_OF_ONE_PLAN = 1.075
# The same for a plan that splits the earlier run's variance: nobody is to lose marks by an earlier run that misleads.
MOST_WIDTH_OF_A_SPLIT = 1.02
# How far the reported standard error may be from what the earlier run says.
REPORT_TOLERANCE = 0.1


def _set_cost(variant: str, num_items: Any, prefix_tokens: int, item_tokens: int) -> Any:
    if variant == CACHED_NAME:
        return prefix_tokens + num_items * item_tokens
    return SET_TOKENS + num_items * (prefix_tokens + item_tokens)


# (tokens of the prefix, of an item)
PROMPTS = {
    CACHED_NAME: ((800, 40), (2400, 40), (5000, 60)),
    WHOLE_NAME: ((360, 40), (760, 40), (1900, 60)),
}


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    pairs = [_planning_pair(rng, variant, *sizes) for sizes in PROMPTS[variant]]
    drawn = [case for pair in pairs for case in pair]
    return [drawn[number] for number in rng.permutation(len(drawn))]


def _planning_pair(
    rng: np.random.Generator, variant: str, prefix_tokens: int, item_tokens: int
) -> list[Case]:
    """Draw two cases that differ in how far sets differ, and in nothing else that a call is told.

    Drawn again until no plan is good in both: what to do is to be seen in the earlier run alone.
    """
    while True:
        budget = int(rng.integers(40, 80)) * int(_set_cost(variant, 30, prefix_tokens, item_tokens))
        given = {"prefix_tokens": prefix_tokens, "item_tokens": item_tokens, "budget": budget}
        pair = [_planning_case(rng, variant, given, spread) for spread in _spreads(rng)]
        items, sets = _plans(pair[0])
        widths = np.max([_width(case, sets, items) for case in pair], axis=0)
        if widths.min() > LEAST_WIDTH_OF_ONE_PLAN:
            return pair


def _spreads(rng: np.random.Generator) -> tuple[float, float]:
    return rng.uniform(0.04, 0.05), rng.uniform(0.24, 0.3)


def _planning_case(rng: np.random.Generator, variant: str, given: Mapping[str, int], spread: float) -> Case:
    """Draw an earlier run, again until what it says of the variances ends in a good plan."""
    mean = rng.uniform(0.4, 0.6)
    precision = mean * (1 - mean) / spread**2 - 1
    hidden = {"between": spread**2, "within": mean * (1 - mean) - spread**2, "variant": variant}
    while True:
        shares = rng.beta(mean * precision, (1 - mean) * precision, EARLIER_SETS)
        agrees = (rng.random((EARLIER_SETS, EARLIER_ITEMS)) < shares[:, None]).astype(int)
        case = Case({"agrees": agrees, **given}, hidden)
        items, sets = _plans(case)
        best = np.argmin(_variance(*_variances(agrees), sets, items))
        if _width(case, sets[best], items[best]) <= MOST_WIDTH_OF_A_SPLIT:
            return case


def measure(cases: Sequence[Case], answers: Sequence[Any]) -> list[Measured]:
    """Measures the properties of the answers."""
    unusable = first_problem(map(_plan_problem, answers))
    if unusable:
        return [Measured(name, marks, False, unusable) for name, marks in PLANNING_MARKS.items()]
    plans = [_plan_of(answer) for answer in answers]
    allowed = all(_is_allowed(case, *plan) for case, plan in zip(cases, plans, strict=True))
    widest = max(float(_width(case, *plan)) for case, plan in zip(cases, plans, strict=True))
    problem = first_problem(map(_report_problem, cases, answers))
    found = {
        "within the budget": (
            allowed,
            "every plan is, and uses most of it."
            if allowed
            else "a plan costs more than the budget or less than half of it, or has too few sets or items.",
        ),
        "standard error": (
            allowed and widest <= WORST_WIDTH,
            f"at worst {min(widest, 999):.2f} times that of the best plan; {WORST_WIDTH} is allowed, within the "
            "budget.",
        ),
        "standard error as reported": (
            not problem,
            problem or "it is what the earlier run says of such a plan.",
        ),
    }
    return [Measured(name, marks, *found[name]) for name, marks in PLANNING_MARKS.items()]


def _plan_problem(answer: Any) -> str:
    """Look at the plan, on which all marks rest."""
    if not isinstance(answer, Mapping):
        return "the function returns no dictionary."
    for key in ("num_sets", "num_items"):
        if key not in answer:
            return f'the key "{key}" is missing.'
        number = as_whole_number(answer[key])
        if number is None or not 0 < number < 10**9:
            return f'"{key}" is no whole number above 0.'
    return ""


def _plan_of(answer: Mapping[str, Any]) -> tuple[int, int]:
    return int(answer["num_sets"]), int(answer["num_items"])


def _is_allowed(case: Case, num_sets: int, num_items: int) -> bool:
    given = case.arguments
    set_cost = _set_cost(case.hidden["variant"], num_items, given["prefix_tokens"], given["item_tokens"])
    used = num_sets * set_cost / given["budget"]
    return num_sets >= 2 and num_items >= LEAST_ITEMS and 0.5 <= used <= 1


def _width(case: Case, num_sets: Any, num_items: Any) -> Any:
    """Give the true standard error of a plan, or of several, divided by that of the best plan."""
    between, within = case.hidden["between"], case.hidden["within"]
    items, sets = _plans(case)
    best = np.min(_variance(between, within, sets, items))
    return np.sqrt(_variance(between, within, num_sets, num_items) / best)


def _plans(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Give every number of items with as many sets as the budget has room for."""
    given, items = case.arguments, np.arange(LEAST_ITEMS, 2000)
    sets = given["budget"] // _set_cost(
        case.hidden["variant"], items, given["prefix_tokens"], given["item_tokens"]
    )
    return items[sets >= 2], sets[sets >= 2]


def _report_problem(case: Case, answer: Mapping[str, Any]) -> str:
    if "standard_error" not in answer:
        return 'the key "standard_error" is missing.'
    reported = as_numbers(answer["standard_error"])
    if reported.shape != () or answer["standard_error"] is None:
        return '"standard_error" is no number.'
    variances = _variances(case.arguments["agrees"])
    own = np.sqrt(_variance(*variances, *_plan_of(answer)))
    if abs(reported - own) <= REPORT_TOLERANCE * own:
        return ""
    return "the earlier run says otherwise of such a plan: how far sets differ, and items within a set."


def _variances(agrees: np.ndarray) -> tuple[float, float]:
    """Give what a run says of the variances between sets and within a set."""
    means, count = agrees.mean(axis=1), agrees.shape[1]
    within = float(np.mean(means * (1 - means)) * count / (count - 1))
    return max(float(means.var(ddof=1)) - within / count, 0.0), within


def _variance(between: float, within: float, num_sets: Any, num_items: Any) -> Any:
    return (between + within / num_items) / num_sets


VARIANTS = (
    Variant(
        CACHED_NAME,
        {
            "cost": "The prefix with the demonstrations is **read once a set**, then its items: a "
            "plan of $S$ sets of $n$ items costs $S\\,(p + n\\,q)$ tokens",
            "code": "prefix_tokens + n * item_tokens",
        },
    ),
    Variant(
        WHOLE_NAME,
        {
            "cost": "**Every item reads its whole prompt**, and to draw and check a set costs as "
            "much as 40,000 tokens: a plan of $S$ sets of $n$ items costs $S\\,(40000 + n\\,(p + q))$ tokens",
            "code": "40_000 + n * (prefix_tokens + item_tokens)",
        },
    ),
)
