"""Reading log-probabilities off the answers of the completions protocol, in either form that servers use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from course_lib.errors import CourseError

# Below this servers write "not computed": a logit of -9999 or the like.
_LEAST = -1000.0
# How many characters before the label the echo must repeat to count as one.
_CHECKED_CHARACTERS = 4


class EchoedToken(NamedTuple):
    """A token of the echoed text, where it ends, and its log-probability (None for the first)."""

    text: str
    end: int
    log_probability: float | None


def _log_probabilities_of(choice: dict[str, Any]) -> dict[str, Any]:
    found = choice.get("logprobs")
    if not isinstance(found, dict) or not (found.get("content") or found.get("tokens")):
        raise CourseError(
            "The server returns no log-probabilities.",
            given=choice,
            mend="Use one that does, such as vLLM or the llama.cpp server, or switch them on there.",
        )
    return found


def next_tokens(choice: dict[str, Any]) -> dict[str, Any]:
    """Returns the most probable next tokens with their log-probabilities, in either form that servers use."""
    with _reading(choice):
        return _read_next_tokens(choice)


def _read_next_tokens(choice: dict[str, Any]) -> dict[str, Any]:
    found = _log_probabilities_of(choice)
    if found.get("content"):
        entries = found["content"][0].get("top_logprobs") or []
        top = most_probable((entry["token"], entry["logprob"]) for entry in entries)
    else:
        top = dict((found.get("top_logprobs") or [None])[0] or {})
    if not top:
        raise CourseError(
            "The server returns no log-probabilities of the most probable next tokens.",
            given=found,
            mend="Use a server that gives top log-probabilities.",
        )
    if not all(isinstance(token, str) for token in top):
        raise TypeError("a token that is no text")
    return top


def echoed_tokens(choice: dict[str, Any], text: str, word: str) -> list[EchoedToken]:
    """Returns the tokens of the echoed text, without the one that the server wrote behind it.

    Counted from the end: servers show the pieces of a split character as placeholders, whose lengths mean
    nothing, and only what is near the label has to be right.
    """
    with _reading(choice):
        return _read_echoed_tokens(choice, text, word)


def _read_echoed_tokens(choice: dict[str, Any], text: str, word: str) -> list[EchoedToken]:
    found = _log_probabilities_of(choice)
    if found.get("content"):
        texts = [entry["token"] for entry in found["content"]]
        values = [entry.get("logprob") for entry in found["content"]]
    else:
        texts, values = found["tokens"], found.get("token_logprobs") or []
    tail = text[-len(word) - _CHECKED_CHARACTERS :]
    length = next((n for n in (len(texts) - 1, len(texts)) if "".join(texts[:n]).endswith(tail)), None)
    if length is None or len(values) < length:
        raise CourseError(
            "The server does not echo the prompt's log-probabilities, which labels of several tokens need.",
            given=texts[-10:],
            mend="Use one that does, such as vLLM, or labels of one token with echo=False.",
        )
    tokens: list[EchoedToken] = []
    end = len(text)
    for token, value in zip(reversed(texts[:length]), reversed(values[:length]), strict=True):
        tokens.append(EchoedToken(token, end, value))
        end -= len(token)
    return tokens[::-1]


def label_start(echoed: list[list[EchoedToken]], prompt_length: int) -> int:
    """Returns the first token that a label has a part in, for all labels alike."""
    starts = []
    for tokens in echoed:
        starts.append(next(i for i, token in enumerate(tokens) if token.end > prompt_length))
    texts = [[token.text for token in tokens] for tokens in echoed]
    start = min(starts)
    while any(text[:start] != texts[0][:start] for text in texts):
        start -= 1
    return start


def most_probable(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Returns pairs as a mapping; of two tokens that are shown as one text the more probable stays."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        both = (found.get(name), value)
        found[name] = max(both) if all(map(_is_number, both)) else value
    return found


@contextlib.contextmanager
def _reading(choice: Any) -> Iterator[None]:
    """Turns what an answer of another shape does to the code that reads it into an error that shows it."""
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError, StopIteration) as error:
        raise CourseError(
            "The server's log-probabilities have another shape than the completions protocol gives them.",
            given=choice,
            mend="Use a server such as vLLM or the llama.cpp server.",
        ) from error


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_log_probability(value: Any) -> bool:
    """Returns whether a value is the natural log of a probability that a server has computed."""
    return _is_number(value) and _LEAST < value < 1e-3


def finite(value: Any, word: str) -> float:
    """Returns a label's log-probability.

    Raises:
        CourseError: it is none.
    """
    if not is_log_probability(value):
        raise CourseError(
            f"The server's log-probability of {word!r} is none: it must be a number from {_LEAST:g} to 0.",
            given=value,
            mend="Write a prompt before the label; if there is one, look at the server's precision.",
        )
    return float(value)
