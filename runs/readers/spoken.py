"""What one line of a trainer's output says: its time and level, step, epoch, figures, progress bar.

Known are tqdm's and Keras' bars, ``Step n/m``, ``iter n``, ``Epoch x/y``, ``loss=0.1``, ``loss: 1e-3``, ``loss 2.3``, nan
and infinities, and the dictionaries that Hugging Face prints.  Patterns are bounded or possessive: a line costs
time linear to its length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

#: What of a line is looked at.
LOOKED_AT = 4096

_NUMBER = r"[-+]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][-+]?\d{1,4})?|[-+]?(?:nan|inf(?:inity)?)"
_NO_WORD = r"(?![\w.]*[A-Za-z])"
_TIME = re.compile(
    r"[\s\[(]{0,4}(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,6})\d*)?(Z|[+-]\d\d:?\d\d)?[\])]?"
)
_AMERICAN = re.compile(r"\[?(\d\d)/(\d\d)/(\d{4})[ -](\d\d:\d\d:\d\d)\]?")
_LEVEL = re.compile(r"(?<![A-Za-z])(DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL)(?![A-Za-z])")
_COLOURS = re.compile(r"\x1b(?:\[[0-9;?]{0,16}[A-Za-z]|\][^\x07]{0,256}\x07)")
_BAR = re.compile(r"(\d{1,3})%\|[^|]*\|\s*([\d.]{1,20})([kKMGTP]?)i?B?/([\d.]{1,20})([kKMGTP]?)(i?B?)([^|]*)")
_KERAS = re.compile(r"(?<![\d/])(\d{1,12})/(\d{1,12})\s{0,4}(?:\[[=>.]{3,}\]|━{2,})")
_RATE = re.compile(r"([\d.]{1,20})\s?(it/s|s/it|step/s|s/step|steps/s)")
_STEP = re.compile(
    r"(?<![\w.])(?:global[_ -])?(?:step|iter(?:ation)?)(?:s(?==))?['\"]?[\s:=#\[(]{1,4}(\d{1,18})(?![\d.%]|\s?(?:ms|s|it)\b)"
    r"(?:\s?(?:/|of)\s?(\d{1,18}))?", re.IGNORECASE)
_EPOCH = re.compile(
    r"(?<![\w.])epoch['\"]?[\s:=#\[(]{1,4}(\d{1,9}(?:\.\d{1,9})?)(?![\d.%])(?:\s?(?:/|of)\s?(\d{1,9}))?", re.IGNORECASE)
_TOTAL = re.compile(r"(?:total|max|warmup|num|every|per|first|last|logging|save|eval)[ _-]?$", re.IGNORECASE)
_PAIR = re.compile(
    rf"(?<![\w/.\-])['\"]?([A-Za-z][\w/.\-]{{0,60}})['\"]?\s{{0,3}}[=:]\s{{0,3}}['\"]?({_NUMBER}){_NO_WORD}", re.IGNORECASE)
_SPACED = re.compile(
    rf"(?<![\w/.\-])((?:[A-Za-z]{{1,20}}[_/ ])?loss|lr|learning[_ ]rate)\s{{1,3}}({_NUMBER}){_NO_WORD}", re.IGNORECASE)
_NO_FIGURES = frozenset({
    "step", "steps", "global_step", "iter", "iteration", "epoch", "epochs", "eta", "total", "total_steps", "max_steps", "line",
    "pid", "rank", "port", "id", "seed", "time", "elapsed", "remaining", "file", "gpu", "node", "version",
})  # fmt: skip
_WITH_LOSS = re.compile(r"loss|nll|perplexity|\bppl\b", re.IGNORECASE)
_OTHER_BARS = re.compile(
    r"eval|valid|\bval\b|test|sampl|generat|predict|download|load|map|token|filter|prepar|cach|convert|shard|fetch|upload|"
    r"sav|captio|encod|comput|process|running|infer|collat|extract|resolv|pack", re.IGNORECASE)
_KINDS = (
    ("download", "download"), ("fetch", "download"), ("upload", "upload"), ("sampl", "sample"), ("generat", "sample"),
    ("sav", "checkpoint"), ("checkpoint", "checkpoint"),
)  # fmt: skip
_SCALE = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}


@dataclass(slots=True)
class Bar:
    """A progress bar: ``steps`` where what it counts may be steps of the training, ``epoch`` where it is one epoch's."""

    label: str
    kind: str
    current: float
    total: float
    steps: bool
    epoch: int | None = None


@dataclass(slots=True)
class Line:
    """A line without its time and level; ``message`` is what follows them."""

    message: str
    at: float | None = None
    level: str = ""
    step: int | None = None
    total: int | None = None
    epoch: float | None = None
    epochs: int | None = None
    speed: float | None = None
    bar: Bar | None = None
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def progresses(self) -> bool:
        """Whether it says how far the training is, or how well it goes."""
        return self.step is not None or self.epoch is not None or self.bar is not None or bool(self.figures)


def plainly(text: str) -> str:
    """A line as a terminal shows it: without colours, other control characters as spaces."""
    if "\x1b" in text:
        text = _COLOURS.sub("", text)
    return text if text.isprintable() else "".join(c if c.isprintable() or c in "\t\n" else " " for c in text)


def opening(text: str) -> Line:
    """The time and level that a line begins with."""
    line = Line(text)
    if (found := _TIME.match(text)) is not None:
        line.at = _seconds(*found.groups())
    elif (found := _AMERICAN.match(text)) is not None:
        month, day, year, clock = found.groups()
        line.at = _seconds(f"{year}-{month}-{day}", clock, None, None)
    end = found.end() if found is not None else 0
    level = _LEVEL.search(text, end, end + 60)
    if level is not None and (found is not None or not text[:level.start()].strip(" [(-|")):
        line.level = "WARNING" if level[1] == "WARN" else level[1]
        end = level.end()
    if end:
        line.message = text[end:].lstrip("])").removeprefix(":").removeprefix(" ") if level else text[end:].lstrip(" :-|,")
    return line


def spoken(text: str) -> Line:
    """All that a line says."""
    line = opening(text)
    said = line.message[:LOOKED_AT]
    if not any(map(str.isdigit, said)) and "nan" not in said.lower():
        return line
    begin = 0
    if "%|" in said and (found := _BAR.search(said)) is not None:
        _read_bar(line, said, found)
        begin = found.end(6)
    elif (keras := _KERAS.search(said)) is not None:
        line.bar = Bar("", "training", float(keras[1]), float(keras[2]), True)
        begin = keras.end()
    if (epoch := _EPOCH.search(said)) is not None:
        line.epoch, line.epochs = float(epoch[1]), int(epoch[2]) if epoch[2] else None
    if (step := _STEP.search(said)) is not None and not _TOTAL.search(said[max(0, step.start() - 10) : step.start()]):
        line.step, line.total = _whole(step[1]), _whole(step[2])
    line.figures = _figures(said[begin:])
    bare = line.step is None and line.epoch is None and line.bar is None
    if bare and not any(_WITH_LOSS.search(name) for name in line.figures):
        line.figures = {}
    return line


def _read_bar(line: Line, said: str, found: re.Match[str]) -> None:
    label = said[: found.start()].strip(" :\r\t")[-120:]
    current, total = (_scaled(found[at], found[at + 1]) for at in (2, 4))
    if current is None or not total:
        return
    rest = found[7]
    counted = not (found[3] or found[5] or found[6]) and "B/s" not in rest and "examples/s" not in rest
    kind = next((kind for word, kind in _KINDS if word in label.lower()), "training")
    if not counted and kind == "training":
        kind = "download"
    epoch = _EPOCH.search(label)
    line.bar = Bar(
        label, kind, current, total, counted and not _OTHER_BARS.search(label), int(float(epoch[1])) if epoch else None)
    if (rate := _RATE.search(rest)) is not None and line.bar.steps and (number := _scaled(rate[1], "")):
        line.speed = number if rate[2] in ("it/s", "step/s", "steps/s") else 1 / number


def _figures(said: str) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, number in [*_SPACED.findall(said), *_PAIR.findall(said)]:
        name = name.lower() if name.lower() in ("loss", "lr") else name.replace(" ", "_")
        if name.lower() not in _NO_FIGURES and len(figures) < 64:
            figures[name] = float(number)
    return figures


def _scaled(number: str, scale: str) -> float | None:
    try:
        return float(number) * _SCALE[scale]
    except ValueError:
        return None


def _whole(digits: str | None) -> int | None:
    found = int(digits) if digits else None
    return found if found is not None and found < 2**63 else None


def _seconds(day: str | None, clock: str | None, fraction: str | None, zone: str | None) -> float | None:
    try:
        at = datetime.fromisoformat(f"{day}T{clock}{(zone or '+00:00').replace('Z', '+00:00')}")
        found = at.astimezone(UTC).timestamp() + (float(f"0.{fraction}") if fraction else 0.0)
    except (ValueError, OverflowError):
        return None
    return found if found > 0 else None
