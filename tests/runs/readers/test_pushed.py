"""The schema that is published and the check that is applied say the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some
from jsonschema_rs import Draft202012Validator

from runs.readers import pushed

SCHEMA = Draft202012Validator(pushed.schema())
JOB = {"event_id": "a:1", "ts": "2026-11-25T18:22:26.512Z", "level": "INFO", "job_id": "train-7", "msg": ""}
SERVICE = {
    "event_id": "a:2", "timestamp": "2026-11-25T18:22:26Z", "level": "ERROR", "service": "api", "job_id": "j", "message": "x",
}
PROGRESS = {
    "event_id": "a:3", "job_id": "j", "status": "running", "stage": "training", "step": 1, "steps_total": 9, "progress_pct": 11.1,
    "message": "", "timestamp": "2026-11-25T18:22:26+00:00", "loss": None, "gpu": [{"utilization": 5.0}, {}],
}

texts = some.text(max_size=12) | some.sampled_from(["a" * 101, "a" * 129, "a:1", "INFO", "running", "train-7", "../x", "a b"])
numbers = some.integers(-(2**53), 2**53) | some.floats(allow_nan=False, allow_infinity=False)
values = some.none() | some.booleans() | numbers | texts
anything = some.recursive(
    values, lambda inner: some.lists(inner, max_size=3) | some.dictionaries(texts, inner, max_size=3), max_leaves=6)
names = some.sampled_from([*pushed.JobRecord.__struct_fields__, *pushed.ServiceRecord.__struct_fields__,
                           *pushed.ProgressRecord.__struct_fields__, "other"])


def test_records_of_each_shape_are_taken() -> None:
    for record in (JOB, SERVICE, PROGRESS, JOB | {"fields": {"loss": float("nan"), "deep": [{"a": 1}]}, "unknown": 1}):
        assert pushed.wrong_with(record) is None


def test_what_is_wrong_is_named_with_the_way_out() -> None:
    for field, value in {"event_id": "a b", "ts": "now", "level": "loud", "job_id": "a/b", "msg": 5, "fields": []}.items():
        wrong = pushed.wrong_with(JOB | {field: value})
        assert wrong and wrong.field == field and wrong.error and wrong.hint
    for field in JOB:
        wrong = pushed.wrong_with({name: value for name, value in JOB.items() if name != field})
        assert wrong and wrong.hint and (wrong.field == field or field == "ts")
    assert pushed.wrong_with(JOB | {"job_id": "a\n"})


@settings(max_examples=300, deadline=None)
@given(base=some.sampled_from([JOB, SERVICE, PROGRESS]), changes=some.dictionaries(names, anything, max_size=2),
       without=some.sets(names, max_size=1))
def test_what_is_taken_fits_the_published_schema(base: dict[str, Any], changes: dict[str, Any], without: set[str]) -> None:
    record = {name: value for name, value in (base | changes).items() if name not in without}
    if pushed.wrong_with(record) is None:
        assert [error.message for error in SCHEMA.iter_errors({"events": [record]})] == []


@settings(max_examples=200, deadline=None)
@given(anything)
def test_no_value_breaks_the_check(value: Any) -> None:
    for record in (value, JOB | {"fields": value}, JOB | {"msg": value}, PROGRESS | {"gpu": value}):
        wrong = pushed.wrong_with(record)
        assert wrong is None or wrong.error
