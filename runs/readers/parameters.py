"""A run's parameters out of its configuration file, flattened: ``optimizer.lr``.

JSON (args.json, config.json, params.json, training_args.json), YAML (config.yml, Hydra's
and OmegaConf's config.yaml, Lightning's hparams.yaml) and text (a printed argparse
Namespace, or ``key: value`` and ``key=value`` lines).  Nothing in a file is executed: YAML
is taken as nodes, never as objects, and ``!!python/object`` is the data inside it.  Aliases
cost what they stand for; whoever nests or repeats too much gets a reason, not our memory.
"""

from __future__ import annotations

import ast
import json
import math
import re
from typing import Any

import yaml

from runs.readers import plain
from runs.readers.document import Unreadable, json_object

CONFIG_BYTES = 1024 * 1024
NAMESPACE_BYTES = 64 * 1024
MAX_KEYS, MAX_KEY, MAX_VALUE = 1_000, 255, 1_024
MAX_DEPTH = 50
MAX_EVENTS = 50_000

Scalar = bool | int | float | str | None
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_YAML = "tag:yaml.org,2002:"
#: PyYAML takes 1e-4 for a string: it wants 1.0e-4.
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
#: Base 60 (1:30:00) is read in time square to its length.
_LONGEST_NUMBER = 100
_INT = re.compile(r"[-+]?\d{1,18}")
_LINE = re.compile(r"(?:--)?([A-Za-z_][\w.\-/]{0,254}+)[ \t]*+[:=](.*)")
_WORDS: dict[str, Scalar] = {"true": True, "false": False, "none": None, "null": None, "": None}


def parameters(name: str, data: bytes) -> dict[str, Scalar] | Unreadable:
    """The parameters in a file of this name: at most MAX_KEYS, the first in the file."""
    if len(data) > CONFIG_BYTES:
        return Unreadable(f"larger than {CONFIG_BYTES} bytes")
    if name.endswith(".json"):
        found = json_object(data, CONFIG_BYTES)
        return found if isinstance(found, Unreadable) else _Flat().of(found)
    text = data.decode("utf-8-sig", "replace")
    if name.endswith((".yml", ".yaml")):
        return _of_yaml(text)
    if text.lstrip().startswith("Namespace("):
        return _of_namespace(text.strip())
    return _of_lines(text)


class _Flat:
    """Collects scalars under their dotted path."""

    def __init__(self) -> None:
        self.found: dict[str, Scalar] = {}
        self.visits = MAX_EVENTS

    def of(self, tree: dict[Any, Any]) -> dict[str, Scalar]:
        self.add("", tree, 0)
        return self.found

    def add(self, path: str, value: object, depth: int) -> None:
        self.visits -= 1
        if self.visits < 0 or len(self.found) >= MAX_KEYS or len(path) > MAX_KEY:
            return
        if isinstance(value, dict) and value and depth < MAX_DEPTH:
            for key, item in value.items():
                name = plain.text(str(key), MAX_KEY + 1)
                self.add(f"{path}.{name}" if path else name, item, depth + 1)
        elif path:
            self.found.setdefault(path, _scalar(value))


def _scalar(value: object) -> Scalar:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if plain.whole(value) is not None else plain.real(value)
    if isinstance(value, float):
        return value
    if isinstance(value, str):
        return plain.text(value, MAX_VALUE)
    try:
        return plain.text(json.dumps(value, ensure_ascii=False, default=str), MAX_VALUE)
    except (RecursionError, ValueError):
        return "..."


# YAML


def _of_yaml(text: str) -> dict[str, Scalar] | Unreadable:
    try:
        depth = 0
        for events, event in enumerate(yaml.parse(text, Loader=_Loader)):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                return Unreadable("nested too deeply")
            if events > MAX_EVENTS:
                return Unreadable("too many values")
        loader = _Loader(text)
        try:
            node = loader.get_node() if loader.check_node() else None
        finally:
            loader.dispose()
        tree = _Nodes().of(node, 0)
    except (yaml.YAMLError, ValueError) as error:
        return Unreadable(f"not YAML: {str(error).splitlines()[0][:200]}")
    except _TooMuch:
        return Unreadable("too many values behind its aliases")
    return _Flat().of(tree) if isinstance(tree, dict) else Unreadable("not a mapping")


class _TooMuch(Exception):
    """Aliases that stand for more than MAX_EVENTS nodes, or for themselves."""


class _Nodes:
    """Plain values of YAML nodes."""

    def __init__(self) -> None:
        self.visits = MAX_EVENTS
        self.constructor = yaml.constructor.SafeConstructor()

    def of(self, node: yaml.Node | None, depth: int) -> Any:
        self.visits -= 1
        if self.visits < 0 or depth > 2 * MAX_DEPTH:
            raise _TooMuch
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            items = [self.of(item, depth + 1) for item in node.value]
            if node.tag.startswith(f"{_YAML}python/object/apply:pathlib."):
                return "/".join(map(str, items)).replace("//", "/")
            return items
        return self._plain(node) if isinstance(node, yaml.ScalarNode) else None

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if key.tag == f"{_YAML}merge":
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
            else:
                name = key.value if isinstance(key, yaml.ScalarNode) else "?"
                tree[str(name)] = self.of(value, depth + 1)
        for one in merged:
            below = self.of(one, depth + 1)
            for name, item in below.items() if isinstance(below, dict) else ():
                tree.setdefault(name, item)
        return tree

    def _plain(self, node: yaml.ScalarNode) -> Scalar:
        kind = node.tag.removeprefix(_YAML)
        if len(node.value) > _LONGEST_NUMBER:
            return str(node.value)
        if kind in ("int", "float", "bool", "null"):
            try:
                value: Scalar = self.constructor.construct_object(node)
            except (ValueError, OverflowError):
                return str(node.value)
            return value
        if kind == "str" and not node.style and _FLOAT.fullmatch(node.value):
            return float(node.value)
        return str(node.value)


# Text


def _of_namespace(text: str) -> dict[str, Scalar] | Unreadable:
    """``Namespace(lr=0.1, betas=(0.9, 0.95), device=device(type='cpu'))``."""
    if len(text) > NAMESPACE_BYTES:
        return Unreadable(f"larger than {NAMESPACE_BYTES} bytes")
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call):
            return Unreadable("not a Namespace")
        return _Flat().of({word.arg or "**": _of_code(word.value) for word in call.keywords})
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Unreadable("not a Namespace")


def _of_code(node: ast.expr) -> Any:
    """The value of a literal, else its text: nothing is called."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return ast.unparse(node)
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    return repr(value) if isinstance(value, (bytes, complex)) else value


def _of_lines(text: str) -> dict[str, Scalar] | Unreadable:
    """``key: value`` or ``key = value``, one a line; # begins a comment line."""
    found: dict[str, Scalar] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line[: MAX_KEY + 2 * MAX_VALUE].strip())
        if match and len(found) < MAX_KEYS:
            found[plain.text(match[1], MAX_KEY)] = _of_word(match[2].strip().rstrip(","))
    return found if found else Unreadable("no parameters")


def _of_word(word: str) -> Scalar:
    if word.lower() in _WORDS:
        return _WORDS[word.lower()]
    if _INT.fullmatch(word):
        return int(word)
    if _FLOAT.fullmatch(word):
        return float(word)
    if word.lower() in ("nan", "inf", "-inf"):
        return math.nan if word.lower() == "nan" else float(word)
    if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'":
        word = word[1:-1]
    return plain.text(word, MAX_VALUE)
