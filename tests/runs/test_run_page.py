"""The page of a run: its header and its tabs, what each shows and who may do what."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.test import Client

from runs.models import Note, Run, Sample, Source, TextSummary
from tests.runs.conftest import signed_in
from tests.runs.factories import make_file, make_full_run, make_points, make_run, make_source, make_trainer, tabs

if TYPE_CHECKING:
    from pytest_django import DjangoAssertMaxNumQueries


@pytest.fixture
def run(source: Source) -> Run:
    return make_full_run(source)


@pytest.fixture
def operator(bob: User) -> Client:
    return signed_in(bob)


def words(client: Client, path: str, status: int = 200) -> str:
    """The page's words, without its markup."""
    answer = client.get(path)
    assert answer.status_code == status, path
    shown = re.sub(r"<script.*?</script>|<svg.*?</svg>|<[^>]+>", " ", answer.content.decode(), flags=re.S)
    return html.unescape(re.sub(r"\s+", " ", shown))


# ── what it shows ──


def test_every_tab_has_the_header_and_its_own_address(client: Client, run: Run) -> None:
    for path in tabs(run):
        page = client.get(path).content.decode()
        assert ">qwen-r16</h1>" in page
        assert f'<a href="{path}" aria-current="page">' in page
        for fact in ("gpu-3, 4711", "25.0 %", "/logs/lora/qwen-r16", "alpaca"):
            assert fact in page, (path, fact)


@pytest.mark.parametrize(("tab", "expected"), [
    ("", ["train/loss", "eval/loss"]),
    ("samples/", ["prompt step 3", "Once upon a time", "attention step 7", "voice step 7"]),
    ("parameters/", ["lora.r 16", "lr 0.0002 hparams of an event file args.json: 0.001", "1 said differently elsewhere"]),
    ("files/", ["events.out.tfevents", "at byte 4,096: length crc, 48 bytes passed over", "100 after the last record"]),
    ("notes/", ["looks good so far", "somebody who is gone"]),
    ("history/", ["job-7", "evaluation", "ValueError bad batch", "Traceback: line 3", "no end written", "CUDA full",
                  "start 0 2"]),
])  # fmt: skip
def test_each_tab_shows_what_is_known(client: Client, run: Run, tab: str, expected: list[str]) -> None:
    shown = words(client, run.get_absolute_url() + tab)
    for some in expected:
        assert some in shown, shown


@pytest.mark.parametrize(
    ("tab", "most"), [("samples/", 16), ("parameters/", 12), ("files/", 13), ("notes/", 13), ("history/", 15)]
)
def test_a_tab_costs_the_same_queries_whatever_it_holds(
    client: Client, run: Run, django_assert_max_num_queries: DjangoAssertMaxNumQueries, tab: str, most: int
) -> None:
    """P20."""
    for number in range(30):
        file = make_file(run)
        make_points(run, f"more/{number}", [1.0], file=file)
        where = {"run": run, "log_file": file, "generation": 0, "part": 0, "wall": 1.7e9, "step": number, "offset": number}
        TextSummary.objects.create(**where, tag=f"text {number}", text="said")
        Sample.objects.create(**where, tag=f"image {number}", kind="image", length=9)
        Note.objects.create(run=run, text="again")
    with django_assert_max_num_queries(most):
        assert client.get(run.get_absolute_url() + tab).status_code == 200


def test_damage_is_named_on_every_tab_and_shown_with_its_place_under_files(client: Client, run: Run) -> None:
    """P3."""
    for path in tabs(run):
        assert "Parts of 1 file could not be read. 2 damaged records, 48 bytes lost" in words(client, path)


def test_a_run_of_a_source_that_cannot_be_read_says_how_old_its_data_is(client: Client, run: Run) -> None:
    Source.objects.update(status="error", last_error="Stale file handle")
    assert "Its source cannot be read; what you see is as of" in words(client, run.get_absolute_url())
    assert "Stale file handle" in words(client, run.get_absolute_url())


def test_paths_that_are_not_utf8_are_shown_escaped(client: Client, source: Source) -> None:
    run = make_run(source, path=b"caf\xe9/run")
    run.log_files.model.objects.filter(pk=make_file(run).pk).update(path=b"caf\xe9/events")
    assert "/logs/lora/caf\\xe9/run" in words(client, run.get_absolute_url())
    assert "caf\\xe9/events" in words(client, run.get_absolute_url() + "files/")


def test_times_beyond_the_calendar_are_a_dash(client: Client, run: Run) -> None:
    run.segments.update(first_wall=float("nan"), last_wall=1e300)
    run.texts.update(wall=float("inf"))
    for path in tabs(run):
        assert client.get(path).status_code == 200


def test_an_empty_run_says_what_will_appear_in_each_tab(client: Client, source: Source) -> None:
    run = make_run(source)
    for tab, said in (("samples/", "add_image"), ("parameters/", "config.json"), ("files/", "No file of this run"),
                      ("notes/", "No note yet"), ("history/", "has not changed since it was found")):
        assert said in words(client, run.get_absolute_url() + tab)


def test_ten_thousand_characters_and_any_script_are_a_name(client: Client, source: Source) -> None:
    for name in ("x" * 10_000, "\u202etxt.exe", "اختبار", "</h1><script>"):
        run = make_run(source, name=name, path=b"p%d" % len(name))
        for path in tabs(run):
            assert html.escape(name) in client.get(path).content.decode()


# ── samples by step and tag ──


def said(run: Run, tag: str, *steps: int) -> None:
    for step in steps:
        TextSummary.objects.create(run=run, log_file=run.log_files.first(), generation=0, part=0, offset=step, wall=1.7e9,
                                   tag=tag, step=step, text=f"**Prompt** {tag} of {step}\n  **Target** <b>")


def test_the_newest_text_of_each_tag_is_shown_with_its_white_space(client: Client, run: Run) -> None:
    """CH-71."""
    said(run, "eval/example_0", 100, 300, 200)
    page = client.get(run.get_absolute_url() + "samples/").content.decode()
    assert "<b>Prompt</b> eval/example_0 of 300\n  <b>Target</b> &lt;b&gt;" in page
    assert "of 200" not in page


def test_a_step_shows_what_was_logged_up_to_it(client: Client, run: Run) -> None:
    said(run, "eval/a", 100, 300)
    said(run, "eval/b", 200, 400)
    page = client.get(run.get_absolute_url() + "samples/?step=250").content.decode()
    assert "eval/a of 100" in page and "eval/b of 200" in page
    assert "of 300" not in page and "of 400" not in page
    assert 'href="?step=200" aria-label="Older step"' in page and 'href="?step=300" aria-label="Newer step"' in page


def test_one_tag_shows_all_its_steps_the_latest_first(client: Client, run: Run) -> None:
    said(run, "eval/a", 100, 300, 200)
    said(run, "eval/b", 400)
    shown = words(client, run.get_absolute_url() + "samples/?tag=eval/a")
    assert shown.index("of 300") < shown.index("of 200") < shown.index("of 100")
    assert "eval/b of" not in shown


def test_texts_of_a_replaced_file_are_not_shown(client: Client, run: Run) -> None:
    run.log_files.update(generation=1)
    assert "Once upon a time" not in words(client, run.get_absolute_url() + "samples/")


@pytest.mark.parametrize("query", ["step=x", "step=9" + "9" * 30, "step=1e999", "tag=%00", "tag=" + "a" * 1200, "page=0"])
def test_a_wrong_question_for_samples_is_answered_in_words(client: Client, run: Run, query: str) -> None:
    shown = words(client, run.get_absolute_url() + f"samples/?{query}", status=400)
    assert "Show all samples" in shown


# ── what people do ──


def post(client: Client, run: Run, deed: str, **data: str) -> int:
    return client.post(f"{run.get_absolute_url()}{deed}/", data).status_code


def test_an_operator_renames_tags_and_pins_and_comes_back_to_the_tab(operator: Client, run: Run) -> None:
    answer = operator.post(run.get_absolute_url() + "rename/", {"name": "better", "tab": "files"})
    assert (answer.status_code, answer["Location"]) == (302, run.get_absolute_url() + "files/")
    assert post(operator, run, "tags", add="good, baseline") == 302
    assert post(operator, run, "tags", remove="good") == 302
    assert post(operator, run, "pin", on="1") == 302
    run.refresh_from_db()
    assert (run.name, run.tags, run.pinned, run.version) == ("better", ["baseline"], True, 4)
    shown = words(operator, run.get_absolute_url())
    assert "better" in shown and "baseline" in shown and "pinned" in shown


def test_a_wrong_name_is_refused_in_its_form_with_what_was_typed(operator: Client, run: Run) -> None:
    answer = operator.post(run.get_absolute_url() + "rename/", {"name": "a\tb<b>"})
    assert answer.status_code == 400
    page = answer.content.decode()
    assert "it cannot hold the control character U+0009" in page
    assert 'value="a\tb&lt;b&gt;"' in page


def test_too_many_tags_are_refused_and_none_is_added(operator: Client, run: Run) -> None:
    answer = operator.post(run.get_absolute_url() + "tags/", {"add": ",".join(map(str, range(60)))})
    assert answer.status_code == 400
    assert "at most 50 tags" in answer.content.decode()
    assert Run.objects.get(pk=run.pk).tags == []


@pytest.mark.parametrize(("deed", "data"), [("pin", {}), ("pin", {"on": "maybe"}), ("bookmark", {"keep": "2"}), ("tags", {})])
def test_a_deed_without_sense_is_a_400(operator: Client, run: Run, deed: str, data: dict[str, str]) -> None:
    assert post(operator, run, deed, **data) == 400


def test_a_viewer_keeps_a_bookmark_and_sees_no_control_of_operators(client: Client, run: Run) -> None:
    assert post(client, run, "bookmark", keep="mine") == 302
    page = client.get(run.get_absolute_url()).content.decode()
    assert "★ Bookmark" in page
    for control in ("Rename", "/tags/", "/pin/", ">Share<", "New note"):
        assert control not in page
    assert post(client, run, "bookmark", keep="no") == 302
    assert "☆ Bookmark" in client.get(run.get_absolute_url()).content.decode()


def test_a_shared_bookmark_is_shown_to_others_with_its_owner(operator: Client, client: Client, run: Run) -> None:
    """CH-64."""
    assert post(operator, run, "bookmark", keep="shared") == 302
    assert "★ bob" in words(client, run.get_absolute_url())


DEEDS = [("rename", {"name": "x"}), ("tags", {"add": "x"}), ("pin", {"on": "1"}), ("bookmark", {"keep": "shared"}),
         ("notes", {"text": "x"})]


@pytest.mark.parametrize(("deed", "data"), DEEDS)
def test_the_server_refuses_what_the_page_does_not_offer(
    client: Client, charlie: User, run: Run, deed: str, data: dict[str, str]
) -> None:
    """Attacks, 'Access': the wrong role, a stranger, nobody, and a forged request."""
    before = Run.objects.values("name", "tags", "pinned", "version").get()
    assert post(client, run, deed, **data) == 403
    assert post(signed_in(charlie), run, deed, **data) == 404
    assert post(Client(), run, deed, **data) == 302
    assert Run.objects.values("name", "tags", "pinned", "version").get() == before
    assert Note.objects.count() == 1


@pytest.mark.parametrize(("deed", "data"), DEEDS)
def test_a_forged_request_changes_nothing(bob: User, run: Run, deed: str, data: dict[str, str]) -> None:
    forged = Client(enforce_csrf_checks=True)
    forged.force_login(bob, backend="runs.signing.Accounts")
    assert post(forged, run, deed, **data) == 403
    assert Run.objects.get().name == "qwen-r16"


@pytest.mark.parametrize("deed", ["rename", "tags", "pin", "bookmark"])
def test_a_link_changes_nothing(operator: Client, run: Run, deed: str) -> None:
    assert operator.get(f"{run.get_absolute_url()}{deed}/").status_code == 405


# ── notes ──


def test_a_note_is_added_edited_and_deleted(operator: Client, run: Run) -> None:
    """CH-63."""
    where = run.get_absolute_url() + "notes/"
    answer = operator.post(where, {"text": "diverged\n  at 300 <b>"})
    note = Note.objects.latest("id")
    assert answer["Location"] == f"{where}#note-{note.pk}"
    page = operator.get(where).content.decode()
    assert "diverged\n  at 300 &lt;b&gt;" in page
    assert "<b>bob</b>" in page
    operator.post(f"{where}{note.pk}/edit/", {"text": "converged"})
    assert "converged" in words(operator, where)
    assert operator.post(f"{where}{note.pk}/delete/").status_code == 302
    assert "converged" not in words(operator, where)


def test_a_note_that_is_too_long_is_refused_and_not_lost(operator: Client, run: Run) -> None:
    answer = operator.post(run.get_absolute_url() + "notes/", {"text": "long " * 5000})
    assert answer.status_code == 400
    assert "1 to 20,000 characters" in answer.content.decode()
    assert "long " * 100 in answer.content.decode()
    note = Note.objects.get()
    Note.objects.update(author=User.objects.get(username="bob"))
    answer = operator.post(f"{run.get_absolute_url()}notes/{note.pk}/edit/", {"text": " "})
    assert answer.status_code == 400
    assert "1 to 20,000 characters" in answer.content.decode()


def test_notes_of_others_have_no_buttons_and_refuse_changes(client: Client, run: Run, ada: User) -> None:
    note = Note.objects.get()
    where = f"{run.get_absolute_url()}notes/"
    assert "Delete" not in words(client, where)
    for deed in ("edit", "delete"):
        assert client.post(f"{where}{note.pk}/{deed}/", {"text": "mine"}).status_code == 403
    assert "Delete" in words(signed_in(ada), where)


def test_a_note_is_reached_only_through_its_own_run(operator: Client, run: Run) -> None:
    """Attacks, 'Access': ids guessed across trainers."""
    hidden = make_run(make_source(make_trainer("router", "team-router")))
    note = Note.objects.create(run=hidden, text="secret", author=User.objects.get(username="bob"))
    for path in (f"{run.get_absolute_url()}notes/{note.pk}/", f"{hidden.get_absolute_url()}notes/{note.pk}/"):
        for deed in ("edit", "delete"):
            assert operator.post(f"{path}{deed}/", {"text": "mine"}).status_code == 404
    note.refresh_from_db()
    assert note.text == "secret"


@pytest.mark.parametrize("pk", ["0", "999999", "9" * 40, "-1", "1%00", "..%2f1"])
def test_a_run_that_is_not_there_is_a_404_on_every_tab(client: Client, pk: str) -> None:
    for tab in ("", "samples/", "parameters/", "files/", "notes/", "history/"):
        assert client.get(f"/runs/{pk}/{tab}").status_code == 404
