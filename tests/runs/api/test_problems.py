from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation, ValidationError
from django.http import Http404
from django.test import Client, RequestFactory

from runs.api.base import ApiView
from runs.api.problems import TooMuch, Unavailable
from runs.api.rendering import encode
from tests.runs.api.conftest import by_token, problem, send
from tests.runs.conftest import signed_in


def test_an_unknown_address_is_told_to_those_who_signed_in(alice: User) -> None:
    for path in ("/api/nothing/", "/api/runs/1/../x/", "/api/%00/", "/api/" + "x" * 3000):
        problem(signed_in(alice).get(path), 404, "not-found")
        problem(Client().get(path), 401, "not-authenticated")


def test_an_address_without_its_last_slash_says_so(alice: User) -> None:
    answer = signed_in(alice).get("/api/me")
    assert "end with a slash" in problem(answer, 404, "not-found")["detail"]


def test_a_method_that_is_not_there_names_those_that_are(alice: User) -> None:
    answer = send(by_token(alice), "DELETE", "/api/me/")
    problem(answer, 405, "method-not-allowed")
    assert answer["Allow"] == "GET, HEAD, OPTIONS"


def test_options_names_the_methods_and_head_has_no_body(alice: User) -> None:
    client = by_token(alice)
    answer = client.options("/api/me/")
    assert (answer.status_code, answer["Allow"], answer.content) == (204, "GET, HEAD, OPTIONS", b"")
    assert client.head("/api/").content == b""


def test_no_header_lets_other_sites_in(alice: User) -> None:
    client = by_token(alice)
    for answer in (client.get("/api/", headers={"Origin": "https://evil.example"}),
                   client.options("/api/", headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"})):
        assert not [name for name in answer.headers if name.startswith("Access-Control")]


def test_answers_are_private_and_vary_by_who_asks(alice: User) -> None:
    client = by_token(alice)
    assert client.get("/api/")["Cache-Control"] == "private, no-cache"
    assert client.get("/api/me/")["Cache-Control"] == "private, no-store"
    assert {"Authorization", "Cookie"} <= set(client.get("/api/")["Vary"].split(", "))


def test_what_the_caller_has_already_is_not_sent_again(alice: User) -> None:
    client = by_token(alice)
    etag = client.get("/api/")["ETag"]
    assert etag.startswith('W/"')
    for known in (etag, f'"x", {etag}', "*", etag.removeprefix("W/")):
        answer = client.get("/api/", headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer["ETag"]) == (304, b"", etag)
    assert client.get("/api/", headers={"If-None-Match": '"other"'}).status_code == 200


def refuse(failure: Exception) -> Any:
    class Refusing(ApiView):
        permission_classes = []

        def get(self, request: Any) -> Any:
            raise failure

    return Refusing.as_view()(RequestFactory().get("/api/x/"))


@pytest.mark.parametrize("failure, status, kind", [
    (Http404("secret"), 404, "not-found"),
    (PermissionDenied(), 403, "permission-denied"),
    (RequestDataTooBig("secret"), 413, "too-large"),
    (SuspiciousOperation("secret"), 400, "parse-error"),
    (TooMuch("Ask for fewer runs."), 422, "too-much"),
])
def test_refusals_are_problems(failure: Exception, status: int, kind: str) -> None:
    answer = refuse(failure)
    told = json.loads(answer.content)
    assert (answer.status_code, told["type"], told["instance"]) == (status, f"urn:trainmon:problem:{kind}", "/api/x/")
    assert "secret" not in answer.content.decode()


def test_a_problem_names_each_field() -> None:
    told = json.loads(refuse(ValidationError({"name": ["Too long."], "tags": ["No."]})).content)
    assert told["errors"] == {"name": ["Too long."], "tags": ["No."]}
    assert told["detail"] == "name: Too long. tags: No."
    assert json.loads(refuse(ValidationError("Never.")).content)["errors"] == {"request": ["Never."]}


def test_what_does_not_answer_now_says_when_to_come_again() -> None:
    assert refuse(Unavailable())["Retry-After"] == "10"


def test_an_error_of_ours_tells_nothing_of_itself(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.api.root.reverse", lambda name: 1 / 0)
    client = by_token(alice)
    client.raise_request_exception = False
    answer = client.get("/api/")
    problem(answer, 500, "error")
    assert "division" not in answer.content.decode() and "Traceback" not in answer.content.decode()


@pytest.mark.django_db
def test_a_foreign_host_gets_a_problem(alice: User) -> None:
    problem(by_token(alice).get("/api/", headers={"Host": "evil.example"}), 400, "parse-error")


def test_numbers_that_json_does_not_have_are_words() -> None:
    told = encode({"a": [float("nan"), float("inf"), -float("inf"), 0.1, -0.0], "n": 2**63 - 1, "t": "\ud800é"})
    assert told == '{"a":["NaN","Infinity","-Infinity",0.1,-0.0],"n":9223372036854775807,"t":"\\ud800é"}'.encode()
