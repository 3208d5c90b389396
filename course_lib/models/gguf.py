"""From a GGUF file to a folder that `transformers` reads fast."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from gguf import GGUFReader, TokenType
from safetensors import SafetensorError
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from course_lib.locations import cache_trouble
from course_lib.models.loaded import loading_trouble, quietly


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Convert a model to safetensors, in float32, and remove the GGUF file; one process at a time may.

    Args:
        gguf: the file.
        folder: what to write; it appears whole or not at all.

    Raises:
        CourseError: the file cannot be read, or the folder not be written.
    """
    temporary = folder.with_name(f".{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with quietly(), loading_trouble(str(gguf)):
            quantised = AutoModelForCausalLM.from_pretrained(
                gguf.parent, gguf_file=gguf.name, dtype="float32"
            )
            tokenizer = gguf_tokenizer(gguf)
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


def gguf_tokenizer(gguf: Path) -> PreTrainedTokenizerBase:
    """Build the tokenizer that a GGUF file with GPT-2's byte-level BPE and single digits describes.

    Not every `transformers` of the range that the course admits reads it right: 5.0 adds a token in front
    of every text and takes another end token.
    """
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
