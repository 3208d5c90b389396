"""Masks and word embeddings that the model's own pass lends to the others, and when it does not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from course_lib.errors import CourseError
from course_lib.smart import DropoutReplay, SmartLoss, SmoothnessRegularizer, forward_from_embeddings
from course_lib.smart import replay as replays
from course_lib.smart.replay import CleanPass
from tests.smart.tiny import ARCHITECTURES, DECODERS, tiny_batch, tiny_classifier

CPU = torch.device("cpu")
padded = pytest.mark.parametrize(
    ("architecture", "padding_side"),
    [(each, "right") for each in ARCHITECTURES] + [(each, "left") for each in DECODERS],
)
attention = pytest.mark.parametrize("attention", ["sdpa", "eager"])


def training_model(architecture: str = "Bert", attention: str = "sdpa", **settings: Any) -> Any:
    if architecture.startswith("Deberta"):
        attention = "eager"  # it has no other
    return tiny_classifier(architecture, attn_implementation=attention, **settings).train()


@padded
@attention
def test_a_recorded_pass_is_the_pass_that_torch_does(architecture, padding_side, attention) -> None:
    """The same logits and gradients bit for bit, and the generator ends where it would have."""
    model, batch = training_model(architecture, attention), tiny_batch(padding_side)
    state, results = torch.get_rng_state(), []
    for is_recorded in (False, True):
        torch.set_rng_state(state)
        replay = DropoutReplay(CPU)
        if is_recorded:
            with replay.recorded():
                logits = model(**batch).logits
            assert replay._masks is not None
        else:
            logits = model(**batch).logits
        gradients = torch.autograd.grad(logits.square().sum(), list(model.parameters()), allow_unused=True)
        results.append((logits, torch.get_rng_state(), *(each for each in gradients if each is not None)))
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


@padded
@attention
def test_recorded_masks_are_used_again_without_drawing(architecture, padding_side, attention) -> None:
    model, batch = training_model(architecture, attention), tiny_batch(padding_side)
    teacher, replay = copy.deepcopy(model), DropoutReplay(CPU)
    with replay.recorded():
        clean = model(**batch).logits
    torch.manual_seed(99)  # what the generator holds no longer matters
    state = torch.get_rng_state()
    with replay.replayed():
        assert torch.equal(teacher(**batch).logits, clean)
    embeddings = model.get_input_embeddings()(batch["input_ids"])
    assert torch.equal(forward_from_embeddings(model, batch, replay)(embeddings), clean)
    assert torch.equal(torch.get_rng_state(), state)


def test_attention_is_torchs_in_every_form() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 4, 5, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    keep = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    keep[0, :, :, 3:] = False
    keep[1, :, 0] = False  # a row that may look at nothing
    forms = [
        {"is_causal": True, "enable_gqa": True},
        {"attn_mask": keep, "enable_gqa": True, "scale": 0.2},
        {"attn_mask": torch.randn(5, 5), "enable_gqa": True},
    ]
    for form in forms:
        for p in (0.0, 0.3):
            torch.manual_seed(1)
            expected = torch.nn.functional.scaled_dot_product_attention(
                query, key, value, dropout_p=p, **form
            )
            torch.manual_seed(1)
            with DropoutReplay(CPU).recorded():
                ours = torch.nn.functional.scaled_dot_product_attention(
                    query, key, value, dropout_p=p, **form
                )
            torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (1.0, True), (0.5, False)])
def test_dropout_that_draws_nothing_stays_torchs(p: float, training: bool) -> None:
    replay, ones = DropoutReplay(CPU), torch.ones(8)
    with replay.recorded():
        dropped = torch.nn.functional.dropout(ones, p, training)
    assert torch.equal(dropped, ones if p < 1 else torch.zeros(8))
    assert replay._masks == []


def test_dropout_in_place_changes_its_argument() -> None:
    values = torch.ones(64)
    with DropoutReplay(CPU).recorded():
        torch.nn.functional.dropout(values, 0.5, inplace=True)
    assert set(values.tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("place", ["before", "between", "after"])
def test_what_is_drawn_out_of_sight_is_drawn_again(place: str) -> None:
    """Where the pass draws more than dropout's masks, the further passes draw all of it again."""

    def one_pass() -> torch.Tensor:
        drawn = [torch.rand(4)] if place == "before" else []
        drawn.append(torch.nn.functional.dropout(torch.ones(4), 0.5))
        drawn += [torch.rand(4)] if place == "between" else []
        drawn.append(torch.nn.functional.dropout(torch.ones(4), 0.5))
        drawn += [torch.rand(4)] if place == "after" else []
        return torch.cat(drawn)

    replay = DropoutReplay(CPU)
    with replay.recorded():
        clean = one_pass()
    with replay.replayed():
        assert torch.equal(one_pass(), clean)


def test_masks_that_do_not_fit_are_an_error() -> None:
    replay = DropoutReplay(CPU)
    with replay.recorded():
        torch.nn.functional.dropout(torch.ones(4), 0.5)
    with pytest.raises(CourseError, match="do not fit"), replay.replayed():
        torch.nn.functional.dropout(torch.ones(5), 0.5)


def test_a_mask_of_half_precision_serves_a_pass_in_float32() -> None:
    replay = DropoutReplay(CPU)
    with replay.recorded():
        half = torch.nn.functional.dropout(torch.ones(64, dtype=torch.bfloat16), 0.1)
    with replay.replayed():
        full = torch.nn.functional.dropout(torch.ones(64), 0.1)
    assert full.dtype == torch.float32
    assert torch.equal(full > 0, half > 0)
    assert full.max() == torch.tensor(1.0) / 0.9


# --- the model's own pass ----------------------------------------------------------------------------


def num_hooks(model: torch.nn.Module) -> int:
    return sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules())


def gradients_of_a_step(model: Any, batch: dict, monkeypatch: pytest.MonkeyPatch, *, watch: bool) -> list:
    with monkeypatch.context() as patch:
        if not watch:
            patch.setattr(replays, "_can_watch", lambda model: False)
        torch.manual_seed(5)
        smart = SmartLoss(model, SmoothnessRegularizer(epsilon=0.1, step_size=1.0, noise_std=0.1), 3.0)
        smart.before_pass()
        logits = model(**batch).logits
        (logits.square().sum() + smart(model, batch, logits)).backward()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    model.zero_grad()
    return gradients


@padded
def test_a_watched_step_has_the_gradients_of_one_that_is_not(architecture, padding_side, monkeypatch) -> None:
    model, batch = training_model(architecture), tiny_batch(padding_side)
    watched, plain = (gradients_of_a_step(model, batch, monkeypatch, watch=each) for each in (True, False))
    assert len(watched) == len(plain)
    for ours, expected in zip(watched, plain, strict=True):
        torch.testing.assert_close(ours, expected)


def test_the_words_are_looked_up_for_both_terms_at_once() -> None:
    model, batch = training_model(), tiny_batch()
    clean_pass = CleanPass(model, model.get_input_embeddings())
    model(**batch)
    embeddings = clean_pass.embeddings_of(batch["input_ids"])
    assert embeddings is not None
    assert embeddings.requires_grad
    assert clean_pass.embeddings_of(batch["input_ids"] + 1) is None
    assert clean_pass.embeddings_of(batch["input_ids"][:, :4]) is None


def test_embeddings_that_the_model_changed_in_place_are_not_lent() -> None:
    model, batch = training_model(), tiny_batch()
    clean_pass = CleanPass(model, model.get_input_embeddings())
    model(**batch)
    with torch.no_grad():
        clean_pass.embeddings.mul_(2)
    assert clean_pass.embeddings_of(batch["input_ids"]) is None


def test_only_the_next_pass_is_watched() -> None:
    model, batch = training_model(), tiny_batch()
    before = num_hooks(model)
    clean_pass = CleanPass(model, model.get_input_embeddings())
    assert num_hooks(model) > before
    clean = model(**batch).logits
    assert num_hooks(model) == before
    assert clean_pass.replay.has_masks  # kept, so that no further pass draws them again
    assert not torch.equal(model(**batch).logits, clean)
    with clean_pass.replay.replayed():
        assert torch.equal(model(**batch).logits, clean)


def test_a_pass_that_fails_or_never_comes_leaves_no_hooks() -> None:
    model = training_model()
    before = num_hooks(model)
    CleanPass(model, model.get_input_embeddings())
    with pytest.raises(IndexError):
        model(input_ids=torch.tensor([[10_000]]))
    assert num_hooks(model) == before
    smart = SmartLoss(model)
    for _ in range(3):
        smart.before_pass()
    smart._clean_pass.close()
    assert num_hooks(model) == before
    torch.nn.functional.dropout(torch.ones(4), 0.5)  # no mode is left open that would see it


def test_gradient_checkpointing_draws_its_masks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its passes run again in the backward pass, where masks are drawn from the generator's state."""
    batch, found = tiny_batch(), []
    for checkpoints in (False, True):
        model = training_model()
        if checkpoints:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        found.append(gradients_of_a_step(model, batch, monkeypatch, watch=True))
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected)
