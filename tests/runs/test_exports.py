"""Exports: what is downloaded is what was stored, bit for bit (P4), and is no formula in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from runs import chunks, decimals, unsampled
from runs.exports import cell
from runs.models import ApiToken, LogFile, Run, Series, SeriesChunk, SeriesTail, Trainer
from tests.runs.api.conftest import by_token, fresh_buckets, problem  # noqa: F401
from tests.runs.conftest import signed_in
from tests.runs.factories import make_file, make_points, make_run, make_source, make_trainer, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore:StreamingHttpResponse:Warning")]

DENORMAL, TINY = 5e-324, np.finfo("f4").smallest_subnormal
ODD = {
    "f4": np.array([0.1, -0.0, TINY, np.nan, np.inf, -np.inf, 3.4028235e38, 16777217, 1e-10], "<f4"),
    "f8": np.array([0.1, -0.0, DENORMAL, np.nan, np.inf, -np.inf, 1.7976931348623157e308, 2**53 + 2, 1 / 3], "<f8"),
    "i8": np.array([-(2**63), 2**63 - 1, 2**53 + 1, 0], "<i8"),
    "u8": np.array([2**64 - 1, 2**53 + 1, 0], "<u8"),
    "f2": np.array([0.1, 65504, 6e-8, np.nan], "<f2"),
    "b1": np.array([True, False], "|b1"),
}
STEPS = np.array([2**53 + 1, 7, 7, -3, 2**63 - 1, 0, 1, 2, 3], "<i8")  # of every size, twice the same, going back


@pytest.fixture
def run(lora: Trainer) -> Run:
    """A run with every kind of value, a restart, a replaced file, and chunks beside a tail."""
    run = make_run(make_source(lora), name="qwen/=r16 ünder")
    file = make_file(run, first_wall=2.0)
    for name, values in ODD.items():
        make_points(run, f"odd/{name}", values, steps=STEPS[: len(values)], file=file, wall=1_700_000_000.123456)
    make_points(run, "long", np.arange(9000, dtype="<f4") / 7, file=file)
    make_points(run, "long", np.array([5.0, 4.0], "<f4"), steps=[10, 11], file=file, part=1)
    earlier = make_file(run, first_wall=1.0)
    make_points(run, "long", np.array([1.5], "<f4"), file=earlier)
    make_points(run, "replaced", [1.0, 2.0], file=file, generation=0)
    again = make_file(run, generation=1, first_wall=3.0)
    make_points(run, "replaced", [9.0], file=again, generation=0)
    make_points(run, "replaced", [3.0], file=again, generation=1)
    return run


def download(client: Client, address: str, **asked: Any) -> bytes:
    answer = client.get(address, asked)
    assert answer.status_code == 200, answer.content
    return b"".join(answer)


def of(run: Run, client: Client, kind: str, *tags: str) -> bytes:
    return download(client, reverse("api:series-export", args=[run.pk]), **{"as": kind, "tag": tags})


def stored(run: Run) -> list[tuple[Any, ...]]:
    """The points as the chunks hold them, by their bits, in no order."""
    found = []
    files = {file.pk: file for file in LogFile.objects.filter(run=run)}
    names = dict(Series.objects.filter(run=run).values_list("pk", "tag__name"))
    for model in (SeriesChunk, SeriesTail):
        for row in model._default_manager.filter(series__run=run):
            file = files[row.log_file_id]
            if row.generation == file.generation:
                columns = chunks.unpack(bytes(row.data))
                found += bits(names[row.series_id], file.path_text, row.part, *columns)
    return sorted(found)


def bits(tag: str, file: str, part: int, steps: Any, walls: Any, values: Any) -> list[tuple[Any, ...]]:
    """Points as values that can be compared: NaN is told by its bytes."""
    kind = str(values.dtype.name)
    rows = zip(np.asarray(steps, "<i8").tolist(), np.asarray(walls, "<f8"), values, strict=True)
    return [(tag, file, part, kind, step, wall.tobytes(), value.tobytes()) for step, wall, value in rows]


def read_back(kind: str, data: bytes) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    if kind == "csv":
        for row in csv.DictReader(io.StringIO(data.decode())):
            value = row["value"] if row["type"] != "bool" else int(row["value"])
            exact = np.array([value if "int" not in row["type"] else int(value)], row["type"])
            found += bits(row["tag"], row["file"], int(row["part"]), [int(row["step"])], [float(row["wall"])], exact)
    elif kind in ("json", "ndjson"):
        blocks = json.loads(data) if kind == "json" else [json.loads(line) for line in data.splitlines()]
        for block in blocks:
            values = [float(v) if isinstance(v, str) else v for v in block["value"]]
            exact = np.array(values, block["type"])
            found += bits(block["tag"], block["file"], block["part"], block["step"], block["wall"], exact)
    else:
        for row in pq.read_table(io.BytesIO(data)).to_pylist():
            exact = np.frombuffer(row["bits"], row["type"]) if "bits" in row else np.array([row["value"]], row["type"])
            found += bits(row["tag"], row["file"], row["part"], [row["step"]], [row["wall"]], exact)
    return found


@pytest.mark.parametrize("kind", ["csv", "json", "ndjson", "parquet"])
def test_every_point_comes_back_bit_for_bit(run: Run, alice: User, kind: str) -> None:
    """P4: NaN, infinities, denormals, int64 steps, duplicates, restarts."""
    found = read_back(kind, of(run, signed_in(alice), kind))
    assert len(found) == 9034 + 3
    assert sorted(found) == stored(run)


def test_the_points_come_in_the_order_of_files_and_attempts(run: Run, alice: User) -> None:
    rows = list(csv.DictReader(io.StringIO(of(run, signed_in(alice), "csv", "long").decode())))
    assert [float(rows[at]["value"]) for at in (0, 1, -1)] == [1.5, 0.0, 4.0]
    assert [int(row["step"]) for row in rows[1:]] == [*range(9000), 10, 11]
    assert {row["part"] for row in rows} == {"0", "1"}


def test_only_the_content_that_pages_show_is_exported(run: Run, alice: User) -> None:
    rows = list(csv.DictReader(io.StringIO(of(run, signed_in(alice), "csv", "replaced").decode())))
    assert [(row["generation"], float(row["value"])) for row in rows] == [("0", 1.0), ("0", 2.0), ("1", 3.0)]


def test_a_float32_is_written_as_short_as_it_is(run: Run, alice: User) -> None:
    assert b",0.1\n" in of(run, signed_in(alice), "csv", "odd/f4")


@pytest.mark.parametrize(("tag", "kind"), [("f4", "float"), ("f8", "double"), ("i8", "int64"), ("u8", "uint64"), ("b1", "bool")])
def test_a_parquet_file_of_one_type_keeps_it(run: Run, alice: User, tag: str, kind: str) -> None:
    table = pq.read_table(io.BytesIO(of(run, signed_in(alice), "parquet", f"odd/{tag}")))
    assert str(table.schema.field("value").type) == kind
    assert table["value"].to_numpy(zero_copy_only=False).tobytes() == ODD[tag].tobytes()
    assert "bits" not in table.schema.names


def test_the_payload_of_a_nan_survives_in_parquet(run: Run, alice: User) -> None:
    odd = np.array([0x7FC00001, 0xFFA00000], "<u4").view("<f4")
    make_points(run, "nan", odd)
    table = pq.read_table(io.BytesIO(of(run, signed_in(alice), "parquet", "nan")))
    assert table["value"].to_numpy().tobytes() == odd.tobytes()


def test_a_run_without_points_is_an_empty_file(lora: Trainer, alice: User) -> None:
    run, client = make_run(make_source(lora)), signed_in(alice)
    assert of(run, client, "csv").decode() == "run,tag,file,part,generation,type,step,wall,value\n"
    assert of(run, client, "json") == b"[]\n" and of(run, client, "ndjson") == b""
    assert pq.read_table(io.BytesIO(of(run, client, "parquet"))).num_rows == 0


def test_a_point_is_told_once_while_a_sync_joins_its_tail_to_a_chunk(run: Run) -> None:
    make_points(run, "live", np.arange(70_000, dtype="<f8"), file=make_file(run))
    tail = SeriesTail.objects.filter(series__tag__name="live")
    told, moved = [], False
    for block in unsampled.blocks(run, ["live"]):
        told.append(block.values)
        if not moved and len(told) == 16:
            moved = bool(_join(*SeriesChunk.objects.filter(series__tag__name="live").order_by("start")[15:17]))
    assert moved and not tail.exists()
    assert np.array_equal(np.concatenate(told), np.arange(70_000))


def _join(first: SeriesChunk, second: SeriesChunk) -> SeriesChunk:
    """What a sync does: one row in place of two, beginning before what was told already."""
    a, b = (chunks.unpack(bytes(row.data)) for row in (first, second))
    joined = [np.concatenate(pair) for pair in zip(a, b, strict=True)]
    SeriesChunk.objects.filter(series=first.series_id, start=second.start).delete()
    SeriesChunk.objects.filter(series=first.series_id, start=first.start).update(
        data=chunks.pack(*joined), count=len(joined[0]))
    return first


def test_the_file_has_a_name_that_any_system_takes(run: Run, alice: User) -> None:
    answer = signed_in(alice).get(reverse("api:series-export", args=[run.pk]), {"as": "parquet", "tag": "odd/f4"})
    assert answer["Content-Disposition"] == f'attachment; filename="run-{run.pk}-qwen-r16-nder.parquet"'
    assert answer["Cache-Control"] == "private, no-store"
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_what_is_asked_wrongly_is_refused_in_words(run: Run, alice: User, charlie: User) -> None:
    address = reverse("api:series-export", args=[run.pk])
    caller = by_token(alice, "read")
    assert "Choose csv" in problem(caller.get(address, {"as": "xls"}), 400, "invalid")["detail"]
    assert "no tag “nothing”" in problem(caller.get(address, {"tag": "nothing"}), 400, "invalid")["detail"]
    problem(by_token(charlie, "read").get(address), 404, "not-found")
    problem(Client().get(address), 401, "not-authenticated")


# runs


def runs(client: Client, kind: str, **asked: Any) -> Any:
    data = download(client, reverse("api:run-export"), **{"as": kind, **asked}).decode()
    if kind == "csv":
        return list(csv.DictReader(io.StringIO(data)))
    return json.loads(data) if kind == "json" else [json.loads(line) for line in data.splitlines()]


@pytest.mark.parametrize("kind", ["csv", "json", "ndjson"])
def test_all_runs_of_a_question_come_in_its_order(lora: Trainer, alice: User, kind: str) -> None:
    source = make_source(lora)
    Run.objects.bulk_create(
        Run(source=source, name=f"r{number:04}", path=b"%d" % number, params={"lr": number / 10}, step=number)
        for number in range(1100))
    rows = runs(signed_in(alice), kind, sort="-step", column=["step", "param:lr"], param="lr>0.05")
    assert [int(row["step"]) for row in rows] == list(range(1099, 0, -1))
    assert list(rows[0]) == ["id", "name", "step", "param:lr"]
    assert float(rows[0]["param:lr"]) == 109.9


def test_a_formula_is_a_text_and_a_number_a_number(lora: Trainer, alice: User) -> None:
    evil = '=HYPERLINK("http://evil","x")'
    run = make_run(make_source(lora), name=evil, params={"lr": -0.5, "cmd": "@SUM(A1)", "s": "-2"}, tags=["-danger"])
    make_points(run, "loss", [float("nan")])
    row, = runs(signed_in(alice), "csv", column=["param:lr", "param:cmd", "param:s", "tags", "last(loss)"])
    assert row["name"] == f"'{evil}"
    assert (row["param:lr"], row["param:cmd"], row["param:s"], row["tags"]) == ("-0.5", "'@SUM(A1)", "-2", "'-danger")
    assert row["last(loss)"] == "NaN"
    row, = runs(signed_in(alice), "json", column=["last(loss)", "started"])
    assert (row["name"], row["last(loss)"]) == (evil, "NaN")
    assert row["started"].endswith("Z")


@pytest.mark.parametrize("start", ["=", "+a", "-a", "@", "\t", "\r", "\n=", "＝1"])
def test_no_cell_begins_as_a_formula(start: str) -> None:
    assert cell(f"{start}cmd|' /C calc'!A0").startswith("'")


def test_no_line_end_in_a_cell_begins_a_row(lora: Trainer, alice: User) -> None:
    run = make_run(make_source(lora), params={"a": "x\r=1+1", "b": "x\n=1+1"})
    path = reverse("api:run-export") + "?column=param:a&column=param:b"
    told = b"".join(signed_in(alice).get(path)).decode()
    assert told.count("\r") == 1
    assert told.endswith(f'{run.pk},{run.name},"x\r=1+1","x\n=1+1"\n')


def test_runs_of_hidden_trainers_are_not_exported(lora: Trainer, charlie: User, alice: User) -> None:
    make_run(make_source(lora), name="secret")
    assert runs(signed_in(charlie), "json") == []
    assert len(runs(by_token(alice, "read"), "json")) == 1
    problem(by_token(alice, "read").get(reverse("api:run-export"), {"status": "odd"}), 400, "invalid")
    problem(by_token(alice, "read").get(reverse("api:run-export"), {"nothing": "1"}), 400, "invalid")


# numbers


@given(arrays.arrays(np.float32, st.integers(1, 50), elements=st.floats(width=32, allow_nan=False)))
def test_any_float32_reads_back_as_itself(column: np.ndarray) -> None:
    words = decimals.texts(column)
    assert np.array([float(word) for word in words]).astype("f4").tobytes() == column.tobytes()
    assert max(map(len, words)) <= 24


@given(arrays.arrays(np.float64, st.integers(1, 50), elements=st.floats(allow_nan=False)))
def test_any_float64_reads_back_as_itself(column: np.ndarray) -> None:
    assert np.array([float(word) for word in decimals.texts(column)]).tobytes() == column.tobytes()


# the whole


@pytest.mark.django_db(transaction=True)
def test_the_script_of_the_manual_takes_everything_out(live_server: Any, tmp_path: Path) -> None:
    """P21."""
    text = (Path(__file__).resolve().parents[2] / "docs/operations.md").read_text()
    script = re.findall(r"^```python\n(.*?)^```$", text.partition("## Take everything out")[2], re.DOTALL | re.MULTILINE)[0]
    run = make_run(make_source(make_trainer("open")), name="first", params={"lr": 0.1})
    make_points(run, "loss", ODD["f4"])
    secret = ApiToken.issue(make_user("otto"), "out")[1]
    env = {**os.environ, "TRAINMON_URL": live_server.url, "TRAINMON_TOKEN": secret, "OUT": str(tmp_path)}
    for _ in range(2):  # the second time there is nothing left to do
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / f"{run.pk}/points.parquet")["value"].to_numpy().tobytes() == ODD["f4"].tobytes()
    assert json.loads((tmp_path / f"{run.pk}/run.json").read_text())["name"] == "first"
    assert "lr" in (tmp_path / f"{run.pk}/parameters.json").read_text()
