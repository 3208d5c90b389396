"""ℓ_s: symmetric KL divergence and squared difference."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import kl_div

from course_lib.errors import CourseError
from course_lib.smart import squared_difference, symmetric_kl
from course_lib.smart.divergence import DIVERGENCES, find_divergence
from tests.smart.tiny import few

A = torch.tensor([[1, 0, -1], [0.5, 0.5, 0]], dtype=torch.float64)
B = torch.tensor([[0.8, 0.1, -0.9], [0.2, 0.7, 0.1]], dtype=torch.float64)
both = pytest.mark.parametrize("divergence", DIVERGENCES.values(), ids=DIVERGENCES)


@st.composite
def pairs(draw, largest: float = 100.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two float32 outputs [B, C] of one shape."""
    shape = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    values = st.lists(
        st.floats(-largest, largest, width=32), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]
    )
    return torch.tensor(draw(values)).view(shape), torch.tensor(draw(values)).view(shape)


def kl(logits_p: torch.Tensor, logits_q: torch.Tensor) -> float:
    """KL(P‖Q) as torch has it, the second argument being P."""
    return kl_div(
        logits_q.log_softmax(-1), logits_p.log_softmax(-1), reduction="batchmean", log_target=True
    ).item()


def test_symmetric_kl_has_the_worked_value() -> None:
    assert symmetric_kl(A, B).item() == pytest.approx(0.0349258754, abs=5e-11)


def test_symmetric_kl_is_the_sum_of_both_directions() -> None:
    assert kl(A, B) == pytest.approx(0.0176748899, abs=5e-11)
    assert kl(B, A) == pytest.approx(0.0172509855, abs=5e-11)
    assert symmetric_kl(A, B).item() == pytest.approx(kl(A, B) + kl(B, A), rel=1e-12)


def test_squared_difference_has_the_worked_value() -> None:
    outputs = torch.tensor([[0.0], [2.0]])
    assert squared_difference(outputs + 0.1, outputs).item() == pytest.approx(0.01)


@both
@few
@given(pair=pairs())
def test_is_never_negative_and_symmetric_for_large_logits(divergence, pair) -> None:
    p, q = pair
    value = divergence(p, q, "none")
    assert value.isfinite().all()
    assert (value >= 0).all()
    assert torch.equal(value, divergence(q, p, "none"))


@both
@few
@given(pair=pairs())
def test_is_exactly_zero_at_equality_with_zero_gradient(divergence, pair) -> None:
    p = pair[0].requires_grad_()
    value = divergence(p, pair[0].detach().clone())
    value.backward()
    assert value.item() == 0
    assert not p.grad.any()


@few
@given(pair=pairs(largest=10), shifts=st.tuples(st.floats(-50, 50), st.floats(-50, 50)))
def test_symmetric_kl_does_not_see_a_shift_of_the_logits(pair, shifts) -> None:
    p, q = (each.double() for each in pair)
    shifted = symmetric_kl(p + shifts[0], q + shifts[1])
    torch.testing.assert_close(shifted, symmetric_kl(p, q), rtol=1e-9, atol=1e-12)


def test_symmetric_kl_of_logits_of_100_has_the_exact_value_and_a_finite_gradient() -> None:
    p = torch.tensor([[100.0, -100.0]], requires_grad=True)
    q = torch.tensor([[-100.0, 100.0]], requires_grad=True)
    value = symmetric_kl(p, q)
    value.backward()
    assert value.item() == pytest.approx(400)  # each direction: 1 · (0 − (−200))
    assert p.grad.isfinite().all()
    assert q.grad.isfinite().all()


@both
@pytest.mark.parametrize("reduction", ["batchmean", "sum", "none"])
def test_gradient_is_that_of_finite_differences_in_both_arguments(divergence, reduction) -> None:
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(3, 4, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(lambda p, q: divergence(p, q, reduction), (p, q))


@both
def test_reductions_agree(divergence) -> None:
    p, q = A.view(1, 2, 3), B.view(1, 2, 3)
    each = divergence(p, q, "none")
    assert each.shape == (1, 2)
    assert divergence(p, q, "sum").item() == pytest.approx(each.sum().item())
    assert divergence(p, q).item() == pytest.approx(each.mean().item())


@both
@pytest.mark.parametrize(
    "shapes", [((2,), (2, 1)), ((2, 3), (3, 3)), ((2, 3), (1, 3)), ((), ()), ((0, 2), (0, 2))]
)
def test_refuses_shapes_that_do_not_belong_together(divergence, shapes) -> None:
    with pytest.raises(CourseError, match="one shape"):
        divergence(*(torch.zeros(shape) for shape in shapes))


@both
def test_refuses_an_unknown_reduction_and_names_the_nearest(divergence) -> None:
    with pytest.raises(CourseError, match="batchmean"):
        divergence(A, B, "mean")


def test_symmetric_kl_refuses_a_single_class_where_it_would_always_be_zero() -> None:
    with pytest.raises(CourseError, match="squared_difference"):
        symmetric_kl(A[:, :1], B[:, :1])


def test_squared_difference_refuses_outputs_without_their_last_dimension() -> None:
    with pytest.raises(CourseError, match="unsqueeze"):
        squared_difference(torch.zeros(4), torch.ones(4))


def test_refuses_an_unknown_divergence() -> None:
    with pytest.raises(CourseError, match="symmetric_kl"):
        find_divergence("kl")


# --- excluded classes and no numbers -----------------------------------------------------------------


def test_a_class_that_both_exclude_adds_nothing_to_value_or_gradient() -> None:
    p = torch.tensor([[1.0, 0.0, -torch.inf]], requires_grad=True)
    q = torch.tensor([[0.5, 0.2, -torch.inf]], requires_grad=True)
    value, right = symmetric_kl(p, q), symmetric_kl(p[:, :2], q[:, :2])
    torch.testing.assert_close(value, right)
    for ours, theirs in zip(
        torch.autograd.grad(value, (p, q)), torch.autograd.grad(right, (p, q)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    assert symmetric_kl(p, p).item() == 0


def test_a_class_that_only_one_excludes_is_infinitely_far() -> None:
    p, q = torch.tensor([[1.0, 0.0, -torch.inf]]), torch.tensor([[1.0, 0.0, 0.0]])
    assert symmetric_kl(p, q).item() == symmetric_kl(q, p).item() == torch.inf


@pytest.mark.parametrize("bad", [[float("nan"), 0.0], [float("inf"), 0.0], [-float("inf")] * 2])
@pytest.mark.parametrize("reduction", ["batchmean", "sum", "none"])
def test_between_no_numbers_there_is_no_divergence(bad: list[float], reduction: str) -> None:
    with pytest.raises(CourseError, match="no numbers"):
        symmetric_kl(torch.tensor([bad, [0.0, 1.0]]), torch.zeros(2, 2), reduction)
    if bad[0] != bad[0]:
        with pytest.raises(CourseError, match="no numbers"):
            squared_difference(torch.tensor([bad]), torch.zeros(1, 2), reduction)
