"""Scores from a completions endpoint, with everything a server can do wrong."""

from __future__ import annotations

import json
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3

from course_lib.errors import CourseError
from course_lib.icl.scorers.completions import next_tokens
from course_lib.icl.scorers.endpoint import PROBE, EndpointScorer, _RunStoppedError

PREFIX = "Input: dull Label: 0\n\nInput: great Label: 1"
ITEMS = [f"\n\nInput: film {number} Label:" for number in range(6)]
WORDS = [" 0", " 1"]


MODEL = {"name": "a"}


def value_of(token: str, before: str) -> float:
    """Give the log-probability that the served toy model gives to a token behind a text."""
    before = before if MODEL["name"] == "a" else MODEL["name"] + before
    return -0.1 - zlib.crc32((before + "|" + token).encode()) % 1000 / 100


def tokens_of(text: str) -> list[str]:
    return re.findall(r" ?\w+|\n|.", text)


class Server(ThreadingHTTPServer):
    """A toy model behind a real port, with a queue of faults, one for each next request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: list[Any] = []
        self.always: Any = None
        self.requests: list[dict[str, Any]] = []
        self.headers: list[Any] = []
        self.content_form = False
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            if body["prompt"] != PROBE:
                self.server.requests.append(body)
            self.server.headers.append(self.headers)
            is_probe = body["prompt"] == PROBE
            fault = self.server.always
            if is_probe:
                fault = None if isinstance(fault, int | str) else fault
            elif self.server.faults:
                fault = self.server.faults.pop(0)
        if isinstance(fault, int):
            return self.answer(fault, {"error": "trouble"})
        if isinstance(fault, dict):
            return self.answer(200, fault)
        if fault == "slow":
            time.sleep(0.5)
        if fault == "hang up":
            return None
        if fault == "garbage":
            return self.answer(200, ["no completion"])
        choice = echo(body) if body.get("echo") and fault != "no echo" else self.next_token(body, fault)
        if fault == "no logprobs":
            choice["logprobs"] = None
        return self.answer(200, {"choices": [choice]})

    def next_token(self, body: dict[str, Any], fault: Any) -> dict[str, Any]:
        prompt = body["prompt"]
        known = [" 0", " 1", " good", "0", "1", " "]
        if fault == "missing":
            known.remove(" 1")
        top = {token: value_of(token, prompt) for token in known}
        if self.server.content_form:
            entries = [{"token": token, "logprob": value} for token, value in top.items()]
            content = [{"token": " 0", "logprob": top[" 0"], "top_logprobs": entries}]
            return {"text": " 0", "logprobs": {"content": content}}
        logprobs = {"tokens": [" 0"], "token_logprobs": [top[" 0"]], "top_logprobs": [top]}
        return {"text": " 0", "logprobs": logprobs}

    def answer(self, status: int, content: Any) -> None:
        payload = json.dumps(content).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            if status == 429:
                self.send_header("Retry-After", "0.02")
            self.end_headers()
            self.wfile.write(payload)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has stopped waiting


def echo(body: dict[str, Any]) -> dict[str, Any]:
    """Answer as a server does that echoes the prompt: a start token, the prompt, one new token."""
    tokens = tokens_of(body["prompt"])
    befores = ["".join(tokens[:i]) for i in range(len(tokens))]
    values = [value_of(token, before) for token, before in zip(tokens, befores, strict=True)]
    tokens, values = split_characters(tokens, values)
    return {
        "text": body["prompt"] + " x",
        "logprobs": {"tokens": ["<s>", *tokens, " x"], "token_logprobs": [None, *values, -1.0]},
    }


def split_characters(tokens: list[str], values: list[float]) -> tuple[list[str], list[float]]:
    """Show every character beyond ASCII as three placeholders, as servers do with pieces of one."""
    shown = [(token,) if token.isascii() else ("\ufffd",) * 3 for token in tokens]
    return (
        [piece for pieces in shown for piece in pieces],
        [value for pieces, value in zip(shown, values, strict=True) for _ in pieces],
    )


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def scorer(server: Server, tmp_path: Path) -> Callable[..., EndpointScorer]:
    def make(**options: Any) -> EndpointScorer:
        usual = {"journal": tmp_path / "journal.jsonl", "backoff": 0.01, "timeout": 5.0, "retries": 3}
        return EndpointScorer(server.url, "toy", **{**usual, **options})

    return make


def score(scorer: EndpointScorer, items: list[str] = ITEMS, words: list[str] = WORDS) -> np.ndarray:
    return scorer.log_probabilities(PREFIX, items, words, progress=False)


def expected(items: list[str] = ITEMS, words: list[str] = WORDS) -> np.ndarray:
    """Add up what the toy model gives to the label's tokens."""
    rows = []
    for item in items:
        row = []
        for word in words:
            before, total = PREFIX + item, 0.0
            for token in tokens_of(word):
                total += value_of(token, before)
                before += token
            row.append(total)
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("content_form", [False, True])
def test_labels_are_read_off_the_next_tokens(server: Server, scorer: Any, content_form: bool) -> None:
    server.content_form = content_form
    found = score(scorer())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(), atol=1e-5)
    assert len(server.requests) == len(ITEMS)
    assert {key: server.requests[0][key] for key in ("model", "max_tokens", "logprobs")} == {
        "model": "toy",
        "max_tokens": 1,
        "logprobs": 20,
    }


def test_labels_of_several_tokens_are_read_off_the_echo(server: Server, scorer: Any) -> None:
    words = [" very bad", " good"]
    np.testing.assert_allclose(score(scorer(echo=True), words=words), expected(words=words), atol=1e-5)
    assert len(server.requests) == 2 * len(ITEMS)
    with pytest.raises(CourseError, match="' very bad' is not among"):
        score(scorer(), words=words)


def test_a_token_across_the_border_belongs_to_every_label(scorer: Any) -> None:
    # the toy tokenizer reads "Label: 0" as "Label", ":", " 0", whatever the cut
    found = scorer(echo=True).log_probabilities(PREFIX, ["\n\nInput: x Label: "], ["0", "1"], progress=False)
    np.testing.assert_allclose(found, expected(["\n\nInput: x Label:"]), atol=1e-5)


def test_split_characters_before_the_label_do_no_harm(scorer: Any) -> None:
    items = ["\n\nInput: \U0001f600 film Label:"]
    words = [" very bad", " good"]
    np.testing.assert_allclose(score(scorer(echo=True), items, words), expected(items, words), atol=1e-5)


def test_a_server_that_does_not_echo_is_refused(server: Server, scorer: Any) -> None:
    server.always = "no echo"
    with pytest.raises(CourseError, match="does not echo"):
        score(scorer(echo=True))


def test_a_missing_label_is_an_error_and_never_a_probability_of_zero(server: Server, scorer: Any) -> None:
    server.always = "missing"
    with pytest.raises(CourseError, match="' 1' is not among the 5 most probable") as caught:
        score(scorer())
    assert "space_in_prompt" in str(caught.value)
    found = scorer(space_in_prompt=True).log_probabilities("a", [" b:"], WORDS, progress=False)
    np.testing.assert_allclose(found, [[value_of("0", "a b: "), value_of("1", "a b: ")]], atol=1e-5)


@pytest.mark.parametrize("fault", [429, 500, 503, "hang up"])
def test_passing_trouble_is_tried_again(server: Server, scorer: Any, fault: Any) -> None:
    server.faults = [fault, fault]
    np.testing.assert_allclose(score(scorer()), expected(), atol=1e-5)
    assert len(server.requests) == len(ITEMS) + 2


@pytest.mark.parametrize(
    ("asked", "waits"),
    [
        (None, [0.5, 1.0, 2.0]),
        ("3", [3.0, 3.0, 3.0]),
        ("3600", [60.0, 60.0, 60.0]),
        ("soon", [0.5, 1.0, 2.0]),
    ],
)
def test_waits_double_and_are_as_long_as_the_server_asks_for_but_never_over_a_minute(
    asked: str | None, waits: list[float]
) -> None:
    stop = threading.Event()
    waited: list[float] = []
    stop.wait = lambda seconds: waited.append(seconds) or False  # type: ignore[method-assign]
    headers = {} if asked is None else {"Retry-After": asked}
    response = urllib3.HTTPResponse(status=503, headers=headers)
    retry = EndpointScorer("http://127.0.0.1:1", "toy")._retries(stop)
    for _ in waits:
        retry = retry.increment("POST", "/", response=response)
        retry.sleep(response)
    assert waited == waits


def test_a_run_that_ends_does_not_wait_for_its_retries() -> None:
    stop = threading.Event()
    retry = EndpointScorer("http://127.0.0.1:1", "toy", backoff=1000)._retries(stop)
    retry = retry.increment("POST", "/", error=urllib3.exceptions.ProtocolError())
    stop.set()
    with pytest.raises(_RunStoppedError):
        retry.sleep()


def test_a_slow_answer_is_tried_again(server: Server, scorer: Any, tmp_path: Path) -> None:
    server.faults = ["slow"]
    np.testing.assert_allclose(score(scorer(timeout=0.2)), expected(), atol=1e-5)
    server.always = "slow"
    with pytest.raises(CourseError, match=r"within 0.1 seconds, after 2 tries"):
        score(scorer(timeout=0.1, retries=1, journal=tmp_path / "other"), items=["other:"])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (429, "answers 429.* after 4 tries"),
        (500, "answers 500.* after 4 tries"),
        (404, "refuses the request with 404"),
        (401, "refuses the request with 401"),
        ("no logprobs", "returns no log-probabilities"),
        ("garbage", "no completion"),
        ("hang up", "cannot be reached, after 4 tries"),
    ],
)
def test_lasting_trouble_is_an_error_that_names_it(
    server: Server, scorer: Any, fault: Any, message: str
) -> None:
    server.always = fault
    with pytest.raises(CourseError, match=message):
        score(scorer(), ITEMS[:1])
    assert len(server.requests) == (4 if "4 tries" in message else 1)


def test_a_server_that_is_down_is_an_error(tmp_path: Path) -> None:
    gone = Server()
    gone.server_close()
    scorer = EndpointScorer(gone.url, "toy", retries=1, backoff=0.01, journal=tmp_path / "journal")
    with pytest.raises(CourseError, match="cannot be reached, after 2 tries"):
        score(scorer)


def test_a_run_that_broke_goes_on_and_scores_no_item_twice(server: Server, scorer: Any) -> None:
    server.faults = [None, None, None, 400]
    with pytest.raises(CourseError, match="400"):
        score(scorer(num_threads=1))
    asked = [body["prompt"] for body in server.requests]
    assert len(asked) == 4
    server.requests.clear()
    np.testing.assert_allclose(score(scorer(num_threads=1)), expected(), atol=1e-5)
    finished = set(asked[:3])
    assert not finished & {body["prompt"] for body in server.requests}
    server.requests.clear()
    np.testing.assert_allclose(score(scorer()), expected(), atol=1e-5)
    assert not server.requests


def test_a_torn_line_is_scored_again(server: Server, scorer: Any, tmp_path: Path) -> None:
    score(scorer())
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    server.requests.clear()
    np.testing.assert_allclose(score(scorer()), expected(), atol=1e-5)
    assert len(server.requests) == 1
    score(scorer())
    assert len(server.requests) == 1


def test_other_settings_and_labels_are_other_items(server: Server, scorer: Any) -> None:
    score(scorer())
    for options, words in (({"model": "other"}, WORDS), ({}, WORDS[::-1]), ({"echo": True}, WORDS)):
        server.requests.clear()
        usual = scorer(**{key: value for key, value in options.items() if key != "model"})
        usual.model = options.get("model", usual.model)
        np.testing.assert_allclose(score(usual, words=words), expected(words=words), atol=1e-5)
        assert len(server.requests) >= len(ITEMS)


def test_equal_items_are_asked_for_once(server: Server, scorer: Any) -> None:
    found = score(scorer(), items=[ITEMS[0], ITEMS[1], ITEMS[0]])
    assert len(server.requests) == 2
    assert found[0].tolist() == found[2].tolist() != found[1].tolist()
    assert score(scorer(), items=[]).shape == (0, 2)


def test_the_key_is_sent_and_kept_nowhere(server: Server, scorer: Any, tmp_path: Path) -> None:
    keyed = scorer(api_key="secret-word")
    score(keyed)
    assert server.headers[0]["Authorization"] == "Bearer secret-word"
    assert "secret-word" not in repr(keyed) + (tmp_path / "journal.jsonl").read_text()


@pytest.mark.parametrize(
    "options",
    [
        {"top_logprobs": 0},
        {"num_threads": 0},
        {"retries": -1},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"timeout": 1e10},
        {"num_threads": 2.5},
        {"num_threads": float("inf")},
        {"retries": 2000},
        {"retries": True},
        {"backoff": float("nan")},
        {"api_key": "열쇠"},
        {"api_key": "two\nlines"},
        {"journal": 3},
        {"echo": True, "space_in_prompt": True},
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(CourseError):
        EndpointScorer("http://127.0.0.1:1", "toy", **options)


def test_bad_addresses_and_labels_are_refused(scorer: Any) -> None:
    with pytest.raises(CourseError, match="http://"):
        EndpointScorer("localhost:8000", "toy")
    for address in ("http://", "http://host:port", "http://["):
        with pytest.raises(CourseError, match="name a server"):
            EndpointScorer(address, "toy")
    with pytest.raises(CourseError, match="at least two"):
        score(scorer(), words=[" 0"])
    with pytest.raises(CourseError, match="one does not"):
        score(scorer(space_in_prompt=True), words=["0", "1"])


# --- answers that are none -------------------------------------------------------------------------


def _answered(top: Any) -> dict[str, Any]:
    return {
        "choices": [
            {"text": " 0", "logprobs": {"tokens": [" 0"], "token_logprobs": [-1.0], "top_logprobs": top}}
        ]
    }


def _content(entries: Any) -> dict[str, Any]:
    return {"choices": [{"text": " 0", "logprobs": {"content": [{"token": " 0", "top_logprobs": entries}]}}]}


PROBED = {" Paris": -0.1}


@pytest.mark.parametrize(
    "value", [-9999.0, -1e30, 0.5, 3, None, "-1.0", True, float("nan"), float("inf"), [-1.0], {"a": 1}]
)
def test_what_is_no_log_probability_is_refused(server: Server, scorer: Any, value: Any) -> None:
    server.always = _answered([{**PROBED, " 0": -0.5, " 1": value}])
    with pytest.raises(CourseError, match="log-probability of ' 1' is none"):
        score(scorer())


@pytest.mark.parametrize(
    "answer",
    [
        _answered("text"), _answered([["a", "b"]]), _answered([3]), _answered({"a": 1}), _answered([["a"]]),
        _content("text"), _content([3]), _content([{"token": " 0"}]), _content([{"logprob": -1}]), _content({"a": 1}),
        {"choices": [{"logprobs": {"content": 3}}]}, {"choices": [{"logprobs": {"content": [3]}}]},
        {"choices": [{"logprobs": {"tokens": 3, "top_logprobs": [[]]}}]}, {"choices": [{"logprobs": "x"}]},
        {"choices": [3]}, {"choices": []}, {"choices": {}}, {"choices": None}, {}, {"choices": ["x"]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("echo", [False, True])
def test_an_answer_of_another_shape_is_an_error_that_shows_it(
    server: Server, scorer: Any, answer: Any, echo: bool
) -> None:
    server.always = answer
    with pytest.raises(CourseError):
        score(scorer(echo=echo))


def test_an_echo_of_another_shape_is_an_error_that_shows_it(server: Server, scorer: Any) -> None:
    text = PREFIX + ITEMS[0] + WORDS[0]
    for tokens, values in ((text, []), ([text], ["-1"]), ([3, 4], [-1, -1]), ([text], None), ([text], 3)):
        server.always = {
            "choices": [{"logprobs": {"tokens": tokens, "token_logprobs": values, "top_logprobs": [PROBED]}}]
        }
        with pytest.raises(CourseError):
            score(scorer(echo=True), ITEMS[:1])


@pytest.mark.parametrize("backwards", [False, True])
def test_of_two_entries_with_one_text_the_more_probable_counts(
    server: Server, scorer: Any, backwards: bool
) -> None:
    entries = [
        {"token": token, "logprob": value} for token, value in ((" 0", -5.0), (" 0", -0.5), (" 1", -1.0))
    ]
    server.always = _content(
        [{"token": " Paris", "logprob": -0.1}, *(entries[::-1] if backwards else entries)]
    )
    np.testing.assert_allclose(score(scorer(), ITEMS[:1]), [[-0.5, -1.0]])


@pytest.mark.parametrize("items", ["hello", [None], [3], None])
def test_what_is_no_list_of_texts_is_refused(scorer: Any, items: Any) -> None:
    with pytest.raises(CourseError, match="items must be"):
        score(scorer(), items)


# --- another model behind the same address -----------------------------------------------------------


def test_another_model_behind_the_address_is_scored_anew(
    server: Server, scorer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = score(scorer())
    monkeypatch.setitem(MODEL, "name", "b")
    with pytest.warns(UserWarning, match="another model. Its 6 items are not used"):
        second = score(scorer())
    assert not np.allclose(first, second)
    assert len(server.requests) == 2 * len(ITEMS)
    monkeypatch.setitem(MODEL, "name", "a")
    np.testing.assert_array_equal(score(scorer()), first)
    assert len(server.requests) == 2 * len(ITEMS)


def test_the_last_digits_of_a_server_make_no_other_model(
    server: Server, scorer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = score(scorer())
    exact = value_of
    monkeypatch.setattr(
        "tests.icl.scorers.test_endpoint.value_of", lambda token, before: exact(token, before) + 0.003
    )
    np.testing.assert_array_equal(score(scorer()), first)
    assert len(server.requests) == len(ITEMS)


def test_a_journal_that_names_no_server_is_not_used(server: Server, scorer: Any, tmp_path: Path) -> None:
    made = scorer()
    score(made)
    journal = tmp_path / "journal.jsonl"
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    old = [{"key": entry["key"], "values": [-1.0, -2.0]} for entry in entries if "key" in entry]
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in old))
    with pytest.warns(UserWarning, match="another model"):
        assert not np.allclose(score(scorer()), [[-1.0, -2.0]] * len(ITEMS))


@pytest.mark.parametrize("token", [None, True, 3, -1.5])
def test_a_token_that_is_no_text_is_an_error(token: Any) -> None:
    entries = [{"token": " 0", "logprob": -1.0}, {"token": token, "logprob": -2.0}]
    content = [{"token": " 0", "logprob": -1.0, "top_logprobs": entries}]
    with pytest.raises(CourseError, match="another shape"):
        next_tokens({"logprobs": {"content": content}})


@pytest.mark.parametrize("twins", [[-1, -5], [-5, -1], [-5.0, -1], [-1, -5.0]])
def test_of_two_whole_numbers_for_one_text_the_larger_counts(twins: list[float]) -> None:
    entries = [{"token": " 0", "logprob": value} for value in twins]
    content = [{"token": " 0", "logprob": -1, "top_logprobs": entries}]
    assert next_tokens({"logprobs": {"content": content}})[" 0"] == -1


@pytest.mark.parametrize("values", [[None, -1.0], ["x", "y"], [float("nan"), -1.0], [-1.0, float("-inf")]])
def test_values_in_the_journal_that_are_no_numbers_are_scored_again(
    server: Server, scorer: Any, tmp_path: Path, values: list[Any]
) -> None:
    journal = tmp_path / "journal.jsonl"
    score(scorer())
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    changed = [{**entry, "values": values} if "values" in entry else entry for entry in entries]
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in changed))
    np.testing.assert_allclose(score(scorer()), expected(), atol=1e-5)


def test_a_journal_with_bytes_that_are_no_text_is_read_around(
    server: Server, scorer: Any, tmp_path: Path
) -> None:
    journal = tmp_path / "journal.jsonl"
    score(scorer())
    journal.write_bytes(b"\xff\xfe broken\n" + journal.read_bytes())
    num_requests = len(server.requests)
    np.testing.assert_allclose(score(scorer()), expected(), atol=1e-5)
    assert len(server.requests) == num_requests
