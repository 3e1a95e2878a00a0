"""What goes up to a TensorBoard and what comes down, told apart without one."""

from __future__ import annotations

import pytest

from streaming.tensorboard.headers import downwards, upwards, within
from streaming.tensorboard.routes import POSTS, is_open

ROOT = "/tensorboard/lora"


@pytest.mark.parametrize(
    ("location", "leads"),
    [
        ("/tensorboard/lora/x?y=1#z", "/tensorboard/lora/x?y=1#z"),
        ("x", "/tensorboard/lora/data/x"),
        ("../", "/tensorboard/lora/"),
        ("http://tensorboard/tensorboard/lora/x", "/tensorboard/lora/x"),
        ("/", "/tensorboard/lora/"),
        ("/admin/", "/tensorboard/lora/"),
        ("../../../admin/", "/tensorboard/lora/"),
        ("//evil.example/tensorboard/lora/", "/tensorboard/lora/"),
        ("http://evil.example/", "/tensorboard/lora/"),
        ("https://tensorboard/tensorboard/lora/", "/tensorboard/lora/"),
        ("javascript:alert(1)", "/tensorboard/lora/"),
        ("/tensorboard/lorax/", "/tensorboard/lora/"),
        ("http://[", "/tensorboard/lora/"),
        ("/tensorboard/lora/\\..\\", "/tensorboard/lora/"),
        ("/tensorboard/router/", "/tensorboard/lora/"),
    ],
)
def test_a_redirect_stays_within_its_tensorboard(location: str, leads: str) -> None:
    assert within(location, ROOT, ROOT + "/data/runs") == leads


def test_headers_that_connection_names_stay_where_they_are() -> None:
    sent = upwards(
        [(b"connection", b"keep-alive, Range"), (b"range", b"bytes=0-1"), (b"accept", b"a"), (b"accept-language", b"a\r\nx: y")]
    )
    assert dict(sent) == {"accept": "a", "Host": "tensorboard"}
    down = downwards(
        [(b"Connection", b"ETag"), (b"ETag", b"x"), (b"Vary", b"Accept"), (b"Cache-Control", b"public, max-age=9")], ROOT, ROOT
    )
    assert (
        dict(down)[b"cache-control"] == b"private, max-age=9" and b"etag" not in dict(down) and dict(down)[b"vary"] == b"Accept"
    )


def test_every_route_of_the_installed_version_was_looked_through() -> None:
    """A new version, or a new plugin, is closed until somebody has read what its routes open."""
    from tensorboard import default
    from tensorboard.backend import application
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.core import core_plugin

    closed = set()
    context = base_plugin.TBContext(logdir="/nowhere")
    for loader in default.get_plugins():
        plugin = application.make_plugin_loader(loader).load(context)
        if plugin is None:
            continue
        core = isinstance(plugin, core_plugin.CorePlugin)
        for route in plugin.get_plugin_apps():
            path = route if core else f"/data/plugin/{plugin.plugin_name}{route}"
            if not is_open(path.rstrip("/")):
                closed.add(path)
    assert closed == {
        f"/data/plugin/projector/{name}" for name in ("runs", "info", "tensor", "metadata", "bookmarks", "sprite_image")
    }
    assert all(is_open(path) for path in POSTS)
