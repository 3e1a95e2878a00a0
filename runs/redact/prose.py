"""Secrets that a sentence tells: "the password is hunter2".

Most sentences about a password tell none ("password is required", "time per token is 0.12"): what is masked
has to look like a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from runs.redact.names import names_secret
from runs.redact.shapes import MASK, is_random, masked

#: Of what words that name a secret are made, in small letters.
WORDS = ("pass", "pwd", "secret", "token", "key", "credential", "auth", "cookie", "bearer", "jwt", "sig")
#: A word that may name a secret, words between it and what it is, and that, maybe in quotes.
_TOLD = re.compile(
    rf"(?<![\w.\-])(?=[\w.\-]{{0,120}}?(?:{'|'.join(WORDS)}))([\w.\-]++)[ \t]{{1,8}}"
    r"((?:(?:is|was|are|now|still|set|changed|to)\b:?[ \t]{1,8}){0,4}+)"
    r"(?:([\"'`])([^\"'`\\\r\n]{1,200}+)(?=\3)|([^\s\"'`\\]{6,}+))",
    re.IGNORECASE,
)
#: Without one of these there is nothing to find, which is soon known.
_LINK = re.compile(r"[ \t](?:is|was|are|now|set|to|IS|WAS|ARE|NOW|SET|TO)[ \t:]|[Pp][Ww]|PASS|Pass|pass[wp]")
_PASSWORDS = frozenset({"password", "passwd", "passphrase", "pwd"})
_TRAILING = ",;:.!?)]}>"
#: Addresses, paths, calls, days, names of classes and of procedures.
_PLAIN = re.compile(
    r"[/~.<(]|[\w+.\-]*:/|[\w.]+\(|\d{4}-\d\d-\d\d|(?:[A-Z][a-z]+){2,}\W*\Z"
    r"|(?i:oauth|open|sha|md|rsa|dsa|aes|hmac|ecdsa|ed|kerberos|krb|ntlm|base|utf|x509|http|tls|ssl|bcrypt|argon|pbkdf|[hrep]s)[-_]?\d"
)
_NUMBER = re.compile(r"[+\-~]?\d[\d.,:+\-]*(?:e[+\-]?\d+)?[A-Za-zµ/%]{0,8}", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z]+[\-_]?\d+")
_PAIR = re.compile(r"[\w.\-]+=[^=]")


def told(s: str) -> Iterator[str]:
    """``s`` in pieces, the secrets that its sentences tell masked."""
    done, found = 0, _LINK.search(s) and _TOLD.search(s)
    while found:
        position = found.end(1)
        group = 4 if found[4] else 5
        said = found[group].rstrip(_TRAILING)
        if _tells(s, found, said):
            yield s[done : found.start(group)]
            yield masked(said)
            done = position = found.start(group) + len(said)
        found = _TOLD.search(s, position)
    yield s[done:]


def looks_secret(said: str) -> bool:
    """Whether what stands behind a word that may announce a secret is one, and no other word."""
    plain = MASK in said or _PLAIN.match(said) or _NUMBER.fullmatch(said) or _PAIR.match(said)
    return not plain and is_random(said)


def is_api_key(s: str, start: int, key: str) -> bool:
    """Whether the word "key" there is the second of two that name a secret: "API key"."""
    before = s[max(0, start - 12) : start].split(" ")[-2:-1]
    return bool(before) and names_secret(before[0] + key)


def _tells(s: str, found: re.Match[str], said: str) -> bool:
    key = found[1].lower()
    if not (is_api_key(s, found.start(), key) if key == "key" else names_secret(found[1])):
        return False
    link = found[2].split()
    if not link:  # "user bob password hunter2"
        return key in _PASSWORDS and not found[3] and looks_secret(said)
    if link[-1].lower() == "to" and "/" in said:
        return False
    if key in _PASSWORDS:
        return MASK not in said and bool(found[3] or (said.isdigit() and len(said) >= 6)) or looks_secret(said)
    return looks_secret(said) and not _NAME.fullmatch(said)  # "the token is step10000"
