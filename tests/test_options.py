"""Every option of every command: a wrong value is refused first, with exit code 2 and one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

# The table of wrong values has long lines.
# ruff: noqa: E501
import click
import pytest
import transformers
import typer
from typer.testing import CliRunner

from course_lib import cli
from course_lib.classroom.pipeline.catalogue import course_root

# What each command is given beside the wrong value. {t} is a folder that holds the files of `place`.
VALID = {
    "run": {"lessons": "00"},
    "build": {},
    "lab": {},
    "assets": {},
    "clean": {},
    "progress": {},
    "reference": {"name": "ppt_prompts"},
    "bias": {
        "h1": "sentiment", "h2": "sentiment.short", "out": "{t}/new.csv", "intervention": "instruction", "towards": "h1",
        "texts": "{t}/texts.csv", "num_demonstrations": "4", "test_size": "4", "num_sets": "1",
    },
    "assignment": {"name": "a1", "seed": "7", "out": "{t}/new"},
    "grade": {"submissions": "{t}/submissions", "assignment": "a1", "out": "{t}/new.csv"},
    "gradescope": {"assignment": "a1", "out": "{t}/new.zip"},
    "icl tune": {"features": "sentiment.short", "texts": "{t}/texts.csv", "out": "{t}/new"},
    "ppt pretrain": {"task": "pair", "out": "{t}/new"},
    "ppt tune": {"texts": "{t}/texts.csv", "words": "bad,good", "out": "{t}/new"},
    "ppt predict": {"prompt": "{t}/prompt", "texts": "{t}/texts.csv", "out": "{t}/new.csv"},
    "ppt evaluate": {},
}  # fmt: skip
OWN_PROMPT = {"prompt": "{t}/prompt", "texts": "{t}/texts.csv"}

COUNTS = ["", "x", "nan", "1.5", "0", "-1", "1e3", str(10**30)]
NUMBERS = ["", "x", "nan", "inf", "-inf", "0", "-1", "1e400"]
SEEDS = ["", "x", "-1", "1.5", str(2**70)]
FILES = [
    "",
    "{t}",
    "{t}/mine.csv",
    "{t}/mine.csv/new.csv",
    "{t}/new.txt",
    "/proc/new.csv",
    "{t}/" + "n" * 300 + ".csv",
]
FIGURES = ["{t}", "{t}/mine.csv", "{t}/new.txt", "{t}/picture.png", "/proc/new.png"]
FOLDERS = ["{t}", "{t}/mine.csv", "{t}/mine.csv/new", "{t}/foreign", "/proc/new", "{t}/" + "n" * 300]
TEXTS = ["", "{t}", "{t}/missing.csv", "{t}/picture.png", "{t}/nothing.csv"]
NAMES = ["", "nosuch"]
MODELS = ["", "{t}/missing", "{t}/mine.csv", "{t}/foreign"]
ASSIGNMENTS = ["", "a9", "{t}/missing.json", "{t}", "{t}/mine.csv"]

# Wrong values of every argument and option that takes one.
WRONG = {
    "run": {"lessons": ["nosuch", "99", ""], "profile": NAMES},
    "reference": {"name": NAMES},
    "bias": {
        "h1": NAMES, "h2": [*NAMES, "sentiment"], "out": FILES, "model": MODELS, "texts": [*TEXTS, "nosuch"],
        "labels": ["", "0", "0,0", "a,b,c"], "intervention": NAMES, "towards": NAMES, "num_demonstrations": [*COUNTS, "3"],
        "test_size": COUNTS, "num_sets": COUNTS, "batch_size": COUNTS, "seed": SEEDS, "dtype": NAMES, "device": NAMES,
        "figure": FIGURES,
    },
    "icl tune": {
        "name": [*NAMES, "meaning"], "features": [*NAMES, "sentiment,nli", "column:nosuch", "sentiment,,"],
        "texts": [*TEXTS, "nosuch"], "max_words": [*COUNTS, "2"], "out": FOLDERS, "model": MODELS, "num_episodes": COUNTS,
        "num_demonstrations": [*COUNTS, "2", "5", "400"], "exchanged_share": ["", "x", "nan", "-0.1", "1.1"],
        "num_unscored": ["", "x", "-1", "12"], "rank": COUNTS, "alpha": COUNTS, "learning_rate": NUMBERS,
        "num_warmup": ["", "x", "-1", "1.5"], "max_grad_norm": NUMBERS, "num_held_out": COUNTS, "evaluate_every": COUNTS,
        "checkpoint_every": COUNTS, "seed": SEEDS,
    },
    "assignment": {"name": ["", "a9", "a1.ipynb"], "seed": SEEDS, "out": ["{t}/mine.csv", "{t}/mine.csv/new", "/proc/new"]},
    "grade": {
        "submissions": ["", "{t}/missing", "{t}/empty"], "assignment": ASSIGNMENTS, "out": [*FILES, "{t}/submissions/g.csv"],
        "seed": SEEDS, "jobs": COUNTS, "patience": NUMBERS, "image": ["no such image"],
        "worksheet": ["{t}/missing.csv", "{t}", "{t}/mine.csv"], "column": ["nosuch"],
    },
    "gradescope": {"assignment": ASSIGNMENTS, "out": ["", "{t}", "{t}/mine.zip", "{t}/new.tar", "{t}/mine.csv/new.zip"]},
    "ppt pretrain": {
        "task": NAMES, "num_steps": COUNTS, "batch_size": COUNTS, "num_virtual_tokens": COUNTS, "learning_rate": NUMBERS,
        "seed": SEEDS, "initialisation": [*NAMES, "pair"], "kinds": ["", "hard", "nosuch", "soft,,"],
        "max_options": ["0", "-1", "3"], "num_examples": COUNTS, "num_held_out": COUNTS, "num_reviews": COUNTS,
        "evaluate_every": COUNTS, "dtype": NAMES, "model": MODELS, "out": FOLDERS,
    },
    "ppt tune": {
        "texts": TEXTS, "words": ["", "bad", "bad,bad", ","], "out": FOLDERS, "model": MODELS, "labels": ["", "0", "0,0"],
        "template": ["", "no soft prompt {text}", "{soft}{nosuch}", "{soft}{"], "start": ["", "nosuch", "{t}/foreign"],
        "num_virtual_tokens": COUNTS, "num_steps": COUNTS, "batch_size": COUNTS, "learning_rate": NUMBERS, "seed": SEEDS,
    },
    "ppt predict": {
        "prompt": ["", "{t}/missing", "{t}/foreign", "{t}/mine.csv"], "texts": TEXTS, "out": FILES, "model": MODELS,
        "words": ["", "bad,bad"], "labels": ["", "0,0"], "template": ["", "no soft prompt {text}", "{soft}{nosuch}"],
        "batch_size": COUNTS, "dtype": NAMES, "device": NAMES,
    },
    "ppt evaluate": {
        "folder": ["", "{t}/missing", "{t}/mine.csv"], "tasks": ["", "pear", "pair,", "pair,pear"], "model": MODELS,
        "num_test": COUNTS, "num_development": COUNTS, "prompt": ["{t}/missing"], "texts": TEXTS[1:], "out": FILES,
        "words": ["", "bad,bad"], "labels": ["", "0,0"], "template": ["", "no soft prompt {text}"], "batch_size": COUNTS,
        "dtype": NAMES, "device": NAMES,
    },
}  # fmt: skip
# Those whose every value is passed on to another program.
PASSED_ON = {("lab", "options")}
OF_OWN_PROMPT = {"prompt", "texts", "out", "words", "labels", "template", "batch_size", "dtype", "device"}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Give every command by its words."""
    for name, command in typer.main.get_command(cli.app).commands.items():
        below = getattr(command, "commands", None)
        yield from (
            ((f"{name} {inner}", found) for inner, found in below.items()) if below else [(name, command)]
        )


COMMANDS = dict(commands())


def takes_a_value(parameter: click.Parameter) -> bool:
    return not getattr(parameter, "is_flag", False)


def test_every_option_that_takes_a_value_has_wrong_ones() -> None:
    there = {
        (name, parameter.name)
        for name, command in COMMANDS.items()
        for parameter in command.params
        if takes_a_value(parameter)
    }
    assert {(name, option) for name, options in WRONG.items() for option in options} == there - PASSED_ON


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of things that stand in the way."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("empty", "submissions", "foreign"):
        (folder / name).mkdir()
    (folder / "submissions" / "alice.ipynb").write_text("hello")
    (folder / "foreign" / "notes.txt").write_text("mine")
    (folder / "mine.csv").write_text("mine")
    (folder / "mine.zip").write_text("mine")
    (folder / "nothing.csv").write_text("")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe\x00")
    rows = [
        f"it was {'a good' if number % 2 else 'a bad'} film {'and long ' * number},{number % 2}"
        for number in range(60)
    ]
    (folder / "texts.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return folder


def cases() -> list:
    return [
        pytest.param(name, option, value, id=f"{name} {option} {value[:20] or 'empty'}")
        for name, options in WRONG.items()
        for option, values in options.items()
        for value in values
    ]


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


@pytest.mark.parametrize(("name", "option", "value"), cases())
def test_a_wrong_value_is_refused_first(
    name: str, option: str, value: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if option != "model":
        for automatic in (transformers.AutoModelForCausalLM, transformers.AutoModel):
            monkeypatch.setattr(automatic, "from_pretrained", lambda *_, **__: pytest.fail("loads a model"))
    given = {**VALID[name], option: value}
    if name == "ppt evaluate" and option in OF_OWN_PROMPT:
        given = {**OWN_PROMPT, **given}
    arguments = name.split()
    for parameter in COMMANDS[name].params:
        if parameter.name not in given:
            continue
        text = given[parameter.name].replace("{t}", str(place))
        arguments += [text] if parameter.param_type_name == "argument" else [f"{parameter.opts[0]}={text}"]
    before = everything(place), everything(course_root() / "data")
    monkeypatch.chdir(course_root() if name in ("run", "assignment") else tmp_path)
    result = CliRunner().invoke(cli.app, arguments)
    assert (everything(place), everything(course_root() / "data")) == before
    assert not list(tmp_path.iterdir())
    # A bar may have shown that the work was about to begin.
    told = "\n".join(line for line in result.stderr.strip().splitlines() if "?task/s]" not in line)
    assert result.exit_code == 2, (told, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert told.startswith("Usage:") or len(told.splitlines()) == 1, told
    assert "Traceback" not in told
