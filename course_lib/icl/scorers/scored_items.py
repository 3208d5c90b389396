"""The journal of what an endpoint has scored, which knows the server that did."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from pathlib import Path
from typing import Any

from course_lib.locations import cache_trouble
from course_lib.runs.journal import JsonLines

# Servers round, and the rest of a batch moves the last digits; another model moves more.
_SAME_WITHIN = 0.05


class ScoredItems:
    """Finished items of one server, in a file of `JsonLines` that may hold those of others.

    Args:
        path: the file; it need not exist yet.
        num_labels: values an item has.
        identity: what the server is now: what it `says` of itself, and its answer to a `probe`.
    """

    def __init__(self, path: Path, num_labels: int, identity: dict[str, Any]) -> None:
        self.values: dict[str, list[float]] = {}
        self._identity = identity
        self._server = hash_of(identity)
        self._is_new_server = True
        self._num_others = 0
        with cache_trouble("the journal of finished items"):
            self._lines = JsonLines(path)
            for entry in self._lines:
                self._read(entry, num_labels)
        if self._num_others and not self.values:
            warnings.warn(
                f"The server answers otherwise than the one that the journal {path} is of: another model. "
                f"Its {self._num_others} items are not used.",
                stacklevel=4,
            )

    def append(self, key: str, values: list[float]) -> None:
        """Writes down a finished item.

        Args:
            key: what tells it from others.
            values: the log-probability of each label.
        """
        item = {"server": self._server, "key": key, "values": values}
        server = {"server": self._server, "identity": self._identity}
        with cache_trouble("the journal of finished items"):
            self._lines.append(*([server, item] if self._is_new_server else [item]))
        self._is_new_server = False
        self.values[key] = values

    def _read(self, entry: dict[str, Any], num_labels: int) -> None:
        try:
            if "identity" in entry and _same_server(entry["identity"], self._identity):
                self._server, self._is_new_server = entry["server"], False
            elif "values" in entry and _are_scores(entry["values"], num_labels):
                if entry.get("server") == self._server:
                    self.values[entry["key"]] = entry["values"]
                else:
                    self._num_others += 1
        except (ValueError, KeyError, TypeError):
            return  # no line of ours


def hash_of(content: dict[str, Any]) -> str:
    """Computes what tells a mapping that JSON can keep from others."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _are_scores(values: list[float], num_labels: int) -> bool:
    return len(values) == num_labels and all(map(math.isfinite, values))


def _same_server(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Returns whether two identities are of one model: the same description, and nearly the same probabilities."""
    if one["says"] != other["says"] or max(one["probe"], key=one["probe"].get) not in other["probe"]:
        return False
    both = set(one["probe"]) & set(other["probe"])
    return all(abs(one["probe"][token] - other["probe"][token]) < _SAME_WITHIN for token in both)
