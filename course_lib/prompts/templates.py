"""Templates: how a row of texts is written for a language model."""

from __future__ import annotations

import string
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from course_lib.errors import CourseError


class Template(ABC):
    """A text with columns of a row as fields in braces; what stands around them is up to the class."""

    @property
    @abstractmethod
    def text_with_fields(self) -> str:
        """The text that holds the fields; a brace that is no field is doubled."""

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The fields, each once, in the order of the text.

        Raises:
            CourseError: a brace is left open.
        """
        try:
            parsed = list(string.Formatter().parse(self.text_with_fields))
        except ValueError as error:
            raise CourseError(
                f"The template cannot be read: {error}.",
                given=self.text_with_fields,
                mend="Close every brace.",
            ) from error
        return tuple(dict.fromkeys(field for _, field, _, _ in parsed if field is not None))

    def check_fields(self, example: str) -> None:
        """Refuses a text without fields, with one that is no plain name, or that texts cannot fill.

        Args:
            example: a text that is right, for the error.

        Raises:
            CourseError: as said.
        """
        if not self.fields or not all(field.isidentifier() for field in self.fields):
            raise CourseError(
                "A template needs fields in braces, each the plain name of a column.",
                given=self.text_with_fields,
                mend=f"Write, for example, {example!r}; a brace that is no field is doubled.",
            )
        self._format(dict.fromkeys(self.fields, "text"))

    def write(self, row: Mapping[str, Any]) -> str:
        """Returns the text with a row's values in the place of its fields.

        Args:
            row: the row's columns.

        Raises:
            CourseError: the row lacks a field, or the field holds nothing.
        """
        return self._format({field: self.field_text(row, field) for field in self.fields})

    def _format(self, texts: Mapping[str, str]) -> str:
        try:
            return self.text_with_fields.format(**texts)
        except (ValueError, LookupError, TypeError) as error:
            raise CourseError(
                f"The template cannot be filled with texts: {error}.",
                given=self.text_with_fields,
                mend="Write each field as its name in braces and nothing else, '{text}'.",
            ) from error

    def field_text(self, row: Mapping[str, Any], field: str) -> str:
        """Returns what stands in the place of a field."""
        return str(self.value(row, field))

    def value(self, row: Mapping[str, Any], column: str) -> Any:
        """Returns a column's value.

        Raises:
            CourseError: the row lacks it, or it holds nothing.
        """
        if row.get(column) is None:
            raise CourseError(
                f"The row lacks the field {column!r} of the template {self.text_with_fields!r}.",
                given=sorted(row),
                mend="Use a template whose fields are columns of these rows.",
            )
        return row[column]
