"""D_Breg: the anchor, its momentum, its penalty and its state."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from course_lib.errors import CourseError
from course_lib.smart import BregmanProximalPoint, DropoutReplay, beta_from_half_life
from tests.smart.tiny import tiny_batch, tiny_classifier

CPU = torch.device("cpu")


class OneWeight(torch.nn.Module):
    """f(x) = θ x, as a model with `logits`."""

    def __init__(self, theta: float = 0.0) -> None:
        super().__init__()
        self.theta = torch.nn.Parameter(torch.tensor([theta], dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.theta * x)


class Tied(torch.nn.Module):
    """Reads and writes with one table, and counts its passes in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(5, 3)
        self.head = torch.nn.Linear(3, 5, bias=False)
        self.head.weight = self.table.weight
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)

    def forward(self, input_ids: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.head(self.table(input_ids).mean(dim=1) + self.mean))


def move(model: torch.nn.Module, by: float = 0.1) -> None:
    """Move every weight, as an optimizer's step would."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by * torch.randn_like(parameter))


def anchor_of(proximal: BregmanProximalPoint) -> torch.Tensor:
    """The anchor's weights as one vector, copied."""
    state = proximal.state_dict()
    return torch.cat([state[name].flatten().float() for name in sorted(state) if name != "num_updates"])


def weights_of(model: torch.nn.Module) -> torch.Tensor:
    """The model's weights as one vector, in the order of `anchor_of`."""
    named = dict(model.named_parameters())
    return torch.cat([named[name].detach().flatten().float() for name in sorted(named)])


# --- the penalty -------------------------------------------------------------------------------------


@pytest.mark.parametrize("moves", [False, True])
def test_penalty_is_exactly_zero_until_the_model_moves_dropout_included(moves) -> None:
    model, batch = tiny_classifier().train(), tiny_batch()
    proximal = BregmanProximalPoint(model, num_steps=10)
    proximal.update()  # without a movement: the anchor stays
    if moves:
        move(model)
    replay = DropoutReplay(CPU)
    logits = model(**batch).logits
    assert (proximal.penalty(batch, logits, replay).item() > 1e-4) is moves


def test_penalty_without_replay_runs_the_anchor_without_dropout() -> None:
    model, batch = tiny_classifier(), tiny_batch()
    proximal = BregmanProximalPoint(model, num_steps=10)
    assert proximal.penalty(batch, model(**batch).logits).item() == 0
    logits = model.train()(**batch).logits
    assert proximal.penalty(batch, logits).item() > 1e-4
    assert proximal.penalty(batch, logits).item() == proximal.penalty(batch, logits).item()


def test_anchor_drops_out_only_where_the_model_does() -> None:
    model, batch = tiny_classifier().train(), tiny_batch()
    model.bert.eval()  # the classifier's dropout stays on
    proximal = BregmanProximalPoint(model, num_steps=10)
    replay = DropoutReplay(CPU)
    assert proximal.penalty(batch, model(**batch).logits, replay).item() == 0


def test_gradient_flows_through_the_logits_only_and_the_anchor_has_none() -> None:
    model, batch = tiny_classifier(), tiny_batch()
    proximal = BregmanProximalPoint(model, num_steps=10)
    move(model)
    logits = model(**batch).logits.detach().requires_grad_()
    proximal.penalty(batch, logits).backward()
    assert logits.grad.abs().max() > 0
    assert all(p.grad is None for p in model.parameters())
    assert not any(weight.requires_grad for weight in proximal.state_dict().values())


def test_penalty_pulls_the_model_back_to_the_anchor() -> None:
    model, inputs = OneWeight(1.0), {"x": torch.ones(4, 1, dtype=torch.float64)}
    proximal = BregmanProximalPoint(model, proximal_weight=0.5, half_life=10, divergence="squared_difference")
    with torch.no_grad():
        model.theta.fill_(3.0)
    penalty = proximal.penalty(inputs, model(**inputs).logits)
    penalty.backward()
    assert penalty.item() == pytest.approx(0.5 * (3 - 1) ** 2)
    assert model.theta.grad.item() == pytest.approx(0.5 * 2 * (3 - 1))


def test_penalty_works_under_autocast() -> None:
    model, batch = tiny_classifier().train(), tiny_batch()
    proximal = BregmanProximalPoint(model, num_steps=10)
    for moved in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            replay = DropoutReplay(CPU)
            logits = model(**batch).logits
            assert logits.dtype == torch.bfloat16
            penalty = proximal.penalty(batch, logits, replay)
        assert (penalty.item() > 1e-4) is moved
        move(model)


def test_labels_are_left_out_and_the_generator_stays_where_it_was() -> None:
    model, batch = tiny_classifier().train(), tiny_batch()
    proximal = BregmanProximalPoint(model, num_steps=10)
    replay = DropoutReplay(CPU)
    logits = model(**batch).logits
    state = torch.get_rng_state()
    proximal.penalty({**batch, "labels": torch.tensor([99, 99, 99])}, logits, replay)
    assert torch.equal(torch.get_rng_state(), state)


# --- the anchor --------------------------------------------------------------------------------------


def test_anchor_shares_no_storage_with_the_model() -> None:
    model = tiny_classifier()
    proximal = BregmanProximalPoint(model, num_steps=10)
    storages = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    assert not storages & {tensor.untyped_storage().data_ptr() for tensor in proximal.state_dict().values()}
    before = anchor_of(proximal)
    move(model)
    assert torch.equal(anchor_of(proximal), before)


def test_momentum_has_the_worked_value() -> None:
    model = OneWeight()
    proximal = BregmanProximalPoint(model, num_steps=10)
    for t in range(1, 11):
        with torch.no_grad():
            model.theta.fill_(t)
        proximal.update()
    assert proximal.state_dict()["anchor.theta"].item() == pytest.approx(0.0637546528, abs=5e-11)


def test_after_150_published_updates_three_quarters_of_the_first_weights_are_left() -> None:
    model = OneWeight(1.0)
    proximal = BregmanProximalPoint(model, num_steps=150)
    with torch.no_grad():
        model.theta.zero_()
    for _ in range(150):
        proximal.update()
    left = proximal.state_dict()["anchor.theta"].item()
    assert left == pytest.approx(0.99**15 * 0.999**135, rel=1e-12)
    assert left == pytest.approx(0.75, abs=0.005)


def test_half_life_is_the_number_of_updates_that_halves_an_old_weight() -> None:
    assert beta_from_half_life(7) ** 7 == pytest.approx(0.5)
    model = OneWeight(1.0)
    proximal = BregmanProximalPoint(model, half_life=7)
    with torch.no_grad():
        model.theta.zero_()
    for _ in range(7):
        proximal.update()
    assert proximal.state_dict()["anchor.theta"].item() == pytest.approx(0.5)


@pytest.mark.parametrize(("start", "total", "early"), [(0.1, 10, 1), (0.07, 100, 7), (0.1, 15, 2), (0, 5, 0)])
def test_late_beta_begins_after_its_share_of_the_updates(start, total, early) -> None:
    proximal = BregmanProximalPoint(OneWeight(), late_beta_start=start, num_steps=total)
    betas = []
    for _ in range(total):
        betas.append(proximal.current_beta())
        proximal.update()
    assert betas == [0.99] * early + [0.999] * (total - early)


def test_without_momentum_the_anchor_is_refreshed_every_inner_steps() -> None:
    model = tiny_classifier()
    proximal = BregmanProximalPoint(model, momentum=False, inner_steps=3)
    kept = anchor_of(proximal)
    for number in range(1, 8):
        move(model)
        proximal.update()
        if number % 3 == 0:
            kept = weights_of(model)
        assert torch.equal(anchor_of(proximal), kept)


@pytest.mark.parametrize("settings", [{"half_life": 1}, {"momentum": False, "inner_steps": 2}])
def test_tied_weights_move_once_and_buffers_follow(settings) -> None:
    model = Tied()
    proximal = BregmanProximalPoint(model, **settings)
    first = model.table.weight.detach().clone()
    with torch.no_grad():
        model.table.weight.add_(1)
        model.mean.fill_(7)
    proximal.update()
    proximal.update()
    state = proximal.state_dict()
    assert set(state) == {"anchor.table.weight", "anchor.mean", "num_updates"}
    share = 0.75 if "half_life" in settings else 1.0  # two half-lives: ½ + ½ · ½
    torch.testing.assert_close(state["anchor.table.weight"], first + share)
    assert state["anchor.mean"].eq(7).all()
    ids = torch.tensor([[1, 2]])
    assert proximal.penalty({"input_ids": ids}, model(ids).logits).isfinite()


# --- its state ---------------------------------------------------------------------------------------


def trained(proximal: BregmanProximalPoint, model: Any, num_steps: int, seed: int) -> torch.Tensor:
    """Move model and anchor a few times; give the penalty and the anchor after it as one vector."""
    torch.manual_seed(seed)
    for _ in range(num_steps):
        move(model)
        proximal.update()
    batch = tiny_batch()
    return torch.cat([proximal.penalty(batch, model(**batch).logits).detach().view(1), anchor_of(proximal)])


@pytest.mark.parametrize("settings", [{"num_steps": 10}, {"momentum": False, "inner_steps": 3}])
def test_a_resumed_run_ends_exactly_as_one_without_a_break(settings) -> None:
    model = tiny_classifier()
    proximal = BregmanProximalPoint(model, **settings)
    trained(proximal, model, 4, seed=1)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = {name: tensor.clone() for name, tensor in proximal.state_dict().items()}
    unbroken = trained(proximal, model, 4, seed=2)

    again = tiny_classifier()
    again.load_state_dict(weights)
    resumed = BregmanProximalPoint(again, **settings)
    assert not torch.equal(anchor_of(resumed), anchor_of(proximal))
    resumed.load_state_dict(state)
    assert torch.equal(trained(resumed, again, 4, seed=2), unbroken)
    assert resumed.num_updates == 8


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: {},
        lambda state: {name: each for name, each in state.items() if name != "num_updates"},
        lambda state: dict(list(state.items())[1:]),
        lambda state: {**state, "anchor.classifier.bias": torch.zeros(9)},
        lambda state: {**state, "anchor.another.weight": torch.zeros(1)},
    ],
    ids=["empty", "no num_updates", "a weight missing", "another shape", "of a larger model"],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(spoil) -> None:
    model = tiny_classifier()
    other = BregmanProximalPoint(model, num_steps=10)
    move(model)
    other.update()
    state = spoil(other.state_dict())

    proximal = BregmanProximalPoint(model, num_steps=10)
    before = anchor_of(proximal)
    with pytest.raises(CourseError, match="momentum copy"):
        proximal.load_state_dict(state)
    assert torch.equal(anchor_of(proximal), before)
    assert proximal.num_updates == 0


def test_state_is_made_of_tensors_that_safetensors_can_keep() -> None:
    from safetensors.torch import load, save

    proximal = BregmanProximalPoint(Tied(), half_life=5)
    proximal.update()
    state = load(save(proximal.state_dict()))
    assert set(state) == set(proximal.state_dict())
    assert int(state["num_updates"]) == 1


# --- bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *[
            ({"proximal_weight": value}, "proximal_weight must be")
            for value in (0, -1, float("nan"), float("inf"), "1")
        ],
        *[({"beta": value}, "beta must be") for value in (0, 1, -0.1, 1.5, float("nan"), "0.99")],
        *[({"late_beta": value}, "late_beta must be") for value in (0, 1, float("nan"))],
        *[({"late_beta_start": value}, "late_beta_start must be") for value in (-0.1, 1.1, float("nan"))],
        *[({"num_steps": value}, "num_steps") for value in (0, -3, 2.5)],
        *[({"half_life": value}, "half_life must be") for value in (0, -1, float("nan"), float("inf"), "7")],
        *[({"momentum": False, "inner_steps": value}, "inner_steps") for value in (0, -1, 2.5)],
        ({"inner_steps": 2}, "With momentum"),
        ({"num_steps": None}, "number of updates"),
        ({"divergence": "kl"}, "symmetric_kl"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message) -> None:
    with pytest.raises(CourseError, match=message):
        BregmanProximalPoint(OneWeight(), **{"num_steps": 10, **settings})


def test_one_inner_step_without_momentum_is_refused_with_the_reason() -> None:
    with pytest.raises(CourseError, match="its value and its gradient are zero"):
        BregmanProximalPoint(OneWeight(), momentum=False, inner_steps=1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_anchor_that_would_stand_still_in_half_precision_is_refused(dtype) -> None:
    one = torch.ones(1, dtype=dtype)
    assert torch.equal(torch.lerp(one, one + 0.1, 0.001), one)  # why
    model = torch.nn.Linear(2, 2).to(dtype)
    with pytest.raises(CourseError, match="stand still"):
        BregmanProximalPoint(model, num_steps=10)
    BregmanProximalPoint(model, momentum=False, inner_steps=2)
    BregmanProximalPoint(model.requires_grad_(False), num_steps=10)


def test_penalty_refuses_logits_of_another_shape() -> None:
    model, batch = tiny_classifier(num_labels=1), tiny_batch()
    proximal = BregmanProximalPoint(model, num_steps=10, divergence="squared_difference")
    with pytest.raises(CourseError, match="one shape"):
        proximal.penalty(batch, model(**batch).logits.squeeze(-1))
