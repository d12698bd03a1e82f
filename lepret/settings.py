"""Django's settings. What differs between machines comes from `lepret.environment`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry as BlockingRetry

from lepret.environment import Environment

BASE_DIR = Path(__file__).resolve().parent.parent
ENVIRONMENT = Environment.read(BASE_DIR)

# Django itself refuses to use an empty key, at the moment something needs one: commands that sign
# nothing run without it.
SECRET_KEY = ENVIRONMENT.django_secret_key
# The key of the hashes in the names of streams in the event store. It must never change.
HMAC_KEY = (ENVIRONMENT.lepret_hmac_key or (SECRET_KEY and f"hmac {SECRET_KEY}")).encode()
DEBUG = ENVIRONMENT.django_debug
ALLOWED_HOSTS = ENVIRONMENT.django_allowed_hosts
CSRF_TRUSTED_ORIGINS = ENVIRONMENT.django_csrf_trusted_origins

INSTALLED_APPS = [
    # daphne comes first: it replaces runserver with one that serves websockets.
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "channels",
    "django_htmx",
    "ninja",
    "lepret",
    "loans",
    "readmodels",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "lepret.urls"
ASGI_APPLICATION = "lepret.asgi.application"

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
                "lepret.staff.roles.roles",
            ],
        },
    },
]

DATABASES: dict[str, dict[str, Any]] = {"default": ENVIRONMENT.database}
READMODELS_DATABASE = "default"
if ENVIRONMENT.readmodels_database is not None:
    DATABASES["readmodels"] = ENVIRONMENT.readmodels_database
    READMODELS_DATABASE = "readmodels"
DATABASE_ROUTERS = ["readmodels.database.ReadModelsRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CHANNEL_LAYERS: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {
            "hosts": [
                {
                    "address": ENVIRONMENT.redis_url,
                    "socket_connect_timeout": 2,
                    "health_check_interval": 10,
                    # Without it the first message after Valkey was restarted is lost, since the
                    # connection is found broken only then.
                    "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), 3),
                }
            ]
        },
    }
}

# The API's calls are counted here for all web servers together. Where Valkey is slow or away, calls
# do not wait for it long, and go through uncounted. Seconds.
CACHES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": ENVIRONMENT.redis_url,
        "KEY_PREFIX": "lepret",
        "OPTIONS": {
            "socket_connect_timeout": 0.5,
            "socket_timeout": 0.5,
            # A connection is found broken only when it is used again.
            "retry": BlockingRetry(NoBackoff(), 1),
        },
    }
}

# How often a caller may call the API: a token's user, or without a token an address. That is taken
# from X-Forwarded-For, to which each proxy adds an entry at the right; what is further to the left
# than there are proxies may be forged.
API_RATE = ENVIRONMENT.api_rate
API_ANONYMOUS_RATE = ENVIRONMENT.api_anonymous_rate
NINJA_NUM_PROXIES = ENVIRONMENT.api_proxies

# The event store. Seconds; every call has this bound.
EVENTSTORE_URI = ENVIRONMENT.eventstore_uri
EVENTSTORE_TIMEOUT_SECONDS = 5.0

# How long, in seconds, an applicant's reservation holds without a request being recorded: longer
# than any web server takes to record one.
RESERVATION_LAPSES_AFTER_SECONDS = 60.0

# The credit bureau: a URL, or `None` for the simulator with this latency in seconds.
CREDIT_BUREAU_URL = ENVIRONMENT.credit_bureau_url
CREDIT_BUREAU_LATENCY_SECONDS = ENVIRONMENT.credit_bureau_latency_seconds
CREDIT_BUREAU_CONNECT_TIMEOUT_SECONDS = 1.0
CREDIT_BUREAU_READ_TIMEOUT_SECONDS = 2.0
# For all attempts together: somebody waits for the page. After that a worker makes the check.
CREDIT_BUREAU_DEADLINE_SECONDS = 5.0
CREDIT_BUREAU_ATTEMPTS = 3
# The circuit breaker of each process opens after so many failures in a row, for so many seconds.
CREDIT_BUREAU_BREAKER_FAILURES = 5
CREDIT_BUREAU_BREAKER_PAUSE_SECONDS = 5.0

# `check_credit` retries a request without a score so often, with growing delays of up to so many
# seconds, in so many threads. With these values it gives up after about an hour.
CREDIT_CHECK_RETRIES = 24
CREDIT_CHECK_LONGEST_DELAY_SECONDS = 300.0
CREDIT_CHECK_THREADS = 8

# Times and limits of `manage.py project` that differ from `readmodels.projector.tuning.Tuning`.
PROJECTOR_TUNING: dict[str, Any] = {}

# How long, in seconds, a page or an API call waits for a read model that is a moment behind.
READ_MODEL_WAIT_SECONDS = 2.0

# How far behind, in seconds, a read model may be for `/readyz` to be green; `None`: any distance.
READYZ_MAX_LAG_SECONDS = ENVIRONMENT.readyz_max_lag_seconds

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home-of-role"
LOGOUT_REDIRECT_URL = "login"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
# Served from where they lie, in development and at scale alike: there is nothing to collect.
WHITENOISE_USE_FINDERS = True

# Cookies and redirects for HTTPS everywhere but in debug mode, or where DJANGO_HTTPS=false says
# that the site is served in the clear, as the demo is on the local machine.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = ENVIRONMENT.django_https
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000 if ENVIRONMENT.django_https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = ENVIRONMENT.django_https
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if ENVIRONMENT.django_https else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "loans.web.views.csrf_failure"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        # These two log each request at INFO.
        "httpx2": {"level": "WARNING"},
        "httpcore2": {"level": "WARNING"},
        # It warns of each retry after a concurrent append, which is normal.
        "stamina": {"level": "ERROR"},
        # It logs a stack trace each second while Valkey is away; our own code logs that once.
        "channels_redis.pubsub": {"level": "CRITICAL"},
    },
}
