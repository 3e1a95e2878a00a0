"""trainmon's settings: one file, read from the environment, never changed at run time.

Each variable is described in docs/operations.md; a test fails on one that is not.
"""

from __future__ import annotations

import json
import secrets
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from trainmon import __version__, logs
from trainmon.embedded import binaries
from trainmon.embedded.places import DATABASE, POSTGRES_PORT, USER, Places

VERSION = __version__
BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()


def home() -> Path:
    """The data directory: database, sockets, secret, logs of trainmon's own; tests have one of theirs."""
    default = BASE_DIR / "var" / "test" if TESTING else BASE_DIR / "var"
    # Resolved: two spellings of one directory must not look like two databases.
    return Path(env.str("TRAINMON_HOME", "") or default).expanduser().resolve()


def secret_key(production: bool) -> str:
    """The key from the environment; outside production one that is made once and kept in HOME."""
    key = env.str("TRAINMON_SECRET_KEY", "")
    if key or production:
        return key
    path = HOME / "secret_key"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        HOME.mkdir(parents=True, exist_ok=True)
        made = secrets.token_urlsafe(50)
        try:
            with path.open("x") as f:
                path.chmod(0o600)
                f.write(made)
        except FileExistsError:
            made = path.read_text().strip()
        return made


TESTING = "pytest" in sys.modules
HOME = home()
PLACES = Places(HOME)


def local_hosts() -> list[str]:
    """Host names outside production: any only where the site was asked to listen everywhere."""
    host = env.str("HOST", "127.0.0.1")
    if host in {"0.0.0.0", "::"}:
        return ["*"]
    return [".localhost", "127.0.0.1", "[::1]", "testserver", host]


PRODUCTION = env.str("TRAINMON_ENV", "local") == "production"
DEBUG = env.bool("TRAINMON_DEBUG", False)
SECRET_KEY = secret_key(PRODUCTION)
ALLOWED_HOSTS = env.list("TRAINMON_HOSTS", default=[] if PRODUCTION else local_hosts())

if PRODUCTION:
    if len(SECRET_KEY) < 32:
        raise ImproperlyConfigured(
            "TRAINMON_SECRET_KEY is missing or shorter than 32 characters. Make one with: "
            "python -c 'import secrets; print(secrets.token_urlsafe(50))'"
        )
    if DEBUG:
        raise ImproperlyConfigured("TRAINMON_DEBUG must not be set when TRAINMON_ENV=production.")
    if not ALLOWED_HOSTS or "*" in ALLOWED_HOSTS:
        raise ImproperlyConfigured(
            "TRAINMON_HOSTS must list the host names that this site answers to, e.g. "
            "TRAINMON_HOSTS=trainmon.example.org (a lone * is refused in production)."
        )

INSTALLED_APPS = [
    # without daphne (it only makes runserver asynchronous) and without the search for admin modules
    # (trainmon/urls.py does it): a command starts half a second sooner
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "csp",
    "axes",
    "trainmon",
    "runs",
    "costs",
    "streaming",
    "retention",
]

MIDDLEWARE = [
    "trainmon.correlated.Correlation",
    "trainmon.headers.Security",
    "trainmon.headers.Policy",
    "trainmon.caching.NothingKept",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

# What this process is, for its log lines: asgi.py, celery.py and manage.py know.  Services write JSON lines.
TRAINMON_SERVICE = env.str("TRAINMON_SERVICE", logs.COMMAND)
TRAINMON_LOG_LEVEL = env.str("TRAINMON_LOG_LEVEL", "").upper()
if TRAINMON_SERVICE not in logs.SERVICES:
    raise ImproperlyConfigured(f"TRAINMON_SERVICE={TRAINMON_SERVICE} is none of {', '.join(logs.SERVICES)}.")
if TRAINMON_LOG_LEVEL not in ("", *logs.LEVELS):
    raise ImproperlyConfigured(f"TRAINMON_LOG_LEVEL={TRAINMON_LOG_LEVEL} is none of {', '.join(logs.LEVELS)}.")
try:
    LOGGING = logs.configuration(TRAINMON_SERVICE, TRAINMON_LOG_LEVEL, env.str("TRAINMON_SYSLOG", ""))
except ValueError as error:
    raise ImproperlyConfigured(f"TRAINMON_SYSLOG: {error}.") from error

ROOT_URLCONF = "trainmon.urls"
ASGI_APPLICATION = "trainmon.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


def database() -> dict[str, Any]:
    """DATABASE_URL, else the embedded PostgreSQL under HOME (trainmon/embedded starts it)."""
    url = env.str("DATABASE_URL", "")
    conf: dict[str, Any] = {"ENGINE": "django.db.backends.postgresql", "NAME": DATABASE, "USER": USER}
    try:
        conf |= env.db_url_config(url) if url else {"HOST": str(PLACES.sockets), "PORT": POSTGRES_PORT}
    except ValueError:  # its text may hold the password
        raise ImproperlyConfigured(
            "DATABASE_URL cannot be read. Percent-encode special characters of the password, or give it by PGPASSWORD."
        ) from None
    if conf["ENGINE"] != "django.db.backends.postgresql":
        raise ImproperlyConfigured("DATABASE_URL must be a PostgreSQL one: postgresql://user:password@host/name")
    conf["CONN_MAX_AGE"] = 0
    # The site and the worker set it (trainmon/asgi.py, `up`); a command needs one connection.
    size = env.int("TRAINMON_DB_POOL", 0)
    if size and not TESTING:
        # A host=/socket/folder of the URL lies in OPTIONS too: add to them, never assign them.
        conf.setdefault("OPTIONS", {})["pool"] = {"min_size": 1, "max_size": size, "timeout": 10}
        conf["CONN_HEALTH_CHECKS"] = True  # after a restart of the server the pool holds dead connections
    return conf


def broker(url: str) -> str:
    """Celery's address of the same Valkey or Redis: it spells a unix socket in its own way."""
    return "redis+socket://" + url.removeprefix("unix://") if url.startswith("unix://") else url


DATABASES = {"default": database()}

# Our own: no page, log or bundle may show them, whatever text they come in.
SECRETS = [
    SECRET_KEY,
    str(DATABASES["default"].get("PASSWORD") or ""),
    *(env.str(name, "") for name in ("PGPASSWORD", "TRAINMON_ADMIN_PASSWORD", "TRAINMON_METRICS_TOKEN")),
    *(env.str(name, "") for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")),
]

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "runs.signing.Accounts",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_CALLABLE = "trainmon.views.locked_out"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"

LANGUAGE_CODE = "en-us"
USE_I18N = False
FORMAT_MODULE_PATH = "trainmon.formats"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = HOME / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_AUTOREFRESH = DEBUG

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
X_FRAME_OPTIONS = "DENY"
# Django looks for its SecurityMiddleware by name: it is there as trainmon.headers.Security.
SILENCED_SYSTEM_CHECKS = ["security.W001"]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
# Nothing from elsewhere, nothing inline; a page that needs more says so itself (csp.decorators).
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "media-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    },
}
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION and env.bool("TRAINMON_HTTPS", True)
CSRF_TRUSTED_ORIGINS = env.list("TRAINMON_ORIGINS", default=[])
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024

# Who may see a trainer without groups: everyone signed in (default) or nobody but operators.
TRAINMON_PRIVATE = env.bool("TRAINMON_PRIVATE", False)
# Whether the role viewer sees logs as they are; operators do.  1: raw files and TensorBoard, 0: neither; unset: only TensorBoard.
TRAINMON_VIEWERS_RAW: bool | None = env.bool("TRAINMON_VIEWERS_RAW") if env.str("TRAINMON_VIEWERS_RAW", "") else None
# Seconds between two periodic syncs of a source.
TRAINMON_SYNC_INTERVAL = env.int("TRAINMON_SYNC_INTERVAL", 30)
# Seconds without any progress after which the scan of a source is given up.
TRAINMON_SCAN_DEADLINE = env.int("TRAINMON_SCAN_DEADLINE", 120)
# Days since a run was last modified up to which it is shown as fresh, and from which as old.
TRAINMON_FRESH_DAYS = env.float("TRAINMON_FRESH_DAYS", 1.0)
TRAINMON_OLD_DAYS = env.float("TRAINMON_OLD_DAYS", 7.0)
# Where archives go before anything is deleted: a folder, or an address that fsspec knows.
TRAINMON_ARCHIVE = env.str("TRAINMON_ARCHIVE", "") or str(HOME / "archive")
# Minutes for which nothing may have been written to a run that is cleaned up.
TRAINMON_CLEANUP_QUIET = env.int("TRAINMON_CLEANUP_QUIET", 15)
# Days that cleaned up runs lie in the trash before they are purged.
TRAINMON_CLEANUP_GRACE = env.float("TRAINMON_CLEANUP_GRACE", 7.0)
# Whether the janitor purges what is past its time in the trash; else `cleanup --purge` does, where somebody gives it.
TRAINMON_CLEANUP_PURGE = env.bool("TRAINMON_CLEANUP_PURGE", True)
# Dollars that a GB (10^9 bytes) on the volumes costs a month.
TRAINMON_STORAGE_PRICE = Decimal(env.str("TRAINMON_STORAGE_PRICE", "") or "0.10")
# Minutes that somebody takes to delete one run by hand, for the time that cleanups saved; 0: it is not told.
TRAINMON_BY_HAND = env.float("TRAINMON_BY_HAND", 2.0)
# Volumes that are refreshed before a scan and committed after a deletion: root -> what is run for it (runs/volumes.py).
try:
    TRAINMON_VOLUMES = json.loads(env.str("TRAINMON_VOLUMES", "") or "{}")
except ValueError as error:
    raise ImproperlyConfigured(f"TRAINMON_VOLUMES is no JSON: {error}.") from error
# Days that lines and events of jobs that are over are kept in the database; 0: for ever.
TRAINMON_KEEP_EVENTS = env.float("TRAINMON_KEEP_EVENTS", 0.0)
# MiB at which a log file of our own is cut (`up`), and how many older parts are kept of each.
TRAINMON_LOG_SIZE = env.int("TRAINMON_LOG_SIZE", 10)
TRAINMON_LOG_PARTS = env.int("TRAINMON_LOG_PARTS", 1)
TRAINMON_LOG_SESSIONS = env.int("TRAINMON_LOG_SESSIONS", 5)
# Tags a run may have; beyond it the run is marked and left out, the others go on.
TRAINMON_MAX_TAGS = env.int("TRAINMON_MAX_TAGS", 100_000)

# Programs of other TensorBoard versions that a trainer's may be set to, absolute paths: forms can name no others.
TRAINMON_TB_PROGRAMS = env.list("TRAINMON_TB_PROGRAMS", default=[])
# Where the kernel refuses namespaces: run TensorBoard all the same, reachable by everybody on this host.
TRAINMON_TB_SHARED_HOST = env.bool("TRAINMON_TB_SHARED_HOST", False)

# The bus and Celery's broker: Valkey or Redis. REDIS_URL, else the embedded Valkey that `up` starts (it may
# be down: a notice is only a hint); empty where there is none for this platform.
REDIS_URL = env.str("REDIS_URL", "")
if not REDIS_URL and not TESTING and binaries.valkey_server():
    REDIS_URL = f"unix://{PLACES.valkey_socket}"
if REDIS_URL:
    CELERY_BROKER_URL = broker(REDIS_URL)
elif TESTING:
    CELERY_BROKER_URL = "memory://"
else:
    CELERY_BROKER_URL = "filesystem://"
# Who orders something does not wait six seconds to learn that the broker is away, nor for ever for one that hangs.
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
    "max_retries": 1, "interval_start": 0, "interval_step": 0.2, "socket_connect_timeout": 2, "socket_timeout": 3}
if CELERY_BROKER_URL == "filesystem://":
    CELERY_BROKER_TRANSPORT_OPTIONS |= {
        name: str(HOME / "broker") for name in ("data_folder_in", "data_folder_out", "control_folder")
    }
# One notice for each change ("run 7 is at version 12"), to whoever serves pages.  Without Valkey it stays in
# this process; pages of others then look for newer versions themselves, every 2 s.
CHANNEL_LAYERS: dict[str, dict[str, Any]] = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
if REDIS_URL:
    CHANNEL_LAYERS["default"] = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "trainmon"},
    }
# What moves and deletes logs is done by whoever serves this queue alone: the janitor, which has them writable.
CELERY_TASK_ROUTES = {"retention.tasks.*": {"queue": "janitor"}}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_POOL = "threads"
CELERY_WORKER_CONCURRENCY = 4
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {
    "sync every source": {
        "task": "runs.tasks.sync_all",
        "schedule": TRAINMON_SYNC_INTERVAL,
        "options": {"expires": TRAINMON_SYNC_INTERVAL},
    },
    "policies": {
        "task": "retention.tasks.apply_policies",
        "schedule": 3600,
        "options": {"expires": 3600, "queue": "janitor"},
    },
    "old log lines": {"task": "retention.tasks.drop_old_lines", "schedule": 3600, "options": {"expires": 3600}},
    "the worker's heartbeat": {"task": "runs.tasks.heartbeat", "schedule": 30, "options": {"expires": 30}},
    "the janitor's heartbeat": {"task": "retention.tasks.heartbeat", "schedule": 30, "options": {"expires": 30}},
    "the janitor's round": {"task": "retention.tasks.tidy", "schedule": 60, "options": {"expires": 60}},
}

# Who may read /metrics and the details of /readyz: whoever has this token, and who calls from these addresses or networks.
TRAINMON_METRICS_TOKEN = env.str("TRAINMON_METRICS_TOKEN", "")
TRAINMON_METRICS_FROM = [one.strip() for one in env.list("TRAINMON_METRICS_FROM", default=[]) if one.strip()]

# Calls of the API a minute: reads and writes of each token or user, calls by nobody of each address; 0: no limit.
TRAINMON_API_RATE = env.list("TRAINMON_API_RATE", cast=int, default=[600, 120, 30])
# Calls a minute of a token that delivers events or files.
TRAINMON_INGEST_RATE = env.int("TRAINMON_INGEST_RATE", 600)
# Requests a minute that one user may send to TensorBoards, in each web process; 0: no limit.
TRAINMON_TB_RATE = env.int("TRAINMON_TB_RATE", 6000)
# GiB that one trainer may push in all (0: no limit), and MiB that pushing always leaves free on the disk.
TRAINMON_PUSH_QUOTA = env.int("TRAINMON_PUSH_QUOTA", 20)
TRAINMON_PUSH_FREE = env.int("TRAINMON_PUSH_FREE", 512)

REST_FRAMEWORK = {
    "DEFAULT_PERMISSION_CLASSES": ["runs.api.authentication.Closed"],
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "runs.api.authentication.TokenAuthentication",
        "runs.api.authentication.PageAuthentication",
    ],
    "DEFAULT_THROTTLE_CLASSES": ["runs.api.rates.Rate"],
    "DEFAULT_RENDERER_CLASSES": ["runs.api.rendering.ExactJSON"],
    "DEFAULT_PARSER_CLASSES": ["runs.api.rendering.StrictJSON"],
    "DEFAULT_SCHEMA_CLASS": "runs.api.schema.Schema",
    "EXCEPTION_HANDLER": "runs.api.problems.answer",
    "URL_FORMAT_OVERRIDE": None,  # ?format= belongs to the views
}

SPECTACULAR_SETTINGS = {
    "TITLE": "trainmon",
    "DESCRIPTION": "Training runs, for scripts. docs/api.md tells it with examples.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",  # null beside oneOf is unclear before it
    "SCHEMA_PATH_PREFIX": "/api/",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "RunStatus": "runs.models.run.Status",
        "SourceStatus": "runs.models.trainer.Source.Status",
        "FileKind": "runs.models.logfile.LogFile.Kind",
        "TensorBoardState": "streaming.models.TensorBoard.State",
        "CleanupState": "retention.models.Plan.State",
    },
}
