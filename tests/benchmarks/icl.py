"""In-context learning: two labels scored behind 16 shared demonstrations, beside whole prompts and two peers."""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import requests
import torch

from course_lib.icl.calibration import decide
from course_lib.icl.experiments.pooling import bias_texts
from course_lib.icl.hypotheses import find_hypothesis
from course_lib.icl.prompting import prompt_for
from course_lib.icl.scorers.endpoint import EndpointScorer
from course_lib.icl.scorers.naive import NaiveScorer
from course_lib.icl.scorers.prefix_cached import PrefixCachedScorer
from course_lib.icl.underspecified import underspecified_split
from course_lib.models import ModelAndTokenizer, count_parameters, load_language_model
from course_lib.prompts.verbalizers import text_ids
from course_lib.runs.hardware import has_native_bfloat16, machine_sentence
from tests.benchmarks.timing import matrix_rate
from tests.icl.scorers.llama_server import llama_server

NUM_ITEMS = 1200
NUM_WHOLE = 64  # items for the rivals that take a second and more for each
NUM_BFLOAT16 = 256  # where the processor computes in it; elsewhere as many as of whole prompts
NUM_DEMONSTRATIONS = 16
ROUNDS = 8
BATCH_SIZE = 16
WHOLE_BATCH_SIZE = 8
OURS, BFLOAT16, NAIVE = "`PrefixCachedScorer`", "`PrefixCachedScorer`, bfloat16", "`NaiveScorer`"
HARNESS, LLAMA_CPP = "lm-evaluation-harness, HF backend", "llama.cpp server, prompt cache"
RIVALS = (OURS, NAIVE, HARNESS, LLAMA_CPP, BFLOAT16)
CACHED = (OURS, BFLOAT16)


class Prompts(NamedTuple):
    """A prefix, the items behind it from the longest to the shortest, and the label words."""

    prefix: str
    items: list[str]
    label_words: tuple[str, ...]


@dataclass
class Rival:
    """Something that scores items behind the one prefix, and counts the tokens that it reads."""

    score: Callable[[Sequence[str]], np.ndarray]
    num_tokens: Callable[[], int]
    process: int | str = "self"


@dataclass
class Measured:
    """What a rival took, and what it gave for each item."""

    seconds: float = 0.0
    num_tokens: int = 0
    values: dict[str, np.ndarray] = field(default_factory=dict)

    def over(self, items: Sequence[str]) -> np.ndarray:
        """Give the log-probabilities of some items, [n, 2]."""
        return np.stack([self.values[item] for item in items])


# --- the prompts -----------------------------------------------------------------------------------


def real_prompts(num_items: int) -> Prompts:
    """Give movie and product sentences behind demonstrations, as the course measures biases with."""
    h1, h2 = find_hypothesis("sentiment"), find_hypothesis("sentiment.domain")
    texts = bias_texts(h1.name, h2.name)
    (split,) = underspecified_split(texts, h1, h2, NUM_DEMONSTRATIONS, num_items, num_sets=1, seed=0)
    prompt = prompt_for("sentiment")
    prefix = prompt.prefix(list(split.demonstrations), split.demonstration_labels)
    items = sorted((prompt.item(row) for row in split.test), key=len, reverse=True)
    return Prompts(prefix, items, prompt.continuations)


def evenly(items: Sequence[str], number: int) -> list[str]:
    """Take some items at even distances, so that their lengths are distributed as all are."""
    places = np.linspace(0, len(items) - 1, min(number, len(items))).round().astype(int)
    return [items[place] for place in places]


def chunks(items: Sequence[str], batch_size: int) -> list[list[str]]:
    """Cut items, in their order, into a part for each round, in whole batches as one call would make them."""
    batches = [items[start : start + batch_size] for start in range(0, len(items), batch_size)]
    parts = np.array_split(np.arange(len(batches)), ROUNDS)
    return [[item for number in part for item in batches[number]] for part in parts]


# --- the rivals ------------------------------------------------------------------------------------


def token_counter(model: Any) -> Callable[[], int]:
    """Count the tokens, padding with them, that go into a model from now on."""
    total = [0]

    def count(_: Any, inputs: tuple[torch.Tensor, ...], __: Any) -> None:
        total[0] += inputs[0].numel()

    model.get_input_embeddings().register_forward_hook(count)
    return lambda: total[0]


def cached_rival(language_model: ModelAndTokenizer, prompts: Prompts, dtype: str | None) -> Rival:
    scorer = PrefixCachedScorer(*language_model, batch_size=BATCH_SIZE, dtype=dtype)
    # another prefix warms up: computing the prompts' own is part of what is timed
    scorer.log_probabilities("Input: a Label: 0", prompts.items[-2:], prompts.label_words, progress=False)
    return Rival(
        lambda items: scorer.log_probabilities(prompts.prefix, items, prompts.label_words, progress=False),
        token_counter(scorer.model),
    )


def naive_rival(language_model: ModelAndTokenizer, prompts: Prompts) -> Rival:
    scorer = NaiveScorer(*language_model, batch_size=WHOLE_BATCH_SIZE)

    def score(items: Sequence[str]) -> np.ndarray:
        return scorer.log_probabilities(prompts.prefix, items, prompts.label_words, progress=False)

    score(prompts.items[-1:])
    return Rival(score, token_counter(language_model.model))


def harness_rival(language_model: ModelAndTokenizer, prompts: Prompts) -> Rival:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    harness = HFLM(
        pretrained=language_model.model, tokenizer=language_model.tokenizer, batch_size=WHOLE_BATCH_SIZE
    )

    def score(items: Sequence[str]) -> np.ndarray:
        pairs = [(prompts.prefix + item, word) for item in items for word in prompts.label_words]
        asked = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
        found = harness.loglikelihood(asked, disable_tqdm=True)
        return np.array([value for value, _ in found]).reshape(len(items), -1)

    score(prompts.items[-1:])
    return Rival(score, token_counter(language_model.model))


@contextlib.contextmanager
def llama_cpp_rival(prompts: Prompts) -> Iterator[Rival]:
    """Give the server, one item at a time, with as many threads as torch takes and the prefix in its cache."""
    with (
        llama_server(num_threads=torch.get_num_threads()) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        scorer = EndpointScorer(
            server.url,
            "embedded",
            space_in_prompt=True,
            top_logprobs=100,
            num_threads=1,
            timeout=300.0,
            journal=Path(folder) / "journal.jsonl",
        )

        def score(items: Sequence[str]) -> np.ndarray:
            return scorer.log_probabilities(prompts.prefix, items, prompts.label_words, progress=False)

        def num_tokens() -> int:
            lines = requests.get(f"{server.url}/metrics", timeout=60).text.splitlines()
            (line,) = [line for line in lines if line.startswith("llamacpp:prompt_tokens_total")]
            return int(float(line.split()[1]))

        score(["\n\nInput: An item of no set. Label:"])
        yield Rival(score, num_tokens, process=server.pid)


@contextlib.contextmanager
def open_rival(name: str, language_model: ModelAndTokenizer | None, prompts: Prompts) -> Iterator[Rival]:
    """Make a rival ready, warmed up; the model is not needed for the one that brings its own."""
    if language_model is None:
        with llama_cpp_rival(prompts) as rival:
            yield rival
    elif name in CACHED:
        yield cached_rival(language_model, prompts, "bfloat16" if name == BFLOAT16 else None)
    elif name == NAIVE:
        yield naive_rival(language_model, prompts)
    else:
        yield harness_rival(language_model, prompts)


# --- measuring -------------------------------------------------------------------------------------


def items_of(prompts: Prompts, num_whole: int) -> dict[str, list[str]]:
    """Give what each rival scores, the longest first; every rival has the items of whole prompts."""
    whole = evenly(prompts.items, num_whole)
    more = {*whole, *evenly(prompts.items, NUM_BFLOAT16 if has_native_bfloat16("cpu") else 0)}
    return {
        **dict.fromkeys(RIVALS, whole),
        OURS: prompts.items,
        BFLOAT16: [item for item in prompts.items if item in more],
    }


def take_turns(prompts: Prompts, items: dict[str, list[str]]) -> tuple[dict[str, Measured], float]:
    """Let every rival score a part of its items in each round, so that a busy moment hits all of them.

    Returns:
        What was measured for each rival, and the matrix rate, the median over the rounds.
    """
    language_model = load_language_model()
    measured = {name: Measured() for name in RIVALS}
    rates = []
    with contextlib.ExitStack() as stack:
        rivals, parts = {}, {}
        for name in RIVALS:
            model = None if name == LLAMA_CPP else language_model
            rivals[name] = stack.enter_context(open_rival(name, model, prompts))
            parts[name] = chunks(items[name], BATCH_SIZE if name in CACHED else WHOLE_BATCH_SIZE)
        for number in range(ROUNDS):
            for name, rival in rivals.items():
                score_part(rival, parts[name][number], measured[name])
            rates.append(matrix_rate())
    return measured, statistics.median(rates)


def score_part(rival: Rival, items: Sequence[str], measured: Measured) -> None:
    if not items:
        return
    tokens = rival.num_tokens()
    started = time.perf_counter()
    values = rival.score(items)
    measured.seconds += time.perf_counter() - started
    measured.num_tokens += rival.num_tokens() - tokens
    measured.values.update(zip(items, values, strict=True))


def peak_memory(name: str, prompts: Prompts, num_items: int) -> float:
    """Score the longest items with one rival in this process, and give its peak memory in MiB.

    llama.cpp's is that of the server.
    """
    language_model = None if name == LLAMA_CPP else load_language_model()
    with open_rival(name, language_model, prompts) as rival:
        rival.score(prompts.items[:num_items])
        status = Path(f"/proc/{rival.process}/status")
        if status.is_file():  # on Linux `ru_maxrss` takes over the peak of the process that started this one
            (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
            return int(line.split()[1]) / 1024
    if rival.process != "self":
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def peak_memories(prompts: Prompts, num_items: int = BATCH_SIZE) -> dict[str, float]:
    """Measure each rival in a process of its own: a peak never falls again."""
    context = multiprocessing.get_context("spawn")
    memory = {}
    for name in RIVALS:
        with context.Pool(1) as pool:
            memory[name] = pool.apply(peak_memory, (name, prompts, num_items))
    return memory


def over_labels(log_probabilities: np.ndarray) -> np.ndarray:
    """Make the labels' probabilities sum to 1."""
    return log_probabilities - np.logaddexp.reduce(log_probabilities, axis=1, keepdims=True)


def largest_difference(name: str, measured: dict[str, Measured], items: Sequence[str]) -> float:
    """Give how far a rival's log-probabilities are from those of whole prompts."""
    ours, naive = measured[name].over(items), measured[NAIVE].over(items)
    if name == LLAMA_CPP:  # scores the digit behind the space, the others both
        ours, naive = over_labels(ours), over_labels(naive)
    return float(np.abs(ours - naive).max())


def changed_predictions(measured: dict[str, Measured], items: Sequence[str], calibration: str) -> float:
    """Give the share of items that bfloat16 answers otherwise than float32."""
    full, low = (decide(measured[name].over(items), calibration).predictions for name in (OURS, BFLOAT16))
    return float((full != low).mean())


# --- the table -------------------------------------------------------------------------------------


def table(num_items: int = NUM_ITEMS, num_whole: int = NUM_WHOLE) -> str:
    """Measure every rival, and give the table.

    Args:
        num_items: items for the scorers that share the prefix.
        num_whole: how many of them the others score.
    """
    prompts = real_prompts(num_items)
    items = items_of(prompts, num_whole)
    measured, rate = take_turns(prompts, items)
    memory = peak_memories(prompts, min(BATCH_SIZE, num_whole))
    model, tokenizer = load_language_model()
    weights = count_parameters(model) - model.get_input_embeddings().weight.numel()
    naive = measured[NAIVE].seconds / len(items[NAIVE])
    lines = [
        "| scorer | items | items a second | ms an item | times as fast as whole prompts | peak memory "
        "| largest difference | share of the matrix rate |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in measured.items():
        number = len(found.values)
        seconds = found.seconds / number
        share = 2 * weights * found.num_tokens / found.seconds / rate
        difference = "" if name == NAIVE else f"{largest_difference(name, measured, items[NAIVE]):.1g}"
        lines.append(
            f"| {name} | {number:,} | {1 / seconds:.2f} | {1000 * seconds:,.0f} | {naive / seconds:.1f} "
            f"| {memory[name]:,.0f} MiB | {difference} | {100 * share:.0f} % |"
        )
    prefix_length = len(text_ids(tokenizer, [prompts.prefix])[0])
    item_length = np.mean([len(ids) for ids in text_ids(tokenizer, prompts.items)])
    changed = {kind: changed_predictions(measured, items[BFLOAT16], kind) for kind in ("none", "median")}
    return "\n".join([*lines, "", _notes(prefix_length, item_length, rate, changed)])


def _notes(prefix_length: int, item_length: float, rate: float, changed: dict[str, float]) -> str:
    return (
        f"Labels 0 and 1 behind {NUM_DEMONSTRATIONS} demonstrations, a prefix of {prefix_length:,} tokens, "
        f"{item_length:.0f} tokens an item; float32 on {torch.get_num_threads()} threads (matrix rate "
        f"{rate / 1e9:.0f} GFLOP/s) unless it says otherwise. The rivals take turns in {ROUNDS} rounds; our "
        "prefix pass is counted, llama.cpp's is not. Its wheel is built for every x86-64 processor, not for "
        "this one. The difference is the largest between natural "
        "log-probabilities and those of whole prompts, on the same items; for llama.cpp, whose weights have 4 "
        "bits, both renormalised over the two labels. Its share is that of the float32 rate too. Work is "
        "counted as 2 operations for each weight outside the embeddings and each token read, padding "
        "included: the harness computes the logits of the whole vocabulary at every position, which this "
        "leaves out. Peak memory is of a process of its own, on the longest items; for "
        "bfloat16 the float32 model stays beside its copy. In bfloat16 "
        f"{100 * changed['none']:.1f} % of the raw answers change, and {100 * changed['median']:.1f} % of "
        f"those at the median. {machine_sentence()}"
    )
