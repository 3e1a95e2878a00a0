from __future__ import annotations

from django.contrib.auth.models import User
from django.test import Client

from tests.runs.api.conftest import by_token, problem
from tests.runs.conftest import signed_in


def test_the_description_is_for_those_who_sign_in(alice: User) -> None:
    problem(Client().get("/api/schema/"), 401, "not-authenticated")
    assert Client().get("/api/docs/")["Location"].startswith("/login/")
    assert by_token(alice, "read").get("/api/schema/").status_code == 200


def test_the_page_of_the_description_alone_may_hold_styles_inline_and_no_page_scripts(alice: User) -> None:
    client = signed_in(alice)
    page = client.get("/api/docs/")
    assert "style-src 'self' 'unsafe-inline'" in page["Content-Security-Policy"]
    assert "script-src 'self';" in page["Content-Security-Policy"] + ";"
    assert 'data-schema="/api/schema/"' in page.content.decode() and "<script>" not in page.content.decode()
    for path in ("/", "/runs/", "/api/"):
        assert "unsafe-inline" not in client.get(path)["Content-Security-Policy"]


def test_every_view_of_the_api_shares_the_base() -> None:
    """Refusals as problems, scopes, rates: none may go without."""
    from runs.api.base import ApiView
    from trainmon.api import urlpatterns

    views = [route.callback.cls for route in urlpatterns if route.name != "docs"]
    assert [view for view in views if not issubclass(view, ApiView)] == []
    assert [view for view in views if view.permission_classes != ApiView.permission_classes] == []
