"""Values that stand beside the key of a secret in a text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runs.redact.names import LONGEST, SHY, names_secret, words_of
from runs.redact.prose import is_api_key, looks_secret
from runs.redact.shapes import masked

#: Keys stand in colours, in brackets (``os.environ["X"] = ``), in columns and in addresses within addresses.
_COLOUR = r"(?:\x1b\[[\d;]{0,16}m)?"
_KEYED = re.compile(
    r"(?<![\w.\-])(?:(--?[A-Za-z][\w.\-]*+)(?:[ \t]{1,8}(?=[^\s\-=:])|\\{0,16}[\"'][ \t]{0,8},[ \t]{0,8}(?=\\{0,16}[\"'](?!-)))"
    rf"|([\w.\-]++)((\\{{0,16}}[\"'`])?\]?{_COLOUR}[ \t]{{0,64}}(?:=>|:=|==?|:|%3[DdAa])[ \t]{{0,64}}{_COLOUR}))"
)
_NAMED = re.compile(
    r"(?<=[\"'])(?:name|key)\\{0,16}[\"'][ \t]{0,8}:\s{0,8}\\{0,16}[\"']([\w.\-]{1,120}+)\\{0,16}[\"'],\s{0,8}"
    r"\\{0,16}[\"']value\\{0,16}[\"'][ \t]{0,8}:\s{0,8}(\\{0,16})([\"'])", re.IGNORECASE)
_QUOTE = re.compile(r"(\\{0,16})([\"'`])")
_CLOSER = r"(?:[\s,;:}\])>&\\]|$)"
_BARE = re.compile(
    rf"(?:[^\s&\"'`\\]++|&(?![\w.\-]{{1,64}}=)|[\"'`](?!{_CLOSER})|\\(?!\\{{0,16}}[\"'`]{_CLOSER}))++"
)
_REST_OF_LINE = re.compile(
    rf"(?:[^\r\n\"'`\\]++|[\"'`](?!{_CLOSER})|\\(?!\\{{0,16}}[\"'`]{_CLOSER}))++"
)
_SCHEME = re.compile(r"(?:bearer|basic|token)[ \t]{1,8}", re.IGNORECASE)
_BRACKET = re.compile(r"[\"'`\[\]{}]")
_NO_VALUE = frozenset({"none", "null", "nil", "true", "false", "str", "undefined"})
_TRAILING = ",;.)]}>"


def keyed(s: str) -> Iterator[str]:
    """``s`` in pieces, the values of secret keys masked."""
    done, found = 0, _KEYED.search(s)
    while found:
        position = found.end()
        if _is_key(s, found):
            start, end, mask = _find_value(s, found)
            if end > start and (not _is_shy(found) or looks_secret(s[start:end])):
                yield s[done:start]
                yield mask
                done = position = end
        found = _KEYED.search(s, position)
    yield s[done:]


def named(s: str) -> Iterator[str]:
    """``s`` in pieces, the values of secrets in ``{"name": "API_KEY", "value": ...}`` masked."""
    done = 0
    for found in _NAMED.finditer(s):
        start = found.end()
        if start > done and names_secret(found[1]) and (end := _closing(s, start, found[3], len(found[2]))) > start:
            yield s[done:start]
            yield masked(s[start:end])
            done = end
    yield s[done:]


def _is_key(s: str, found: re.Match[str]) -> bool:
    key: str = found[1] or found[2]
    return is_api_key(s, found.start(), key) if key.lower() == "key" else names_secret(key)


def _is_shy(found: re.Match[str]) -> bool:
    """Whether its key may announce something else than a secret: "auth: ok"."""
    in_prose = found[3] is not None and ":" in found[3] and found[4] is None
    return in_prose and words_of(found[2][-LONGEST:])[-1] in SHY


def _find_value(s: str, found: re.Match[str]) -> tuple[int, int, str]:
    """Where the value behind a key begins and ends, and what stands there instead."""
    at, quote = found.end(), found[4] or ""
    opening = _QUOTE.match(s, at)
    if opening:
        end = _closing(s, opening.end(), opening[2], len(opening[1]))
        return opening.end(), end, masked(s[opening.end() : end])
    words = words_of((found[1] or found[2])[-LONGEST:])
    header = found[3] is not None and words[-1] in ("authorization", "cookie")
    rest = header and (":" in found[3] or found[3].startswith((" ", "\t")))  # "Authorization = ..." is a line, too
    if header and (scheme := _SCHEME.match(s, at)):
        at, rest = scheme.end(), False
    end = _balanced(s, at) if not rest and s[at : at + 1] in ("[", "{") else at
    bare = (_REST_OF_LINE if rest else _BARE).match(s, end)
    said = s[at : bare.end() if bare else end]
    said = said[: end - at] + said[end - at :].rstrip().rstrip(_TRAILING)
    if not said or said.lower() in _NO_VALUE:
        return at, at, ""
    return at, at + len(said), f"{quote}{masked(said)}{quote}"


def _closing(s: str, start: int, quote: str, escapes: int) -> int:
    """Where a quoted value ends that was opened behind ``escapes`` backslashes.

    In JSON inside JSON a quote is closed by as many backslashes as it was opened with; a
    quote within the value has more of them.  A value without an end reaches to the end.
    """
    at = s.find(quote, start)
    while at >= 0:
        run = at
        while run > start and s[run - 1] == "\\":
            run -= 1
        if (at - run) % (2 * (escapes + 1)) == escapes:
            return at - escapes
        at = s.find(quote, at + 1)
    return len(s)


def _balanced(s: str, start: int) -> int:
    """Where the bracket at ``start`` is closed: behind it, or at the end of ``s``."""
    depth, at = 0, start
    while found := _BRACKET.search(s, at):
        at = found.end()
        if found[0] in "[{":
            depth += 1
        elif found[0] in "]}":
            depth -= 1
            if depth == 0:
                return at
        else:
            run = found.start()
            while run > start and s[run - 1] == "\\":
                run -= 1
            escapes = found.start() - run
            at = _closing(s, at, found[0], escapes) + escapes + 1
    return len(s)


