"""The runs app: the registry: what trained, what it said, how it stands."""

from django.apps import AppConfig, apps
from django.db.models.signals import m2m_changed, post_migrate


class RunsConfig(AppConfig):
    """Configuration of the runs app."""

    name = "runs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Keep the role groups filled and is_staff true to them."""
        from django.contrib.auth.models import User

        from runs import roles

        for label in roles.OUR_APPS:  # each one's permissions are there after its own turn only
            post_migrate.connect(roles.fill_roles, sender=apps.get_app_config(label))
        m2m_changed.connect(roles.follow_role, sender=User.groups.through)
