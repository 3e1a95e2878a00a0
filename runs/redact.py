"""Secrets out of what strangers wrote, once, at the door.

``text`` cleans a string, ``value`` a tree of JSON values.  Both work on values before they
are serialized; redacting a serialized line could eat its quotes.  What is masked stays
recognizable by kind (``hf_***REDACTED***``, ``password=***REDACTED***``), redacting twice
changes nothing, and time is linear in the input: repetition is possessive or bounded, and
words are tried only where they begin.

A key names a secret by its words, so ``x-api-key``, ``HF_TOKEN`` and ``clientSecret`` do,
and ``max_tokens``, ``eos_token_id``, ``pad_token`` and ``tokenizer`` do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import Any

MASK = "***REDACTED***"
MAX_DEPTH = 100

#: A colour ends in "[1m" or ";31m": without its bracket each "1m" of a long word would be one more place to begin.
_ESCAPED = r"(?<=\\[nrtbf])|(?<=%[0-9a-f]{2})|(?<=[\[;]\dm)|(?<=[\[;]\d\dm)"
#: A word's begin: also behind an escape, a percent code or a terminal's colour.
_BEGIN = rf"(?:(?<![A-Za-z0-9])|{_ESCAPED})"

_PEM = re.compile(
    r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----)"
    r".*?(-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----|\Z)",
    re.DOTALL | re.IGNORECASE,
)
#: A line of such a key, where a log has each line by itself.
_PEM_LINE = re.compile(r"\s{0,8}[A-Za-z0-9+/]{60,76}={0,2}\s{0,8}")
_PEM_LINE_IN_JSON = re.compile(rb'"(?:\\t|\s){0,8}[A-Za-z0-9+/]{60,76}={0,2}(?:\\[nrt]|\s){0,8}"')
#: A password may hold "@", and even "/" where it is no port with a path behind it.
_URL = re.compile(
    r"(://[^\s/?#:@\"'<>\\]{0,128}+):"
    r"(?:(?!\d{1,5}[/?#])[^\s\"'<>@]{1,100}+@(?:[^\s/?#\"'<>\\@]{0,256}+@)*+"
    r"|(?:[^\s/?#\"'<>\\@]{0,256}+@)++)"
)
_URL_TOKEN = re.compile(r"(://)([^\s/?#:@\"'<>\\*]{16,256}+)@")
#: Not "bearer of" and "basic usage": a word in small letters is prose.
_BEARER = re.compile(
    r"(?<![A-Za-z0-9_])(bearer|basic)([ \t]{1,8}|%20)(?!(?:bearer|basic)\b)"
    r"(?!(?-i:[a-z]{1,19})(?![A-Za-z0-9._~+/=\-]))([A-Za-z0-9._~+/=\-]++)(?!\*\*\*)",
    re.IGNORECASE,
)
_PREFIXES = (
    "hf_", "api_org_", "rpa_", "r8_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_",
    "glpat-", "sk-", "sk_live_", "sk_test_", "rk_live_", "rk_test_", "xoxa-", "xoxb-",
    "xoxe-", "xoxo-", "xoxp-", "xoxr-", "xoxs-", "xapp-", "npm_", "pypi-", "nvapi-",
    "dckr_pat_", "tskey-", "gsk_", "pplx-", "tmon_",
)  # fmt: skip
_PREFIX = re.compile("|".join(_PREFIXES), re.IGNORECASE)
_TOKEN = re.compile(rf"{_BEGIN}({_PREFIX.pattern})([A-Za-z0-9_\-]++)", re.IGNORECASE)
#: Real tokens are long: these are told even in the middle of a word.
_LONG_TOKEN = re.compile(r"(hf_|gh[pousr]_)[A-Za-z0-9]{30,}+")
#: A JWT: eyJ opens the base64 of '{"'.  The literal comes first: it is searched fast.
_JWT = re.compile(
    r"eyJ(?:(?<![\w\-]...)|(?<=\\[nrtbf]...)|(?<=%[0-9a-fA-F]{2}...)|(?<=[\[;]\dm...)|(?<=[\[;]\d\dm...))"
    r"[\w\-]{6,}+\.[\w\-]{2,}+(?:\.[\w\-]*+)*+"
)
_AWS = re.compile(rf"{_BEGIN}(AKIA|ASIA|ABIA|ACCA)([A-Z0-9]{{16}})(?![A-Z0-9])", re.IGNORECASE)
_KNOWN = re.compile(
    rf"({_BEGIN}AIza)[\w\-]{{35}}"
    r"|(hooks\.slack\.com/(?:services|workflows)/)[\w/\-]++"
    r"|(discord(?:app)?\.com/api/webhooks/)[\w/\-]++"
    rf"|((?:{_BEGIN}|(?<=/bot))\d{{8,10}}:)AA[\w\-]{{30,}}+"
)
_HOME = re.compile(
    r"(?<!\[HOME\])(/|\\{1,4})(?:Users|home)\1([^/\\\s\"'`:;,<>|()\[\]{}*]{1,64})(?=\1|[\s\"'`:;,<>|()\[\]{}]|$)"
)

# Keys

_LONGEST_KEY = 120
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
_SHY = frozenset({"auth", "bearer", "signature", "sig"})


@lru_cache(maxsize=4096)
def _words(key: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _PART.findall(key))


def _names_secret(key: str) -> bool:
    """Whether a value under ``key`` is a secret.  Its last words say so."""
    return _says_secret(key[-_LONGEST_KEY:])


@lru_cache(maxsize=4096)
def _says_secret(key: str) -> bool:
    words = _words(key)
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


# Values beside their keys in a text

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
    return MASK if 60 <= len(s) <= 96 and _PEM_LINE.fullmatch(s) and _is_mixed(s) else s


def home(s: str) -> str:
    """``s`` without the names of people whose homes are in it."""
    return _HOME.sub(r"\1[HOME]", s)


def value(obj: Any) -> Any:
    """A copy of a tree of JSON values with every secret in it masked, keys included."""
    return _value(obj, False, 0)


def _value(obj: Any, secret: bool, depth: int) -> Any:
    if isinstance(obj, str):
        return _masked(obj) if secret else text(obj)
    if isinstance(obj, (dict, list, tuple)) and depth >= MAX_DEPTH:
        return MASK
    if isinstance(obj, dict):
        named = _named_secret(obj)
        return {
            text(key) if isinstance(key, str) else key: _value(
                item,
                secret or (isinstance(key, str) and (_names_secret(key) or key == named)),
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
        flag = isinstance(item, str) and item.startswith("-") and _names_secret(item)
    return copies


def _named_secret(obj: dict[Any, Any]) -> str | None:
    """The key of the secret in ``{"name": "API_KEY", "value": ...}``."""
    name = obj.get("name", obj.get("key"))
    return "value" if isinstance(name, str) and "value" in obj and _names_secret(name) else None


def _keyed(s: str) -> Iterator[str]:
    """``s`` in pieces, the values of secret keys masked."""
    done, found = 0, _KEYED.search(s)
    while found:
        position = found.end()
        if _is_key(s, found):
            start, end, mask = _find_value(s, found)
            if end > start:
                yield s[done:start]
                yield mask
                done = position = end
        found = _KEYED.search(s, position)
    yield s[done:]


def _named(s: str) -> Iterator[str]:
    """``s`` in pieces, the values of secrets in ``{"name": "API_KEY", "value": ...}`` masked."""
    done = 0
    for found in _NAMED.finditer(s):
        start = found.end()
        if start > done and _names_secret(found[1]) and (end := _closing(s, start, found[3], len(found[2]))) > start:
            yield s[done:start]
            yield _masked(s[start:end])
            done = end
    yield s[done:]


def _is_key(s: str, found: re.Match[str]) -> bool:
    key: str = found[1] or found[2]
    if key.lower() == "key":  # "API key: ..."
        before = s[max(0, found.start() - 12) : found.start()].split(" ")[-2:-1]
        return bool(before) and _names_secret(before[0] + key)
    if not _names_secret(key):
        return False
    in_prose = found[3] is not None and ":" in found[3] and found[4] is None
    return not (in_prose and _words(key[-_LONGEST_KEY:])[-1] in _SHY)


def _find_value(s: str, found: re.Match[str]) -> tuple[int, int, str]:
    """Where the value behind a key begins and ends, and what stands there instead."""
    at, quote = found.end(), found[4] or ""
    opening = _QUOTE.match(s, at)
    if opening:
        end = _closing(s, opening.end(), opening[2], len(opening[1]))
        return opening.end(), end, _masked(s[opening.end() : end])
    words = _words((found[1] or found[2])[-_LONGEST_KEY:])
    rest = found[3] is not None and ":" in found[3] and words[-1] in ("authorization", "cookie")
    if rest and (scheme := _SCHEME.match(s, at)):
        at, rest = scheme.end(), False
    end = _balanced(s, at) if not rest and s[at : at + 1] in ("[", "{") else at
    bare = (_REST_OF_LINE if rest else _BARE).match(s, end)
    said = s[at : bare.end() if bare else end]
    said = said[: end - at] + said[end - at :].rstrip().rstrip(_TRAILING)
    if not said or said.lower() in _NO_VALUE:
        return at, at, ""
    return at, at + len(said), f"{quote}{_masked(said)}{quote}"


def _masked(secret: str) -> str:
    """The mask for a whole value; a token keeps its prefix, nothing stays nothing."""
    if not secret:
        return secret
    prefix = _PREFIX.match(secret)
    return f"{prefix[0]}{MASK}" if prefix else MASK


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


def _mask_user(found: re.Match[str]) -> str:
    return f"{found[1]}{_masked(found[2])}@" if _random(found[2]) else found[0]


def _mask_bearer(found: re.Match[str]) -> str:
    scheme, gap, said = found.groups()
    if said[0] == "-" and found.string[max(0, found.start() - 1)] == "-":
        return found[0]  # two flags: --bearer --next
    if scheme.lower() == "basic" and not _random(said) and not said.endswith("="):
        return found[0]
    return f"{scheme}{gap}{MASK}"


def _mask_aws(found: re.Match[str]) -> str:
    """Not a word in small letters that begins with "asia"."""
    random = found[2].isupper() or any(map(str.isdigit, found[2]))
    return f"{found[1]}{MASK}" if random else found[0]


def _mask_token(found: re.Match[str]) -> str:
    prefix, body = found[1], found[2]
    capitals, digits = sum(map(str.isupper, body)), sum(map(str.isdigit, body))
    shouted = prefix.islower() and capitals >= 6
    in_parts = "-" in prefix and len(body) >= 16 and capitals and digits
    return f"{prefix}{MASK}" if shouted or in_parts or _random(body) else found[0]


def _random(body: str) -> bool:
    """Whether a word is no name: long, of letters and digits, or in mixed capitals."""
    for part in re.split(r"[\-_.]", body[:1024]):
        if len(part) >= 20:
            return True
        digits = any(map(str.isdigit, part))
        if len(part) >= 6 and digits and (len(part) >= 8 or not part.isdigit()):
            return True
        if len(part) >= 8 and part.isalpha() and not (part.islower() or part.isupper() or part.istitle()):
            return True
    return False


def _is_mixed(line: str) -> bool:
    """Whether it is no path and no name: those have fewer capitals among their small letters."""
    return sum(map(str.isupper, line)) >= 12 and sum(map(str.islower, line)) >= 12 and any(map(str.isdigit, line))


#: What to do, in this order, with a string that holds one of the words (in small letters).
_STEPS: tuple[tuple[tuple[str, ...], Callable[[str], str]], ...] = (
    (("-----begin",), partial(_PEM.sub, rf"\1{MASK}\2")),
    (("://",), partial(_URL.sub, rf"\1:{MASK}@")),
    (("://",), partial(_URL_TOKEN.sub, _mask_user)),
    (("=", ":", " -", "--", "%3"), lambda s: "".join(_keyed(s))),
    (("value",), lambda s: "".join(_named(s))),
    (("bearer", "basic"), partial(_BEARER.sub, _mask_bearer)),
    (("eyj",), partial(_JWT.sub, rf"eyJ{MASK}")),
    (("akia", "asia", "abia", "acca"), partial(_AWS.sub, _mask_aws)),
    (("aiza", "slack", "discord", ":aa"), partial(_KNOWN.sub, lambda found: f"{found[found.lastindex]}{MASK}")),
    (_PREFIXES, partial(_TOKEN.sub, _mask_token)),
    (("hf_", "gh"), partial(_LONG_TOKEN.sub, rf"\1{MASK}")),
    (("users", "home"), partial(_HOME.sub, r"\1[HOME]")),
)

#: What a JSON line holds (in small letters) in which ``value`` may change something: beginnings
#: of what names a secret, and of what looks like one.  Digits but 8 are left out of the line.
_SUSPICIOUS = tuple(needle.encode() for needle in (
    "pass", "credential", "auth", "key", "secret", "pwd", "token", "cookie", "bearer", "basic", "jwt", "sig",
    "session", "://", "-----begin", "eyj", "akia", "asia", "abia", "acca", "aiza", "slack", "discord", ":aa",
    *(prefix for prefix in _PREFIXES if prefix != "r8_"), "users", "home", r"\/", r"\u",
))  # fmt: skip
_DIGITS = b"0123456789"
_SHAPES_KEPT = 10_000
_harmless: set[bytes] = set()


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
    if any(needle in low for needle in _SUSPICIOUS) or _PEM_LINE_IN_JSON.search(line):
        return True
    if len(_harmless) >= _SHAPES_KEPT:
        _harmless.clear()
    if len(shape) <= 4096:
        _harmless.add(shape)
    return False
