"""Every route of the site.  A view is closed unless it says login_not_required (settings.MIDDLEWARE)."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

import trainmon.celery  # noqa: F401  what the site queues goes to our broker
from retention.views.sessions import audit_usage
from runs.views.account import account_page, change_password, create_token, revoke_token
from runs.views.audit import audit_csv, audit_page
from runs.views.sources import as_of, source_page, sync_now
from runs.views.trainers import trainer_page
from runs.views.workspace import workspace
from streaming.tensorboard.pages import font, tensorboard_page
from streaming.tensorboard.views import run_tensorboard, tensorboards, trainer_tensorboard
from trainmon import views

admin.autodiscover()

urlpatterns = [
    path("", views.home, name="home"),
    path("login/", LoginView.as_view(template_name="login.html"), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("runs/", include("runs.urls")),
    path("runs/<int:pk>/tensorboard/", run_tensorboard, name="run-tensorboard"),
    path("jobs/", include("runs.job_urls")),
    path("trainers/<slug:slug>/", trainer_page, name="trainer"),
    path("tensorboard/", tensorboards, name="tensorboards"),
    # while it runs, TensorBoard itself answers below these (streaming/tensorboard/proxy.py)
    path("tensorboard/<slug:slug>", tensorboard_page),
    path("tensorboard/<slug:slug>/", tensorboard_page, name="tensorboard"),
    path("tensorboard/<slug:slug>/<path:rest>", tensorboard_page),
    path("font-roboto/<str:name>", font),
    path("trainers/<slug:slug>/tensorboard/", trainer_tensorboard, name="trainer-tensorboard"),
    path("as-of/", as_of, name="as-of"),
    path("sources/<int:pk>/", source_page, name="source"),
    path("sources/<int:pk>/sync/", sync_now, name="source-sync"),
    path("account/", account_page, name="account"),
    path("account/password/", change_password, name="account-password"),
    path("account/tokens/", create_token, name="account-tokens"),
    path("account/tokens/<int:pk>/revoke/", revoke_token, name="account-token-revoke"),
    path("audit/", audit_page, name="audit"),
    path("audit/csv/", audit_csv, name="audit-csv"),
    path("audit/usage/", audit_usage, name="audit-usage"),
    path("workspace/", workspace, name="workspace"),
    path("storage/", include("retention.urls")),
    path("api/", include("trainmon.api")),
    # one door for passwords: before the admin's own login, which would be a second one
    path("admin/login/", views.admin_login, name="admin_login"),
    path("admin/", admin.site.urls),
]

handler400 = views.bad_request
handler403 = views.forbidden
handler404 = views.not_found
handler500 = views.server_error
