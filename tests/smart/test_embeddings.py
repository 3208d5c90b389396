"""A model as a function of its word embeddings, and dropout masks drawn again."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from course_lib.errors import CourseError
from course_lib.smart import (
    BregmanProximalPoint,
    DropoutReplay,
    SmartLoss,
    SmoothnessRegularizer,
    forward_from_embeddings,
    word_embeddings,
)
from tests.smart.tiny import ARCHITECTURES, DECODERS, EOS, UNUSUAL, VOCABULARY, tiny_batch, tiny_classifier

CPU = torch.device("cpu")
padded = pytest.mark.parametrize(
    ("architecture", "padding_side"),
    [(each, "right") for each in ARCHITECTURES] + [(each, "left") for each in DECODERS],
)


def reproduced(model: Any, batch: dict, replay: DropoutReplay | None = None) -> torch.Tensor:
    """The logits by way of the word embeddings."""
    return forward_from_embeddings(model, batch, replay)(word_embeddings(model, batch["input_ids"]))


@padded
@pytest.mark.parametrize("num_labels", [1, 3])
def test_word_embeddings_give_the_logits_of_their_ids(architecture, padding_side, num_labels) -> None:
    model, batch = tiny_classifier(architecture, num_labels=num_labels), tiny_batch(padding_side)
    logits = reproduced(model, batch)
    assert logits.shape == (3, num_labels)
    assert torch.equal(logits, model(**batch).logits)


@padded
def test_with_replayed_dropout_they_do_so_in_training_mode_too(architecture, padding_side) -> None:
    model, batch = tiny_classifier(architecture).train(), tiny_batch(padding_side)
    replay = DropoutReplay(CPU)
    clean = model(**batch).logits
    assert torch.equal(reproduced(model, batch, replay), clean)
    assert torch.equal(reproduced(model, batch, replay), clean)
    assert not torch.equal(reproduced(model, batch), clean)


@padded
def test_gradient_reaches_the_embedding_table_as_in_the_models_own_pass(architecture, padding_side) -> None:
    model, batch = tiny_classifier(architecture), tiny_batch(padding_side)
    table = model.get_input_embeddings().weight
    (own,) = torch.autograd.grad(model(**batch).logits.square().sum(), table)
    (ours,) = torch.autograd.grad(reproduced(model, batch).square().sum(), table)
    assert own.abs().max() > 0
    torch.testing.assert_close(ours, own)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_real_token_has_a_say_and_padding_has_none(architecture) -> None:
    # a decoder's padding on the right comes after the token that is read, so it is not seen either
    model, batch = tiny_classifier(architecture), tiny_batch()
    embeddings = word_embeddings(model, batch["input_ids"]).detach().requires_grad_()
    logits = forward_from_embeddings(model, batch)(embeddings)
    (gradient,) = torch.autograd.grad(logits.square().sum(), embeddings)
    assert torch.equal(gradient.abs().amax(dim=-1) > 0, batch["attention_mask"].bool())


def test_labels_are_left_out() -> None:
    model, batch = tiny_classifier(), tiny_batch()
    with_labels = {**batch, "labels": torch.tensor([99, 99, 99])}  # out of range: a loss would fail
    assert torch.equal(reproduced(model, with_labels), model(**batch).logits)


def test_the_model_is_its_own_again_after_a_pass_and_after_an_exception() -> None:
    model, batch = tiny_classifier(), tiny_batch()
    before = model(**batch).logits
    layer = model.get_input_embeddings()
    reproduced(model, batch)
    assert not layer._forward_hooks

    failing = model.classifier.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        reproduced(model, batch)
    failing.remove()
    assert not layer._forward_hooks
    assert torch.equal(model(**batch).logits, before)


def test_a_decoder_without_padding_token_works_on_one_text_and_says_why_not_on_two() -> None:
    model, batch = tiny_classifier("GPT2", pad_token_id=None), tiny_batch(num_examples=1)
    assert torch.equal(reproduced(model, batch), model(**batch).logits)
    with pytest.raises(ValueError, match="no padding token"):
        reproduced(model, tiny_batch(num_examples=2))


class WithoutEmbeddings(torch.nn.Module):
    def get_input_embeddings(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("model", [torch.nn.Linear(2, 2), WithoutEmbeddings()])
def test_a_model_whose_word_embeddings_cannot_be_found_is_refused(model) -> None:
    with pytest.raises(CourseError, match="cannot be found"):
        word_embeddings(model, torch.zeros(1, 2, dtype=torch.long))
    with pytest.raises(CourseError, match="cannot be found"):
        forward_from_embeddings(model, tiny_batch())


def unusual_batch(num_examples: int, length: int) -> dict[str, torch.Tensor]:
    """Give ids [B, T] that end as seq2seq models ask, without padding."""
    ids = torch.randint(3, VOCABULARY, (num_examples, length), generator=torch.Generator().manual_seed(1))
    ids[:, -1] = EOS
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@pytest.mark.parametrize("num_examples", [1, 2, 5])
@pytest.mark.parametrize("architecture", UNUSUAL)
def test_models_that_turn_pad_or_share_their_words_see_the_right_ones_changed(
    architecture: str, num_examples: int
) -> None:
    """With five examples of five words, the batch and the words cannot be told apart by their number."""
    model, batch = tiny_classifier(architecture), unusual_batch(num_examples, 5)
    clean = model(**batch).logits
    assert torch.equal(reproduced(model, batch), clean)
    # another word in one place, by its embedding and by its id
    other = batch["input_ids"].clone()
    other[-1, 1] = 3 if other[-1, 1] != 3 else 4
    by_id = model(**{**batch, "input_ids": other}).logits
    by_embedding = forward_from_embeddings(model, batch)(word_embeddings(model, other))
    assert not torch.equal(by_embedding[-1], clean[-1])
    torch.testing.assert_close(by_embedding[:-1], clean[:-1])
    if not model.config.is_encoder_decoder:  # there the decoder's copy of the words stays
        torch.testing.assert_close(by_embedding, by_id)


@pytest.mark.parametrize("architecture", UNUSUAL)
def test_their_gradient_reaches_every_word_of_its_own_example_alone(architecture: str) -> None:
    model, batch = tiny_classifier(architecture), unusual_batch(5, 5)
    embeddings = word_embeddings(model, batch["input_ids"]).detach().requires_grad_()
    logits = forward_from_embeddings(model, batch)(embeddings)
    (gradient,) = torch.autograd.grad(logits[2].square().sum(), embeddings)
    touched = gradient.abs().amax(dim=-1) > 0
    assert touched[2].all()
    assert not touched[[0, 1, 3, 4]].any()


@pytest.mark.parametrize("architecture", UNUSUAL)
def test_smart_has_the_terms_of_a_hand_made_pass_on_them(architecture: str) -> None:
    model, batch = tiny_classifier(architecture).train(), unusual_batch(5, 5)
    smart = SmartLoss(
        model,
        SmoothnessRegularizer(epsilon=0.05, step_size=0.1),
        1.0,
        BregmanProximalPoint(model, half_life=5),
    )
    smart.before_pass()
    smart(model, batch, model(**batch).logits)
    assert smart.terms.smoothness > 1e-7
    assert smart.terms.proximal == 0  # every pass drew the same masks


def test_words_that_read_the_same_along_both_axes_keep_their_axis() -> None:
    ids = torch.tensor([[3, 4], [4, 5]])
    for architecture in ("XLNet", "Bert"):
        model, batch = tiny_classifier(architecture), {"input_ids": ids}
        embeddings = word_embeddings(model, ids).detach()
        embeddings[0, 1] += 1.0  # the first example's second word
        logits = forward_from_embeddings(model, batch)(embeddings)
        changed = (logits - model(**batch).logits).abs().amax(dim=-1) > 0
        assert changed.tolist() == [True, False]


class Twice(torch.nn.Module):
    """Looks its words up twice, or others than it was given, or none."""

    def __init__(self, read: str) -> None:
        super().__init__()
        self.table, self.head, self.read = torch.nn.Embedding(VOCABULARY, 4), torch.nn.Linear(4, 2), read

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.table

    def forward(self, input_ids: torch.Tensor, **others: Any) -> SimpleNamespace:
        words = {
            "twice": lambda: self.table(input_ids) + self.table(input_ids),
            "others": lambda: self.table(input_ids + 1),
            "flat": lambda: self.table(input_ids.flatten()).view(*input_ids.shape, -1),
            "none": lambda: torch.nn.functional.embedding(input_ids, self.table.weight),
        }[self.read]()
        return SimpleNamespace(logits=self.head(words.mean(dim=1)))


@pytest.mark.parametrize(
    ("read", "problem"),
    [
        ("twice", "more than once"),
        ("others", "other words"),
        ("flat", "other words"),
        ("none", "does not look"),
    ],
)
def test_a_model_whose_words_cannot_be_changed_is_refused_with_the_reason_and_the_way_out(
    read: str, problem: str
) -> None:
    batch = {"input_ids": torch.tensor([[3, 4, 5], [6, 7, 8]])}
    with pytest.raises(CourseError, match=f"{problem}.*R_s cannot.*smoothness_weight=0"):
        reproduced(Twice(read), batch)


def test_texts_of_one_word_that_are_read_as_one_text_are_refused_too() -> None:
    with pytest.raises(CourseError, match="other words"):
        reproduced(Twice("flat"), {"input_ids": torch.tensor([[3], [6]])})


def test_inputs_without_ids_are_refused() -> None:
    with pytest.raises(CourseError, match="input_ids"):
        forward_from_embeddings(tiny_classifier(), {"attention_mask": torch.ones(1, 3)})


def test_embeddings_of_another_batch_are_refused() -> None:
    model, batch = tiny_classifier(), tiny_batch()
    with pytest.raises(CourseError, match=r"\[3, 9, 16\]"):
        forward_from_embeddings(model, batch)(torch.zeros(1, 9, 16))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype) -> None:
    with pytest.raises(CourseError, match="vanishes"):
        reproduced(tiny_classifier().to(dtype), tiny_batch())


def test_autocast_is_refused_even_where_it_hides_inside_the_models_forward() -> None:
    model, batch = tiny_classifier(), tiny_batch()
    forward = forward_from_embeddings(model, batch)
    embeddings = word_embeddings(model, batch["input_ids"])
    model.forward = torch.autocast("cpu", dtype=torch.bfloat16)(model.forward)
    with pytest.raises(CourseError, match="autocast"):
        forward(embeddings)


# --- dropout -----------------------------------------------------------------------------------------


def masks() -> torch.Tensor:
    """What dropout draws in a pass."""
    return torch.nn.functional.dropout(torch.ones(64), 0.5)


def test_further_passes_leave_the_generator_as_they_found_it() -> None:
    replay = DropoutReplay(CPU)
    clean = masks()
    state = torch.get_rng_state()
    with replay.replayed():
        assert torch.equal(masks(), clean)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_generator_is_put_back_after_an_exception() -> None:
    model, batch = tiny_classifier().train(), tiny_batch()
    replay = DropoutReplay(CPU)
    masks()
    state = torch.get_rng_state()
    model.classifier.register_forward_hook(lambda *_: 1 / 0)  # after every dropout
    with pytest.raises(ZeroDivisionError):
        reproduced(model, batch, replay)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("clean_pass_is_replayed", [False, True])
def test_the_next_step_draws_other_masks(clean_pass_is_replayed) -> None:
    steps = []
    for _ in range(2):
        replay = DropoutReplay(CPU)
        if clean_pass_is_replayed:
            with replay.replayed():
                steps.append(masks())
        else:
            steps.append(masks())
        with replay.replayed():
            assert torch.equal(masks(), steps[-1])
    assert not torch.equal(*steps)


def test_a_copy_of_the_model_draws_the_models_masks() -> None:
    model, batch = tiny_classifier().train(), tiny_batch()
    teacher = copy.deepcopy(model)
    replay = DropoutReplay(CPU)
    clean = model(**batch).logits
    with replay.replayed():
        assert torch.equal(teacher(**batch).logits, clean)
