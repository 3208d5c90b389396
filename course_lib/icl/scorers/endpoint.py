"""Label log-probabilities from a server that speaks the completions part of the OpenAI protocol.

vLLM, the llama.cpp server and others do. Every finished item goes into a journal file at once, so that a
run that was stopped, or a server that went away, costs only what was under way. The journal knows the
server by what it says of itself and by its answer to a short probe: another model behind the same address is not
given the scores of the one before.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np
import requests
from requests.adapters import HTTPAdapter
from tqdm.auto import tqdm
from urllib3.exceptions import InvalidHeader, ReadTimeoutError
from urllib3.util import Retry

from course_lib.checks.calls import check_fields, optional
from course_lib.checks.types import Count, Flag, NotNegative
from course_lib.checks.values import (
    check_count,
    check_flag,
    check_number,
    check_path,
    check_text,
    check_texts,
)
from course_lib.errors import CourseError
from course_lib.icl.scorers.completions import (
    echoed_tokens,
    finite,
    is_log_probability,
    label_start,
    most_probable,
    next_tokens,
)
from course_lib.icl.scorers.scored_items import ScoredItems, hash_of
from course_lib.locations import cache_folder
from course_lib.prompts.verbalizers import check_continuations

# Answers that may be better the next time: too many requests, and the server's own trouble.
_RETRIED = (408, 429, 500, 502, 503, 504)
_LONGEST_WAIT = 60.0
# What every run asks first, to tell one model from another.
PROBE = "The capital of France is"


_A_DAY = 86_400.0  # seconds; waiting longer is as good as for ever


def _an_address(name: str, value: Any) -> str:
    text = check_text(name, value)
    try:
        has_host = bool(urlsplit(text).hostname) and urlsplit(text).port != 0
    except ValueError:  # a bracket too many, a port that is no number
        has_host = False
    if not text.startswith(("http://", "https://")) or not has_host:
        raise CourseError(
            "The server's address must begin with http:// or https://, and name a server.",
            given=text,
            mend="Write, for example, http://localhost:8000.",
        )
    return text


def _a_key(name: str, value: Any) -> str:
    # the key itself is shown nowhere
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise CourseError(f"{name} must be a text of plain letters, digits and signs.")
    return value


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
    echo: Flag = False
    top_logprobs: Count = 20
    space_in_prompt: Flag = False
    num_threads: int = 8
    timeout: float = 60.0
    retries: int = 5
    backoff: NotNegative = 0.5
    api_key: str | None = field(default=None, repr=False)
    journal: Path | None = None

    def __post_init__(self) -> None:
        check_fields(
            self,
            base_url=_an_address,
            model=partial(check_text, empty_ok=False),
            num_threads=partial(check_count, most=1000),
            timeout=partial(check_number, least=1e-3, most=_A_DAY),
            retries=partial(check_count, least=0, most=1000),
            api_key=optional(_a_key),
            journal=optional(check_path),
        )
        if self.echo and self.space_in_prompt:
            raise CourseError(
                "`space_in_prompt` is for servers without `echo`; with it labels are scored whole.",
                mend="Leave one of the two out.",
            )

    def log_probabilities(
        self, prefix: str, items: Sequence[str], continuations: Sequence[str], progress: bool = True
    ) -> np.ndarray:
        """Asks the server for log-probabilities of labels, as `Scorer` says.

        Raises:
            CourseError: what `Scorer` says; the server is down, too slow or refuses; it returns no
                log-probabilities; a label is missing among them, which says nothing about its probability; a
                label of several tokens without `echo`. What was finished before stays in the journal.
        """
        words = check_continuations(continuations)
        check_text("prefix", prefix)
        check_flag("progress", progress)
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
        """Names everything that an item's values depend on, apart from prompt and labels."""
        return {
            "base_url": self._address(),
            "model": self.model,
            "echo": self.echo,
            "space_in_prompt": self.space_in_prompt,
        }

    def _key(self, prompt: str, words: tuple[str, ...]) -> str:
        return hash_of({**self._settings(), "prompt": prompt, "label_words": words})

    def _finished(self, words: tuple[str, ...]) -> ScoredItems:
        name = f"endpoint-{hash_of(self._settings())[:12]}.jsonl"
        path = Path(self.journal or cache_folder() / "runs" / name)
        return ScoredItems(path, len(words), self._identity())

    def _identity(self) -> dict[str, Any]:
        """Asks the server what it is: its own description of the model, and its answer to the probe."""
        body = {"prompt": PROBE, "max_tokens": 1, "temperature": 0, "logprobs": min(self.top_logprobs, 5)}
        found = next_tokens(self._choice(body, threading.Event()))
        probe = {token: value for token, value in found.items() if is_log_probability(value)}
        return {"says": self._description(), "probe": probe}

    def _description(self) -> dict[str, Any]:
        """Returns what the server's list of models says of this one; {} where it has none."""
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
        """Yields each prompt's key and values as soon as the server has answered."""
        stop = threading.Event()
        bar = tqdm(total=total, initial=total - len(todo), desc="endpoint", disable=not progress, unit="item")
        with bar, ThreadPoolExecutor(self.num_threads) as pool:
            keys = {
                pool.submit(self._score_or_stop, prompt, words, stop): key for key, prompt in todo.items()
            }
            try:
                for future in as_completed(keys):
                    if isinstance(future.exception(), _RunStoppedError):
                        continue  # the trouble that stopped it comes too
                    yield keys[future], future.result()
                    bar.update()
            finally:
                stop.set()
                pool.shutdown(cancel_futures=True)

    def _score_or_stop(self, prompt: str, words: tuple[str, ...], stop: threading.Event) -> list[float]:
        """Scores a prompt; an error ends the run at once, before the next request and within waits."""
        if stop.is_set():
            raise _RunStoppedError
        try:
            return self._score(prompt, words, stop)
        except BaseException:
            stop.set()
            raise

    def _score(self, prompt: str, words: tuple[str, ...], stop: threading.Event) -> list[float]:
        if self.echo:
            return self._score_echoed(prompt, words, stop)
        if self.space_in_prompt:
            prompt, words = prompt + " ", tuple(word[1:] for word in words)
        body = {"prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": self.top_logprobs}
        top = next_tokens(self._choice(body, stop))
        for word in words:
            if word not in top:
                raise self._missing(word, top)
        return [finite(top[word], word) for word in words]

    def _score_echoed(self, prompt: str, words: tuple[str, ...], stop: threading.Event) -> list[float]:
        echoed = []
        for word in words:
            body = {"prompt": prompt + word, "max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True}
            echoed.append(echoed_tokens(self._choice(body, stop), prompt + word, word))
        start = label_start(echoed, len(prompt))
        return [
            sum(finite(token.log_probability, word) for token in tokens[start:])
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
        """Sends a request until it is answered, and returns the answer's first choice."""
        try:
            with requests.Session() as session:
                session.mount(self._address(), HTTPAdapter(max_retries=self._retries(stop)))
                answer = session.post(
                    self._address(),
                    json={"model": self.model, **body},
                    headers=self._headers(),
                    timeout=self.timeout,
                )
        except (requests.ConnectionError, requests.Timeout) as error:
            raise self._lasting_trouble(self._named_trouble(error)) from error
        except requests.RequestException as error:
            raise CourseError(f"The request failed: {error}.", given=self._address()) from error
        if answer.status_code in _RETRIED:
            raise self._lasting_trouble(f"answers {answer.status_code} ({answer.text[:200]})")
        return self._read(answer)

    def _retries(self, stop: threading.Event) -> Retry:
        """Returns the rule for trying again: on lost requests of any kind, and on what is in `_RETRIED`."""
        retry = _StoppableRetry(
            total=self.retries,
            status_forcelist=_RETRIED,
            allowed_methods=None,
            backoff_factor=self.backoff,
            raise_on_status=False,
        )
        return retry.until(stop)

    def _named_trouble(self, error: requests.RequestException) -> str:
        reasons = [getattr(argument, "reason", None) for argument in error.args]
        is_slow = isinstance(error, requests.Timeout) or any(
            isinstance(reason, ReadTimeoutError) for reason in reasons
        )
        return f"did not answer within {self.timeout:g} seconds" if is_slow else "cannot be reached"

    def _lasting_trouble(self, trouble: str) -> CourseError:
        return CourseError(
            f"The server {trouble}, after {self.retries + 1} tries.",
            given=self._address(),
            mend="Start it, or give it more time (`timeout`, `retries`) or fewer requests at once "
            "(`num_threads`). A new run goes on where this one stopped.",
        )

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
            return dict(json.loads(answer.text, object_pairs_hook=most_probable)["choices"][0])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise CourseError(
                "The server's answer is no completion.",
                given=answer.text[:200],
                mend="Give the address of a server with /v1/completions.",
            ) from error


class _RunStoppedError(Exception):
    """Another request of the run has failed, or the run was broken off."""


class _StoppableRetry(Retry):
    """urllib3's retries, which wait from the first one on, never longer than a minute, and end with the run."""

    stop: threading.Event

    def until(self, stop: threading.Event) -> Self:
        """Returns itself, with the event that ends its waits."""
        self.stop = stop
        return self

    def new(self, **changes: Any) -> Self:
        """Returns what is left after a try."""
        return super().new(**changes).until(self.stop)

    def get_backoff_time(self) -> float:
        """Returns the seconds before the next try: the backoff, doubled each time."""
        return float(self.backoff_factor * 2 ** (len(self.history) - 1))

    def parse_retry_after(self, retry_after: str) -> float:
        """Returns the seconds that the server asks for; 0 where it writes something unknown."""
        try:
            return super().parse_retry_after(retry_after)
        except InvalidHeader:
            return 0.0

    def sleep(self, response: Any = None) -> None:
        """Waits as long as the server asks for, at least the backoff.

        Raises:
            _RunStoppedError: it has ended.
        """
        asked = self.get_retry_after(response) if response is not None else None
        if self.stop.wait(min(max(asked or 0.0, self.get_backoff_time()), _LONGEST_WAIT)):
            raise _RunStoppedError
