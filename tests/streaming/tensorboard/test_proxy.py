"""A real TensorBoard behind our sign-in: who opens it, and what comes through (CH-11, CH-20, P1, P17)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from runs.models import ApiToken, AuditEntry, Trainer
from runs.roles import fill_roles
from streaming.models import TensorBoard
from tests.runs.factories import make_trainer
from tests.streaming.sites import Site, cookie_of, until
from tests.streaming.tensorboard.behind import event_files, get, make_board, tensorboard_running

pytestmark = pytest.mark.django_db(transaction=True)

PAGE, TAGS = "/tensorboard/lora/", "/tensorboard/lora/data/plugin/scalars/tags"
HTML = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a TensorBoard that has read its logs."""
    folder = tmp_path_factory.mktemp("tb")
    event_files(folder / "logs")
    with tensorboard_running(folder / "logs", folder / "s", "lora"):
        yield folder / "s"


@pytest.fixture
def site(deaf: Site) -> Site:
    return deaf


@pytest.fixture
def board(lora: Trainer, behind: Path) -> TensorBoard:
    fill_roles()
    return make_board(lora, behind)


def test_a_viewer_opens_it_and_everything_it_loads(site: Site, board: TensorBoard, alice: User) -> None:
    answer, page = get(site, PAGE, alice, **HTML)
    assert answer.status == 200
    assert b"<title>TensorBoard" in page or b"tf-tensorboard" in page or b"tb-webapp" in page
    for path in ("index.js", "icon_bundle.svg", "data/environment", "data/plugins_listing", "data/plugin/text/tags",
                 "data/plugin/images/tags", "data/plugin/histograms/tags", "data/plugin/timeseries/tags"):
        assert get(site, PAGE + path, alice)[0].status == 200, path
    until(lambda: "data/first" in json.loads(get(site, TAGS, alice)[1]))


def series(got: tuple[Any, bytes]) -> list[Any]:
    assert got[0].status == 200
    return json.loads(got[1])[0].get("runToSeries", {}).get("data/first", [])


def test_the_posted_reads_of_its_pages_come_through(site: Site, board: TensorBoard, alice: User) -> None:
    until(lambda: "data/first" in json.loads(get(site, TAGS, alice)[1]))
    body = b"requests=" + json.dumps([{"plugin": "scalars", "tag": "loss"}]).encode()
    asks = {"Content_Type": "application/x-www-form-urlencoded", "Origin": site.url, "Sec_Fetch_Site": "same-origin"}
    until(lambda: len(series(get(site, PAGE + "data/plugin/timeseries/timeSeries", alice, "POST", body, **asks))) == 20)
    asks["Content_Type"] = "application/json"
    answer, said = get(site, PAGE + "data/plugin/hparams/experiment", alice, "POST", b'{"experimentName": ""}', **asks)
    assert answer.status == 200 and b"hparamInfos" in said


def test_gzip_passes_as_it_is(site: Site, board: TensorBoard, alice: User) -> None:
    answer, said = get(site, PAGE + "index.js", alice, Accept_Encoding="gzip")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(said) == int(answer.headers["Content-Length"]) < len(gzip.decompress(said))
    plain, whole = get(site, PAGE + "index.js", alice)
    assert plain.headers["Content-Encoding"] is None and whole == gzip.decompress(said)


def test_head_tells_the_size_and_nothing_else(site: Site, board: TensorBoard, alice: User) -> None:
    answer, said = get(site, PAGE + "index.html", alice, "HEAD")
    assert (answer.status, said) == (200, b"")
    assert answer.headers["Content-Type"].startswith("text/html")


def test_its_own_policy_stays_and_ours_is_added(site: Site, board: TensorBoard, alice: User) -> None:
    answer, _ = get(site, PAGE, alice, **HTML)
    heads = answer.headers
    assert "script-src 'self'" in heads["Content-Security-Policy"] and len(heads.get_all("Content-Security-Policy")) == 1
    assert (heads["X-Frame-Options"], heads["X-Content-Type-Options"]) == ("SAMEORIGIN", "nosniff")
    assert heads["Cache-Control"].startswith("private") and heads["Referrer-Policy"] == "same-origin"
    assert "Werkzeug" not in str(heads) and heads["X-Correlation-ID"] and heads["Set-Cookie"] is None
    data, _ = get(site, TAGS, alice)
    assert data.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


# Who


def outcome(answer: Any) -> str:
    return "sign in" if (answer.headers["Location"] or "").startswith("/login/?next=/tensorboard/") else str(answer.status)


def test_who_opens_it(site: Site, board: TensorBoard, people: dict[str, User]) -> None:
    for who, page, script in (("", "sign in", "401"), ("charlie", "403", "403"), ("alice", "200", "200"),
                              ("bob", "200", "200"), ("ada", "200", "200")):  # fmt: skip
        assert outcome(get(site, PAGE, people.get(who), **HTML)[0]) == page, who
        assert outcome(get(site, TAGS, people.get(who))[0]) == script, who


@pytest.fixture
def people(alice: User, bob: User, charlie: User, ada: User) -> dict[str, User]:
    return {one.username: one for one in (alice, bob, charlie, ada)}


def test_a_token_opens_it_by_its_scope(site: Site, board: TensorBoard, bob: User) -> None:
    for scope, status in (("read", 200), ("write", 200), ("ingest", 403)):
        _, secret = ApiToken.issue(bob, scope, scope, trainer=board.trainer if scope == "ingest" else None)
        assert get(site, TAGS, secret)[0].status == status, scope
    assert get(site, TAGS, "tmon_guessed")[0].status == 401


def test_a_token_that_is_revoked_is_out_within_seconds(site: Site, board: TensorBoard, bob: User) -> None:
    token, secret = ApiToken.issue(bob, "script", "read")
    assert get(site, TAGS, secret)[0].status == 200
    token.delete()
    until(lambda: get(site, TAGS, secret)[0].status == 401, 5)


def test_who_is_signed_out_or_leaves_the_group_is_out_within_seconds(site: Site, board: TensorBoard, alice: User) -> None:
    cookie = cookie_of(alice)
    assert get(site, TAGS, Cookie=cookie)[0].status == 200
    alice.groups.filter(name="team-lora").first().user_set.remove(alice)
    until(lambda: get(site, TAGS, Cookie=cookie)[0].status == 403, 5)
    alice.is_active = False
    alice.save()
    until(lambda: get(site, TAGS, Cookie=cookie)[0].status == 401, 5)


def test_a_strangers_page_is_that_of_no_trainer_at_all(site: Site, board: TensorBoard, charlie: User) -> None:
    hidden, missing = get(site, PAGE, charlie, **HTML), get(site, "/tensorboard/nobody/", charlie, **HTML)
    assert hidden[0].status == missing[0].status == 403
    assert hidden[1] == missing[1]
    assert get(site, TAGS, charlie)[1] == get(site, TAGS.replace("lora", "nobody"), charlie)[1]


def test_a_setting_keeps_viewers_out_and_the_page_says_so(board: TensorBoard, alice: User, bob: User, settings: Any) -> None:
    from tests.runs.conftest import signed_in

    settings.TRAINMON_VIEWERS_RAW = False
    answer = signed_in(alice).get(PAGE, headers=HTML)
    assert answer.status_code == 403 and b"TRAINMON_VIEWERS_RAW=0" in answer.content
    assert signed_in(bob).get(PAGE, headers=HTML).status_code == 503  # no proxy here: it is waited for


def test_opening_it_is_audited_once(site: Site, board: TensorBoard, alice: User, bob: User) -> None:
    for who in (alice, alice, bob):
        get(site, TAGS, who)
    told = AuditEntry.objects.filter(action="open tensorboard").values_list("who", "kind", "object_id", "address")
    trainer = board.trainer_id
    assert sorted(told) == [("alice", "trainer", trainer, "127.0.0.1"), ("bob", "trainer", trainer, "127.0.0.1")]


def test_a_visit_is_noted(site: Site, board: TensorBoard, alice: User) -> None:
    get(site, TAGS, alice)
    board.refresh_from_db()
    assert board.visited is not None


def test_one_trainers_tensorboard_is_not_reached_by_anothers_name(site: Site, board: TensorBoard, ada: User) -> None:
    make_trainer("router")
    answer, said = get(site, TAGS.replace("lora", "router"), ada)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert b"no TensorBoard yet" in said
