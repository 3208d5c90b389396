"""The endpoint scorer against a real server that serves the embedded language model.

The server computes with the 4-bit weights of the file and 8-bit activations, the local scorer in float32 with
the same weights written out. So the values differ a little, and label choices may differ where the local
model is nearly undecided, nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from course_lib.errors import CourseError
from course_lib.icl.prompting import DemonstrationPrompt, InstanceTemplate
from course_lib.icl.scorers.endpoint import EndpointScorer
from course_lib.icl.scorers.prefix_cached import PrefixCachedScorer
from course_lib.models import ModelAndTokenizer, load_language_model
from course_lib.prompts.verbalizers import Verbalizer, text_ids
from course_lib.texts import load_texts, sample_texts, with_binary_labels
from tests.icl.scorers.llama_server import LlamaServer, llama_server

pytest.importorskip("xllamacpp", reason="xllamacpp is not installed, so there is no real server to ask")

NUM_DEMONSTRATIONS = 4
NUM_ITEMS = 12
# How far the difference of the two labels' log-probabilities may be off through quantisation. The largest
# seen was .42, on 24 items.
TOLERANCE = 0.6


@pytest.fixture(scope="module")
def server() -> Iterator[LlamaServer]:
    with llama_server() as running:
        yield running


@pytest.fixture
def scorer(server: LlamaServer, tmp_path: Path) -> Any:
    def make(**options: Any) -> EndpointScorer:
        usual = {"journal": tmp_path / "journal.jsonl", "num_threads": 2, "top_logprobs": 100}
        return EndpointScorer(server.url, "embedded", **{**usual, **options})

    return make


@cache
def language_model() -> ModelAndTokenizer:
    return load_language_model()


def real_prompts(label_words: list[str]) -> tuple[str, list[str], tuple[str, ...]]:
    """Give a prefix of balanced demonstrations, the items behind it, and the labels' continuations."""
    movie = {split: with_binary_labels(load_texts("movie", split=split)) for split in ("train", "test")}
    shown = sample_texts(movie["train"], NUM_DEMONSTRATIONS, seed=0)
    test = sample_texts(movie["test"], NUM_ITEMS, seed=0)
    prompt = DemonstrationPrompt(InstanceTemplate(), Verbalizer(label_words))
    return (
        prompt.prefix(list(shown), shown["label"]),
        [prompt.item(row) for row in test],
        prompt.continuations,
    )


@pytest.mark.parametrize(
    ("label_words", "space_in_prompt"),
    [(["bad", "good"], False), (["0", "1"], True)],  # " 0" is a space and "0" for this tokenizer
    ids=["words", "digits"],
)
def test_choices_of_a_real_server_agree_with_the_local_model(
    scorer: Any, capsys: pytest.CaptureFixture[str], label_words: list[str], space_in_prompt: bool
) -> None:
    prompts = real_prompts(label_words)
    served = scorer(space_in_prompt=space_in_prompt).log_probabilities(*prompts, progress=False)
    local = PrefixCachedScorer(*language_model()).log_probabilities(*prompts, progress=False)
    assert served.shape == local.shape == (NUM_ITEMS, 2)
    served_margin, local_margin = (values[:, 1] - values[:, 0] for values in (served, local))
    off = np.abs(served_margin - local_margin).max()
    threshold = np.median(local_margin)
    agreement = {
        "raw": (served_margin > 0) == (local_margin > 0),
        "at the median": (served_margin > np.median(served_margin)) == (local_margin > threshold),
    }
    with capsys.disabled():
        shares = ", ".join(f"{name} {agrees.mean():.3f}" for name, agrees in agreement.items())
        print(
            f"\nllama.cpp against the local scorer, {label_words}, {NUM_ITEMS} items: agreement {shares}; "
            f"largest difference of log-probabilities {np.abs(served - local).max():.3f}, of margins {off:.3f}"
        )
    # beyond the largest difference there is no excuse; two medians differ by at most as much
    assert off < TOLERANCE
    assert agreement["raw"][np.abs(local_margin) > off].all()
    assert agreement["at the median"][np.abs(local_margin - threshold) > 2 * off].all()
    # what tells the items apart is more than quantisation, so that swapped items or labels would show
    assert np.corrcoef(served_margin, local_margin)[0, 1] > 0.7


def test_the_server_reads_the_same_tokens(server: LlamaServer) -> None:
    prefix, items, _ = real_prompts(["0", "1"])
    for text in (prefix, prefix + items[0], "It's 10:30 — Ünïcode, “quotes” and\n\n  spaces."):
        answer = requests.post(f"{server.url}/tokenize", json={"content": text}, timeout=60).json()
        assert answer["tokens"] == text_ids(language_model().tokenizer, [text])[0]


def test_a_label_of_several_tokens_is_refused(scorer: Any) -> None:
    prefix, items, _ = real_prompts(["very bad", "quite good"])
    words = (" very bad", " quite good")
    with pytest.raises(CourseError, match="' very bad' is not among the 100 most probable"):
        scorer().log_probabilities(prefix, items[:1], words, progress=False)
    # this server ignores the wish for an echo; what it says instead is not taken for one
    with pytest.raises(CourseError, match="does not echo"):
        scorer(echo=True).log_probabilities(prefix, items[:1], words, progress=False)


def test_the_digit_behind_a_space_is_refused_until_the_space_is_sent(scorer: Any) -> None:
    prefix, items, words = real_prompts(["0", "1"])
    with pytest.raises(CourseError, match="space_in_prompt=True"):
        scorer().log_probabilities(prefix, items[:1], words, progress=False)


def fail_behind(urls: list[str]) -> None:
    with llama_server(context_length=512) as running:
        urls.append(running.url)
        assert requests.get(f"{running.url}/health", timeout=60).json() == {"status": "ok"}
        raise ZeroDivisionError


def test_the_server_ends_with_the_block_even_when_that_fails() -> None:
    urls: list[str] = []
    with pytest.raises(ZeroDivisionError):
        fail_behind(urls)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{urls[0]}/health", timeout=5)


def test_a_server_that_does_not_come_up_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="did not come up"), llama_server(patience=0):
        pass
