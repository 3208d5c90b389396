"""The anchor's pass: the anchor's weights, whatever stands around the model's `forward`; only what moves is held."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model

from course_lib.errors import CourseError
from course_lib.smart import (
    BregmanProximalPoint,
    DropoutReplay,
    SmartLoss,
    SmoothnessRegularizer,
    symmetric_kl,
)
from tests.smart.tiny import tiny_batch, tiny_classifier


def compiled_forward(model: Any, backend: Any = "eager") -> Any:
    model.forward = torch.compile(model.forward, backend=backend)
    return model


def compiled_part(model: Any) -> Any:
    model.bert.forward = torch.compile(model.bert.forward, backend="eager")
    return model


def compiled_model(model: Any, backend: Any = "eager") -> Any:
    return torch.compile(model, backend=backend)


def compiled_in_place(model: Any) -> Any:
    model.compile(backend="eager")
    return model


def partial_forward(model: Any) -> Any:
    model.forward = functools.partial(model.forward)
    return model


def closure(model: Any) -> Any:
    plain = model.forward
    model.forward = lambda *args, **kwargs: plain(*args, **kwargs)
    return model


def prepared(model: Any) -> Any:
    """What accelerate makes of a model for mixed precision, with autocast taken out again to compare numbers."""
    found = Accelerator(cpu=True, mixed_precision="no").prepare_model(model)
    found.forward = torch.autocast("cpu", enabled=False)(found.forward)
    return found


def hook_on_a_weight(model: Any) -> Any:
    """A hook that holds a weight itself: the head once more, where the model's own head is taken out."""
    weight, bias, head = model.classifier.weight, model.classifier.bias, model.classifier
    head.register_forward_hook(lambda module, inputs, output: inputs[0] @ weight.T + bias)
    return model


def plain(model: Any) -> Any:
    return model


WRAPPERS = [
    plain,
    compiled_forward,
    compiled_part,
    compiled_model,
    compiled_in_place,
    partial_forward,
    closure,
    prepared,
    hook_on_a_weight,
]


def move(model: Any, by: float = 0.1) -> None:
    """Move every free weight, as an optimizer's step would."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(by * torch.randn_like(parameter))


def logits_of(model: Any) -> torch.Tensor:
    """A plain pass without gradient."""
    with torch.no_grad():
        return model(**tiny_batch()).logits


@pytest.mark.parametrize(
    ("wrap", "order"),
    [*((wrap, "before") for wrap in WRAPPERS), *((wrap, "after") for wrap in (compiled_forward, closure))],
)
def test_the_anchors_pass_has_the_anchors_weights_whatever_wraps_the_model(
    wrap: Callable[[Any], Any], order: str
) -> None:
    """Against a deep copy of the bare model, averaged by hand; the wrapper comes before or after the anchor."""
    torch._dynamo.reset()
    bare = tiny_classifier(num_hidden_layers=1)
    by_hand = copy.deepcopy(bare)
    if order == "before":
        model = wrap(bare)
        proximal = BregmanProximalPoint(model, half_life=1)
    else:
        proximal = BregmanProximalPoint(bare, half_life=1)
        model = wrap(bare)
    for _ in range(2):
        move(bare)
        logits = model(**tiny_batch()).logits
        right = symmetric_kl(logits_of(bare), logits_of(by_hand))
        assert right > 0.05
        torch.testing.assert_close(proximal.penalty(tiny_batch(), logits), right, rtol=1e-4, atol=1e-6)
        proximal.update()
        with torch.no_grad():
            for kept, new in zip(by_hand.parameters(), bare.parameters(), strict=True):
                kept.copy_((kept + new) / 2)


def drawing_first(graph: Any, inputs: Any) -> Any:
    """A backend that draws a number before its graph does, as compilers draw in an order of their own."""
    return lambda *args: (torch.rand(1), graph(*args))[1]


def smart_terms(wrap: Callable[[Any], Any]) -> list[float]:
    """R_s and D_Breg of two steps with dropout, the model moved between them."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    bare = tiny_classifier(num_hidden_layers=1).train()
    model = wrap(bare)
    proximal = BregmanProximalPoint(model, half_life=1)
    smart = SmartLoss(model, SmoothnessRegularizer(epsilon=0.05, step_size=0.1), 1.0, proximal)
    found = []
    for number in range(2):
        torch.manual_seed(number)
        smart.before_pass()
        logits = model(**tiny_batch()).logits
        torch.manual_seed(20 + number)  # for the same noise, whatever the pass drew
        smart(model, tiny_batch(), logits)
        found += [*map(float, smart.terms)]
        torch.manual_seed(10 + number)
        move(bare)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("wrap", [compiled_forward, compiled_model, partial_forward])
def test_a_wrapped_model_has_the_terms_of_a_bare_one_with_dropout(wrap: Callable[[Any], Any]) -> None:
    expected = smart_terms(plain)
    assert expected[1] == 0
    assert min(expected[0], *expected[2:]) > 1e-3
    assert smart_terms(wrap) == pytest.approx(expected, rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("compile_it", [compiled_forward, compiled_model])
def test_dropout_of_compiled_code_that_is_not_seen_is_not_measured(
    compile_it: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where no masks are recorded and compiled code draws others than the further passes."""
    monkeypatch.setattr("course_lib.smart.replay._can_watch", lambda model: False)
    found = smart_terms(lambda model: compile_it(model, drawing_first))
    assert found == pytest.approx(smart_terms(plain), rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("inner", [False, True])
def test_autocast_keeps_no_cast_of_the_models_weights_for_the_anchors_pass(inner: bool) -> None:
    """Autocast remembers a weight's bfloat16 copy by object until its block ends."""
    model = tiny_classifier()
    proximal = BregmanProximalPoint(model, num_steps=10)
    old = logits_of(model)
    move(model)
    if inner:
        model.forward = torch.autocast("cpu", torch.bfloat16)(model.forward)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(**tiny_batch()).logits
        penalty = proximal.penalty(tiny_batch(), logits.float()).item()
        again = model(**tiny_batch()).logits
    assert penalty == pytest.approx(float(symmetric_kl(logits.float(), old)), rel=0.1)
    assert torch.equal(again, logits)


# --- what the pass leaves behind ---------------------------------------------------------------------


class Normalised(torch.nn.Module):
    """Keeps running statistics and a counter, and has a frozen table beside its head."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(40, 8).requires_grad_(False)
        self.norm = torch.nn.BatchNorm1d(8)
        self.dropout = torch.nn.Dropout(0.5)
        self.head = torch.nn.Linear(8, 2)
        self.register_buffer("position_ids", torch.arange(100))

    def forward(self, input_ids: torch.Tensor, attention_mask: Any = None) -> SimpleNamespace:
        pooled = self.norm(self.table(input_ids).mean(dim=1))
        return SimpleNamespace(logits=self.head(self.dropout(pooled)))


def test_the_pass_changes_nothing_of_the_model() -> None:
    model = Normalised().train()
    model.norm.eval()
    proximal = BregmanProximalPoint(model, num_steps=10)
    move(model)
    model.norm.train()
    logits = model(**tiny_batch()).logits
    before = copy.deepcopy(model.state_dict())
    storages = [tensor.data_ptr() for tensor in [*model.parameters(), *model.buffers()]]
    modes = [module.training for module in model.modules()]
    (right,) = torch.autograd.grad(logits.square().sum(), model.norm.weight, retain_graph=True)

    replay = DropoutReplay(torch.device("cpu"))
    for each in (None, replay):
        proximal.penalty(tiny_batch(), logits, each)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [tensor.data_ptr() for tensor in [*model.parameters(), *model.buffers()]] == storages
    assert [module.training for module in model.modules()] == modes
    (ours,) = torch.autograd.grad(logits.square().sum(), model.norm.weight)
    assert torch.equal(ours, right)
    with pytest.raises(TypeError):
        proximal.penalty({"no_such_input": 1}, logits)
    assert [tensor.data_ptr() for tensor in [*model.parameters(), *model.buffers()]] == storages
    assert [module.training for module in model.modules()] == modes


# --- what it holds -----------------------------------------------------------------------------------


def test_only_what_moves_is_held() -> None:
    model = Normalised()
    state = BregmanProximalPoint(model, num_steps=10).state_dict()
    assert {name.removeprefix("anchor.") for name in state} - {"num_updates"} == {
        "norm.weight",
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
        "head.weight",
        "head.bias",
    }


def lora(seed: int = 0) -> Any:
    """A tiny classifier with LoRA on a frozen base."""
    torch.manual_seed(seed)
    return get_peft_model(tiny_classifier(), LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"]))


def test_beside_lora_the_anchor_is_as_small_as_the_adapter_and_right() -> None:
    model = lora()
    proximal = BregmanProximalPoint(model, half_life=1)
    old = logits_of(model)
    held = sum(each.numel() for each in proximal.state_dict().values())
    free = sum(each.numel() for each in model.parameters() if each.requires_grad)
    assert held == free + 1  # the number of updates
    assert free < 0.1 * sum(each.numel() for each in model.parameters())
    move(model)
    logits = model(**tiny_batch()).logits
    right = symmetric_kl(logits, old)
    assert right > 1e-3
    torch.testing.assert_close(proximal.penalty(tiny_batch(), logits), right)


def test_a_weight_that_is_set_free_later_is_taken_up_before_it_moves() -> None:
    model = tiny_classifier()
    model.bert.requires_grad_(False)
    proximal = BregmanProximalPoint(model, half_life=1)
    old = logits_of(model)
    assert not any("bert" in name for name in proximal.state_dict())
    model.bert.requires_grad_(True)
    assert proximal.penalty(tiny_batch(), model(**tiny_batch()).logits) == 0
    move(model)
    logits = model(**tiny_batch()).logits
    torch.testing.assert_close(proximal.penalty(tiny_batch(), logits), symmetric_kl(logits, old))
    model.bert.requires_grad_(False)  # and stays the anchor's own
    torch.testing.assert_close(proximal.penalty(tiny_batch(), logits), symmetric_kl(logits, old))


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.resize_token_embeddings(50),
        lambda model: model.to(torch.bfloat16),
        lambda model: delattr(model, "classifier"),
    ],
    ids=["more words", "half precision", "no head"],
)
def test_a_model_that_became_another_is_refused(change: Callable[[Any], Any]) -> None:
    model = tiny_classifier()
    proximal = BregmanProximalPoint(model, num_steps=10)
    change(model)
    with pytest.raises(CourseError, match="other weights"):
        proximal.update()


# --- its state ---------------------------------------------------------------------------------------


def whole_state(proximal: BregmanProximalPoint, model: Any) -> dict[str, torch.Tensor]:
    """What checkpoints held when the anchor was a whole copy of the model."""
    weights = {f"anchor.{name}": each.detach().clone() for name, each in model.named_parameters()}
    return {**weights, **proximal.state_dict()}


def test_a_whole_models_anchor_of_an_older_checkpoint_is_taken() -> None:
    model = lora()
    proximal = BregmanProximalPoint(model, half_life=1)
    move(model)
    proximal.update()
    state = {name: value.clone() for name, value in whole_state(proximal, model).items()}
    other = BregmanProximalPoint(model, half_life=1)
    other.load_state_dict(state)
    assert other.num_updates == 1
    for name, value in proximal.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


def test_an_older_checkpoint_on_another_frozen_base_is_refused_and_changes_nothing() -> None:
    model = lora()
    proximal = BregmanProximalPoint(model, half_life=1)
    before = {name: value.clone() for name, value in proximal.state_dict().items()}
    move(model)
    state = whole_state(proximal, model)
    name = next(name for name in state if "word_embeddings" in name)
    with pytest.raises(CourseError, match="same weights frozen") as caught:
        proximal.load_state_dict({**state, name: state[name] + 1, "num_updates": torch.tensor(3)})
    assert caught.value.given == [name.removeprefix("anchor.")]
    assert all(torch.equal(before[name], value) for name, value in proximal.state_dict().items())


def test_a_compiled_models_state_is_that_of_the_model() -> None:
    model = tiny_classifier()
    state = BregmanProximalPoint(compiled_model(model), num_steps=10).state_dict()
    assert state.keys() == BregmanProximalPoint(model, num_steps=10).state_dict().keys()
