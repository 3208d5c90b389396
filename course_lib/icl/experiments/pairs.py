"""A pair of features measured over several sets: shared among processes, and going on after a stop."""

from __future__ import annotations

import hashlib
import json
import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course_lib.checks import border, check_count
from course_lib.icl.experiments.measuring import DrawnSets, draw_sets, find_scorer, measure_drawn
from course_lib.icl.scorers.local import Scorer
from course_lib.locations import cache_folder
from course_lib.models import floating_dtype
from course_lib.models.fingerprint import weights_hash
from course_lib.runs import Journal, package_versions

if TYPE_CHECKING:
    from accelerate import PartialState
    from datasets import Dataset


def measure_pair(
    model: str,
    texts: Dataset,
    h1: str,
    h2: str,
    kind: str | None = None,
    direction: str | None = None,
    *,
    num_sets: int = 3,
    batch_size: int = 16,
    dtype: str | None = None,
    device: str | None = None,
    journal: Path | None = None,
    progress: bool = False,
    **sizes: Any,
) -> list[dict[str, Any]]:
    """Measure a pair over several sets; processes started by a launcher share the sets among them.

    Everything but the model is checked before the model is loaded.

    Args:
        model: "embedded", a folder, or a hub id.
        texts: rows that both hypotheses can read.
        h1: name of the first hypothesis.
        h2: name of the second.
        kind: an intervention, or None.
        direction: "h1" or "h2", where the intervention steers to.
        num_sets: sets of demonstrations.
        batch_size: test items at a time.
        dtype: "float32" (the default), "bfloat16" or "float16". Small differences between labels are rounded
            away: measure in float32.
        device: see `choose_device`.
        journal: a file that keeps every finished set, so that a stopped run goes on where it was. Sets of other
            weights, texts, settings or package versions in it are not taken.
        progress: whether to show progress bars.
        **sizes: num_demonstrations, test_size and seed of `draw_sets`.

    Returns:
        The rows of `measure_set`, with a column model, for every set, in their order, in every process.

    Raises:
        CourseError: as `draw_sets` and `measure_set`.
    """
    from accelerate.utils import gather_object

    check_count("num_sets", num_sets)
    check_count("batch_size", batch_size)
    if "test_size" in sizes:
        check_count("test_size", sizes["test_size"])
    floating_dtype(dtype or "float32")
    drawn = draw_sets(texts, h1, h2, num_sets, kind, direction, **sizes)
    processes = _launched_processes()
    scorer = find_scorer(model, batch_size, dtype, device)
    settings = {"h1": h1, "h2": h2, "kind": kind, "direction": direction, "batch_size": batch_size, **sizes}
    finished = Journal(journal, {**settings, **_inputs(scorer, texts)}) if journal else None
    rows = []
    for number in own_share(num_sets, processes.process_index, processes.num_processes):
        rows += _finished_set(finished, scorer, drawn, number, progress=progress)
    named = [{"model": model, **row} for row in gather_object(rows)]
    return sorted(named, key=lambda row: int(row["set"]))


def journal_of(out: Path) -> Path:
    """Give the journal of a run whose results go to a file: in the cache, one for each such place."""
    name = hashlib.sha256(os.fsencode(out.absolute())).hexdigest()[:16]
    return cache_folder() / "runs" / f"bias-{name}.jsonl"


def _finished_set(
    journal: Journal | None, scorer: Scorer, drawn: DrawnSets, number: int, *, progress: bool
) -> list[dict[str, Any]]:
    """Measure a set, unless the journal has it, and write it down there."""
    task = {"set": number}
    entry = journal.find(task) if journal else None
    if entry is not None:
        return entry["rows"]
    started = time.perf_counter()
    rows = measure_drawn(scorer, drawn, number, progress=progress)
    if journal:
        journal.append(task, rows, time.perf_counter() - started)
    return rows


def _inputs(scorer: Scorer, texts: Dataset) -> dict[str, Any]:
    """Name everything besides the settings that the scores depend on."""
    model, tokenizer = getattr(scorer, "model", None), getattr(scorer, "tokenizer", None)
    return {
        "weights": weights_hash(model) if model is not None else type(scorer).__name__,
        "device": str(model.device) if model is not None else "",
        "vocabulary": _hash_of(tokenizer.get_vocab()) if tokenizer is not None else "",
        "texts": _hash_of(texts.to_dict()),
        "versions": package_versions(),
    }


def _hash_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@border(
    count=partial(check_count, least=0),
    process_index=partial(check_count, least=0),
    num_processes=check_count,
)
def own_share(count: int, process_index: int, num_processes: int) -> range:
    """Give the numbers below `count` that are this process's: each number is one process's, whatever the counts.

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
    """Join the processes that a launcher started, if one did.

    Where there is no GPU, Accelerate must be told to join them on the CPU: each would else take itself for
    the only one, measure every set, and write the file.
    """
    import torch
    from accelerate import PartialState

    # without a launcher the choice of the device is left to whoever trains in this process later
    return PartialState(cpu="LOCAL_RANK" in os.environ and not torch.cuda.is_available())
