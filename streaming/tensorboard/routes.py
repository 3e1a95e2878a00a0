"""What of a TensorBoard the proxy asks for, and what it does not.

TensorBoard reads a path in its own way: it strips ``/experiment/ID``, cuts off ``;`` and ``#``, joins ``//``
and unquotes.  A list of what is bad would have to know all of that; so a path passes only where it means
one thing to everybody, and below ``/data/`` only to plugins that were looked through (docs/decisions.md, 4).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: The slug, and the rest of the path as it was sent.
ADDRESS = re.compile(rb"/tensorboard/([-A-Za-z0-9_]{1,100})((?:/.*)?)", re.DOTALL)
#: No percent sign: none of TensorBoard's own addresses has one, and what is quoted may mean something else below.
_PLAIN = re.compile(rb"(?:/[A-Za-z0-9_.~@+,=-]+)*/?")
#: What RFC 3986 lets a query have, and what browsers send besides.
_QUERY = re.compile(rb"[\x21-\x7e]*")

#: Time Series asks for all of its data below this.
EXPERIMENT = "/experiment/defaultExperimentId"
#: Beside the plugins' own routes.
CORE = {
    "environment", "logdir", "runs", "experiments", "experiment_runs", "notifications", "window_properties",
    "plugins_listing", "plugin_entry.html",
}  # fmt: skip
#: They answer from what was read of the event files, whatever is asked: runs and tags are looked up, not opened.
PLUGINS = {
    "audio", "custom_scalars", "debugger-v2", "distributions", "graphs", "histograms", "hparams", "images", "mesh",
    "pr_curves", "scalars", "text", "text_v2", "timeseries",
}  # fmt: skip
#: The projector opens whatever file a run's projector_config.pbtxt names (tensors, metadata, bookmarks, sprites).
ASSETS = {"/data/plugin/projector/index.js", "/data/plugin/projector/projector_binary.html",
          "/data/plugin/projector/projector_binary.js"}  # fmt: skip
#: Reads that are asked for with POST, since what they ask is long.
POSTS = {
    "/data/plugin/timeseries/timeSeries",
    "/data/plugin/scalars/scalars_multirun",
    "/data/plugin/hparams/experiment",
    "/data/plugin/hparams/session_groups",
    "/data/plugin/hparams/metric_evals",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request goes no further."""

    status: int
    words: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


def refuse(method: str, rest: bytes, query: bytes) -> Refusal | None:
    """What is wrong with a request for this path of a TensorBoard; None: it may go up."""
    if not _PLAIN.fullmatch(rest) or any(part in (b".", b"..") for part in rest.split(b"/")) or not _QUERY.fullmatch(query):
        return Refusal(400, "TensorBoard has no such address: neither dots, double slashes nor percent codes are passed on.")
    path = _stripped(rest.decode().rstrip("/"))
    if not is_open(path):
        return Refusal(403, "This part of TensorBoard is not passed on: it could open files of the caller's choosing. "
                            "The other tabs are not touched by it.")  # fmt: skip
    allowed = ("GET", "HEAD", "POST") if path in POSTS else ("GET", "HEAD")
    if method not in allowed:
        said = ", ".join(allowed)
        return Refusal(405, f"Only {said} may be asked here: TensorBoard is for looking.", ((b"allow", said.encode()),))
    return None


def _stripped(path: str) -> str:
    """Without the one name of an experiment that TensorBoard's own pages use, as TensorBoard itself takes it off: once."""
    return path[len(EXPERIMENT):] if path.startswith(f"{EXPERIMENT}/") else path


def is_open(path: str) -> bool:
    """Whether this path, without a slash at its end, leads to nothing but TensorBoard's pages and what it read."""
    first, *more = path.removeprefix("/").split("/")
    if first == "experiment":  # the same routes once more, behind any other name
        return False
    if first != "data":
        return True
    if more[:1] == ["plugin"]:
        return path in ASSETS or more[1:2] != [] and more[1] in PLUGINS
    return len(more) == 1 and more[0] in CORE
