"""The Parameters tab: what the run was started with, and where each value was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runs.compare import flat
from runs.facts import PARAM_ORDER
from runs.templatetags.shown import plain
from runs.views.page import find, show

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from runs.models import Run

#: Origins that are no file of the run; the others are names of files beside its logs.
ORIGINS = {"results": "results file", "job": "job log", "hparams": "hparams of an event file"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter by its dotted name, the origin of the value that counts, and what others say."""

    name: str
    value: str
    origin: str
    elsewhere: list[tuple[str, str]]


def run_parameters(request: HttpRequest, pk: int) -> HttpResponse:
    """Every parameter of a run, nested ones under dotted names."""
    run = find(request, pk, "param_sources")
    found = with_origins(run)
    return show(request, run, "parameters", {"parameters": found, "differ": sum(bool(one.elsewhere) for one in found)})


def with_origins(run: Run) -> list[Parameter]:
    """The run's parameters; a later origin counts more (runs/facts.py), one that differs is named."""
    said = {name: dict(_written(run.param_sources[name])) for name in PARAM_ORDER if name in run.param_sources}
    found = []
    for name, value in _written(run.params):
        origins = [(ORIGINS.get(origin, origin), values[name]) for origin, values in said.items() if name in values]
        origin = next((origin for origin, other in reversed(origins) if other == value), "")
        found.append(Parameter(name, value, origin, [(where, other) for where, other in origins if other != value]))
    return found


def _written(params: dict[str, Any]) -> list[tuple[str, str]]:
    """Parameters by their dotted names, each as it is written."""
    return sorted(((name, plain(value)) for name, value in flat(params).items()), key=lambda pair: pair[0].casefold())
