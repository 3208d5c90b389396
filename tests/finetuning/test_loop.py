"""The one fine-tuning loop: its batches, its numbers, and what it refuses."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedTokenizerBase,
)

from course_lib.errors import CourseError
from course_lib.finetuning import (
    Evaluation,
    FinetuningSettings,
    Step,
    collate,
    encode,
    evaluate,
    finetune,
    length_bucketed_batches,
)
from course_lib.models import ModelAndTokenizer, load_classifier, load_encoder
from course_lib.texts import load_texts, sample_texts, with_binary_labels

WORDS = ["the", "lamp", "in", "old", "harbour", "is", "lit", "and", "nobody", "knows", "why", "it", "burns"]
TEXTS = Dataset.from_dict(
    {
        "text": [" ".join(WORDS[i % 5 : i % 5 + 1 + i % 9] * (1 + i % 3)) for i in range(40)],
        "label": [i % 2 for i in range(40)],
    }
)
SETTINGS = FinetuningSettings(learning_rate=1e-3, num_steps=6, batch_size=8)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_encoder().tokenizer


def tiny(tokenizer: PreTrainedTokenizerBase, num_labels: int = 2) -> ModelAndTokenizer:
    """Build a random BERT of one small layer, the same each time."""
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=num_labels,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ModelAndTokenizer(BertForSequenceClassification(config).eval(), tokenizer)


def weights(classifier: ModelAndTokenizer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in classifier.model.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def tuned(
    tokenizer: PreTrainedTokenizerBase, settings: FinetuningSettings = SETTINGS, **options: Any
) -> tuple[dict[str, torch.Tensor], list[Step]]:
    classifier = tiny(tokenizer)
    steps = finetune(classifier, TEXTS, settings, progress=False, **options)
    return weights(classifier), steps


# --- batches ---------------------------------------------------------------------------------------

lengths = st.lists(st.integers(1, 500), max_size=300)
sizes = st.integers(1, 40)
seeds = st.none() | st.integers(0, 2**31)


@given(lengths, sizes, seeds)
def test_every_example_is_in_one_batch_of_the_right_size(
    lengths: list[int], batch_size: int, seed: int | None
) -> None:
    batches = length_bucketed_batches(lengths, batch_size, seed=seed)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    smaller = [len(batch) for batch in batches if len(batch) != batch_size]
    assert len(smaller) == (len(lengths) % batch_size > 0)
    assert all(0 < size < batch_size for size in smaller)


@given(lengths, sizes, seeds)
def test_one_seed_gives_the_same_batches(lengths: list[int], batch_size: int, seed: int | None) -> None:
    first = length_bucketed_batches(lengths, batch_size, seed=seed)
    assert length_bucketed_batches(lengths, batch_size, seed=seed) == first


def test_another_seed_gives_other_batches() -> None:
    lengths = list(range(200))
    assert length_bucketed_batches(lengths, 8, seed=0) != length_bucketed_batches(lengths, 8, seed=1)


def padding_share(lengths: np.ndarray, batches: list[list[int]]) -> float:
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    return 1 - lengths.sum() / padded


@given(st.integers(0, 1000))
def test_bucketing_pads_far_less_than_plain_batches(seed: int) -> None:
    lengths = np.random.default_rng(seed).geometric(1 / 25, 2000)
    plain = [list(range(i, min(i + 16, 2000))) for i in range(0, 2000, 16)]
    bucketed = length_bucketed_batches(lengths.tolist(), 16, seed=seed)
    assert padding_share(lengths, bucketed) < 0.2
    assert padding_share(lengths, plain) > 0.5


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(CourseError, match="batch_size must be"):
        length_bucketed_batches([1, 2], 0)


def test_a_batch_is_padded_to_its_own_longest(tokenizer: PreTrainedTokenizerBase) -> None:
    classifier = tiny(tokenizer)
    examples = encode(classifier, TEXTS.select([0, 8, 4]))
    batch = collate(classifier, examples)
    longest = max(len(example["input_ids"]) for example in examples)
    assert batch["input_ids"].shape == (3, longest)
    assert batch["attention_mask"].sum(dim=1).tolist() == [len(e["input_ids"]) for e in examples]
    assert batch["labels"].tolist() == [0, 0, 0]


# --- the loop --------------------------------------------------------------------------------------


def test_two_runs_with_one_seed_are_the_same_bit_for_bit(tokenizer: PreTrainedTokenizerBase) -> None:
    first, second = tuned(tokenizer), tuned(tokenizer)
    assert first[1] == second[1]
    assert same(first[0], second[0])


def test_another_seed_is_another_run(tokenizer: PreTrainedTokenizerBase) -> None:
    assert not same(tuned(tokenizer)[0], tuned(tokenizer, replace(SETTINGS, seed=1))[0])


def test_a_run_does_not_depend_on_the_random_numbers_before_it_nor_change_those_after(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    torch.manual_seed(1)
    first = tuned(tokenizer)[0]
    torch.manual_seed(2)
    expected = torch.rand(3)
    torch.manual_seed(2)
    assert same(tuned(tokenizer)[0], first)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.slow
def test_two_runs_of_the_real_encoder_are_the_same_bit_for_bit() -> None:
    texts = sample_texts(with_binary_labels(load_texts("movie", split="train")), 16, seed=0)
    runs = []
    for _ in range(2):
        classifier = load_classifier(num_labels=2, seed=0)
        steps = finetune(classifier, texts, FinetuningSettings(num_steps=3, batch_size=8), progress=False)
        runs.append((steps, weights(classifier), evaluate(classifier, texts)))
    (steps, first, evaluation), (steps_again, second, evaluation_again) = runs
    assert steps == steps_again
    assert same(first, second)
    assert np.array_equal(evaluation.logits, evaluation_again.logits)


def test_training_learns_what_can_be_learned(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = Dataset.from_dict({"text": ["lit lamp", "old harbour"] * 20, "label": [0, 1] * 20})
    classifier = tiny(tokenizer)
    finetune(classifier, texts, FinetuningSettings(learning_rate=1e-2, num_epochs=10), progress=False)
    assert evaluate(classifier, texts).accuracy == 1.0


def test_epochs_make_as_many_steps_as_there_are_batches(tokenizer: PreTrainedTokenizerBase) -> None:
    steps = tuned(tokenizer, FinetuningSettings(num_epochs=2, batch_size=16))[1]
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6]
    lengths = [len(text.split()) + 2 for text in TEXTS["text"]]
    assert sum(step.num_tokens for step in steps[:3]) == sum(lengths)


def test_the_learning_rate_rises_and_falls_to_zero(tokenizer: PreTrainedTokenizerBase) -> None:
    settings = FinetuningSettings(learning_rate=1.0, num_steps=10, warmup_share=0.4)
    rates = [step.learning_rate for step in tuned(tokenizer, replace(settings, learning_rate=1e-3))[1]]
    assert max(rates) == rates[4] == pytest.approx(1e-3)
    assert rates[:5] == sorted(rates[:5])
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_each_step_can_be_watched(tokenizer: PreTrainedTokenizerBase) -> None:
    classifier = tiny(tokenizer)
    seen: list[tuple[Step, float, bool]] = []

    def watch(step: Step) -> None:
        seen.append((step, evaluate(classifier, TEXTS).loss, classifier.model.training))

    steps = finetune(classifier, TEXTS, SETTINGS, after_step=watch, progress=False)
    assert [step for step, _, _ in seen] == steps
    assert len({loss for _, loss, _ in seen}) > 3
    assert not any(training for _, _, training in seen)


def test_watching_changes_nothing(tokenizer: PreTrainedTokenizerBase) -> None:
    watched = tuned(tokenizer, after_step=lambda step: torch.rand(1))
    assert len(watched[1]) == len(tuned(tokenizer)[1])
    classifier = tiny(tokenizer)
    finetune(classifier, TEXTS, SETTINGS, after_step=lambda _: evaluate(classifier, TEXTS), progress=False)
    assert same(weights(classifier), tuned(tokenizer)[0])


# --- the extra loss --------------------------------------------------------------------------------


def test_an_extra_loss_of_nothing_changes_nothing(tokenizer: PreTrainedTokenizerBase) -> None:
    assert same(
        tuned(tokenizer, extra_loss=lambda model, batch, logits: logits.sum() * 0)[0], tuned(tokenizer)[0]
    )


def test_an_extra_loss_pulls_the_weights(tokenizer: PreTrainedTokenizerBase) -> None:
    """Cross-entropy moves the two biases apart; the extra term pulls both down."""

    def pull_down(model: Any, batch: Any, logits: torch.Tensor) -> torch.Tensor:
        return 1e3 * model.classifier.bias.sum()

    plain, _ = tuned(tokenizer)
    pulled, steps = tuned(tokenizer, extra_loss=pull_down)
    assert plain["classifier.bias"].sum().abs() < 1e-3
    assert (pulled["classifier.bias"] < -1e-3).all()
    assert steps[0].extra_loss == 0.0
    assert steps[-1].extra_loss < -1.0


def test_an_extra_loss_sees_the_batch_and_its_logits(tokenizer: PreTrainedTokenizerBase) -> None:
    def check(model: Any, batch: dict[str, torch.Tensor], logits: torch.Tensor) -> torch.Tensor:
        assert logits.shape == (len(batch["labels"]), 2)
        assert set(batch) >= {"input_ids", "attention_mask", "labels"}
        return torch.nn.functional.cross_entropy(logits, batch["labels"])

    steps = tuned(tokenizer, extra_loss=check)[1]
    assert all(step.extra_loss == pytest.approx(step.loss) for step in steps)


def not_a_number(model: Any, batch: Any, logits: torch.Tensor) -> torch.Tensor:
    return logits.sum() * float("nan")


def gradient_not_a_number(model: Any, batch: Any, logits: torch.Tensor) -> torch.Tensor:
    """The root's slope at zero is infinite: the value is 0, its gradient is not a number."""
    return torch.sqrt((logits * 0).square().sum())


@pytest.mark.parametrize(("broken", "what"), [(not_a_number, "loss"), (gradient_not_a_number, "gradient")])
def test_a_step_that_is_not_a_number_is_refused_and_leaves_the_weights_before_it(
    tokenizer: PreTrainedTokenizerBase, broken: Any, what: str
) -> None:
    classifier = tiny(tokenizer)
    after: list[dict[str, torch.Tensor]] = []

    def break_in_step_two(model: Any, batch: Any, logits: torch.Tensor) -> torch.Tensor:
        return broken(model, batch, logits) if after else logits.sum() * 0

    with pytest.raises(CourseError, match=f"The {what} of step 2") as caught:
        finetune(
            classifier,
            TEXTS,
            SETTINGS,
            extra_loss=break_in_step_two,
            after_step=lambda step: after.append(weights(classifier)),
            progress=False,
        )
    assert "smaller learning rate than 0.001" in caught.value.mend
    assert len(after) == 1
    assert same(weights(classifier), after[0])
    assert not classifier.model.training


# --- evaluation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_logits_come_in_the_order_of_the_texts(tokenizer: PreTrainedTokenizerBase, batch_size: int) -> None:
    classifier = tiny(tokenizer)
    evaluation = evaluate(classifier, TEXTS, batch_size=batch_size)
    for i, text in enumerate(TEXTS["text"]):
        with torch.inference_mode():
            alone = classifier.model(**tokenizer(text, return_tensors="pt")).logits[0].numpy()
        np.testing.assert_allclose(evaluation.logits[i], alone, atol=1e-5)
    assert evaluation.labels.tolist() == list(TEXTS["label"])


def test_accuracy_and_loss_are_what_the_hand_gives() -> None:
    logits = np.log(np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.25, 0.75]]))
    evaluation = Evaluation(logits, np.array([0, 1, 1, 0]))
    assert evaluation.predictions.tolist() == [0, 1, 0, 1]
    assert evaluation.accuracy == 0.5
    assert evaluation.loss == pytest.approx(-np.log([0.9, 0.8, 0.5, 0.25]).mean())


def test_pairs_of_texts_are_read_together(tokenizer: PreTrainedTokenizerBase) -> None:
    pairs = Dataset.from_dict({"premise": ["a lamp"], "hypothesis": ["is lit"], "label": [2]})
    tokens = encode(tiny(tokenizer, num_labels=3), pairs)[0]["input_ids"]
    assert tokenizer.convert_ids_to_tokens(tokens) == ["[CLS]", "a", "lamp", "[SEP]", "is", "lit", "[SEP]"]


def test_long_texts_are_cut(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = Dataset.from_dict({"text": ["lamp " * 500], "label": [0]})
    assert len(encode(tiny(tokenizer), texts, max_length=32)[0]["input_ids"]) == 32


@pytest.mark.parametrize("spoil", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", [0, 1])
def test_a_score_that_is_no_number_has_no_accuracy(spoil: float, where: int) -> None:
    with pytest.raises(CourseError, match="finite"):
        Evaluation(np.array([[0.0, 1.0], [spoil, 0.5]]), np.array([1, 0]))
    if spoil != -np.inf:
        with pytest.raises(CourseError, match="finite"):
            Evaluation(np.array([[0.0, 1.0], [0.5, spoil]]), np.array([1, where]))


def test_a_label_that_a_text_does_not_have_counts_for_nothing() -> None:
    with_a_hole = Evaluation(np.array([[0.0, 1.0, -np.inf], [2.0, 0.5, 0.1]]), np.array([0, 0]))
    assert with_a_hole.accuracy == 0.5
    by_hand = [1 / (1 + np.e), np.exp(2) / (np.exp(2) + np.exp(0.5) + np.exp(0.1))]
    assert with_a_hole.loss == pytest.approx(-np.log(by_hand).mean())


@pytest.mark.parametrize(
    "labels", [[0], [[0], [1]], [0, 1, 1], [0, 2], [0, -1], [0.0, 1.0], [None, 1], ["0", "1"], 0, []]
)
def test_labels_that_do_not_belong_to_the_logits_are_refused(labels: Any) -> None:
    with pytest.raises(CourseError, match="labels"):
        Evaluation(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array(labels))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_gives_no_numbers_is_not_scored(
    tokenizer: PreTrainedTokenizerBase, value: float
) -> None:
    """NaN logits would all be label 0: an accuracy of 1.0 where the labels are."""
    classifier = tiny(tokenizer)
    with torch.no_grad():
        classifier.model.classifier.bias[0] = value
    texts = Dataset.from_dict({"text": ["a lamp", "is lit"], "label": [0, 0]})
    with pytest.raises(CourseError, match="not finite numbers for 2 of 2 texts"):
        evaluate(classifier, texts)


@pytest.mark.parametrize("num_steps", [1, 2, 4])
def test_a_run_that_spoils_the_model_ends_with_an_error_whatever_its_last_step(
    tokenizer: PreTrainedTokenizerBase, num_steps: int
) -> None:
    settings = replace(SETTINGS, learning_rate=1e20, num_steps=num_steps, warmup_share=0.0)
    with pytest.raises(CourseError, match=f"step {min(num_steps, 2)}"):
        finetune(tiny(tokenizer), TEXTS, settings, progress=False)


# --- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", [finetune, evaluate])
@pytest.mark.parametrize("text", [None, 7])
def test_a_text_that_is_none_is_refused_with_its_place(
    tokenizer: PreTrainedTokenizerBase, use: Any, text: Any
) -> None:
    texts = Dataset.from_dict({"text": ["a lamp", None] if text is None else [7, 7], "label": [0, 1]})
    with pytest.raises(CourseError, match=f"`text` must be texts; the one at {1 if text is None else 0}"):
        use(tiny(tokenizer), texts)
    pairs = Dataset.from_dict({"premise": ["a lamp"], "hypothesis": [text], "label": [0]})
    with pytest.raises(CourseError, match="`hypothesis`"):
        use(tiny(tokenizer), pairs)


@pytest.mark.parametrize("use", [partial(finetune, progress=False), evaluate])
@pytest.mark.parametrize("lacks_it", ["tokenizer", "model"])
def test_a_decoder_without_a_padding_token_is_refused_with_the_lines_to_add(use: Any, lacks_it: str) -> None:
    tokenizer = copy.deepcopy(load_encoder().tokenizer)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, num_labels=2)
    classifier = ModelAndTokenizer(GPT2ForSequenceClassification(config), tokenizer)
    if lacks_it == "tokenizer":
        tokenizer.pad_token = None
    texts = Dataset.from_dict({"text": ["a lamp", "is lit and burns"], "label": [0, 1]})
    with pytest.raises(CourseError, match="no padding token") as caught:
        use(classifier, texts)
    assert "model.config.pad_token_id = tokenizer.pad_token_id" in caught.value.mend
    tokenizer.pad_token = "[PAD]"
    classifier.model.config.pad_token_id = tokenizer.pad_token_id
    use(classifier, texts)


@pytest.mark.parametrize(
    ("columns", "least"), [({"text": ["a lamp is lit"]}, 3), ({"premise": ["a"], "hypothesis": ["lamp"]}, 5)]
)
def test_a_length_that_holds_no_word_is_refused(
    tokenizer: PreTrainedTokenizerBase, columns: dict[str, list[str]], least: int
) -> None:
    texts = Dataset.from_dict({**columns, "label": [0]})
    for length in (0, 1, least - 1):
        with pytest.raises(CourseError, match="max_length"):
            encode(tiny(tokenizer), texts, max_length=length)
    assert len(encode(tiny(tokenizer), texts, max_length=least)[0]["input_ids"]) == least


def test_a_model_of_one_label_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    """Its cross-entropy is 0 whatever it answers."""
    with pytest.raises(CourseError, match="at least two labels"):
        finetune(tiny(tokenizer, num_labels=1), Dataset.from_dict({"text": ["a lamp"], "label": [0]}))


@pytest.mark.parametrize("label", [2, -1, 0.5, None, "1"])
@pytest.mark.parametrize("use", [finetune, evaluate])
def test_labels_outside_the_range_are_refused(
    tokenizer: PreTrainedTokenizerBase, use: Any, label: object
) -> None:
    texts = Dataset.from_dict({"text": ["a lamp"], "label": [label]})
    with pytest.raises(CourseError, match="from 0 to 1"):
        use(tiny(tokenizer), texts)


@pytest.mark.parametrize(
    ("columns", "mend"),
    [
        (["text"], "with_binary_labels"),
        (["text", "score"], "with_binary_labels"),
        (["label"], r"premise\+hypothesis"),
        (["premise", "label"], r"premise\+hypothesis"),
    ],
)
def test_missing_columns_are_named(tokenizer: PreTrainedTokenizerBase, columns: list[str], mend: str) -> None:
    texts = Dataset.from_dict({column: [1] for column in columns})
    with pytest.raises(CourseError, match=mend):
        finetune(tiny(tokenizer), texts)


def test_no_texts_are_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(CourseError, match="no texts"):
        finetune(tiny(tokenizer), TEXTS.select([]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"learning_rate": "0.1"},
        {"num_epochs": 1.5},
        {"num_steps": True},
        {"batch_size": 2.5},
        {"batch_size": None},
        {"max_grad_norm": float("inf")},
        {"weight_decay": float("nan")},
        {"num_epochs": 0},
        {"num_steps": 0},
        {"batch_size": 0},
        {"max_length": 0},
        {"max_grad_norm": 0.0},
        {"weight_decay": -0.1},
        {"warmup_share": 1.5},
        {"seed": -1},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(CourseError):
        FinetuningSettings(**wrong)
