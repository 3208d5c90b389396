"""The scorer that shares the prefix against whole prompts, one by one and by hand."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from course_lib.errors import CourseError
from course_lib.icl.prompting import DemonstrationPrompt, InstanceTemplate
from course_lib.icl.scorers import prefix_cached, reading, shared_prefix
from course_lib.icl.scorers.naive import NaiveScorer
from course_lib.icl.scorers.prefix_cached import PrefixCachedScorer
from course_lib.models import ModelAndTokenizer, load_language_model
from course_lib.prompts.verbalizers import Verbalizer, text_ids
from course_lib.texts import load_texts

few = settings(max_examples=15, deadline=None, derandomize=True)

_ALPHABET = "abcdefgh01:\n"
_MERGES = [("Ġ", "a"), ("b", "c"), ("Ġa", "bc"), ("d", "e"), ("Ċ", "Ċ"), ("0", "1")]
_WIDE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 160}
_SETTINGS: dict[str, dict[str, Any]] = {
    "Llama": {**_WIDE, "intermediate_size": 37, "num_key_value_heads": 2},
    "Qwen2": {**_WIDE, "intermediate_size": 37, "num_key_value_heads": 1},
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 160},
    # these two cannot share: attention biased by distance, and a window shorter than the prompt
    "Bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2},
    "Mistral": {**_WIDE, "intermediate_size": 37, "num_key_value_heads": 2, "sliding_window": 7},
}
SHARING = ("Llama", "Qwen2", "GPT2")
ALL = tuple(_SETTINGS)


@cache
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Give a byte-level BPE tokenizer with a few merges, some across the border of prompt and label."""
    letters = [*_ALPHABET.replace("\n", "Ċ"), "Ġ"]
    vocabulary = {token: i for i, token in enumerate(letters + ["".join(pair) for pair in _MERGES])}
    tokenizer = Tokenizer(BPE(vocabulary, _MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


class FrozenRope(dict):  # type: ignore[type-arg]
    """Settings of positions that can be a key of the models that are kept."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self.items()))


@cache
def tiny_model(architecture: str, seed: int = 0, **options: Any) -> Any:
    config = getattr(transformers, f"{architecture}Config")(
        **{**_SETTINGS[architecture], **options},
        vocab_size=len(tiny_tokenizer()),
        initializer_range=0.5,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transformers.AutoModelForCausalLM.from_config(config).eval()


def by_hand(model: Any, tokenizer: Any, prefix: str, items: list[str], words: list[str]) -> np.ndarray:
    """Score one whole prompt with its label at a time, with nothing of the library."""
    values = np.zeros((len(items), len(words)))
    for i, item in enumerate(items):
        wholes = [tokenizer(prefix + item + word)["input_ids"] for word in words]
        alone = tokenizer(prefix + item)["input_ids"]
        start = min(
            next(
                (k for k, pair in enumerate(zip(alone, whole, strict=False)) if pair[0] != pair[1]),
                len(alone),
            )
            for whole in wholes
        )
        for j, whole in enumerate(wholes):
            with torch.no_grad():
                logits = model(torch.tensor([whole[:-1]])).logits[0].double().log_softmax(dim=-1)
            values[i, j] = sum(logits[k - 1, whole[k]].item() for k in range(start, len(whole)))
    return values


words = st.sampled_from(
    [
        [" 0", " 1"],  # the space is a token of its own, the same for both
        [" a", " b"],
        [" abc", " de"],
        [" de", " dd"],
        [" cc", " cd", " ab", " e"],
        ["\nb", "\nc"],
        ["0", "1"],
    ]
)
texts = st.text(_ALPHABET + " ", max_size=25)


def _shares(prefix: str, items: list[str], words: list[str]) -> bool:
    rows = reading.label_rows(tiny_tokenizer(), prefix, items, words)
    return bool(prefix_cached.shared_prefix(tiny_tokenizer(), prefix, rows))


@pytest.mark.parametrize("architecture", SHARING)
@given(prefix=texts, items=st.lists(texts, min_size=1, max_size=6), words=words, batch_size=st.integers(1, 7))
@few
def test_the_shared_prefix_changes_nothing(
    architecture: str, prefix: str, items: list[str], words: list[str], batch_size: int
) -> None:
    model, tokenizer = tiny_model(architecture), tiny_tokenizer()
    items = [item + ":" for item in items]
    scorer = PrefixCachedScorer(model, tokenizer, batch_size=batch_size)
    shared = scorer.log_probabilities(prefix, items, words, progress=False)
    naive = NaiveScorer(model, tokenizer, batch_size).log_probabilities(prefix, items, words, progress=False)
    assert scorer.way == ("shared keys" if _shares(prefix, items, words) else "whole prompts")
    assert shared.dtype == naive.dtype == np.float32
    assert shared.shape == (len(items), len(words))
    np.testing.assert_allclose(shared, naive, atol=1e-4)
    np.testing.assert_allclose(shared, by_hand(model, tokenizer, prefix, items, words), atol=1e-4)


PREFIX = "abc abc: 0\n\nde fgh ab: 1\n\nbcbc: 0"
ITEMS = ["\n\nab:", "\n\nabcd efgh abc de:", "\n\n:", "", "\n\nhgfe dcba hgfe dcba hgfe dcba:"]
WORDS = [" de", " cc", " ab"]
# one token each, so that all labels are read off one row
LETTERS = ["e", "f", "g"]


@pytest.mark.parametrize("architecture", ALL)
def test_architectures_that_cannot_share_keys_give_the_same_numbers(architecture: str) -> None:
    model, tokenizer = tiny_model(architecture), tiny_tokenizer()
    scorer = PrefixCachedScorer(model, tokenizer, batch_size=2)
    for prefix in ("", "a", PREFIX):
        items = ITEMS if prefix else [item or ":" for item in ITEMS]
        found = scorer.log_probabilities(prefix, items, WORDS, progress=False)
        np.testing.assert_allclose(found, by_hand(model, tokenizer, prefix, items, WORDS), atol=1e-4)
        naive = NaiveScorer(model, tokenizer, 2).log_probabilities(prefix, items, WORDS, progress=False)
        np.testing.assert_allclose(found, naive, atol=1e-4)
    assert scorer.shares_keys == (architecture in SHARING)


def test_the_kernel_and_the_plain_computation_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = tiny_model("Llama"), tiny_tokenizer()
    before = PrefixCachedScorer(model, tokenizer).log_probabilities(PREFIX, ITEMS, WORDS, progress=False)
    kernels = torch.ops.aten
    calls = []

    class WithoutKernel:
        def __getattr__(self, name: str) -> Any:
            calls.append(name)
            return None if name == "_scaled_dot_product_flash_attention_for_cpu" else getattr(kernels, name)

    monkeypatch.setattr(torch.ops, "aten", WithoutKernel())
    after = PrefixCachedScorer(model, tokenizer).log_probabilities(PREFIX, ITEMS, WORDS, progress=False)
    assert calls
    np.testing.assert_allclose(before, after, atol=1e-5)


def test_keys_of_the_prefix_are_held_once_and_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = tiny_model("Llama"), tiny_tokenizer()
    scorer = PrefixCachedScorer(model, tokenizer, batch_size=5)
    held: list[tuple[int, ...]] = []
    compute = prefix_cached.compute_prefix

    def watched(model: Any, ids: list[int]) -> Any:
        cache = compute(model, ids)
        held.extend(key.shape for key, _ in cache.layers.values() if len(ids) > 10)
        return cache

    monkeypatch.setattr(prefix_cached, "compute_prefix", watched)
    lengths: list[tuple[int, ...]] = []
    hook = model.model.embed_tokens.register_forward_hook(lambda _, ids, __: lengths.append(ids[0].shape))
    scorer.log_probabilities(PREFIX, ITEMS[:3], WORDS, progress=False)
    hook.remove()
    num_prefix = len(text_ids(tokenizer, [PREFIX])[0])
    assert [shape for shape in lengths if shape[1] >= num_prefix] == [(1, num_prefix)]
    assert held == [(1, 2, num_prefix, 4)] * 2


def _other_data(model: Any) -> None:
    for weight in model.parameters():
        weight.data.mul_(1.5)


def _in_place(model: Any) -> None:
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)


def _other_state(model: Any) -> None:
    model.load_state_dict({name: value * 1.5 for name, value in model.state_dict().items()})


def _other_angles(model: Any) -> None:
    model.model.rotary_emb.inv_freq.mul_(0.5)


def _a_hook(model: Any) -> None:
    model.model.layers[0].register_forward_hook(lambda _, __, output: output * 1.5)


def _another_forward(model: Any) -> None:
    first = model.model.layers[0].mlp.forward
    model.model.layers[0].mlp.forward = lambda hidden: 2 * first(hidden)


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize(
    "change", [_in_place, _other_data, _other_state, _other_angles, _a_hook, _another_forward]
)
def test_a_changed_model_is_read_as_it_is_now(change: Any, dtype: str | None) -> None:
    tokenizer = tiny_tokenizer()
    model = transformers.AutoModelForCausalLM.from_config(tiny_model("Llama").config).eval()
    if change is _another_forward and dtype:
        pytest.skip("the copy would run the given model's own layer, which is in float32")
    scorer = PrefixCachedScorer(model, tokenizer, dtype=dtype)
    before = scorer.log_probabilities(PREFIX, ITEMS, WORDS, progress=False)
    change(model)
    after = scorer.log_probabilities(PREFIX, ITEMS, WORDS, progress=False)
    fresh = PrefixCachedScorer(model, tokenizer, dtype=dtype)
    assert not np.allclose(before, after, atol=1e-3)
    np.testing.assert_array_equal(after, fresh.log_probabilities(PREFIX, ITEMS, WORDS, progress=False))


def _with_two_adapters() -> Any:
    from peft import LoraConfig, get_peft_model

    model = transformers.AutoModelForCausalLM.from_config(tiny_model("Llama").config).eval()
    config = LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False, r=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        adapted = get_peft_model(model, config, "one")
        adapted.add_adapter("two", config)
    return adapted.eval()


@pytest.mark.parametrize("kind", [PrefixCachedScorer, NaiveScorer])
def test_adapters_may_be_switched_and_switched_off_in_between(kind: Any) -> None:
    model, tokenizer = _with_two_adapters(), tiny_tokenizer()
    scorer = kind(model, tokenizer)

    def scores() -> np.ndarray:
        found = scorer.log_probabilities(PREFIX, ITEMS, WORDS, progress=False)
        np.testing.assert_allclose(found, by_hand(model, tokenizer, PREFIX, ITEMS, WORDS), atol=1e-4)
        return found

    one = scores()
    model.set_adapter("two")
    two = scores()
    with model.disable_adapter():
        base = scores()
    model.set_adapter("one")
    np.testing.assert_array_equal(scores(), one)
    assert np.abs(one - two).max() > 1e-2 < np.abs(two - base).max()


@pytest.mark.parametrize("kind", [PrefixCachedScorer, NaiveScorer])
@pytest.mark.parametrize("method", ["prompt tuning", "p-tuning", "prefix tuning"])
def test_a_learnt_prompt_in_front_changes_no_position(kind: Any, method: str) -> None:
    import peft

    configs: dict[str, Any] = {
        "prompt tuning": peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
        "p-tuning": peft.PromptEncoderConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=3, encoder_hidden_size=8
        ),
        "prefix tuning": peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    }
    plain = transformers.AutoModelForCausalLM.from_config(tiny_model("Llama").config).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = peft.get_peft_model(plain, configs[method]).eval()
    scorer = kind(model, tiny_tokenizer(), batch_size=2)
    found = scorer.log_probabilities(PREFIX, ITEMS, WORDS, progress=False)
    np.testing.assert_allclose(found, _behind_prompt(model, 0 if method == "prefix tuning" else 3), atol=1e-4)
    with model.disable_adapter():
        bare = scorer.log_probabilities(PREFIX, ITEMS, WORDS, progress=False)
        np.testing.assert_allclose(bare, by_hand(plain, tiny_tokenizer(), PREFIX, ITEMS, WORDS), atol=1e-4)
    assert np.abs(found - bare).max() > 1e-2


def _behind_prompt(model: Any, num_virtual: int) -> np.ndarray:
    """Score by hand behind virtual tokens, whose outputs stand first; each word is one token."""
    tokenizer = tiny_tokenizer()
    values = np.zeros((len(ITEMS), len(WORDS)))
    for i, item in enumerate(ITEMS):
        alone = tokenizer(PREFIX + item)["input_ids"]
        for j, word in enumerate(WORDS):
            whole = tokenizer(PREFIX + item + word)["input_ids"]
            ids = torch.tensor([whole])
            with torch.no_grad():
                logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
            logits = logits[num_virtual:].double().log_softmax(dim=-1)
            start = next(
                k for k, pair in enumerate(zip([*alone, -1], whole, strict=False)) if pair[0] != pair[1]
            )
            values[i, j] = sum(logits[k - 1, whole[k]].item() for k in range(start, len(whole)))
    return values


@pytest.mark.parametrize("kind", [PrefixCachedScorer, NaiveScorer])
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_angles_that_depend_on_the_longest_row_do_not_mix_rows(kind: Any, batch_size: int) -> None:
    model = _longrope_model()
    items = [":", "abcdefgh:", "a:", "abcdefghabcdefgh:", "ab:"]
    for prefix in ("abc abc", "abc abc: 0\n\nde fgh ab: 1"):
        scorer = kind(model, tiny_tokenizer(), batch_size=batch_size)
        found = scorer.log_probabilities(prefix, items, LETTERS, progress=False)
        np.testing.assert_allclose(found, by_hand(model, tiny_tokenizer(), prefix, items, LETTERS), atol=1e-4)


@pytest.mark.parametrize("kind", [PrefixCachedScorer, NaiveScorer])
def test_virtual_tokens_count_towards_the_context(kind: Any) -> None:
    import peft

    plain = transformers.AutoModelForCausalLM.from_config(tiny_model("GPT2").config).eval()
    learnt = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    scorer = kind(peft.get_peft_model(plain, learnt).eval(), tiny_tokenizer())
    assert np.isfinite(scorer.log_probabilities("h", ["h" * 156], LETTERS, progress=False)).all()
    with pytest.raises(CourseError, match="158 tokens behind 3 virtual ones"):
        scorer.log_probabilities("h", ["h" * 157], LETTERS, progress=False)


def test_an_adapter_still_shares_its_prefix() -> None:
    scorer = PrefixCachedScorer(_with_two_adapters(), tiny_tokenizer())
    scorer.log_probabilities(PREFIX, ITEMS, WORDS, progress=False)
    assert scorer.shares_keys


def _longrope_model() -> Any:
    return tiny_model(
        "Llama",
        rope_parameters=FrozenRope(
            rope_type="longrope", rope_theta=10000.0, factor=8.0, original_max_position_embeddings=20,
            short_factor=(1.0, 1.0), long_factor=(4.0, 9.0),
        ),
    )  # fmt: skip


def test_what_is_no_list_of_texts_is_refused() -> None:
    scorer = PrefixCachedScorer(tiny_model("Llama"), tiny_tokenizer())
    for items in ("hello", [None], [3], None):
        with pytest.raises(CourseError, match="items must be"):
            scorer.log_probabilities(PREFIX, items, WORDS)  # type: ignore[arg-type]
    with pytest.raises(CourseError, match="prefix must be"):
        scorer.log_probabilities(None, ITEMS, WORDS)  # type: ignore[arg-type]


def test_what_a_model_does_with_its_logits_is_kept() -> None:
    model = tiny_model("Llama")
    scorer = PrefixCachedScorer(model, tiny_tokenizer())
    plain = scorer.log_probabilities(PREFIX, ITEMS, WORDS, progress=False)
    hook = model.lm_head.register_forward_hook(lambda _, __, logits: logits / 2)
    halved = scorer.log_probabilities(PREFIX, ITEMS, WORDS, progress=False)
    expected = by_hand(model, tiny_tokenizer(), PREFIX, ITEMS, WORDS)
    hook.remove()
    np.testing.assert_allclose(halved, expected, atol=1e-4)
    assert not np.allclose(plain, halved, atol=1e-2)


def test_only_the_labels_positions_reach_the_output_layer() -> None:
    model, tokenizer = tiny_model("Llama"), tiny_tokenizer()
    seen: list[int] = []
    hook = model.lm_head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1]))
    for scorer in (PrefixCachedScorer(model, tokenizer, 8), NaiveScorer(model, tokenizer, 8)):
        seen.clear()
        scorer.log_probabilities(PREFIX, ITEMS, [" 0", " 1"], progress=False)
        # two readings an item, the space and the digit, and one position for the prefix
        assert seen[-1] == 2 * len(ITEMS)
        # and the few tokens by which the way of sharing is tried
        assert sum(seen) <= 2 * len(ITEMS) + 6
    hook.remove()


def test_labels_that_share_their_first_tokens_share_a_row() -> None:
    tokenizer = tiny_tokenizer()
    assert len(reading.label_rows(tokenizer, PREFIX, ITEMS, [" 0", " 1"]).ids) == len(ITEMS)
    assert len(reading.label_rows(tokenizer, PREFIX, ITEMS, [" dd", " de"]).ids) == len(ITEMS)
    assert len(reading.label_rows(tokenizer, PREFIX, ITEMS, [" cc", " dd"]).ids) == 2 * len(ITEMS)


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_model("Llama")
    before = model.config._attn_implementation
    PrefixCachedScorer(model, tiny_tokenizer()).log_probabilities(PREFIX, ITEMS, WORDS, progress=False)
    with pytest.raises(CourseError):
        PrefixCachedScorer(model, tiny_tokenizer()).log_probabilities(
            PREFIX, ["a" * 200], WORDS, progress=False
        )
    assert model.config._attn_implementation == before != shared_prefix.ATTENTION_NAME
    assert not model.lm_head._forward_pre_hooks


def test_batches_are_ordered_by_length_and_answers_are_not() -> None:
    model, tokenizer = tiny_model("Llama"), tiny_tokenizer()
    widths: list[int] = []
    hook = model.model.embed_tokens.register_forward_hook(lambda _, ids, __: widths.append(ids[0].shape[1]))
    items = [f"{'ab ' * number}:" for number in (3, 9, 1, 7, 2)]
    scorer = PrefixCachedScorer(model, tokenizer, batch_size=1)
    together = scorer.log_probabilities(PREFIX, items, WORDS, progress=False)
    hook.remove()
    items_read = widths[-len(items) :]
    assert items_read == sorted(items_read, reverse=True)
    backwards = scorer.log_probabilities(PREFIX, items[::-1], WORDS, progress=False)
    np.testing.assert_allclose(together, backwards[::-1], atol=1e-5)


def test_no_items_give_no_rows() -> None:
    for kind in (PrefixCachedScorer, NaiveScorer):
        found = kind(tiny_model("Llama"), tiny_tokenizer()).log_probabilities(PREFIX, [], WORDS)
        assert found.shape == (0, 3)


@pytest.mark.parametrize("kind", [PrefixCachedScorer, NaiveScorer])
def test_an_item_longer_than_the_context_is_named(kind: Any) -> None:
    scorer = kind(tiny_model("Llama"), tiny_tokenizer())
    with pytest.raises(CourseError, match=r"item 1 has \d+ tokens.* at most 160"):
        scorer.log_probabilities(PREFIX, ["\n\na:", "h" * 200], WORDS, progress=False)


@pytest.mark.parametrize("kind", [PrefixCachedScorer, NaiveScorer])
def test_a_prompt_of_just_the_context_length_is_read(kind: Any) -> None:
    scorer = kind(tiny_model("GPT2"), tiny_tokenizer())
    # the label's last token is predicted, not read: 158 letters, and the space before the digit
    assert np.isfinite(scorer.log_probabilities("h", ["h" * 158], [" 0", " 1"], progress=False)).all()
    with pytest.raises(CourseError, match="161 tokens"):
        scorer.log_probabilities("h", ["h" * 159], [" 0", " 1"], progress=False)


@pytest.mark.parametrize("kind", [PrefixCachedScorer, NaiveScorer])
def test_logits_that_are_not_numbers_are_an_error(kind: Any) -> None:
    model = transformers.AutoModelForCausalLM.from_config(tiny_model("Llama").config).eval()
    with torch.no_grad():
        model.lm_head.weight[3] = torch.nan
    with pytest.raises(CourseError, match="not finite"):
        kind(model, tiny_tokenizer()).log_probabilities(PREFIX, ITEMS, WORDS, progress=False)


@pytest.mark.parametrize("kind", [PrefixCachedScorer, NaiveScorer])
def test_bad_settings_are_refused(kind: Any) -> None:
    model, tokenizer = tiny_model("Llama"), tiny_tokenizer()
    with pytest.raises(CourseError, match="batch_size must be"):
        kind(model, tokenizer, batch_size=0)
    with pytest.raises(CourseError, match="nothing to predict"):
        kind(model, tokenizer).log_probabilities("", [""], WORDS, progress=False)
    with pytest.raises(CourseError, match="begin with all"):
        kind(model, tokenizer).log_probabilities(PREFIX, ITEMS, [" d", " dd"], progress=False)
    model.train()
    try:
        with pytest.raises(CourseError, match="training mode"):
            kind(model, tokenizer)
    finally:
        model.eval()


def test_reduced_precision_leaves_the_given_model_alone() -> None:
    model, tokenizer = tiny_model("Llama"), tiny_tokenizer()
    full = PrefixCachedScorer(model, tokenizer).log_probabilities(PREFIX, ITEMS, WORDS, progress=False)
    scorer = PrefixCachedScorer(model, tokenizer, dtype="bfloat16")
    low = scorer.log_probabilities(PREFIX, ITEMS, WORDS, progress=False)
    assert scorer.shares_keys
    assert model.dtype == torch.float32
    assert 1e-5 < np.abs(full - low).max() < 0.5
    with pytest.raises(CourseError, match="no dtype"):
        PrefixCachedScorer(model, tokenizer, dtype="float12")


# --- the embedded model on real reviews ------------------------------------------------------------


@pytest.fixture(scope="module")
def language_model() -> ModelAndTokenizer:
    return load_language_model()


@pytest.mark.parametrize("label_words", [["0", "1"], ["very bad", "quite good"]])
def test_real_reviews_behind_real_demonstrations(
    language_model: ModelAndTokenizer, label_words: list[str]
) -> None:
    reviews = load_texts("movie", split="train").select(range(12))
    prompt = DemonstrationPrompt(InstanceTemplate(), Verbalizer(label_words))
    prefix = prompt.prefix(list(reviews)[:4], [0, 1, 1, 0])
    items = [prompt.item(row) for row in list(reviews)[4:10]]
    shared = PrefixCachedScorer(*language_model, batch_size=4)
    found = shared.log_probabilities(prefix, items, prompt.continuations, progress=False)
    naive = NaiveScorer(*language_model, batch_size=4)
    expected = naive.log_probabilities(prefix, items, prompt.continuations, progress=False)
    assert shared.shares_keys
    assert np.abs(found - expected).max() < 1e-4
    hand = by_hand(*language_model, prefix, items[:2], list(prompt.continuations))
    assert np.abs(found[:2] - hand).max() < 1e-4
    assert (np.abs(found[:, 0] - found[:, 1]) > 1e-3).any()


def test_rows_behind_shared_keys_stand_behind_the_prefix_and_keep_no_cache_of_their_own() -> None:
    arguments = shared_prefix.at_positions(torch.tensor([[4, 5], [6, 7], [8, 9]]), 3)
    assert arguments["position_ids"].tolist() == [[3, 4]] * 3
    assert tiny_model("Llama")(**arguments).past_key_values is None


def test_a_model_that_is_set_to_keep_no_cache_shares_one_all_the_same() -> None:
    """As after training with gradient checkpointing; this one has windows, so its keys are not shared."""
    model = tiny_model("Mistral", use_cache=False)
    scorer = PrefixCachedScorer(model, tiny_tokenizer())
    case = ("abc de abc", [" a", " bc de"], [" 0", " 1"])
    found = scorer.log_probabilities(*case, progress=False)
    assert scorer.way == "expanded cache"
    expected = NaiveScorer(tiny_model("Mistral"), tiny_tokenizer()).log_probabilities(*case, progress=False)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_only_a_model_without_a_window_attends_to_a_shared_prefix() -> None:
    with shared_prefix.attention_replaced(tiny_model("Mistral", sliding_window=None)):
        pass
    with pytest.raises(shared_prefix.NotSharedError), shared_prefix.attention_replaced(tiny_model("Mistral")):
        pytest.fail("Its attention was replaced.")


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("value_size", "uses_kernel"), [(8, True), (6, False)])
def test_attention_by_the_kernel_and_without_it_is_attention(
    monkeypatch: pytest.MonkeyPatch, causal: bool, value_size: int, uses_kernel: bool
) -> None:
    """The kernel holds no matrix of scores; where key and value differ in size there is none."""
    kernel, calls = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu, []

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(options)
        return kernel(*arguments, **options)

    monkeypatch.setattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", counted)
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, 2, 5, 8, generator=generator)
    value = torch.randn(1, 2, 5, value_size, generator=generator)
    output, weight = shared_prefix._attend(query, key, value, 0.5, causal=causal)
    assert len(calls) == uses_kernel
    scores = query @ key.transpose(-1, -2) * 0.5
    if causal:
        scores = scores + torch.full((5, 5), -torch.inf).triu(1)
    torch.testing.assert_close(output, scores.softmax(-1) @ value)
    torch.testing.assert_close(weight, scores.logsumexp(-1))


@pytest.mark.parametrize("scorer", [NaiveScorer, PrefixCachedScorer])
def test_a_scorer_refuses_no_rows_a_batch_and_a_model_in_training(scorer: Any) -> None:
    with pytest.raises(CourseError, match="batch_size"):
        scorer(tiny_model("Llama"), tiny_tokenizer(), batch_size=0)
    with pytest.raises(CourseError, match="training"):
        scorer(tiny_model("Llama", seed=9).train(), tiny_tokenizer())
