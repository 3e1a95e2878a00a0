"""Work in a child process: what it tells, and when nobody listens any more."""

from __future__ import annotations

import multiprocessing

import pytest

from runs import correlation, isolation


def test_a_follower_that_ends_amid_a_scan_leaves_no_error_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("django.db.connections.close_all", lambda: None)
    monkeypatch.setattr(isolation, "die_with", lambda parent: None)
    monkeypatch.setattr(correlation, "adopt", lambda given: None)
    parents_end, pipe = multiprocessing.Pipe(duplex=False)
    isolation._child(lambda argument, tell: tell("scanning"), None, pipe, parents_end, 1, "id")
    assert caplog.records == []
