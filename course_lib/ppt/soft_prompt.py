"""Soft prompts: rows in front of the word embeddings of a frozen language model, and how they begin.

Lester et al. 2021 train such rows; Gu et al. 2022 train them beforehand on plain text. Only the rows are
ever trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from course_lib.checks.calls import a_model_and_tokenizer, a_tensor, border, check_choice
from course_lib.checks.types import Seed, Text
from course_lib.checks.values import check_count, check_path, check_text
from course_lib.errors import CourseError
from course_lib.models.fingerprint import ModelFingerprint, embedding_table, model_fingerprint, model_name
from course_lib.models.loaded import ModelAndTokenizer
from course_lib.ppt.adapter_files import Adapter, read_adapter, write_adapter

Initialisation = Literal["random", "sample_vocab", "text", "pretrained"]
INITIALISATIONS: tuple[Initialisation, ...] = get_args(Initialisation)
DEFAULT_NUM_VIRTUAL_TOKENS = 20
# More rows than any context holds are a slip.
MOST_VIRTUAL_TOKENS = 100_000


class SoftPrompt:
    """Rows that stand in front of a text's word embeddings.

    Args:
        embeddings: float tensor [num_virtual_tokens, width]; copied, kept in float32 whatever the model is in.
        initialisation: how the rows began, for the record.
        fingerprint: the model that they are for; None where it is not known.

    Raises:
        CourseError: no matrix, no rows, or entries that are not finite.

    Example:
        >>> import torch
        >>> prompt = SoftPrompt(torch.zeros(3, 8))
        >>> prompt.num_virtual_tokens, prompt.width, prompt.embeddings.requires_grad
        (3, 8, True)
    """

    def __init__(
        self,
        embeddings: torch.Tensor,
        *,
        initialisation: str = "",
        fingerprint: ModelFingerprint | None = None,
    ) -> None:
        a_tensor("embeddings", embeddings)
        check_text("initialisation", initialisation)
        if not embeddings.is_floating_point() or embeddings.ndim != 2 or 0 in embeddings.shape:
            raise CourseError(
                "A soft prompt is a matrix of floats [num_virtual_tokens, width] of at least one row.",
                given=tuple(embeddings.shape),
                mend="Make one with `initialise`.",
            )
        if not bool(embeddings.isfinite().all()):
            raise CourseError(
                "The soft prompt has entries that are not finite numbers.",
                given=f"{int((~embeddings.isfinite()).sum())} entries",
                mend="Take an earlier prompt, or train with a smaller learning rate.",
            )
        self.embeddings = torch.nn.Parameter(embeddings.detach().clone().float())
        self.initialisation = initialisation
        self.fingerprint = fingerprint

    @property
    def num_virtual_tokens(self) -> int:
        """The number of rows."""
        return self.embeddings.shape[0]

    @property
    def width(self) -> int:
        """The width of the model's embeddings."""
        return self.embeddings.shape[1]

    def copy(self) -> SoftPrompt:
        """Return a prompt of the same values that can be trained apart from this one."""
        return SoftPrompt(self.embeddings, initialisation=self.initialisation, fingerprint=self.fingerprint)

    def check_fits(self, model: PreTrainedModel) -> None:
        """Refuse a model that the prompt is not for.

        Raises:
            CourseError: embeddings of another width, or other weights than the prompt was made for.
        """
        width = embedding_table(model).weight.shape[1]
        if self.width != width:
            raise CourseError(
                f"The prompt's rows are {self.width} wide, the model's embeddings {width}.",
                given=tuple(self.embeddings.shape),
                mend="Use the model that the prompt was trained with, or initialise a new prompt.",
            )
        if self.fingerprint is not None and not self.fingerprint.matches(model_fingerprint(model)):
            raise CourseError(
                f"The prompt was made for another model, {self.fingerprint.name}.",
                given=model_name(model),
                mend="Load that model, or initialise a new prompt for this one.",
            )

    def save(
        self,
        folder: Path | str,
        loaded: ModelAndTokenizer,
        *,
        name: str | None = None,
        more: Mapping[str, str] | None = None,
        task: Mapping[str, Any] | None = None,
    ) -> Path:
        """Save as a PEFT prompt-tuning adapter, which `PeftModel.from_pretrained` loads.

        Args:
            folder: where; an adapter that the course wrote there is replaced once the new one is whole.
            loaded: the model that the prompt is for.
            name: what to call the model in the files, such as its hub id; by default the name it was
                loaded by. A folder's place on this machine is not written down.
            more: further files by name, each a text.
            task: how texts were written for it, to be kept beside it.

        Returns:
            The folder.

        Raises:
            CourseError: the prompt is not for this model, or the folder holds something that the course did not
                write, or that was changed since.
        """
        check_path("folder", folder)
        a_model_and_tokenizer("loaded", loaded)
        self.check_fits(loaded.model)
        fingerprint = model_fingerprint(loaded.model, name=name)
        adapter = Adapter(self.embeddings, self.initialisation, fingerprint, task)
        write_adapter(Path(folder), adapter, more)
        return Path(folder)


@border(folder=check_path)
def load_soft_prompt(folder: Path | str, loaded: ModelAndTokenizer) -> SoftPrompt:
    """Load a prompt-tuning adapter that `SoftPrompt.save` or PEFT wrote.

    An adapter that PEFT wrote says nothing of the model's weights, so only its width is checked.

    Args:
        folder: the adapter's folder.
        loaded: the model that it is to be used with.

    Returns:
        The prompt, on the model's device.

    Raises:
        CourseError: no adapter, another kind of adapter, damaged files, or a prompt for another model.
    """
    adapter = read_adapter(Path(folder))
    rows = adapter.rows.to(loaded.model.device)
    prompt = SoftPrompt(rows, initialisation=adapter.initialisation, fingerprint=adapter.fingerprint)
    prompt.check_fits(loaded.model)
    return prompt


def _an_initialisation(name: str, value: Any) -> Initialisation:
    """Return a kind of initialisation; PEFT writes its names in capitals."""
    return check_choice("initialisation", value.lower() if isinstance(value, str) else value, INITIALISATIONS)


@border(kind=_an_initialisation)
def initialise(
    kind: Initialisation,
    loaded: ModelAndTokenizer,
    num_virtual_tokens: int | None = None,
    *,
    seed: Seed = 0,
    words: Text | None = None,
    prompt: SoftPrompt | Path | str | None = None,
) -> SoftPrompt:
    """Make a soft prompt.

    The kinds have PEFT's names (RANDOM, SAMPLE_VOCAB, TEXT) with two differences. PEFT's RANDOM draws from
    N(0, 1), which is about ten times as far from the origin as real rows; here each column has the mean and
    the standard deviation of the real rows'. PEFT's SAMPLE_VOCAB may draw special tokens, or a row twice.

    Args:
        kind: "random", "sample_vocab" (rows of randomly drawn ordinary tokens), "text" (rows of the tokens
            of `words`, repeated or cut to the length) or "pretrained" (a copy of `prompt`).
        loaded: the model that the prompt is for.
        num_virtual_tokens: number of rows; 20, or as many as `prompt` has.
        seed: of the draw, for "random" and "sample_vocab".
        words: a text, for "text" only.
        prompt: a prompt, or the folder of one, for "pretrained" only.

    Returns:
        The prompt, on the model's device.

    Raises:
        CourseError: an unknown kind, what the kind needs missing, what it does not take given, fewer
            ordinary tokens than rows, words of which all rows would be the same, a pre-trained prompt of
            another length or for another model.

    Source: Lester et al. 2021, section 3.2, for the kinds; Gu et al. 2022 for "pretrained".
    """
    for name, given, owner in (("words", words, "text"), ("prompt", prompt, "pretrained")):
        if (given is not None) != (kind == owner):
            raise CourseError(
                f"`{name}` goes with the initialisation '{owner}', and with that only.",
                given=f"kind={kind!r}, {name}={given!r}",
                mend=f"Give both, or neither: initialise('{owner}', …, {name}=…).",
            )
    if prompt is not None:
        return _pretrained(loaded, num_virtual_tokens, prompt)
    count = DEFAULT_NUM_VIRTUAL_TOKENS if num_virtual_tokens is None else num_virtual_tokens
    check_count("num_virtual_tokens", count, most=MOST_VIRTUAL_TOKENS)
    if kind == "text":
        rows, said = _rows_of_words(loaded, count, str(words)), f"text: {words}"
    elif kind == "sample_vocab":
        rows, said = _sampled_rows(loaded, count, seed), f"sample_vocab, seed {seed}"
    else:
        rows, said = _random_rows(loaded, count, seed), f"random, seed {seed}"
    return SoftPrompt(rows, initialisation=said, fingerprint=model_fingerprint(loaded.model))


def ordinary_token_ids(tokenizer: PreTrainedTokenizerBase, num_rows: int) -> list[int]:
    """Return the ids of all tokens that stand for text: no special tokens, no rows without a token.

    Args:
        tokenizer: the tokenizer.
        num_rows: rows of the model's embedding table.

    Returns:
        Token ids in rising order.
    """
    special = set(tokenizer.all_special_ids)
    special |= {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return sorted(number for number in set(tokenizer.get_vocab().values()) - special if number < num_rows)


def _embedded_rows(loaded: ModelAndTokenizer, ids: Sequence[int]) -> torch.Tensor:
    """Return the rows as the model reads them, with whatever scale its embedding layer applies."""
    table = embedding_table(loaded.model)
    with torch.no_grad():
        return table(torch.tensor(ids, device=table.weight.device)).float()


def _ordinary_ids(loaded: ModelAndTokenizer) -> list[int]:
    return ordinary_token_ids(loaded.tokenizer, embedding_table(loaded.model).weight.shape[0])


def _random_rows(loaded: ModelAndTokenizer, count: int, seed: int) -> torch.Tensor:
    real = _embedded_rows(loaded, _ordinary_ids(loaded))
    noise = torch.randn(count, real.shape[1], generator=torch.Generator().manual_seed(seed))
    return real.mean(dim=0) + real.std(dim=0) * noise.to(real.device)


def _sampled_rows(loaded: ModelAndTokenizer, count: int, seed: int) -> torch.Tensor:
    ids = _ordinary_ids(loaded)
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed)).tolist()
    # tokens that the model never met in training can share one row, so the rows must differ, not only the ids
    chosen: dict[bytes, torch.Tensor] = {}
    for place in order:
        row = _embedded_rows(loaded, [ids[place]])
        chosen.setdefault(row.cpu().numpy().tobytes(), row)
        if len(chosen) == count:
            return torch.cat(list(chosen.values()))
    raise CourseError(
        f"The vocabulary has only {len(chosen)} different rows of ordinary tokens.",
        given=f"num_virtual_tokens={count}",
        mend="Use fewer virtual tokens, or the initialisation 'random'.",
    )


def _rows_of_words(loaded: ModelAndTokenizer, count: int, words: str) -> torch.Tensor:
    ids = list(loaded.tokenizer(words, add_special_tokens=False)["input_ids"])
    if not ids or (count > 1 and len(set(ids)) == 1):
        raise CourseError(
            "These words have no token." if not ids else "Every row would begin as the same vector.",
            given=words,
            mend="Give a sentence, such as what the task asks.",
        )
    repeated = ids * math.ceil(count / len(ids))
    return _embedded_rows(loaded, repeated[:count])


def _pretrained(
    loaded: ModelAndTokenizer, num_virtual_tokens: int | None, prompt: SoftPrompt | Path | str
) -> SoftPrompt:
    if not isinstance(prompt, SoftPrompt):
        check_path("prompt", prompt)
    given = prompt.copy() if isinstance(prompt, SoftPrompt) else load_soft_prompt(prompt, loaded)
    given.check_fits(loaded.model)
    if num_virtual_tokens not in (None, given.num_virtual_tokens):
        raise CourseError(
            f"The pre-trained prompt has {given.num_virtual_tokens} rows.",
            given=f"num_virtual_tokens={num_virtual_tokens}",
            mend="Leave num_virtual_tokens out.",
        )
    return given
