"""The code in the README and in the library's page runs as it stands, and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.smart.training_parts import rows, tiny_model

ROOT = Path(__file__).parents[1]
PAGES = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))]
BLOCKS = [block for page in PAGES for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)]


def block(word: str) -> str:
    (found,) = (each for each in BLOCKS if word in each)
    return found


def printed(code: str, capsys: pytest.CaptureFixture[str], **given: Any) -> str:
    exec(compile(code, "a page", "exec"), given)
    return capsys.readouterr().out.strip()


def test_every_block_is_tried() -> None:
    assert len(BLOCKS) == 3


def test_finetuning(capsys: pytest.CaptureFixture[str]) -> None:
    """On fewer examples: the whole takes a minute."""
    code = (
        block("finetune(").replace(", 256, seed=0)", ", 32, seed=0)").replace("num_epochs=4", "num_epochs=1")
    )
    code = code.replace('split="validation"))', 'split="validation")).select(range(200))')
    assert code.count(", 32, seed=0)") == code.count("num_epochs=1") == code.count(".select(") == 1
    assert 0.4 < float(printed(code, capsys)) < 1


def test_smart_in_a_loop_of_your_own() -> None:
    model = tiny_model()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    batches = [
        {
            "input_ids": torch.tensor([row["input_ids"] for row in rows(4)]),
            "labels": torch.tensor([row["labels"] for row in rows(4)]),
        }
    ] * 2
    optimizer = torch.optim.AdamW(model.parameters())
    exec(
        compile(block("SmartLoss"), "a page", "exec"),
        {"model": model, "batches": batches, "optimizer": optimizer},
    )
    assert any(not torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_label_words_behind_demonstrations(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(block("PrefixCachedScorer"), capsys) == "[1 0]"
