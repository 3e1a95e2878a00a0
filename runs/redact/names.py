"""Which keys name a secret: told by their words."""

from __future__ import annotations

import re
from functools import lru_cache

#: Characters of a key that are looked at: its last ones.
LONGEST = 120
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_STRONG = (
    "password", "passwd", "passphrase", "credential", "authorization", "apikey",
    "accesskey", "secretkey", "privatekey", "signingkey", "encryptionkey", "accountkey",
    "masterkey", "authkey", "sshkey", "setcookie", "openaikey", "anthropickey", "azurekey",
    "wandbkey", "storagekey", "subscriptionkey", "licensekey", "deploykey", "sharedkey", "hmackey",
)  # fmt: skip
_STRONG_WORDS = frozenset({"secret", "secrets", "pwd"})
_LAST_WORDS = frozenset({"token", "cookie", "cookies", "auth", "bearer", "jwt", "signature", "sig"})
#: Whose "pass" is a password: "forward_pass" is none.
_PASS_OF = frozenset({
    "db", "database", "user", "admin", "root", "login", "smtp", "imap", "mail", "email", "ftp", "ssh", "http", "proxy",
    "mysql", "pg", "postgres", "redis", "mongo", "amqp", "ldap", "registry", "docker",
})  # fmt: skip
#: Named so, but about a secret: not one.
_ABOUT = frozenset({"length", "count", "enabled", "required", "type", "ttl", "expires"})
#: ``pad_token`` is a token of a language model, ``loss_per_token`` a figure.
_MODEL_TOKENS = frozenset({
    "pad", "bos", "eos", "unk", "sep", "cls", "mask", "special", "image", "video", "audio",
    "vision", "start", "end", "stop", "begin", "first", "last", "next", "per", "prompt",
    "input", "output", "word", "each", "boi", "eoi", "think", "blank", "delimiter", "max", "min", "num", "new",
    "total", "loss",
})  # fmt: skip
_GLUED = ("padtoken", "bostoken", "eostoken", "unktoken", "septoken", "clstoken", "masktoken")
_TOKENS_OF = frozenset({"api", "access", "auth", "refresh", "bearer", "secret", "session"})
#: In prose these words before a colon announce something else: "auth: ok".
SHY = frozenset({"auth", "bearer", "signature", "sig"})


@lru_cache(maxsize=4096)
def words_of(key: str) -> tuple[str, ...]:
    """Its words, in small letters: ``HF_TOKEN`` and ``hfToken`` have two."""
    return tuple(word.lower() for word in _PART.findall(key))


def names_secret(key: str) -> bool:
    """Whether a value under ``key`` is a secret.  Its last words say so."""
    return _says_secret(key[-LONGEST:])


@lru_cache(maxsize=4096)
def _says_secret(key: str) -> bool:
    words = words_of(key)
    if not words or words[-1] in _ABOUT or key in ("PWD", "OLDPWD"):
        return False
    joined, last = "".join(words), words[-1]
    if any(strong in joined for strong in _STRONG) or not _STRONG_WORDS.isdisjoint(words):
        return True
    if last == "pass":
        return len(words) > 1 and words[-2] in _PASS_OF
    if last == "tokens":
        return len(words) > 1 and words[-2] in _TOKENS_OF
    if last == "token" and len(words) > 1:
        return words[-2] not in _MODEL_TOKENS
    if last in _LAST_WORDS or joined.endswith(("secret", "cookie", "sessionid")):
        return True
    return joined.endswith("token") and not joined.endswith(_GLUED)
