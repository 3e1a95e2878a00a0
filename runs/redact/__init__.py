"""Secrets out of what strangers wrote, once, at the door.

``text`` cleans a string, ``value`` a tree of JSON values.  Both work on values before they
are serialized; redacting a serialized line could eat its quotes.  What is masked stays
recognizable by kind (``hf_***REDACTED***``, ``password=***REDACTED***``), redacting twice
changes nothing, and time is linear in the input: repetition is possessive or bounded, and
words are tried only where they begin.

A key names a secret by its words, so ``x-api-key``, ``HF_TOKEN`` and ``clientSecret`` do,
and ``max_tokens``, ``eos_token_id``, ``pad_token`` and ``tokenizer`` do not (names.py).
What a sentence tells is masked where it looks like a secret (prose.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from runs.redact.beside import keyed, named
from runs.redact.names import names_secret
from runs.redact.prose import WORDS, told
from runs.redact.shapes import FIRST, HOME, KEY_LINE_IN_JSON, MASK, PREFIXES, THEN, is_key_line, masked

__all__ = ["MASK", "home", "learn", "may_hold", "text", "value"]

MAX_DEPTH = 100

#: What to do, in this order, with a string that holds one of the words (in small letters).
_STEPS: tuple[tuple[tuple[str, ...], Callable[[str], str]], ...] = (
    *FIRST,
    (("=", ":", " -", "--", "%3"), lambda s: "".join(keyed(s))),
    (("value",), lambda s: "".join(named(s))),
    (WORDS, lambda s: "".join(told(s))),
    *THEN,
)

#: What a JSON line holds (in small letters) in which ``value`` may change something: beginnings
#: of what names a secret, and of what looks like one.  Digits but 8 are left out of the line.
_SUSPICIOUS = tuple(needle.encode() for needle in (
    "pass", "credential", "auth", "key", "secret", "pwd", "token", "cookie", "bearer", "basic", "jwt", "sig",
    "session", "curl", "://", "-----begin", "eyj", "akia", "asia", "abia", "acca", "aiza", "slack", "discord", ":aa",
    *(prefix for prefix in PREFIXES if prefix != "r8_"), "users", "home", r"\/", r"\u",
))  # fmt: skip
_DIGITS = b"0123456789"
_SHAPES_KEPT = 10_000
_harmless: set[bytes] = set()
_known: tuple[str, ...] = ()
_known_bytes: tuple[bytes, ...] = ()


def learn(secrets: Iterable[str]) -> None:
    """Secrets of our own, masked as they are wherever they stand; short ones could be words."""
    global _known, _known_bytes
    _known = tuple(sorted({one for one in secrets if len(one) >= 8}, key=len, reverse=True))
    _known_bytes = tuple(secret.encode() for secret in _known)


def text(s: str) -> str:
    """``s`` with every secret in it masked."""
    for secret in _known:
        if secret in s:
            s = s.replace(secret, MASK)
    low = s.lower()
    for needles, step in _STEPS:
        if any(needle in low for needle in needles):
            s = step(s)
    return MASK if is_key_line(s) else s


def home(s: str) -> str:
    """``s`` without the names of people whose homes are in it."""
    return HOME.sub(r"\1[HOME]", s)


def value(obj: Any) -> Any:
    """A copy of a tree of JSON values with every secret in it masked, keys included."""
    return _value(obj, False, 0)


def _value(obj: Any, secret: bool, depth: int) -> Any:
    if isinstance(obj, str):
        return masked(obj) if secret else text(obj)
    if isinstance(obj, (dict, list, tuple)) and depth >= MAX_DEPTH:
        return MASK
    if isinstance(obj, dict):
        named = _named_secret(obj)
        return {
            text(key) if isinstance(key, str) else key: _value(
                item,
                secret or (isinstance(key, str) and (names_secret(key) or key == named)),
                depth + 1,
            )
            for key, item in obj.items()
        }
    if isinstance(obj, (list, tuple)):
        items = _items(list(obj), secret, depth)
        return items if isinstance(obj, list) else tuple(items)
    if isinstance(obj, bytes):
        return _value(obj.decode("utf-8", "replace"), secret, depth).encode()
    if secret and isinstance(obj, (int, float)) and not isinstance(obj, bool):
        return MASK
    return obj


def _items(items: list[Any], secret: bool, depth: int) -> list[Any]:
    """A list: in a command the word behind ``--api-key`` is a secret."""
    copies, flag = [], False
    for item in items:
        copies.append(_value(item, secret or (flag and isinstance(item, str)), depth + 1))
        flag = isinstance(item, str) and item.startswith("-") and names_secret(item)
    return copies


def _named_secret(obj: dict[Any, Any]) -> str | None:
    """The key of the secret in ``{"name": "API_KEY", "value": ...}``."""
    name = obj.get("name", obj.get("key"))
    return "value" if isinstance(name, str) and "value" in obj and names_secret(name) else None


def may_hold(line: bytes) -> bool:
    """Whether a line of JSON may hold a secret; where not, ``value`` of it changes nothing.

    Lines of a log differ by their numbers: a line is judged once by what is left without digits.
    """
    if b"r8_" in line or b"R8_" in line or any(secret in line for secret in _known_bytes):
        return True
    shape = line.translate(None, _DIGITS)
    if shape in _harmless:
        return False
    low = shape.lower()
    if any(needle in low for needle in _SUSPICIOUS) or KEY_LINE_IN_JSON.search(line):
        return True
    if len(_harmless) >= _SHAPES_KEPT:
        _harmless.clear()
    if len(shape) <= 4096:
        _harmless.add(shape)
    return False
