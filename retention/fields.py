"""Durations and sizes as people write them in a form: 10d, 12h, 500 GB, 1.5 TiB."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from django import forms

from retention.selection import LONGEST, Invalid, age

SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([KMGTP]?)(I?)B?", re.IGNORECASE)
POWERS = {name: power for power, name in enumerate(("", "K", "M", "G", "T", "P"))}
SECONDS = {"d": 86_400, "h": 3_600, "m": 60}


class Written(forms.CharField):
    """Text that stands for a value: 48h is 2d."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Whether it means another value."""
        try:
            return bool(self.to_python(data) != initial)
        except forms.ValidationError:
            return True


class AgeField(Written):
    """30m, 12h, 10d or 2w."""

    def prepare_value(self, value: Any) -> Any:
        """A duration in the largest unit that is exact."""
        if not isinstance(value, timedelta):
            return value
        seconds = round(value.total_seconds())
        unit = next((unit for unit, length in SECONDS.items() if seconds % length == 0), "m")
        return f"{seconds // SECONDS[unit]}{unit}" if seconds else "0d"

    def to_python(self, value: Any) -> Any:
        """The duration; None where nothing is written."""
        text = (super().to_python(value) or "").replace(" ", "")
        if not text:
            return None
        try:
            return age(text)
        except Invalid:
            raise forms.ValidationError(f"Write a time such as 30m, 12h, 10d or 2w, at most {LONGEST.days:,}d.") from None


class SizeField(Written):
    """500 GB or 1.5 TiB; a number alone is bytes."""

    def prepare_value(self, value: Any) -> Any:
        """Bytes in the largest unit that is exact."""
        if not isinstance(value, int) or not value:
            return value
        written = [(value // base**power, f"{name}{'i' if base == 1024 else ''}B") for base in (1024, 1000)
                   for name, power in POWERS.items() if power and value % base**power == 0]
        number, unit = min(written, default=(value, "B"))
        return f"{number} {unit}"

    def to_python(self, value: Any) -> Any:
        """Bytes; None where nothing is written."""
        text = (super().to_python(value) or "").strip()
        if not text:
            return None
        match = SIZE.fullmatch(text)
        if match is None or (match[3] and not match[2]):
            raise forms.ValidationError("Write a size such as 500 GB or 1.5 TiB.")
        count = float(match[1]) * (1024 if match[3] else 1000) ** POWERS[match[2].upper()]
        if count >= 2**63:
            raise forms.ValidationError("That is more than any volume holds.")
        return round(count)
