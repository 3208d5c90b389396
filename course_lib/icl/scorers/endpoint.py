"""Label log-probabilities from a server that speaks the completions part of the OpenAI protocol.

vLLM, the llama.cpp server and others do. Every finished item goes into a journal file at once, so that a
run that was stopped, or a server that went away, costs only what was under way. The journal knows the
server by what it says of itself and by its answer to a short probe: another model behind the same address is not
given the scores of the one before.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from course_lib.checks import check_text, check_texts
from course_lib.errors import CourseError
from course_lib.locations import cache_folder, cache_trouble
from course_lib.prompts.verbalizers import check_continuations

if TYPE_CHECKING:
    import numpy as np

# Answers that may be better the next time: too many requests, and the server's own trouble.
_RETRIED = {408, 429, 500, 502, 503, 504}
_LONGEST_WAIT = 60.0
# What every run asks first, to tell one model from another.
PROBE = "The capital of France is"
# Servers round, and the rest of a batch moves the last digits; another model moves more.
_SAME_WITHIN = 0.05
# Below this servers write "not computed": a logit of -9999 or the like.
_LEAST = -1000.0
# How many characters before the label the echo must repeat to count as one.
_CHECKED_CHARACTERS = 4


@dataclass
class EndpointScorer:
    """Scores labels on a server, with the same call as the scorers that hold the model themselves.

    Without `echo` one request an item asks for the most probable next tokens, and reads the labels off them:
    only for labels of one token, each of which must be among them. With `echo` one request an item and label
    sends the whole text and reads the log-probabilities of the label's tokens: for labels of any length, on
    servers that give log-probabilities of the prompt (vLLM does, the llama.cpp server does not).

    Args:
        base_url: the server's address, for example "http://localhost:8000".
        model: the model's name on the server.
        echo: read labels off the echoed prompt.
        top_logprobs: without `echo`, how many next tokens to ask for; servers set a limit, often 5 or 20.
        space_in_prompt: without `echo`, send the space that every label begins with at the end of the prompt,
            for tokenizers that make it a token of its own (" 0" as space and "0"). The probability of the
            space itself, the same for all labels, is then left out. Wrong for other tokenizers.
        num_threads: requests under way at once.
        timeout: seconds until a request counts as lost.
        retries: how often a lost request, or one answered with 429 or a server error, is sent again.
        backoff: seconds before the first retry; doubled each time, and never less than the server asks for.
        api_key: sent as a bearer token; written nowhere.
        journal: the file of finished items; by default one in the cache for these settings.

    Raises:
        CourseError: a setting out of its range.
    """

    base_url: str
    model: str
    echo: bool = False
    top_logprobs: int = 20
    space_in_prompt: bool = False
    num_threads: int = 8
    timeout: float = 60.0
    retries: int = 5
    backoff: float = 0.5
    api_key: str | None = field(default=None, repr=False)
    journal: Path | None = None

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise CourseError(
                "The server's address must begin with http:// or https://.",
                given=self.base_url,
                mend="Write, for example, http://localhost:8000.",
            )
        lowest = {"top_logprobs": 1, "num_threads": 1, "retries": 0, "timeout": 1e-3, "backoff": 0}
        for name, least in lowest.items():
            if not getattr(self, name) >= least:
                raise CourseError(f"{name} must be at least {least:g}.", given=getattr(self, name))
        if self.echo and self.space_in_prompt:
            raise CourseError(
                "`space_in_prompt` is for servers without `echo`; with it labels are scored whole.",
                mend="Leave one of the two out.",
            )

    def log_probabilities(
        self, prefix: str, items: Sequence[str], label_words: Sequence[str], progress: bool = True
    ) -> np.ndarray:
        """Give the natural log of the probability of each label's whole continuation.

        Args:
            prefix: the text that all prompts begin with; may be empty.
            items: the rest of each prompt, up to the label word.
            label_words: what follows for each label, with its leading space where there is one.
            progress: whether to show a progress bar.

        Returns:
            float32 [n, num_labels].

        Raises:
            CourseError: the server is down, too slow or refuses; it returns no log-probabilities; a label is
                missing among them, which says nothing about its probability; a label of several tokens
                without `echo`. What was finished before stays in the journal.
        """
        import numpy as np

        words = check_continuations(label_words)
        check_text("prefix", prefix)
        items = check_texts("items", items, least=0)
        if self.space_in_prompt and not all(word.startswith(" ") and word.strip() for word in words):
            raise CourseError(
                "`space_in_prompt` moves the space that every label begins with, and one does not.",
                given=list(words),
                mend="Begin every label with a space, or leave `space_in_prompt` out.",
            )
        if not items:
            return np.zeros((0, len(words)), dtype=np.float32)
        finished = self._finished(words)
        for_item = [self._key(prefix + item, words) for item in items]
        todo = {
            key: prefix + item
            for key, item in zip(for_item, items, strict=True)
            if key not in finished.values
        }
        for key, values in self._scored(todo, words, len(set(for_item)), progress):
            finished.append(key, values)
        found = [finished.values[key] for key in for_item]
        return np.array(found, dtype=np.float32).reshape(len(items), len(words))

    # --- the journal -------------------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        """Name everything that an item's values depend on, apart from prompt and labels."""
        return {
            "base_url": self._address(),
            "model": self.model,
            "echo": self.echo,
            "space_in_prompt": self.space_in_prompt,
        }

    def _key(self, prompt: str, words: tuple[str, ...]) -> str:
        return _hash({**self._settings(), "prompt": prompt, "label_words": words})

    def _finished(self, words: tuple[str, ...]) -> _Journal:
        name = f"endpoint-{_hash(self._settings())[:12]}.jsonl"
        path = Path(self.journal or cache_folder() / "runs" / name)
        return _Journal(path, len(words), self._identity())

    def _identity(self) -> dict[str, Any]:
        """Ask the server what it is: its own description of the model, and its answer to the probe."""
        body = {"prompt": PROBE, "max_tokens": 1, "temperature": 0, "logprobs": min(self.top_logprobs, 5)}
        found = _next_tokens(self._choice(body, threading.Event()))
        probe = {token: value for token, value in found.items() if _is_log_probability(value)}
        return {"says": self._description(), "probe": probe}

    def _description(self) -> dict[str, Any]:
        """Return what the server's list of models says of this one; {} where it has none."""
        import requests

        try:
            answer = requests.get(
                self._address().removesuffix("completions") + "models",
                headers=self._headers(),
                timeout=self.timeout,
            )
            listed = answer.json()["data"] if answer.status_code == 200 else []
            found = [dict(entry) for entry in listed if entry["id"] == self.model] or [{}]
        except (requests.RequestException, ValueError, LookupError, TypeError):
            return {}
        return {name: found[0][name] for name in ("id", "root", "meta") if name in found[0]}

    # --- requests ----------------------------------------------------------------------------------

    def _scored(
        self, todo: dict[str, str], words: tuple[str, ...], total: int, progress: bool
    ) -> Iterator[tuple[str, list[float]]]:
        """Give each prompt's key and values as soon as the server has answered."""
        from tqdm.auto import tqdm

        stop = threading.Event()
        bar = tqdm(total=total, initial=total - len(todo), desc="endpoint", disable=not progress, unit="item")
        with bar, ThreadPoolExecutor(self.num_threads) as pool:
            keys = {pool.submit(self._score, prompt, words, stop): key for key, prompt in todo.items()}
            try:
                for future in as_completed(keys):
                    yield keys[future], future.result()
                    bar.update()
            finally:
                stop.set()  # ends the waits between retries
                pool.shutdown(cancel_futures=True)

    def _score(self, prompt: str, words: tuple[str, ...], stop: threading.Event) -> list[float]:
        if self.echo:
            return self._score_echoed(prompt, words, stop)
        if self.space_in_prompt:
            prompt, words = prompt + " ", tuple(word[1:] for word in words)
        body = {"prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": self.top_logprobs}
        top = _next_tokens(self._choice(body, stop))
        for word in words:
            if word not in top:
                raise self._missing(word, top)
        return [_finite(top[word], word) for word in words]

    def _score_echoed(self, prompt: str, words: tuple[str, ...], stop: threading.Event) -> list[float]:
        echoed = []
        for word in words:
            body = {"prompt": prompt + word, "max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True}
            echoed.append(_echoed_tokens(self._choice(body, stop), prompt + word, word))
        start = _label_start(echoed, len(prompt))
        return [
            sum(_finite(token.log_probability, word) for token in tokens[start:])
            for tokens, word in zip(echoed, words, strict=True)
        ]

    def _missing(self, word: str, top: dict[str, float]) -> CourseError:
        begun = [token for token in top if token and word.startswith(token)]
        mend = "Ask for more with `top_logprobs`, or use echo=True where the server gives it."
        if begun:
            mend = (
                f"{begun[0]!r} is among them, so this label may be several tokens: use echo=True where the "
                "server gives it, or other words; if the token is the space alone, space_in_prompt=True."
            )
        return CourseError(
            f"The label {word!r} is not among the {len(top)} most probable next tokens, and its probability "
            "is not known (it is not 0).",
            given=list(top)[:10],
            mend=mend,
        )

    def _address(self) -> str:
        return self.base_url.rstrip("/").removesuffix("/v1") + "/v1/completions"

    def _choice(self, body: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        """Send a request until it is answered, and give the answer's first choice."""
        import requests

        for attempt in range(self.retries + 1):
            asked = 0.0
            try:
                answer = self._post({"model": self.model, **body})
            except (requests.ConnectionError, requests.Timeout) as error:
                trouble = (
                    f"did not answer within {self.timeout:g} seconds"
                    if isinstance(error, requests.Timeout)
                    else "cannot be reached"
                )
            except requests.RequestException as error:
                raise CourseError(f"The request failed: {error}.", given=self._address()) from error
            else:
                if answer.status_code not in _RETRIED:
                    return self._read(answer)
                trouble = f"answers {answer.status_code} ({answer.text[:200]})"
                asked = _seconds(answer.headers.get("Retry-After"))
            delay = min(max(asked, self.backoff * 2**attempt), _LONGEST_WAIT)
            if attempt < self.retries and stop.wait(delay):
                break
        raise CourseError(
            f"The server {trouble}, after {attempt + 1} tries.",
            given=self._address(),
            mend="Start it, or give it more time (`timeout`, `retries`) or fewer requests at once "
            "(`num_threads`). A new run goes on where this one stopped.",
        )

    def _post(self, body: dict[str, Any]) -> Any:
        import requests

        return requests.post(self._address(), json=body, headers=self._headers(), timeout=self.timeout)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}

    def _read(self, answer: Any) -> dict[str, Any]:
        if answer.status_code != 200:
            raise CourseError(
                f"The server refuses the request with {answer.status_code}: {answer.text[:300]}",
                given=self._address(),
                mend="Check the model's name, the address, the key, and `top_logprobs`.",
            )
        try:
            return dict(json.loads(answer.text, object_pairs_hook=_most_probable)["choices"][0])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise CourseError(
                "The server's answer is no completion.",
                given=answer.text[:200],
                mend="Give the address of a server with /v1/completions.",
            ) from error


# --- reading answers -------------------------------------------------------------------------------


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


def _next_tokens(choice: dict[str, Any]) -> dict[str, Any]:
    """Give the most probable next tokens with their log-probabilities, in either form that servers use."""
    with _reading(choice):
        return _read_next_tokens(choice)


def _read_next_tokens(choice: dict[str, Any]) -> dict[str, Any]:
    found = _log_probabilities_of(choice)
    if found.get("content"):
        entries = found["content"][0].get("top_logprobs") or []
        top = _most_probable((entry["token"], entry["logprob"]) for entry in entries)
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


def _echoed_tokens(choice: dict[str, Any], text: str, word: str) -> list[EchoedToken]:
    """Give the tokens of the echoed text, without the one that the server wrote behind it.

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


def _label_start(echoed: list[list[EchoedToken]], prompt_length: int) -> int:
    """Give the first token that a label has a part in, for all labels alike."""
    starts = []
    for tokens in echoed:
        starts.append(next(i for i, token in enumerate(tokens) if token.end > prompt_length))
    texts = [[token.text for token in tokens] for tokens in echoed]
    start = min(starts)
    while any(text[:start] != texts[0][:start] for text in texts):
        start -= 1
    return start


def _most_probable(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return pairs as a mapping; of two tokens that are shown as one text the more probable stays."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        both = (found.get(name), value)
        found[name] = max(both) if all(map(_is_number, both)) else value
    return found


@contextlib.contextmanager
def _reading(choice: Any) -> Iterator[None]:
    """Turn what an answer of another shape does to the code that reads it into an error that shows it."""
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


def _is_log_probability(value: Any) -> bool:
    return _is_number(value) and _LEAST < value < 1e-3


def _finite(value: Any, word: str) -> float:
    if not _is_log_probability(value):
        raise CourseError(
            f"The server's log-probability of {word!r} is none: it must be a number from {_LEAST:g} to 0.",
            given=value,
            mend="Write a prompt before the label; if there is one, look at the server's precision.",
        )
    return float(value)


def _seconds(header: str | None) -> float:
    try:
        return max(0.0, float(header or 0))
    except ValueError:
        return 0.0  # a date: the usual backoff will do


# --- the journal -----------------------------------------------------------------------------------


class _Journal:
    """Finished items as lines of JSON, each with the server that scored it; a torn last line was not written.

    Args:
        path: the file.
        num_labels: values an item has.
        identity: what the server is now.
    """

    def __init__(self, path: Path, num_labels: int, identity: dict[str, Any]) -> None:
        self.path = path
        self.values: dict[str, list[float]] = {}
        self.server: str = _hash(identity)
        self.is_new_server = True
        num_others = 0
        content = self.path.read_text(encoding="utf-8", errors="replace") if self.path.is_file() else ""
        self.is_torn = bool(content) and not content.endswith("\n")
        for line in content.splitlines():
            try:
                entry = json.loads(line)
                if "identity" in entry and _same_server(entry["identity"], identity):
                    self.server, self.is_new_server = entry["server"], False
                elif "values" in entry and len(entry["values"]) == num_labels:
                    if not all(map(math.isfinite, entry["values"])):
                        continue
                    if entry.get("server") == self.server:
                        self.values[entry["key"]] = entry["values"]
                    else:
                        num_others += 1
            except (ValueError, KeyError, TypeError):
                continue
        self.identity = identity
        if num_others and not self.values:
            warnings.warn(
                f"The server answers otherwise than the one that the journal {path} is of: another model. "
                f"Its {num_others} items are not used.",
                stacklevel=4,
            )

    def append(self, key: str, values: list[float]) -> None:
        lines = [json.dumps({"server": self.server, "identity": self.identity})] * self.is_new_server
        lines += [json.dumps({"server": self.server, "key": key, "values": values})]
        line = "\n" * self.is_torn + "".join(f"{one}\n" for one in lines)
        with cache_trouble("the journal of finished items"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
        self.is_torn = self.is_new_server = False
        self.values[key] = values


def _same_server(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Say whether two identities are of one model: the same description, and nearly the same probabilities."""
    if one["says"] != other["says"] or max(one["probe"], key=one["probe"].get) not in other["probe"]:
        return False
    both = set(one["probe"]) & set(other["probe"])
    return all(abs(one["probe"][token] - other["probe"][token]) < _SAME_WITHIN for token in both)


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
