"""A field of a question: one key of the query string, given once or several times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from runs.query.grammar import Unclear, shown


class Asked(forms.Field):
    """Values of one key, each read by ``parse``; empty ones ask nothing.  ``most`` None: the last one counts."""

    widget = forms.MultipleHiddenInput

    def __init__(self, parse: Callable[[str], Any], most: int | None = None, longest: int = 2500) -> None:
        super().__init__(required=False)
        self.parse, self.most, self.longest = parse, most, longest

    def __deepcopy__(self, memo: dict[int, Any]) -> Asked:
        """Itself: no question changes its fields, and copying them takes as long as reading all their values."""
        return self

    def clean(self, value: Sequence[str] | None) -> Any:
        """The values, once each and in order; the one value or None where ``most`` is None."""
        texts = list(dict.fromkeys(text for text in map(str.strip, value or []) if text))
        if self.most is None:
            return self._read(texts[-1]) if texts else None
        if len(texts) > self.most:
            raise ValidationError(f"{len(texts):,} are asked for, at most {self.most:,} at once. Leave some out.")
        return [self._read(text) for text in texts]

    def _read(self, text: str) -> Any:
        try:
            text.encode()
            if "\0" in text:
                raise Unclear(f"{shown(text.replace(chr(0), '␀'))} holds a NUL character. Leave it out.")
            if len(text) > self.longest:
                raise Unclear(f"{shown(text)} is {len(text):,} characters long. At most {self.longest:,} are read.")
            return self.parse(text)
        except Unclear as error:
            raise ValidationError(str(error)) from None
        except UnicodeEncodeError:
            raise ValidationError("There is half a character in it (a lone surrogate). Leave it out.") from None


def choice(*words: str) -> Callable[[str], str]:
    """One of these words."""
    def parse(text: str) -> str:
        if text not in words:
            raise Unclear(f"{shown(text)} is not known here. Choose one of {', '.join(words)}.")
        return text
    return parse


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number between two bounds."""
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 19 and least <= int(text) <= most):
            raise Unclear(f"{shown(text)} is not a whole number from {least:,} to {most:,}.")
        return int(text)
    return parse
