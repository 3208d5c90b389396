"""A folder that PEFT wrote is a model, on its base; a folder that was written anew is read anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model

from course_lib.errors import CourseError
from course_lib.icl.scorers.prefix_cached import find_scorer
from course_lib.models import load_classifier, load_language_model
from tests.icl.scorers.test_scoring import ITEMS, PREFIX, WORDS, by_hand, tiny_model, tiny_tokenizer


def _save_base(folder: Path, factor: float = 1.0) -> Path:
    model = transformers.AutoModelForCausalLM.from_config(tiny_model("Llama").config).eval()
    model.load_state_dict({name: factor * value for name, value in tiny_model("Llama").state_dict().items()})
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def _save_adapter(folder: Path, base: Path, task: str = "CAUSAL_LM", seed: int = 0) -> Any:
    auto: Any = {
        "CAUSAL_LM": transformers.AutoModelForCausalLM,
        "SEQ_CLS": transformers.AutoModelForSequenceClassification,
    }[task]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LoraConfig(task_type=task, r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        model = get_peft_model(auto.from_pretrained(base, dtype="float32"), config).eval()
    model.save_pretrained(folder)
    return model


def test_an_adapter_is_loaded_on_its_base(tmp_path: Path) -> None:
    base = _save_base(tmp_path / "base")
    tuned = _save_adapter(tmp_path / "adapter", base)
    loaded = load_language_model(str(tmp_path / "adapter"))
    ids = torch.tensor([[4, 5, 6, 7]])
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(input_ids=ids).logits, tuned(input_ids=ids).logits)
    found = find_scorer(str(tmp_path / "adapter")).log_probabilities(PREFIX, ITEMS, WORDS, progress=False)
    np.testing.assert_allclose(found, by_hand(tuned, tiny_tokenizer(), PREFIX, ITEMS, WORDS), atol=1e-4)


def test_a_tuned_classifier_keeps_its_head(tmp_path: Path) -> None:
    base = _save_base(tmp_path / "base")
    tuned = _save_adapter(tmp_path / "adapter", base, "SEQ_CLS")
    loaded = load_classifier(str(tmp_path / "adapter"), num_labels=2, seed=5)
    ids = torch.tensor([[4, 5, 6, 7]])
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(input_ids=ids).logits, tuned(input_ids=ids).logits)


def test_an_adapter_whose_base_is_gone_says_how_to_mend_it(tmp_path: Path) -> None:
    base = _save_base(tmp_path / "base")
    _save_adapter(tmp_path / "adapter", base)
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(CourseError, match=r"an adapter for the model .*base_model_name_or_path"):
        load_language_model(str(tmp_path / "adapter"))


def test_an_adapter_without_weights_is_an_error(tmp_path: Path) -> None:
    _save_adapter(tmp_path / "adapter", _save_base(tmp_path / "base"))
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(CourseError):
        load_language_model(str(tmp_path / "adapter"))


@pytest.mark.parametrize("change", ["base", "adapter"])
def test_a_folder_that_was_written_anew_is_read_anew(tmp_path: Path, change: str) -> None:
    base = _save_base(tmp_path / "base")
    _save_adapter(tmp_path / "adapter", base)
    source = str(tmp_path / "adapter")
    before = find_scorer(source).log_probabilities(PREFIX, ITEMS, WORDS, progress=False)
    again = find_scorer(source).log_probabilities(PREFIX, ITEMS, WORDS, progress=False)
    np.testing.assert_array_equal(before, again)
    if change == "base":
        _save_base(base, factor=1.3)
    else:
        _save_adapter(tmp_path / "adapter", base, seed=1)
    after = find_scorer(source).log_probabilities(PREFIX, ITEMS, WORDS, progress=False)
    fresh = load_language_model(source).model
    assert not np.allclose(before, after, atol=1e-3)
    np.testing.assert_allclose(after, by_hand(fresh, tiny_tokenizer(), PREFIX, ITEMS, WORDS), atol=1e-4)
