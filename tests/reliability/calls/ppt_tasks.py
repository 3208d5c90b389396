"""Right calls of `course_lib.ppt`'s tasks, few-shot runs and shipped prompts, on a tiny language model."""

from __future__ import annotations

from typing import Any

from datasets import Dataset

from course_lib.ppt import examples, label_scoring
from course_lib.ppt.fewshot import methods, pilot, run, splits, tuning
from course_lib.ppt.patterns import Pattern
from course_lib.ppt.pretraining import evaluation, labeller, probing, shipped, tasks
from course_lib.prompts.verbalizers import LabelIds
from tests.ppt.tiny import VERBALIZERS, tiny_examples
from tests.reliability import _wrong_values as wrong
from tests.reliability.calls.models import SOURCE
from tests.reliability.calls.ppt import SETTINGS, TWO, model, prompt
from tests.reliability.fuzz import Call

COUNT, SEED, TASK = wrong.count(), wrong.seed, wrong.name
DTYPE = wrong.optional(wrong.name)
MODEL = wrong.optional(wrong.thing)
# a row without an accuracy is left out
LEFT_OUT = tuple(f"accuracy: {what}" for what in ("None", "NaN", "NaN of NumPy", "bool"))


def calls() -> list[Call]:
    """Return the calls."""
    return [*_few_shot_calls(), *_pilot_calls(), *_corpus_calls(), *_scoring_calls(), *_shipped_calls()]


def _labelled() -> Dataset:
    return Dataset.from_dict(
        {
            "text": [f"w{10 + number}" for number in range(24)],
            "label": [0, 1] * 12,
            "group": [str(number) for number in range(24)],
        }
    )


def _few_shot_calls() -> list[Call]:
    def no_label(right: Dataset) -> wrong.Wrong:
        rest = right.remove_columns("label")
        yield "null among the labels", rest.add_column("label", [0, 1] * 11 + [0, None])
        yield "one class alone", rest.add_column("label", [1] * 24)

    sizes = {"num_train": 4, "num_development": 4, "num_test": 4}
    size_kinds = dict.fromkeys(sizes, wrong.count(least=2, most=24))
    return [
        Call(
            splits.few_shot_split,
            lambda: {"texts": _labelled(), "seed": 0, **sizes},
            {
                "texts": wrong.either(wrong.dataset("label", "group"), no_label, without=()),
                "seed": SEED,
                **size_kinds,
            },
        ),
        Call(
            methods.FewShotMethod,
            lambda: {"name": "mine", "kind": "soft", "initialisation": "random", "unified": False},
            {
                "name": wrong.text,
                "kind": wrong.name,
                "initialisation": wrong.either(wrong.name, without=()),
                "unified": wrong.flag,
            },
        ),
        Call(methods.learning_rates, lambda: {"method": "PPT"}, {"method": wrong.name}),
        Call(
            run.few_shot_run,
            lambda: {
                "task": "movie",
                "method": "prompt tuning",
                "seed": 0,
                "learning_rate": 0.01,
                "num_updates": 1,
                **sizes,
                "batch_size": 2,
                "evaluate_every": 1,
                "num_virtual_tokens": 100_000,
                "prompt_folder": None,
                "words": ["w5", "w6"],
                "template": "{soft}{text} It was",
                "dtype": None,
                "model_source": "embedded",
                "loaded": model(),
                "read_test": False,
                "progress": False,
            },
            {
                "task": TASK,
                "method": wrong.name,
                "seed": SEED,
                "learning_rate": wrong.number(above=0),
                "num_updates": COUNT,
                **size_kinds,
                "batch_size": COUNT,
                "evaluate_every": COUNT,
                "num_virtual_tokens": wrong.optional(COUNT),
                "prompt_folder": wrong.optional(wrong.path),
                "words": wrong.optional(wrong.texts(least=2, empty_ok=False)),
                "template": wrong.optional(wrong.filled_text),
                "dtype": DTYPE,
                "model_source": SOURCE,
                "loaded": MODEL,
                "read_test": wrong.flag,
                "progress": wrong.flag,
            },
            refused=True,
        ),
        Call(
            tuning.finetune_language_model,
            lambda: {
                "loaded": model(),
                "examples": tiny_examples(4),
                "verbalizer": VERBALIZERS["one token"],
                "settings": SETTINGS,
                "development": tiny_examples(2),
                "progress": False,
            },
            {
                "loaded": wrong.thing,
                "examples": wrong.number_columns("label", kind=wrong.count(least=0, most=2)),
                "verbalizer": wrong.thing,
                "settings": wrong.thing,
                "development": wrong.number_columns("label", kind=wrong.count(least=0, most=2)),
                "progress": wrong.flag,
            },
        ),
    ]


def _pilot_calls() -> list[Call]:
    found = {"method": "prompt tuning", "options": {}, "seed": 0, "accuracy": 0.5}
    compared = {"finding": "f", "variant": "v", "seed": 0, "accuracy": 0.5}
    return [
        Call(
            pilot.pilot_rows,
            lambda: {"rows": [found], "variants": pilot.pilot_variants(16, 2)},
            {"rows": wrong.rows("method", "options"), "variants": wrong.list_of(wrong.thing)},
        ),
        Call(
            pilot.pilot_differences,
            lambda: {"rows": [compared, {**compared, "seed": 1}]},
            {
                "rows": wrong.either(
                    wrong.rows("finding", "variant", "seed"),
                    wrong.either(wrong.number_columns("accuracy"), without=LEFT_OUT),
                )
            },
        ),
        Call(
            pilot.pilot_run,
            lambda: {
                "method": "prompt tuning",
                "seed": 0,
                "learning_rate": 0.01,
                "options": {"num_train": 1},
            },
            {
                "method": wrong.name,
                "seed": SEED,
                "learning_rate": wrong.number(above=0),
                "options": wrong.either(wrong.thing, without=("mapping",)),
            },
            refused=True,
        ),
    ]


def _corpus_calls() -> list[Call]:
    drawn = lambda: {
        "task": "pair",
        "split": "train",
        "num_examples": 4,
        "tokenizer": model().tokenizer,
        "seed": 0,
        "max_options": None,
        "max_tokens": 30,
        "num_reviews": 5,
        "labelled": None,
    }
    kinds = {
        "task": TASK,
        "split": wrong.name,
        "num_examples": COUNT,
        "tokenizer": wrong.thing,
        "seed": SEED,
        "max_options": wrong.optional(wrong.count(least=2, most=16)),
        "max_tokens": wrong.optional(COUNT),
        "num_reviews": COUNT,
        "labelled": MODEL,
    }
    pattern = Pattern("own", "{text} It was", TWO)
    label = wrong.count(least=0, most=1)
    return [
        Call(tasks.pretraining_rows, drawn, kinds, slow=True),
        Call(
            tasks.pretraining_examples,
            lambda: {**drawn(), "kinds": ["hybrid"]},
            {**kinds, "kinds": wrong.list_of(wrong.name)},
            slow=True,
        ),
        Call(
            examples.write_examples,
            lambda: {"rows": [{"text": "Fine.", "label": 1}], "patterns": [pattern]},
            {
                "rows": wrong.either(wrong.rows("text", "label"), wrong.number_columns("label", kind=label)),
                "patterns": wrong.list_of(wrong.thing),
            },
        ),
        Call(
            labeller.train_labeller,
            lambda: {
                "texts": _of_domain("movie"),
                "heldout": _of_domain("tweets"),
                "downstream": "movie",
                "settings": None,
                "model_source": "embedded",
                "progress": False,
            },
            {
                "texts": wrong.dataset("text", "label", "domain"),
                "heldout": wrong.dataset("text", "label", "domain"),
                "downstream": wrong.either(wrong.name, without=("list of it",)),
                "settings": MODEL,
                "model_source": SOURCE,
                "progress": wrong.flag,
            },
            refused=True,
        ),
    ]


def _of_domain(domain: str) -> Dataset:
    return Dataset.from_dict({"text": ["a", "b"], "label": [0, 4], "domain": [domain] * 2})


def _scoring_calls() -> list[Call]:
    batch = lambda: label_scoring.make_label_batch([LabelIds([7, 8], [[5], [6]])])
    return [
        Call(
            label_scoring.label_scores,
            lambda: {"model": model().model, "prompt": prompt(), "batch": batch(), "share_prefix": True},
            {
                "model": wrong.thing,
                "prompt": wrong.optional(wrong.thing),
                "batch": wrong.thing,
                "share_prefix": wrong.optional(wrong.flag),
            },
        ),
    ]


def _shipped_calls() -> list[Call]:
    measured: dict[str, Any] = {
        "num_test": 2,
        "num_development": 2,
        "model_source": "embedded",
        "dtype": None,
    }
    kinds: dict[str, wrong.Kind] = {
        "num_test": COUNT,
        "num_development": COUNT,
        "model_source": SOURCE,
        "dtype": DTYPE,
    }
    return [
        Call(shipped.shipped_folder, lambda: {"task": "pair"}, {"task": TASK}),
        Call(shipped.shipped_training, lambda: {"task": "pair"}, {"task": TASK}),
        Call(
            shipped.read_training,
            lambda: {"folder": shipped.shipped_folder("pair")},
            {"folder": wrong.path},
        ),
        Call(
            shipped.prompt_version,
            lambda: {"folder": shipped.shipped_folder("pair")},
            {"folder": wrong.path},
        ),
        Call(
            evaluation.evaluate_shipped,
            lambda: {
                "folder": "./no such folder",
                "task_names": ["pair"],
                **measured,
                "num_workers": None,
                "progress": False,
            },
            {
                "folder": wrong.optional(wrong.path),
                "task_names": wrong.list_of(wrong.name),
                **kinds,
                "num_workers": wrong.optional(COUNT),
                "progress": wrong.flag,
            },
            refused=True,
        ),
        Call(
            evaluation.evaluate_task,
            lambda: {"task": "pair", "folder": "./no such folder", **measured, "loaded": model()},
            {"task": TASK, "folder": wrong.path, **kinds, "loaded": MODEL},
            refused=True,
        ),
        Call(
            shipped.pretrain_task,
            lambda: {
                "task": "pair",
                "folder": "/proc/nowhere/prompt",
                "num_steps": 1,
                "kinds": ["hybrid"],
                "progress": False,
            },
            {
                "task": TASK,
                "folder": wrong.optional(wrong.path),
                "num_steps": COUNT,
                "batch_size": COUNT,
                "learning_rate": wrong.number(above=0),
                "num_virtual_tokens": COUNT,
                "kinds": wrong.list_of(wrong.name),
                "initialisation": wrong.name,
                "seed": SEED,
                "num_reviews": COUNT,
                "num_held_out": COUNT,
            },
            refused=True,
        ),
        Call(
            probing.probe_task,
            lambda: {
                "task": "pair",
                "layers": [99],
                "num_train": 8,
                "num_test": 2,
                "seed": 0,
                "model_source": "embedded",
                "dtype": None,
                "loaded": model(),
                "labelled": None,
            },
            {
                "task": TASK,
                "layers": wrong.list_of(wrong.count(least=0)),
                "num_train": COUNT,
                "num_test": COUNT,
                "seed": SEED,
                "model_source": SOURCE,
                "dtype": DTYPE,
                "loaded": MODEL,
                "labelled": MODEL,
            },
            slow=True,
            refused=True,
        ),
    ]
