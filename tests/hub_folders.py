"""Folders in the published schemas of the hub's data sets, with sentences composed from word lists.

`write_hub_folder("boolq", folder)` writes what `load_texts("boolq", source=folder)` reads. The rows
follow from the seed alone. They are long and short, and carry the surface features that chapter 4
looks for (a domain's words, identities, negations, capitals, punctuation), each in both labels.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

FORMATS = ("parquet", "csv", "jsonl")
Rows = list[dict[str, Any]]

PEOPLE = ("clerk", "farmer", "teacher", "pilot", "singer", "nurse", "baker", "writer", "guard", "sailor")
PLACES = (
    "harbour",
    "library",
    "station",
    "market",
    "village",
    "garden",
    "kitchen",
    "office",
    "tower",
    "mill",
)
THINGS = ("letter", "lamp", "violin", "basket", "map", "kettle", "ladder", "mirror", "bicycle", "clock")
DEEDS = ("carried", "painted", "lost", "found", "sold", "repaired", "borrowed", "hid", "drew", "described")
TIMES = ("at dawn", "last spring", "on Tuesday", "before lunch", "in the rain", "all winter", "after the war")
FOODS = ("soup", "noodles", "pancakes", "curry", "salad", "dumplings")
GOOD = ("lovely", "friendly", "superb", "delightful", "generous", "nice")
BAD = ("dreadful", "rude", "dirty", "awful", "stale", "overpriced")
INSULTS = ("idiots", "fools", "clowns", "liars")
TOPICS = ("roads", "schools", "taxes", "parks", "trains", "the budget")
# Identity column of WILDS's CivilComments -> how a comment mentions it.
IDENTITY_WORDS = {
    "male": "men",
    "female": "women",
    "LGBTQ": "gay people",
    "christian": "Christians",
    "muslim": "Muslims",
    "jewish": "Jewish people",
    "black": "Black people",
    "white": "white people",
    "asian": "Asian people",
}
MATCHED_GENRES = ("fiction", "government", "slate", "telephone", "travel")
MISMATCHED_GENRES = ("facetoface", "letters", "nineeleven", "oup", "verbatim")
NLI_LABELS = ("entailment", "neutral", "contradiction")


def write_hub_folder(
    name: str, folder: Path, *, num_rows: int = 240, seed: int = 0, file_format: str = "parquet"
) -> Path:
    """Write a folder of one file for each published split.

    Args:
        name: "boolq", "multinli", "yelp" or "civil_comments".
        folder: where to write; made if it is not there.
        num_rows: rows of all splits together.
        seed: seed of the rows.
        file_format: one of `FORMATS`.

    Returns:
        The folder.
    """
    splits = WRITERS[name](random.Random(seed), num_rows)
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        write_rows(rows, folder / f"{split}.{file_format}")
    return folder


def write_rows(rows: Rows, path: Path) -> None:
    """Write rows as parquet, csv or jsonl, as the path's ending says."""
    table = pd.DataFrame(rows)
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    elif path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_json(path, orient="records", lines=True, force_ascii=False)


def _boolq(rng: random.Random, num_rows: int) -> dict[str, Rows]:
    """Two questions about each passage; passages of two to eight sentences."""
    rows = []
    for number in range(num_rows):
        if number % 2 == 0:
            facts = [_fact(rng) for _ in range(rng.randint(2, 8))]
            passage = " ".join(f"The {a} {b} the {c} {d}." for a, b, c, d in facts)
            passage += f" This is passage {number // 2} of the chronicle."
        person, deed, thing, when = rng.choice(facts)
        answer = rng.random() < 0.6
        asked = thing if answer else rng.choice([other for other in THINGS if other != thing])
        question = rng.choice(
            (
                f"did the {person} have the {asked} {when}",
                f"is the {asked} the thing the {person} {deed}",
                f"was the {asked} {deed} {when}",
                f"does the {person} know the {asked}",
                f"is the {asked} the same as what the {person} {deed}",
            )
        )
        rows.append({"question": question, "answer": answer, "passage": passage})
    return _cut(rows, {"train": 0.75, "validation": 0.25})


def _multinli(rng: random.Random, num_rows: int) -> dict[str, Rows]:
    """Three hypotheses for each premise, one of each label."""
    rows: Rows = []
    for prompt in range(num_rows // 3):
        matched = prompt < 0.8 * (num_rows // 3)
        person, deed, thing, when = _fact(rng)
        place = rng.choice(PLACES)
        premise = f"The {person} from the {place} {deed} the {thing} {when}, as report {prompt} says."
        hypotheses = {
            "entailment": (
                f"The {person} {deed} the {thing}.",
                f"It is not wrong that a {person} was there.",
            ),
            "neutral": (
                f"The {person} liked the {thing} for years.",
                f"The {place} was no longer open then.",
            ),
            "contradiction": (f"The {person} never saw the {thing}.", f"Nobody {deed} the {thing} {when}."),
        }
        genre = rng.choice(MATCHED_GENRES if matched else MISMATCHED_GENRES)
        for label, name in enumerate(NLI_LABELS):
            hypothesis = rng.choice(hypotheses[name])
            rows.append(
                {
                    "promptID": prompt,
                    "pairID": f"{prompt}{name[0]}",
                    "premise": premise,
                    "premise_binary_parse": f"( {premise} )",
                    "premise_parse": f"(ROOT {premise})",
                    "hypothesis": hypothesis,
                    "hypothesis_binary_parse": f"( {hypothesis} )",
                    "hypothesis_parse": f"(ROOT {hypothesis})",
                    "genre": genre,
                    "label": label,
                }
            )
    mismatched = [row for row in rows if row["genre"] in MISMATCHED_GENRES]
    parts = _cut(
        [row for row in rows if row["genre"] in MATCHED_GENRES], {"train": 0.75, "validation_matched": 0.25}
    )
    return {**parts, "validation_mismatched": mismatched}


def _yelp(rng: random.Random, num_rows: int) -> dict[str, Rows]:
    """Reviews of one to twelve sentences about food."""
    rows = []
    for number in range(num_rows):
        label = number % 2
        words = GOOD if label else BAD
        sentences = [
            rng.choice(
                (
                    f"The {rng.choice(FOODS)} was {rng.choice(words)}",
                    f"We found the {rng.choice(PEOPLE)} {rng.choice(words)}",
                    f"Their food is {rng.choice(words).upper()}",
                    f"I came to the {rng.choice(PLACES)} {rng.choice(TIMES)}",
                )
            )
            for _ in range(rng.choice((1, 2, 8, 12)))
        ]
        end = rng.choice((".", "!"))
        rows.append({"label": label, "text": f"Visit {number}. " + ". ".join(sentences) + end})
    return _cut(rows, {"train": 0.8, "test": 0.2})


def _civil_comments(rng: random.Random, num_rows: int) -> dict[str, Rows]:
    """Comments that each mention one or two identities, as WILDS's release annotates them."""
    rows = []
    names = list(IDENTITY_WORDS)
    for number in range(num_rows):
        toxic = number % 2 == 1
        mentioned = {names[number // 2 % len(names)]} | ({rng.choice(names)} if rng.random() < 0.3 else set())
        who = " and ".join(IDENTITY_WORDS[name] for name in names if name in mentioned)
        topic = rng.choice(TOPICS)
        comment = (
            f"Only {rng.choice(INSULTS)} would ask {who} about {topic}, {rng.choice((*BAD, 'AWFUL'))} idea"
            if toxic
            else f"I asked {who} about {topic} and the talk was {rng.choice(GOOD)}"
        )
        more = [f"The {a} {b} the {c} {d}." for a, b, c, d in (_fact(rng) for _ in range(rng.choice((0, 6))))]
        toxicity = rng.uniform(0.5, 1.0) if toxic else rng.uniform(0.0, 0.4)
        rows.append(
            {
                "id": 5_000_000 + number,
                "comment_text": " ".join([f"{comment}, says reader {number}.", *more]),
                "split": "train",
                "created_date": "2017-01-01 00:00:00",
                "toxicity": round(toxicity, 4),
                "severe_toxicity": 0.0,
                "identity_attack": 0.0,
                "identity_annotator_count": 4,
                "toxicity_annotator_count": 10,
                "transgender": 0.0,
                **{name: 1.0 if name in mentioned else 0.0 for name in names},
                "hindu": 0.0,
                "latino": 0.0,
            }
        )
    return {"train": rows}


WRITERS: dict[str, Callable[[random.Random, int], dict[str, Rows]]] = {
    "boolq": _boolq,
    "multinli": _multinli,
    "yelp": _yelp,
    "civil_comments": _civil_comments,
}


def _fact(rng: random.Random) -> Sequence[str]:
    return rng.choice(PEOPLE), rng.choice(DEEDS), rng.choice(THINGS), rng.choice(TIMES)


def _cut(rows: Rows, shares: dict[str, float]) -> dict[str, Rows]:
    parts = {}
    start = 0
    for i, (split, share) in enumerate(shares.items()):
        end = len(rows) if i == len(shares) - 1 else start + int(share * len(rows))
        parts[split] = rows[start:end]
        start = end
    return parts
