"""λ_s R_s + μ D_Breg: what SMART adds to the task loss of a step, in any training loop.

The arithmetic of one step stands here once; `SmartTrainer` and `course_lib.finetuning.finetune` both use it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from course_lib.checks.calls import a_model, border
from course_lib.checks.types import NotNegative
from course_lib.errors import CourseError
from course_lib.smart.divergence import divergence_for
from course_lib.smart.embeddings import embedding_layer, forward_from_embeddings, word_embeddings
from course_lib.smart.proximal import BregmanProximalPoint
from course_lib.smart.replay import CleanPass, is_compiled, without_compiled_code
from course_lib.smart.smoothness import SmoothnessRegularizer
from course_lib.smart.weight import InertnessWatch, task_loss


class SmartTerms(NamedTuple):
    """The two terms of a step before their weights, scalars without gradient.

    Args:
        smoothness: R_s; 0 where it is switched off.
        proximal: D_Breg; 0 where it is switched off.
    """

    smoothness: torch.Tensor
    proximal: torch.Tensor


class SmartLoss:
    """λ_s R_s + μ D_Breg as one extra loss, with the same dropout masks in every pass of a step.

    A step is: `before_pass()`, the model's own pass, this object's call, the optimizer, `update()`. The
    logits of the model's own pass are used as f(x), so a step costs it three more passes: the ascent, the
    perturbed pass and the anchor's. With gradient accumulation `before_pass()` goes before each
    micro-batch and `update()` after each step of the optimizer.

    In mixed precision R_s runs in float32, with a clean pass of its own. Under autocast the call belongs
    inside the same block as the model's own pass: the anchor is then rounded like the model it is
    compared with. A model prepared by accelerate brings its autocast along.

    Args:
        model: the model that is trained, not wrapped for several processes; the extra passes go through
            it. Its outputs have `logits` [B, C], its inputs `input_ids` [B, T].
        regularizer: R_s; None leaves the term out. Its default ε, the published 1e-5, does next to nothing on
            many models: `smoothness_shares` finds one that does, and a warning comes where R_s stays below a
            thousandth of the loss.
        smoothness_weight: λ_s; 0 leaves the term out.
        proximal: μ D_Breg with its anchor; None leaves the term out.

    Raises:
        CourseError: smoothness_weight negative or not finite.

    Source: Jiang et al. 2020, equations (1) and (3); algorithm 1.

    Example:
        >>> import torch
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
        >>> model = BertForSequenceClassification(config).train()
        >>> batch = {"input_ids": torch.arange(12).view(2, 6), "labels": torch.tensor([0, 1])}

        >>> regularizer = SmoothnessRegularizer(epsilon=0.02)
        >>> smart = SmartLoss(model, regularizer, proximal=BregmanProximalPoint(model, num_steps=3))
        >>> optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        >>> for _ in range(3):
        ...     smart.before_pass()
        ...     outputs = model(**batch)
        ...     loss = outputs.loss + smart(model, batch, outputs.logits)
        ...     loss.backward()
        ...     optimizer.step()
        ...     optimizer.zero_grad()
        ...     smart.update()
        >>> bool(smart.terms.smoothness > 0), bool(smart.terms.proximal > 0)
        (True, True)
    """

    @border(model=a_model)
    def __init__(
        self,
        model: torch.nn.Module,
        regularizer: SmoothnessRegularizer | None = SmoothnessRegularizer(),  # noqa: B008 (it is frozen)
        smoothness_weight: NotNegative = 1.0,
        proximal: BregmanProximalPoint | None = None,
    ) -> None:
        self.model = getattr(model, "_orig_mod", model)  # what torch.compile returns holds the model
        self.regularizer = regularizer if smoothness_weight else None
        self.smoothness_weight = smoothness_weight
        self.proximal = proximal
        self.terms = SmartTerms(torch.zeros(()), torch.zeros(()))
        self._clean_pass: CleanPass | None = None
        self._watch = InertnessWatch(self.regularizer.epsilon) if self.regularizer else None

    def before_pass(self) -> None:
        """Watch what the model's own pass draws and looks up; call it just before that pass."""
        if self._clean_pass:
            self._clean_pass.close()
        self._clean_pass = CleanPass(self.model, embedding_layer(self.model) if self.regularizer else None)

    def __call__(
        self, model: torch.nn.Module, batch: Mapping[str, Any], logits: torch.Tensor
    ) -> torch.Tensor:
        """Compute λ_s R_s + μ D_Breg for a batch, and keep both values in `terms`.

        Args:
            model: the model as the loop has it, wrapped or not. It is here because `finetune` passes it;
                the passes go through the model given at the start, so that a wrapper for several
                processes sees one forward and one backward pass a step and averages gradients once.
            batch: the inputs of the model's own pass. Its `labels` are not given to the model; they tell the kind
                of task, and whether R_s weighs anything beside its loss.
            logits: what that pass gave, [B, C], with its gradient.

        Returns:
            A scalar with its gradient.

        Raises:
            CourseError: `before_pass()` was not called for this pass; a divergence that is not the one of the
                task (`divergence_for`); logits that are not finite; float32 products rounded to TF32 or
                bfloat16, where a perturbation of 1e-5 would vanish.
        """
        clean_pass = self._take_clean_pass()
        self._refuse_other_divergence(batch.get("labels"))
        with without_compiled_code():
            if not clean_pass.replay.has_masks and (is_compiled(model) or is_compiled(self.model)):
                logits = self._drawn_again(batch, clean_pass)  # compiled code drops out what it likes
            return self._terms(batch, logits, clean_pass)

    def update(self, step: object = None) -> None:
        """Move the anchor; call it after each step of the optimizer.

        Args:
            step: not used; it is here so that this method can be `finetune`'s `after_step`.
        """
        if self.proximal:
            self.proximal.update()

    def _take_clean_pass(self) -> CleanPass:
        if self._clean_pass is None:
            raise CourseError(
                "What dropout drew in the model's own pass was not recorded, so R_s would measure dropout.",
                mend="Call `before_pass()` before the model's pass of each batch; "
                "in `finetune` pass before_pass=smart.before_pass.",
            )
        clean_pass, self._clean_pass = self._clean_pass, None
        clean_pass.close()
        return clean_pass

    def _terms(self, batch: Mapping[str, Any], logits: torch.Tensor, clean_pass: CleanPass) -> torch.Tensor:
        smoothness = self._smoothness(batch, logits, clean_pass)
        if _is_half(logits):
            logits = logits.float()
        proximal, penalty = logits.new_zeros(()), logits.new_zeros(())
        if self.proximal:
            penalty = self.proximal.penalty(batch, logits, clean_pass.replay)
            proximal = penalty.detach() / self.proximal.proximal_weight
        self.terms = SmartTerms(smoothness.detach(), proximal)
        loss = task_loss(logits.detach(), batch.get("labels")) if self._watch else None
        if self._watch and loss is not None:
            self._watch.see(self.smoothness_weight * float(self.terms.smoothness), float(loss))
        return self.smoothness_weight * smoothness + penalty

    def _refuse_other_divergence(self, labels: torch.Tensor | None) -> None:
        config = getattr(self.model, "config", None)
        terms = {"the regularizer": self.regularizer, "the proximal term": self.proximal}
        used = {name: term.divergence for name, term in terms.items() if term is not None}
        if config is None or not used:
            return
        right = divergence_for(config, labels)
        for name, divergence in used.items():
            if divergence != right:
                raise CourseError(
                    f"This model's task asks for another divergence in {name}: {right}.",
                    given=f"{divergence}, with num_labels={config.num_labels}, problem_type={config.problem_type}",
                    mend=f'Make {name} with divergence="{right}", or set config.problem_type to what the model does.',
                )

    def _drawn_again(self, batch: Mapping[str, Any], clean_pass: CleanPass) -> torch.Tensor:
        """Compute the logits of the model's own pass with masks that the further passes draw too."""
        with clean_pass.replay.replayed():
            logits: torch.Tensor = self.model(**{k: v for k, v in batch.items() if k != "labels"}).logits
        return logits

    def _smoothness(
        self, batch: Mapping[str, Any], logits: torch.Tensor, clean_pass: CleanPass
    ) -> torch.Tensor:
        if self.regularizer is None:
            return logits.new_zeros(())
        refuse_rounded_products(logits.device)
        is_rounded = _is_half(logits) or _is_under_autocast(logits) or _plain_forward(self.model) is not None
        with full_precision(self.model, logits.device):
            forward = forward_from_embeddings(self.model, batch, clean_pass.replay)
            embeddings = clean_pass.embeddings_of(batch["input_ids"])
            if embeddings is None:
                embeddings = word_embeddings(self.model, batch["input_ids"])
            clean = forward(embeddings) if is_rounded else logits
            return self.regularizer(forward, embeddings, clean, batch.get("attention_mask"))


@contextmanager
def full_precision(model: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Run a model without autocast, although accelerate may have put autocast inside its `forward`.

    Args:
        model: the model, as `Accelerator.prepare` left it.
        device: where it computes.
    """
    prepared, plain = model.forward, _plain_forward(model)
    if plain is not None:
        model.forward = plain
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if plain is not None:
            model.forward = prepared


def refuse_rounded_products(device: torch.device) -> None:
    """Refuse settings under which float32 matrix products round their factors.

    TF32 keeps 10 bits of a factor, so after LayerNorm a perturbation of 1e-5 is mostly rounded away. The
    gradient of R_s would suffer in the backward pass too, which is not ours to protect, hence an error.

    Args:
        device: where the products are computed.

    Raises:
        CourseError: under TF32, or bfloat16 products on a CPU.
    """
    backend: Any = torch.backends.cuda.matmul if device.type == "cuda" else torch.backends.mkldnn
    if device.type != "cuda":
        backend = getattr(backend, "matmul", backend)
    precision = getattr(backend, "fp32_precision", None)  # torch 2.9 and later
    if precision is None:
        precision = "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"
    if precision in ("tf32", "bf16"):
        raise CourseError(
            "Matrix products round float32 here: a perturbation of 1e-5 vanishes, and R_s with it.",
            given=precision,
            mend='Leave tf32 out, or call torch.set_float32_matmul_precision("highest"); '
            "for speed use bf16=True, which keeps this part in float32.",
        )


def _plain_forward(model: torch.nn.Module) -> Any:
    """Return the `forward` that accelerate put autocast around, None where it did not."""
    return vars(model).get("_original_forward")


def _is_half(logits: torch.Tensor) -> bool:
    return logits.dtype in (torch.float16, torch.bfloat16)


def _is_under_autocast(logits: torch.Tensor) -> bool:
    return torch.is_autocast_enabled(logits.device.type)
