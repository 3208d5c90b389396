"""A pair of features measured over several sets: shared among processes, and going on after a stop."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset

from course_lib.checks.calls import border, optional
from course_lib.checks.types import Count
from course_lib.checks.values import check_count, check_path
from course_lib.icl.experiments.measuring import draw_set, measure_set, steer_between
from course_lib.icl.experiments.rows import BiasRow, SetRow
from course_lib.icl.hypotheses import HYPOTHESES, Hypothesis
from course_lib.icl.interventions import Direction, InterventionKind
from course_lib.icl.scorers.prefix_cached import find_scorer
from course_lib.icl.scorers.scorer import Scorer
from course_lib.icl.tuning.records import seen_by, unseen_texts
from course_lib.icl.underspecified import UnderspecifiedPool
from course_lib.locations import cache_folder
from course_lib.models.fingerprint import weights_hash
from course_lib.models.loaded import ModelSource, floating_dtype
from course_lib.runs.hardware import choose_device
from course_lib.runs.journal import Journal
from course_lib.runs.records import package_versions


@border(journal=optional(check_path))
def measure_pair(
    model_source: ModelSource,
    texts: Dataset,
    h1: Hypothesis | str,
    h2: Hypothesis | str,
    kind: InterventionKind | None = None,
    direction: Direction | None = None,
    *,
    beside: Sequence[ModelSource] = (),
    num_sets: Count = 3,
    batch_size: Count = 16,
    dtype: str | None = None,
    device: str | None = None,
    journal: Path | None = None,
    progress: bool = False,
    **sizes: Any,
) -> list[BiasRow]:
    """Measures a pair over several sets; processes started by a launcher share the sets among them.

    Everything but the model is checked before the model is loaded.

    Args:
        model_source: "embedded", a folder, or a hub id.
        texts: rows that both hypotheses can read.
        h1: the first hypothesis, or its name.
        h2: the second.
        kind: an intervention, or None.
        direction: "h1" or "h2", where the intervention steers to.
        beside: models that this one is compared with: what they or this one were tuned on is left out.
        num_sets: sets of demonstrations.
        batch_size: test items at a time.
        dtype: "float32" (the default), "bfloat16" or "float16". Small differences between labels are rounded
            away: measure in float32.
        device: see `choose_device`.
        journal: a file that keeps every finished set, so that a stopped run goes on where it was. Sets of other
            weights, texts, settings or package versions in it are not taken.
        progress: whether to show progress bars.
        **sizes: num_demonstrations, test_size and seed of `draw_set`.

    Returns:
        The rows of `measure_set`, with a column model, for every set, in their order, in every process.

    Raises:
        CourseError: as `unseen_texts`, `UnderspecifiedPool` and `measure_set`.
    """
    if "test_size" in sizes:
        check_count("test_size", sizes["test_size"])
    floating_dtype("float32" if dtype is None else dtype)
    choose_device(device)
    pool = UnderspecifiedPool(unseen_texts(texts, seen_by([model_source, *beside])), h1, h2)
    steer_between(pool, kind, direction)
    for number in range(num_sets):
        draw_set(pool, number, **sizes)
    processes = _launched_processes()
    scorer = find_scorer(model_source, batch_size, dtype, device)
    settings = {"kind": kind, "direction": direction, "batch_size": batch_size, **sizes}
    finished = Journal(journal, {**settings, **_inputs(scorer, pool)}) if journal else None
    rows: list[SetRow] = []
    for number in own_share(num_sets, processes.process_index, processes.num_processes):
        rows += _finished_set(
            finished, scorer, pool, number, kind=kind, direction=direction, progress=progress, **sizes
        )
    gathered: list[SetRow] = gather_object(rows)
    named: list[BiasRow] = [{"model": model_source, **row} for row in gathered]
    return sorted(named, key=lambda row: row["set"])


def journal_of(out: Path) -> Path:
    """Returns the journal of a run whose results go to a file: in the cache, one for each such place."""
    name = hashlib.sha256(os.fsencode(out.absolute())).hexdigest()[:16]
    return cache_folder() / "runs" / f"bias-{name}.jsonl"


def _finished_set(
    journal: Journal | None, scorer: Scorer, pool: UnderspecifiedPool, number: int, **options: Any
) -> list[SetRow]:
    """Measures a set, unless the journal has it, and writes it down there."""
    task = {"set": number}
    entry = journal.find(task) if journal else None
    if entry is not None:
        return cast(list[SetRow], entry["rows"])
    started = time.perf_counter()
    rows = measure_set(scorer, pool, number, **options)
    if journal:
        journal.append(task, rows, time.perf_counter() - started)
    return rows


def _inputs(scorer: Scorer, pool: UnderspecifiedPool) -> dict[str, Any]:
    """Names everything besides the settings that the scores depend on."""
    model, tokenizer = getattr(scorer, "model", None), getattr(scorer, "tokenizer", None)
    return {
        "h1": pool.h1.name,
        "h2": pool.h2.name,
        **_own_hypotheses(pool),
        "weights": weights_hash(model) if model is not None else type(scorer).__name__,
        "device": str(model.device) if model is not None else "",
        "vocabulary": _hash_of(tokenizer.get_vocab()) if tokenizer is not None else "",
        "texts": _hash_of(pool.texts.to_dict()),
        "versions": package_versions(),
    }


def _own_hypotheses(pool: UnderspecifiedPool) -> dict[str, Any]:
    """Names what hypotheses of one's own say and how they label; a registered one is known by its name."""
    own = [one for one in (pool.h1, pool.h2) if HYPOTHESES.get(one.name) is not one]
    if not own:
        return {}
    wordings = [[one.task, one.clauses, one.label_words, one.question] for one in own]
    return {"hypotheses": _hash_of([wordings, [rows for _, rows in sorted(pool.cells.items())]])}


def _hash_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@border(count=partial(check_count, least=0), process_index=partial(check_count, least=0))
def own_share(count: int, process_index: int, num_processes: Count) -> range:
    """Returns the numbers below `count` that are this process's: each number is one process's, whatever the counts.

    Accelerate's own `split_between_processes` gave the last element to every idle process until 1.14.

    Args:
        count: how many things are shared.
        process_index: which process this is, from 0.
        num_processes: how many there are.

    Example:
        >>> [list(own_share(5, index, 3)) for index in range(3)]
        [[0, 3], [1, 4], [2]]
    """
    check_count("process_index", process_index, least=0, most=num_processes - 1)
    return range(process_index, count, num_processes)


def _launched_processes() -> PartialState:
    """Joins the processes that a launcher started, if one did.

    Where there is no GPU, Accelerate must be told to join them on the CPU: each would else take itself for
    the only one, measure every set, and write the file.
    """
    # without a launcher the choice of the device is left to whoever trains in this process later
    return PartialState(cpu="LOCAL_RANK" in os.environ and not torch.cuda.is_available())
