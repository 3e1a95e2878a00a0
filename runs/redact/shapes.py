"""What secrets look like by themselves: tokens, keys, passwords in addresses."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

MASK = "***REDACTED***"

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
KEY_LINE_IN_JSON = re.compile(rb'"(?:\\t|\s){0,8}[A-Za-z0-9+/]{60,76}={0,2}(?:\\[nrt]|\s){0,8}"')
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
PREFIXES = (
    "hf_", "api_org_", "rpa_", "r8_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_",
    "glpat-", "sk-", "sk_live_", "sk_test_", "rk_live_", "rk_test_", "xoxa-", "xoxb-",
    "xoxe-", "xoxo-", "xoxp-", "xoxr-", "xoxs-", "xapp-", "npm_", "pypi-", "nvapi-",
    "dckr_pat_", "tskey-", "gsk_", "pplx-", "tmon_",
)  # fmt: skip
_PREFIX = re.compile("|".join(PREFIXES), re.IGNORECASE)
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
#: The name of a person's home.
HOME = re.compile(
    r"(?<!\[HOME\])(/|\\{1,4})(?:Users|home)\1([^/\\\s\"'`:;,<>|()\[\]{}*]{1,64})(?=\1|[\s\"'`:;,<>|()\[\]{}]|$)"
)
#: In an address the value of ``?key=`` decides.
_QUERY_KEY = re.compile(r"([?&]key=)([\w\-]{16,}+)", re.IGNORECASE)
#: curl's password stands behind its user; "1000:1000" is what Docker knows by the same flag.
_CURL_USER = re.compile(
    r"((?<=\s)(?:-u|--user)(?:[ \t]{1,8}|=)([\"'])?(?!\d+:\d+\b)[^\s:\"']{1,64}:(?!//))(?(2)[^\r\n\"']++|[^\s\"'\\]++)",
    re.IGNORECASE)



def masked(secret: str) -> str:
    """The mask for a whole value; a token keeps its prefix, nothing stays nothing."""
    if not secret:
        return secret
    prefix = _PREFIX.match(secret)
    return f"{prefix[0]}{MASK}" if prefix else MASK


def _mask_user(found: re.Match[str]) -> str:
    return f"{found[1]}{masked(found[2])}@" if is_random(found[2]) else found[0]


def _mask_query_key(found: re.Match[str]) -> str:
    return f"{found[1]}{MASK}" if is_random(found[2]) else found[0]


def _mask_bearer(found: re.Match[str]) -> str:
    scheme, gap, said = found.groups()
    if said[0] == "-" and found.string[max(0, found.start() - 1)] == "-":
        return found[0]  # two flags: --bearer --next
    if scheme.lower() == "basic" and not is_random(said) and not said.endswith("="):
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
    return f"{prefix}{MASK}" if shouted or in_parts or is_random(body) else found[0]


def is_random(body: str) -> bool:
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


def is_key_line(line: str) -> bool:
    """Whether it is a line of a private key; a path and a name have fewer capitals among their small letters."""
    if not 60 <= len(line) <= 96 or not _PEM_LINE.fullmatch(line):
        return False
    return sum(map(str.isupper, line)) >= 12 and sum(map(str.islower, line)) >= 12 and any(map(str.isdigit, line))


#: What to do, in this order, with a string that holds one of the words (in small letters).
FIRST: tuple[tuple[tuple[str, ...], Callable[[str], str]], ...] = (
    (("-----begin",), partial(_PEM.sub, rf"\1{MASK}\2")),
    (("://",), partial(_URL.sub, rf"\1:{MASK}@")),
    (("://",), partial(_URL_TOKEN.sub, _mask_user)),
)

#: The same, when the values beside keys are masked.
THEN: tuple[tuple[tuple[str, ...], Callable[[str], str]], ...] = (
    (("bearer", "basic"), partial(_BEARER.sub, _mask_bearer)),
    (("eyj",), partial(_JWT.sub, rf"eyJ{MASK}")),
    (("akia", "asia", "abia", "acca"), partial(_AWS.sub, _mask_aws)),
    (("aiza", "slack", "discord", ":aa"), partial(_KNOWN.sub, lambda found: f"{found[found.lastindex]}{MASK}")),
    (PREFIXES, partial(_TOKEN.sub, _mask_token)),
    (("hf_", "gh"), partial(_LONG_TOKEN.sub, rf"\1{MASK}")),
    (("key=",), partial(_QUERY_KEY.sub, _mask_query_key)),
    (("curl",), partial(_CURL_USER.sub, rf"\1{MASK}")),
    (("users", "home"), partial(HOME.sub, r"\1[HOME]")),
)
