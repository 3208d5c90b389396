"""Linear probes of hidden states: they find what is there, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course_lib.errors import CourseError
from course_lib.models import ModelAndTokenizer, load_language_model
from course_lib.ppt.pretraining.probing import answer_states, probe_accuracies, probe_task


@pytest.fixture(scope="module")
def embedded() -> ModelAndTokenizer:
    return load_language_model("embedded", device="cpu")


def test_states_are_those_of_each_text_alone(embedded: ModelAndTokenizer) -> None:
    texts = ["A fine film.", "It", "The plot is thin, but the actors carry it to the end."]
    together = answer_states(embedded, texts, (0, 5, 30))
    model, tokenizer = embedded
    for text, states in zip(texts, together, strict=True):
        with torch.no_grad():
            alone = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
        for layer, state in zip((0, 5, 30), states, strict=True):
            assert np.allclose(state, alone[layer][0, -1].numpy(), atol=1e-3), (text, layer)


def test_a_probe_finds_a_direction_and_nothing_in_noise() -> None:
    draw = np.random.default_rng(0)
    labels = np.arange(300) % 3
    noise = draw.normal(size=(300, 2, 12)).astype(np.float32)
    noise[:, 1, 0] += 6 * labels
    right = probe_accuracies(noise[:200], labels[:200].tolist(), noise[200:], labels[200:].tolist())
    in_noise, in_direction = (sum(each) / len(each) for each in right)
    assert 0.15 < in_noise < 0.52
    assert in_direction > 0.9
    shuffled = draw.permutation(labels[:200]).tolist()
    lost = probe_accuracies(noise[:200], shuffled, noise[200:], labels[200:].tolist())[1]
    assert sum(lost) / len(lost) < 0.6


def test_pairs_of_real_documents_are_probed_twice_alike(embedded: ModelAndTokenizer) -> None:
    rows = probe_task("pair", layers=(4, 20), num_train=12, num_test=6, loaded=embedded)
    assert [row["layer"] for row in rows] == [4, 20]
    assert [row["guessing"] for row in rows] == pytest.approx([1 / 3] * 2)
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in rows)
    again = probe_task("pair", layers=(4, 20), num_train=12, num_test=6, loaded=embedded)
    assert again == rows


def test_what_cannot_be_probed_is_refused(embedded: ModelAndTokenizer) -> None:
    with pytest.raises(CourseError, match="texts must hold"):
        answer_states(embedded, [], (0,))
    with pytest.raises(CourseError, match="from 0 to 30"):
        answer_states(embedded, ["It"], (31,))
    states = np.zeros((4, 1, 2), dtype=np.float32)
    with pytest.raises(CourseError, match="of each class"):
        probe_accuracies(states, [0, 0, 0, 1], states, [0, 0, 0, 1])
    with pytest.raises(CourseError, match="finite"):
        probe_accuracies(states * np.nan, [0, 0, 1, 1], states, [0, 0, 0, 1])
