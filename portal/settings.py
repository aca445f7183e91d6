"""Every setting of the portal. What an operator may change is an environment variable, read strictly.

`manage.py up` keeps the variables of its private services in <data>/portal.env; a variable of the process wins.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import structlog
from csp.constants import NONE, SELF
from django.utils.translation import gettext_lazy as _

from portal.toolkit.env import Env, read_env_file
from portal.toolkit.services import (
    LOOPBACK,
    celery_broker_url,
    email_settings,
    keep_alive,
    postgres_settings,
    redis_tls,
)

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("PORTAL_DATA") or BASE_DIR / "var").resolve()
env = Env({**read_env_file(DATA_DIR / "portal.env"), **os.environ})

# --- Who we are -----------------------------------------------------------------------------------------------------
DEBUG = env.flag("PORTAL_DEBUG")
SECRET_KEY = env.text("PORTAL_SECRET_KEY")
# For passwords of sources; the first encrypts, all decrypt. A key of its own lets the other one be changed.
ENCRYPTION_KEYS = env.words("PORTAL_ENCRYPTION_KEYS", (SECRET_KEY,))
PROCESS = env.text("PORTAL_PROCESS")  # its name, where there is more than one
PORTAL_URL = env.text("PORTAL_URL", "http://127.0.0.1:8000").rstrip("/")
TLS_ON = PORTAL_URL.startswith("https://")
ALLOWED_HOSTS = env.words("PORTAL_HOSTS", ("127.0.0.1", "localhost", "[::1]"))
CSRF_TRUSTED_ORIGINS = [PORTAL_URL] if TLS_ON else []
BEHIND_PROXY = env.flag("PORTAL_BEHIND_PROXY")
SCRAPE_ALLOW = env.words("PORTAL_SCRAPE_ALLOW")
# Who may send syslog: network=push token, separated by commas; nobody unless told. Clocks that name no zone show this.
SYSLOG_ALLOW = env.words("PORTAL_SYSLOG_ALLOW")
SYSLOG_ZONE = env.text("PORTAL_SYSLOG_ZONE", "UTC")
RETENTION_DAYS = env.whole("PORTAL_RETENTION_DAYS", 14, least=1, most=3650)
RETENTION_LOGS_DAYS = env.whole("PORTAL_RETENTION_LOGS_DAYS", 30, least=1, most=36_500)
INCIDENT_DAYS = env.whole("PORTAL_INCIDENT_DAYS", 400, least=1, most=36_500)
# Where processes of their own serve what is pushed, on the host that the page came from; 0: where the pages are.
LIVE_PORT = env.whole("PORTAL_LIVE_PORT", 0, least=0, most=65_535)
# Sockets and streams that are open at once: in each web process, and of one person in it.
LIVE_SOCKETS = env.whole("PORTAL_LIVE_SOCKETS", 12_000, least=1, most=1_000_000)
LIVE_SOCKETS_PER_PERSON = env.whole("PORTAL_LIVE_SOCKETS_PER_PERSON", 50, least=1, most=1_000_000)
ROLLUP_DAYS = {  # by the length of the buckets in seconds
    60: env.whole("PORTAL_RETENTION_1M_DAYS", 90, least=1, most=36500),
    900: env.whole("PORTAL_RETENTION_15M_DAYS", 400, least=1, most=36500),
    3600: env.whole("PORTAL_RETENTION_1H_DAYS", 1826, least=1, most=36500),
}

INSTALLED_APPS = [
    "portal.accounts",
    "portal",
    "portal.toolkit",
    "monitoring",
    "alerts",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django.forms",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "channels",
    "corsheaders",
    "csp",
    "django_htmx",
    "django_structlog",
    "lucide",
    "ninja",
    "servestatic.runserver_nostatic",
    "simple_history",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "portal.middleware.LivePortMiddleware",
    "portal.middleware.PermissionsPolicyMiddleware",
    "portal.middleware.PageMethodsMiddleware",
    "portal.middleware.ProbeMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "portal.middleware.ApiMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "portal.accounts.middleware.PersonLocaleMiddleware",
    "portal.accounts.middleware.SignedInMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
]

ROOT_URLCONF = "portal.urls"
ASGI_APPLICATION = "portal.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"

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
                "portal.context.portal",
            ],
        },
    },
]

# --- Services -------------------------------------------------------------------------------------------------------
_database = env.url("DATABASE_URL", ("postgresql", "postgres"))
DATABASES: dict[str, dict[str, Any]] = {
    "default": postgres_settings(_database, pool_size=env.whole("PORTAL_DB_POOL", 10, least=2, most=200))
    if _database
    else {"ENGINE": "django.db.backends.dummy"},
}

_redis = env.url("REDIS_URL", ("redis", "rediss", "unix"))
REDIS_URL = env.text("REDIS_URL")
REDIS_OPTIONS: dict[str, Any] = {
    "socket_connect_timeout": env.whole("PORTAL_REDIS_CONNECT_TIMEOUT_S", 5, least=1, most=60),
    "socket_timeout": env.whole("PORTAL_REDIS_TIMEOUT_S", 3, least=1, most=60),
    "health_check_interval": 30,
    **(redis_tls(_redis) if _redis else {}),
}
if _redis and _redis.scheme != "unix":
    REDIS_OPTIONS["socket_keepalive"] = True
    REDIS_OPTIONS["socket_keepalive_options"] = keep_alive(seconds=30)
REDIS_POOL = env.whole("PORTAL_REDIS_POOL", 100, least=4, most=10_000)
REDIS_RETRIES = env.whole("PORTAL_REDIS_RETRIES", 3, least=0, most=10)

LIVE_DEFLATE = env.flag("PORTAL_LIVE_DEFLATE")

# Rate limits and allauth's bookkeeping live in the database: a FLUSHALL must not open the door to password guessing.
CACHES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "portal_cache",
        # Django keeps 300 by default and then throws counters away: guessing 300 names would reset every limit.
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    },
    "fast": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "fast",
        "OPTIONS": {"CONNECTION_POOL_KWARGS": REDIS_OPTIONS},
    },
}
SESSION_ENGINE = "django.contrib.sessions.backends.db"

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [{"address": REDIS_URL, **REDIS_OPTIONS}], "prefix": "control"},
    },
}

CELERY_BROKER_URL = celery_broker_url(_redis) if _redis else "memory://"
CELERY_BROKER_USE_SSL = (redis_tls(_redis) or None) if _redis else None

_email = env.url("EMAIL_URL", ("smtp", "smtp+tls", "smtps"))
EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
EMAIL_TIMEOUT = 20
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.text("PORTAL_MAIL_FROM", "OpenManager <openmanager@localhost>")
if _email:
    globals().update(email_settings(_email))
# Simulated servers mail into a local mailbox only: nobody is to be woken by generated numbers.
SIMULATED_MAIL = env.flag("PORTAL_SIMULATED_MAIL", _email is not None and _email.hostname in LOOPBACK)

# --- People ---------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "portal.accounts.adapter.ClosedSignup"
ACCOUNT_FORMS = {"login": "portal.accounts.forms.SignInForm"}
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = "OpenManager: "
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if TLS_ON else "http"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_TOTP_ISSUER = "OpenManager"
MFA_ALLOW_UNVERIFIED_EMAIL = True  # nobody signs up: an address is what an admin wrote
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not TLS_ON  # browsers offer keys on https and on localhost only
USERSESSIONS_TRACK_ACTIVITY = False
ALLAUTH_TRUSTED_PROXY_COUNT = 1 if BEHIND_PROXY else 0  # whose X-Forwarded-For tells whom a rate limit counts
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# --- Security -------------------------------------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        # Rules that name pages to be fetched ahead (static/js/prefetch.js); they run nothing.
        "script-src": [SELF, "'inline-speculation-rules'"],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "portal.views.csrf_failure"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = TLS_ON
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_SSL_REDIRECT = TLS_ON
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SECURE_HSTS_SECONDS = 31_536_000 if TLS_ON else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = TLS_ON
if BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CORS_ALLOWED_ORIGINS = env.origins("ALLOWED_ORIGINS")
CORS_URLS_REGEX = r"^/api/.*$"
CORS_EXPOSE_HEADERS = ["Age", "Allow", "ETag", "Retry-After"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_500_000

# --- Language and time ----------------------------------------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("ko", _("Korean"))]
LOCALE_PATHS = [BASE_DIR / "portal" / "locale"]
USE_I18N = USE_TZ = True
TIME_ZONE = "UTC"

# --- Static files ---------------------------------------------------------------------------------------------------
STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS: list[Any] = [
    BASE_DIR / "static",
    ("uplot", BASE_DIR / "node_modules" / "uplot" / "dist"),
    ("idiomorph", BASE_DIR / "node_modules" / "idiomorph" / "dist"),
]
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_AUTOREFRESH = DEBUG

# --- Work in the background -------------------------------------------------------------------------------------------
CELERY_TASK_DEFAULT_QUEUE = "fast"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
    "health_check_interval": 15,
    "visibility_timeout": 3600,
    "queue_order_strategy": "priority",
}
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0.1}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "portal.beat:SteadyScheduler"
# Ticks are hints: each task works out from the database what is due. One that waited longer than its period is dropped.
CELERY_BEAT_SCHEDULE = {
    # An instant of the simulation is due every 5 s; asked for each second, it is on the screen within one.
    "simulate": {"task": "monitoring.tasks.simulate_task", "schedule": 1.0, "options": {"expires": 2}},
    "collect": {"task": "monitoring.tasks.collect_task", "schedule": 1.0, "options": {"expires": 2}},
    "freshness": {"task": "monitoring.tasks.freshness_task", "schedule": 5.0, "options": {"expires": 5}},
    "follow-logs": {"task": "monitoring.tasks.follow_task", "schedule": 2.0, "options": {"expires": 2}},
    "jobs": {"task": "monitoring.tasks.jobs_task", "schedule": 10.0, "options": {"expires": 10}},
    "evaluate": {"task": "alerts.tasks.evaluate_task", "schedule": 1.0, "options": {"expires": 2}},
    "alert-sweep": {"task": "alerts.tasks.sweep_task", "schedule": 5.0, "options": {"expires": 5}},
    "deliver": {"task": "alerts.tasks.deliver_task", "schedule": 2.0, "options": {"expires": 2}},
    "forget-incidents": {
        "task": "alerts.tasks.forget_task",
        "schedule": 3600.0,
        "options": {"expires": 3600, "queue": "bulk"},
    },
    "alert-audit": {"task": "alerts.tasks.audit_task", "schedule": 60.0, "options": {"expires": 60}},
    "seal": {"task": "monitoring.tasks.seal_task", "schedule": 60.0, "options": {"expires": 60, "queue": "bulk"}},
    "merge-late": {
        "task": "monitoring.tasks.merge_late_task",
        "schedule": 300.0,
        "options": {"expires": 300, "queue": "bulk"},
    },
    "compact": {
        "task": "monitoring.tasks.compact_task",
        "schedule": 600.0,
        "options": {"expires": 600, "queue": "bulk"},
    },
    "retention": {
        "task": "monitoring.tasks.retention_task",
        "schedule": 600.0,
        "options": {"expires": 600, "queue": "bulk"},
    },
    "merge-logs": {
        "task": "monitoring.tasks.merge_logs_task",
        "schedule": 5.0,
        "options": {"expires": 5, "queue": "bulk"},
    },
    "forget-logs": {
        "task": "monitoring.tasks.forget_logs_task",
        "schedule": 600.0,
        "options": {"expires": 600, "queue": "bulk"},
    },
    "export": {"task": "monitoring.tasks.export_task", "schedule": 2.0, "options": {"expires": 2, "queue": "bulk"}},
    "forget-exports": {
        "task": "monitoring.tasks.forget_exports_task",
        "schedule": 600.0,
        "options": {"expires": 600, "queue": "bulk"},
    },
    "forget-sessions": {
        "task": "portal.tasks.forget_sessions_task",
        "schedule": 3600.0,
        "options": {"expires": 3600, "queue": "bulk"},
    },
}

# --- Our own log: one JSON object a line ------------------------------------------------------------------------------
_structlog_chain: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
]
structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        *_structlog_chain,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processor": structlog.processors.JSONRenderer(),
            "foreign_pre_chain": [*_structlog_chain, structlog.processors.format_exc_info],
        },
    },
    "handlers": {"out": {"class": "logging.StreamHandler", "stream": sys.stdout, "formatter": "json"}},
    "root": {"handlers": ["out"], "level": "WARNING"},
    "loggers": {
        name: {"level": "INFO", "handlers": ["out"], "propagate": False} for name in ("portal", "monitoring", "alerts")
    },
}
