"""Wrong inputs to public functions: each must end in a CourseError.

Every call of `tests/reliability/calls/` is right as it stands; from it come calls with one argument wrong
(all of them) and with two wrong (a seeded draw). A call passes if it raises CourseError. What counts as
trouble: any other exception, a result, a result with NaN, and a call that takes longer than ten seconds.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from course_lib.errors import CourseError
from tests.reliability._wrong_values import Kind

ROOMS = Path(__file__).parent / "calls"
SECONDS = 10
# A right call that trains takes longer, on a busy machine above all.
SECONDS_OF_A_RIGHT_CALL = 1200


@dataclass
class Call:
    """A right call of a public function.

    Args:
        function: the function or class.
        arguments: makes its arguments anew, by name; a call may change what it is given.
        kinds: what each argument is, by name; those without one are never made wrong.
        setting: says which call it is where a function has several.
        slow: whether the right call takes seconds; the sample in the tests leaves it out.
        refused: whether the call is refused as it stands, for a reason that comes last, such as a folder that
            cannot be there.
    """

    function: Callable[..., Any]
    arguments: Callable[[], dict[str, Any]]
    kinds: Mapping[str, Kind]
    setting: str = ""
    slow: bool = False
    refused: bool = False

    @property
    def name(self) -> str:
        """The function's place in the library, and which call it is."""
        place = f"{self.function.__module__.removeprefix('course_lib.')}.{self.function.__qualname__}"
        return f"{place} ({self.setting})" if self.setting else place


@dataclass
class Verdicts:
    """What the wrong calls ended in.

    Args:
        counts: how often each verdict came.
        trouble: a line for each call that was no CourseError.
        functions: names of the functions that were tried.
    """

    counts: Counter[str] = field(default_factory=Counter)
    trouble: list[str] = field(default_factory=list)
    functions: set[str] = field(default_factory=set)

    def report(self, line: str) -> None:
        """Keep a line of trouble, and print it at once: a run that is cut off has then said what it found."""
        self.trouble.append(line)
        print(line, flush=True)


class _TooLong(BaseException):
    pass


def all_calls(rooms: list[str] | None = None) -> list[Call]:
    """Return the right calls of the named rooms, or of all."""
    names = rooms or sorted(path.stem for path in ROOMS.glob("[a-z]*.py"))
    return [call for name in names for call in import_module(f"tests.reliability.calls.{name}").calls()]


def single_faults(call: Call) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give each call with one wrong argument, with what is wrong."""
    for name, kind in call.kinds.items():
        for what, value in kind(call.arguments().get(name)):
            yield f"{name}: {what}", {**call.arguments(), name: value}


def double_faults(call: Call, num_calls: int, rng: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give calls with two wrong arguments, a draw."""
    names = sorted(call.kinds)
    for _ in range(num_calls if len(names) > 1 else 0):
        chosen = {
            name: rng.choice(list(call.kinds[name](call.arguments().get(name))))
            for name in rng.sample(names, 2)
        }
        says = ", ".join(f"{name}: {what}" for name, (what, _) in chosen.items())
        yield says, {**call.arguments(), **{name: value for name, (_, value) in chosen.items()}}


def verdict(
    function: Callable[..., Any], arguments: dict[str, Any], seconds: int = SECONDS
) -> tuple[str, str]:
    """Return how a call ended: its verdict and what it said."""
    previous = signal.signal(signal.SIGALRM, _stop)
    signal.alarm(seconds)
    try:
        result = function(**arguments)
        if isinstance(result, Iterator):
            result = list(result)
    except CourseError as error:
        return "CourseError", str(error)
    except _TooLong:
        return "hang", f"longer than {seconds} s"
    except Exception as error:
        return "other exception", f"{type(error).__name__}: {error}"[:160]
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    return "accepted", repr(result)[:120]


def run(argv: list[str]) -> int:
    """Run the figure from the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability fuzz", description=__doc__)
    parser.add_argument("rooms", nargs="*", help="files of tests/reliability/calls/; all by default")
    parser.add_argument("--doubles", type=int, default=20, help="calls with two wrong arguments, a function")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    found = try_calls(all_calls(options.rooms), options.doubles, options.seed)
    total = sum(found.counts.values())
    shown = ", ".join(f"{what} {found.counts[what]:,}" for what in sorted(found.counts))
    print(f"{total:,} wrong inputs to {len(found.functions)} functions: {shown}")
    return int(bool(found.trouble))


def try_calls(calls: list[Call], num_doubles: int, seed: int = 0, *, slow: bool = True) -> Verdicts:
    """Try each call as it is, then with its arguments made wrong.

    Args:
        calls: the right calls.
        num_doubles: calls with two wrong arguments, for each.
        seed: seed of their draw.
        slow: whether right calls that take seconds are tried as they are, too.
    """
    found, rng = Verdicts(), random.Random(seed)
    for call in calls:
        if slow or not call.slow:
            right, says = verdict(call.function, call.arguments(), SECONDS_OF_A_RIGHT_CALL)
            if right != ("CourseError" if call.refused else "accepted"):
                found.report(f"{call.name}: the right call ends in {right}: {says}")
                continue
        found.functions.add(call.name.partition(" (")[0])
        for what, arguments in (*single_faults(call), *double_faults(call, num_doubles, rng)):
            ended, says = verdict(call.function, arguments)
            found.counts[ended] += 1
            if ended != "CourseError":
                found.report(f"{call.name}({what}): {ended}: {says}")
        print(f"{call.name}: {sum(found.counts.values()):,} so far", file=sys.stderr, flush=True)
    return found


def _stop(number: int, frame: FrameType | None) -> None:
    raise _TooLong
