"""Soft prompts: how they begin, PEFT's files both ways, and the scores behind them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model

from course_lib.errors import CourseError
from course_lib.models import ModelAndTokenizer, load_language_model
from course_lib.models.fingerprint import model_fingerprint, weights_hash
from course_lib.ppt.adapter_files import CONFIG_FILE, COURSE_FILE, WEIGHTS_FILE, WEIGHTS_KEY
from course_lib.ppt.label_scoring import LabelBatch, label_loss, label_scores, make_label_batch
from course_lib.ppt.soft_prompt import SoftPrompt, initialise, load_soft_prompt, ordinary_token_ids
from course_lib.prompts.verbalizers import LabelIds, Verbalizer, find_label_ids
from tests.ppt.tiny import SPECIAL, VERBALIZERS, VOCABULARY, tiny_examples, tiny_gpt2, tiny_language_model
from tests.smart.tiny import few

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
TEXTS = [f"w20 w21 {row['text']}" for row in tiny_examples(5)]


@pytest.fixture(scope="module")
def tiny() -> ModelAndTokenizer:
    return tiny_language_model()


@pytest.fixture(scope="module")
def embedded() -> ModelAndTokenizer:
    return load_language_model(device="cpu")


@pytest.fixture(params=[tiny_language_model, tiny_gpt2], ids=["llama", "gpt2"])
def either(request: pytest.FixtureRequest) -> ModelAndTokenizer:
    return request.param()


def batch_of(loaded: ModelAndTokenizer, texts: list[str], verbalizer: Verbalizer) -> LabelBatch:
    return make_label_batch(find_label_ids(loaded.tokenizer, texts, verbalizer.continuations))


def peft_model(loaded: ModelAndTokenizer, prompt: SoftPrompt) -> Any:
    """Give PEFT's prompt tuning with the same matrix."""
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=prompt.num_virtual_tokens)
    model: Any = get_peft_model(loaded.model, config).eval()
    with torch.no_grad():
        model.prompt_encoder.default.embedding.weight.copy_(prompt.embeddings)
    return model


def scores_by_peft(model: Any, prompt: SoftPrompt, labelled: list[LabelIds]) -> torch.Tensor:
    """Score every label of every example in a pass of its own over the whole vocabulary, through PEFT."""
    rows = []
    for context, labels in labelled:
        row = []
        for label in labels:
            ids = torch.tensor([context + label])
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].log_softmax(dim=-1)
            start = prompt.num_virtual_tokens + len(context) - 1
            row.append(sum(logits[start + i, token] for i, token in enumerate(label)))
        rows.append(torch.stack(row))
    return torch.stack(rows)


# --- how it begins ---------------------------------------------------------------------------------


def test_random_rows_lie_among_the_real_ones(embedded: ModelAndTokenizer) -> None:
    real = embedded.model.get_input_embeddings().weight.detach()
    rows = initialise("random", embedded, 50).embeddings.detach()
    lengths = real.norm(dim=1)
    assert lengths.quantile(0.005) < rows.norm(dim=1).min()
    assert rows.norm(dim=1).max() < lengths.quantile(0.995)
    assert rows.mean(dim=0).allclose(real.mean(dim=0), atol=5 * float(real.std()) / math.sqrt(50))
    assert len({tuple(row) for row in rows.tolist()}) == 50


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 40))
@few
def test_sampled_rows_are_those_of_different_ordinary_tokens(seed: int, count: int) -> None:
    tiny = tiny_language_model()
    table = tiny.model.get_input_embeddings().weight.detach()
    rows = initialise("sample_vocab", tiny, count, seed=seed).embeddings
    ids = [int((table == row).all(dim=1).nonzero().item()) for row in rows]
    assert len(set(ids)) == count
    assert min(ids) >= len(SPECIAL)
    again = initialise("sample_vocab", tiny, count, seed=seed).embeddings
    assert torch.equal(rows, again)


def test_sampled_rows_are_not_the_first_of_the_table(tiny: ModelAndTokenizer) -> None:
    table = tiny.model.get_input_embeddings().weight
    rows = initialise("sample_vocab", tiny, 6).embeddings
    assert not any(torch.equal(rows, table[i : i + 6]) for i in range(VOCABULARY))
    other = initialise("sample_vocab", tiny, 6, seed=1).embeddings
    assert not torch.equal(rows, other)


def test_no_row_is_drawn_twice_where_tokens_share_one() -> None:
    tiny = tiny_language_model()
    with torch.no_grad():
        tiny.model.get_input_embeddings().weight[10:] = 1.0
    rows = initialise("sample_vocab", tiny, 6).embeddings
    assert len({tuple(row) for row in rows.tolist()}) == 6
    with pytest.raises(CourseError, match="only 6 different rows"):
        initialise("sample_vocab", tiny, 7)


def test_ordinary_tokens_are_those_of_text(tiny: ModelAndTokenizer) -> None:
    assert ordinary_token_ids(tiny.tokenizer, VOCABULARY) == list(range(len(SPECIAL), VOCABULARY))
    assert ordinary_token_ids(tiny.tokenizer, 8) == [5, 6, 7]


@pytest.mark.parametrize("count", [2, 5, 30])
def test_rows_of_words_are_those_of_peft(embedded: ModelAndTokenizer, count: int) -> None:
    words = "Say whether the film is good or bad."
    config = PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=count, token_dim=embedded.model.config.hidden_size,
        num_transformer_submodules=1, prompt_tuning_init="TEXT", prompt_tuning_init_text=words,
        tokenizer_name_or_path=embedded.tokenizer.name_or_path,
    )  # fmt: skip
    from peft.tuners.prompt_tuning import PromptEmbedding

    theirs = PromptEmbedding(config, embedded.model.get_input_embeddings()).embedding.weight
    assert torch.equal(initialise("text", embedded, count, words=words).embeddings, theirs)


def test_a_pretrained_prompt_is_copied(tiny: ModelAndTokenizer, tmp_path: Path) -> None:
    first = initialise("random", tiny, 4)
    copied = initialise("pretrained", tiny, prompt=first)
    loaded = initialise("PRETRAINED", tiny, 4, prompt=first.save(tmp_path / "prompt", tiny))
    assert torch.equal(copied.embeddings, first.embeddings)
    assert torch.equal(loaded.embeddings, first.embeddings)
    with torch.no_grad():
        copied.embeddings.zero_()
    assert first.embeddings.abs().min() > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kind": "randm"}, "random"),
        ({"kind": "random", "num_virtual_tokens": 0}, "num_virtual_tokens must be"),
        ({"kind": "random", "words": "w5 w6"}, "goes with the initialisation 'text'"),
        ({"kind": "text"}, "goes with the initialisation 'text'"),
        ({"kind": "text", "words": "w5 w5 w5"}, "same vector"),
        ({"kind": "text", "words": " "}, "no token"),
        ({"kind": "pretrained"}, "goes with the initialisation 'pretrained'"),
        ({"kind": "pretrained", "num_virtual_tokens": 3, "prompt": SoftPrompt(torch.ones(2, 16))}, "2 rows"),
        ({"kind": "pretrained", "prompt": SoftPrompt(torch.ones(2, 8))}, "8 wide"),
        ({"kind": "sample_vocab", "num_virtual_tokens": 99}, "only 55 different rows"),
    ],
)
def test_bad_initialisations_are_refused(tiny: ModelAndTokenizer, arguments: Any, said: str) -> None:
    kind = arguments.pop("kind")
    with pytest.raises(CourseError, match=said):
        initialise(kind, tiny, **arguments)


@pytest.mark.parametrize("values", [torch.ones(3), torch.ones(0, 4), torch.tensor([[1.0, math.nan]])])
def test_what_is_no_prompt_is_refused(values: torch.Tensor) -> None:
    with pytest.raises(CourseError):
        SoftPrompt(values)


# --- PEFT's files ----------------------------------------------------------------------------------


def test_our_folder_loads_with_peft(tmp_path: Path) -> None:
    prompt = initialise("random", tiny_language_model(), 4)
    folder = prompt.save(tmp_path / "prompt", tiny_language_model(), name="tiny")
    model: Any = PeftModel.from_pretrained(tiny_language_model().model, folder).eval()
    assert torch.equal(model.prompt_encoder.default.embedding.weight, prompt.embeddings)
    labelled = find_label_ids(tiny_language_model().tokenizer, TEXTS, [" w5", " w6"])
    ours = label_scores(tiny_language_model().model, prompt, make_label_batch(labelled))
    assert torch.allclose(scores_by_peft(model, prompt, labelled), ours, atol=1e-5)
    assert model.peft_config["default"].base_model_name_or_path == "tiny"


def test_a_folder_of_peft_loads_with_us(tmp_path: Path) -> None:
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    model: Any = get_peft_model(tiny_language_model().model, config)
    model.save_pretrained(tmp_path / "theirs")
    prompt = load_soft_prompt(tmp_path / "theirs", tiny_language_model())
    assert torch.equal(prompt.embeddings, model.prompt_encoder.default.embedding.weight)
    assert prompt.fingerprint is None
    # and on to a folder of ours
    again = load_soft_prompt(prompt.save(tmp_path / "ours", tiny_language_model()), tiny_language_model())
    assert torch.equal(again.embeddings, prompt.embeddings)


def test_an_adapter_is_replaced_but_nothing_else_is(tiny: ModelAndTokenizer, tmp_path: Path) -> None:
    prompt = initialise("random", tiny, 4)
    prompt.save(tmp_path / "prompt", tiny)
    initialise("random", tiny, 5).save(tmp_path / "prompt", tiny)
    assert load_soft_prompt(tmp_path / "prompt", tiny).num_virtual_tokens == 5
    assert [path.name for path in tmp_path.iterdir()] == ["prompt"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("work of years")
    with pytest.raises(CourseError, match="files that the course did not write"):
        prompt.save(tmp_path / "thesis", tiny)
    assert (tmp_path / "thesis" / "chapter.tex").exists()


def test_a_prompt_for_another_model_is_refused(tiny: ModelAndTokenizer, tmp_path: Path) -> None:
    prompt = initialise("random", tiny, 4)
    folder = prompt.save(tmp_path / "prompt", tiny)
    other, wide = tiny_language_model(seed=1), tiny_language_model(width=32)
    for model in (other, wide):
        with pytest.raises(CourseError, match=r"another model|16 wide"):
            load_soft_prompt(folder, model)
        with pytest.raises(CourseError, match=r"another model|16 wide"):
            prompt.save(tmp_path / "other", model)
    with pytest.raises(CourseError, match="another model"):
        initialise("pretrained", other, prompt=prompt)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_is_the_same_model(tiny: ModelAndTokenizer, dtype: torch.dtype) -> None:
    half = tiny_language_model().model.to(dtype)
    assert model_fingerprint(half).matches(model_fingerprint(tiny.model))
    initialise("random", tiny, 4).check_fits(half)


def test_the_place_of_a_model_is_not_written_down(tmp_path: Path) -> None:
    tiny = tiny_language_model()
    (tmp_path / "home" / "model").mkdir(parents=True)
    tiny.model.config._name_or_path = str(tmp_path / "home" / "model")
    folder = initialise("random", tiny, 4).save(tmp_path / "prompt", tiny)
    written = "".join((folder / name).read_text() for name in (CONFIG_FILE, COURSE_FILE))
    assert str(tmp_path) not in written
    assert '"model"' in written


def _without(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def _with_bytes(name: str, content: bytes) -> Any:
    return lambda folder: (folder / name).write_bytes(content)


def _with_rows(rows: torch.Tensor, key: str = WEIGHTS_KEY) -> Any:
    return lambda folder: safetensors.torch.save_file({key: rows}, folder / WEIGHTS_FILE)


def _cut(folder: Path) -> None:
    whole = (folder / WEIGHTS_FILE).read_bytes()
    (folder / WEIGHTS_FILE).write_bytes(whole[: len(whole) // 2])


def _prefix_tuning(folder: Path) -> None:
    config = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    get_peft_model(tiny_language_model().model, config).save_pretrained(folder)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_without(CONFIG_FILE), "no prompt"),
        (_without(WEIGHTS_FILE), "pickled weights"),
        (_with_bytes(CONFIG_FILE, b"{"), "damaged"),
        (_with_bytes(CONFIG_FILE, b"[]"), "damaged"),
        (_with_bytes(COURSE_FILE, b"{}"), "damaged"),
        (_with_bytes(COURSE_FILE, b'{"fingerprint": {"name": 3}}'), "damaged"),
        (_cut, "damaged"),
        (_with_rows(torch.ones(4, 16), "lora_A"), "damaged"),
        (_with_rows(torch.ones(3, 16)), "do not belong together"),
        (_with_rows(torch.full((4, 16), math.nan)), "not finite"),
        (_prefix_tuning, "no soft prompt"),
    ],
)
def test_damaged_folders_are_refused(tmp_path: Path, spoil: Any, said: str) -> None:
    tiny = tiny_language_model()
    folder = initialise("random", tiny, 4).save(tmp_path / "prompt", tiny)
    spoil(folder)
    with pytest.raises(CourseError, match=said):
        load_soft_prompt(folder, tiny_language_model())


def test_the_record_is_kept(tiny: ModelAndTokenizer, tmp_path: Path) -> None:
    folder = initialise("sample_vocab", tiny, 4, seed=3).save(tmp_path / "prompt", tiny)
    assert load_soft_prompt(folder, tiny).initialisation == "sample_vocab, seed 3"
    assert json.loads((folder / CONFIG_FILE).read_text())["peft_type"] == "PROMPT_TUNING"


# --- the scores behind it --------------------------------------------------------------------------


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("verbalizer", VERBALIZERS.values(), ids=VERBALIZERS.keys())
def test_scores_and_gradient_are_those_of_peft(
    either: ModelAndTokenizer, verbalizer: Verbalizer, share: bool
) -> None:
    prompt = initialise("random", either, 4)
    labels = torch.tensor([0, 1, 2, 1, 0])
    labelled = find_label_ids(either.tokenizer, TEXTS, verbalizer.continuations)
    ours = label_scores(either.model, prompt, make_label_batch(labelled), share_prefix=share)
    label_loss(ours, labels).backward()
    model = peft_model(either, prompt)
    theirs = scores_by_peft(model, prompt, labelled)
    torch.nn.functional.cross_entropy(theirs, labels).backward()
    assert ours.std() > 0.5
    assert torch.allclose(ours, theirs, atol=1e-5)
    expected = model.prompt_encoder.default.embedding.weight.grad
    assert expected.abs().max() > 1e-3
    assert torch.allclose(prompt.embeddings.grad, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_on_the_embedded_model_too(embedded: ModelAndTokenizer) -> None:
    texts = ["A warm and funny film. It was", "I left before the end of it. It was"]
    labels = torch.tensor([1, 0])
    prompt = initialise("sample_vocab", embedded, 3)
    for weight in embedded.model.parameters():
        weight.requires_grad_(False)
    labelled = find_label_ids(embedded.tokenizer, texts, [" bad", " good"])
    before = weights_hash(embedded.model)
    batch = make_label_batch(labelled)
    ours = label_scores(embedded.model, prompt, batch, share_prefix=True)
    plain = label_scores(embedded.model, prompt, batch, share_prefix=False)
    label_loss(ours, labels).backward()
    model = peft_model(embedded, prompt)
    theirs = scores_by_peft(model, prompt, labelled)
    torch.nn.functional.cross_entropy(theirs, labels).backward()
    weight = model.prompt_encoder.default.embedding.weight
    assert torch.allclose(plain, theirs, atol=1e-5)
    # log-probabilities of about -10 in float32 after 30 layers; the loss is compared within 1e-5 below
    assert torch.allclose(ours, theirs, atol=5e-5)
    assert torch.allclose(ours.log_softmax(dim=1), theirs.log_softmax(dim=1), atol=1e-5)
    assert torch.allclose(prompt.embeddings.grad, weight.grad, atol=1e-4 * float(weight.grad.abs().max()))
    assert weights_hash(embedded.model) == before


@given(data=st.data())
@few
def test_an_example_scores_the_same_alone_and_padded(data: Any) -> None:
    tiny = tiny_language_model()
    name = data.draw(st.sampled_from(sorted(VERBALIZERS)))
    share = data.draw(st.booleans())
    lengths = data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=5))
    same = " ".join(["w20"] * data.draw(st.integers(0, 4)))
    texts = [
        f"{same} {' '.join(f'w{10 + (7 * i + k) % 50}' for k in range(n))}" for i, n in enumerate(lengths)
    ]
    prompt = initialise("random", tiny, 3)
    with torch.no_grad():
        together = label_scores(
            tiny.model, prompt, batch_of(tiny, texts, VERBALIZERS[name]), share_prefix=share
        )
        alone = [
            label_scores(tiny.model, prompt, batch_of(tiny, [text], VERBALIZERS[name]), share_prefix=False)
            for text in texts
        ]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_without_a_prompt_the_text_alone_is_scored(either: ModelAndTokenizer) -> None:
    batch = batch_of(either, TEXTS, VERBALIZERS["one token"])
    for share in (True, False):
        scores = label_scores(either.model, None, batch, share_prefix=share)
        for text, row in zip(TEXTS, scores, strict=True):
            ids = torch.tensor([either.tokenizer(text)["input_ids"]])
            expected = either.model(input_ids=ids).logits[0, -1].log_softmax(dim=-1)[[5, 6, 7]]
            assert torch.allclose(row, expected, atol=1e-5)


def test_rows_may_offer_fewer_labels(tiny: ModelAndTokenizer) -> None:
    words = VERBALIZERS["two tokens"].continuations
    whole = find_label_ids(tiny.tokenizer, TEXTS[:2], words)
    fewer = [whole[0], LabelIds(whole[1].context, whole[1].labels[:2])]
    prompt = initialise("random", tiny, 3)
    full = label_scores(tiny.model, prompt, make_label_batch(whole))
    scores = label_scores(tiny.model, prompt, make_label_batch(fewer, 3))
    assert torch.allclose(scores[0], full[0], atol=1e-5)
    assert torch.allclose(scores[1, :2], full[1, :2], atol=1e-5)
    assert scores[1, 2] == -torch.inf
    loss = label_loss(scores, torch.tensor([2, 1]), reduction="none")
    assert loss[1].item() == pytest.approx(float(-full[1, :2].log_softmax(dim=0)[1]), abs=1e-5)
    loss.sum().backward()
    assert prompt.embeddings.grad.isfinite().all()


def test_labels_that_share_their_first_token_are_told_apart(tiny: ModelAndTokenizer) -> None:
    scores = label_scores(tiny.model, None, batch_of(tiny, TEXTS, VERBALIZERS["two tokens"]))
    assert (scores[:, 0] - scores[:, 1]).abs().min() > 1e-3


@pytest.mark.parametrize("share", [True, False])
def test_scores_lie_on_the_models_device_whatever_the_default_is(
    tiny: ModelAndTokenizer, share: bool
) -> None:
    """As on a GPU: what is made on the default device cannot be computed with."""
    prompt, batch = initialise("random", tiny, 3), batch_of(tiny, TEXTS, VERBALIZERS["one token"])
    expected = label_scores(tiny.model, prompt, batch, share_prefix=share)
    with torch.device("meta"):
        found = label_scores(tiny.model, prompt, batch, share_prefix=share)
    assert torch.equal(found, expected)


def test_the_output_layer_sees_each_answer_position_once(tiny: ModelAndTokenizer) -> None:
    seen: list[torch.Size] = []
    hook = tiny.model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    label_scores(tiny.model, initialise("random", tiny, 3), batch_of(tiny, TEXTS, VERBALIZERS["one token"]))
    hook.remove()
    assert seen == [(1, len(TEXTS), VOCABULARY)]


def test_what_all_rows_begin_with_is_run_once(tiny: ModelAndTokenizer) -> None:
    seen: list[tuple[int, ...]] = []
    mlp = tiny.model.model.layers[0].mlp
    hook = mlp.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape[:2])))
    batch = batch_of(tiny, TEXTS, VERBALIZERS["one token"])
    label_scores(tiny.model, initialise("random", tiny, 3), batch, share_prefix=True)
    hook.remove()
    assert batch.num_shared == 2
    assert seen == [(1, 3 + 2), (len(TEXTS), batch.input_ids.shape[1] - 2)]


def test_a_text_without_tokens_is_refused() -> None:
    with pytest.raises(CourseError, match="no token before the label word"):
        make_label_batch([LabelIds([], [[1], [2]])])
    with pytest.raises(CourseError, match="at least one example"):
        make_label_batch([])


@pytest.mark.parametrize("num_front", [0, 6])
def test_angles_that_depend_on_the_longest_row_do_not_mix_rows(num_front: int) -> None:
    """Of a model with "longrope" rows beyond the border share nothing, and no batch holds both kinds."""
    from transformers import LlamaConfig, LlamaForCausalLM

    rope = {
        "rope_type": "longrope", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 20,
        "short_factor": [1.0, 1.0], "long_factor": [4.0, 9.0],
    }  # fmt: skip
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(vocab_size=20, initializer_range=0.5, rope_parameters=rope, **sizes)
        model = LlamaForCausalLM(config).eval()
        front = torch.randn(num_front, 16) if num_front else None
        rows = {
            length: LabelIds([4, 5, 6, *torch.randint(4, 16, (length - 3,)).tolist()], [[7], [8]])
            for length in (8, 11, 25, 40)
        }
    alone = {
        length: label_scores(model, front, make_label_batch([row]), share_prefix=False)
        for length, row in rows.items()
    }
    for lengths in ((8, 11), (25, 40)):
        for share in (True, False):
            batch = make_label_batch([rows[length] for length in lengths])
            found = label_scores(model, front, batch, share_prefix=share)
            expected = torch.cat([alone[length] for length in lengths])
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    with pytest.raises(CourseError, match="more than 20 tokens otherwise"):
        label_scores(model, front, make_label_batch(list(rows.values())))
