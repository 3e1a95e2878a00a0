"""The API keeps what its own schema promises, whatever is sent to it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core import signals
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.utils.timezone import now
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as how
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from runs.models import ApiToken, Checkpoint, Event, Job, Note, Run, Sample, TextSummary, Trainer, Transition
from runs.roles import OPERATOR, fill_roles
from tests.runs.factories import (
    make_checkpoint,
    make_file,
    make_full_job,
    make_points,
    make_run,
    make_sample,
    make_source,
    make_user,
)

#: Requests for each operation, of those that the schema allows and of those that it forbids.
EXAMPLES = 5
PROMISES = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]


def test_the_schema_is_made_without_a_warning_and_is_valid_openapi(tmp_path: Any) -> None:
    call_command("spectacular", "--fail-on-warn", "--validate", "--file", str(tmp_path / "schema.yaml"))


@pytest.fixture
def whole(lora: Trainer) -> Run:
    """A run with something of everything."""
    run = make_run(make_source(lora), dataset="data", params={"lr": 0.1}, tags=["a"], status="running", total_steps=10, step=2)
    file = make_file(run, damages=[{"offset": 0, "length": 1, "kind": "crc", "detail": ""}])
    make_points(run, "loss", [1.0, math.nan, math.inf], file=file)
    where = {"run": run, "log_file": file, "generation": 0, "offset": 1}
    Event.objects.create(**where, level="error", kind="error", message="x", at=now())
    TextSummary.objects.create(**where, part=0, tag="text", step=1, wall=1.0, text="x")
    Transition.objects.create(run=run, old="running", new="unknown", at=now())
    Note.objects.create(run=run, text="x")
    job = make_full_job(run, status="finished", ended=now())  # so that its stream ends
    make_sample(job)
    make_checkpoint(job)
    return run


@pytest.fixture
def app() -> Iterator[Any]:
    """The site in this process; its requests leave the test's own transaction open."""
    signals.request_started.disconnect(close_old_connections)
    signals.request_finished.disconnect(close_old_connections)
    yield get_wsgi_application()
    signals.request_started.connect(close_old_connections)
    signals.request_finished.connect(close_old_connections)


@pytest.fixture
def token(lora: Trainer, whole: Run, settings: Any) -> str:
    """A token that may do all that an operator may, as often as it likes."""
    settings.TRAINMON_API_RATE = [0, 0, 0]
    fill_roles()
    return ApiToken.issue(make_user("otto", OPERATOR, "team-lora"), "schemathesis", "write")[1]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_operation_breaks_a_promise_of_the_schema(
    app: Any, whole: Run, token: str, mode: GenerationMode
) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    accept = {"Accept": "application/vnd.oai.openapi+json"}
    schema = schemathesis.openapi.from_wsgi("/api/schema/", app, headers=headers | accept)
    ids = {"id": whole.pk, "slug": "lora", "note": Note.objects.get().pk, "job": Job.objects.get().pk}
    files = {"samples": Sample.objects.get().pk, "checkpoints": Checkpoint.objects.get().pk}
    tried = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        file = next((pk for name, pk in files.items() if f"/{name}/" in operation.path), 0)
        known = {one.name: (ids | {"file": file})[one.name] for one in operation.path_parameters}
        if "sources" in operation.path and "id" in known:
            known["id"] = whole.source_id

        @how(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
             suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(mode, path_parameters=known if mode == GenerationMode.POSITIVE else None))
        def answers(case: Any) -> None:
            case.validate_response(case.call(headers=headers), checks=PROMISES, headers=headers)

        answers()
        tried += 1
    assert tried > 25
