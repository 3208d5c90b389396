"""How a mistake is written down: as pairs of what stands in the instructor's code and what a learner wrote there."""

from __future__ import annotations

Edits = tuple[tuple[str, str], ...]
Mistakes = dict[str, list[tuple[str, Edits]]]

# Stands for the end of the code.
END = "#"


def one(name: str, old: str, new: str) -> tuple[str, Edits]:
    """Give a mistake that stands in one place, or in all places like it."""
    return name, ((old, new),)


def returns(name: str, lines: str) -> tuple[str, Edits]:
    """Give a mistake that changes what the right code returns: `right`, for the arguments `a`."""
    return name, ((END, lines),)


def only(text: str) -> tuple[str, str]:
    """Try a mistake only where the code has a text: elsewhere it is none."""
    return text, text


def edited(source: str, edits: Edits, function: str) -> str:
    """Give the code with a mistake; empty where the code has not all of the texts."""
    for old, new in edits:
        if old == END:
            source += f"\n\nright_one = {function}\n\n"
            source += f"def {function}(*a):\n    right = right_one(*a)\n    {new}\n"
        elif old in source:
            source = source.replace(old, new)
        else:
            return ""
    return source
