"""Every route of the site.  A view is closed unless it says login_not_required (settings.MIDDLEWARE)."""

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

import trainmon.celery  # noqa: F401  what the site queues goes to our broker
from trainmon import views

admin.autodiscover()

urlpatterns = [
    path("", views.home, name="home"),
    path("login/", LoginView.as_view(template_name="login.html"), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("runs/", include("runs.urls")),
    path("api/", include("trainmon.api")),
    # one door for passwords: before the admin's own login, which would be a second one
    path("admin/login/", views.admin_login, name="admin_login"),
    path("admin/", admin.site.urls),
]

handler400 = views.bad_request
handler404 = views.not_found
handler500 = views.server_error
