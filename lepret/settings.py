"""Django's settings. What differs between machines comes from `lepret.environment`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from csp.constants import NONE, SELF
from django.conf import global_settings
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry as BlockingRetry

from lepret.environment import Environment

BASE_DIR = Path(__file__).resolve().parent.parent
ENVIRONMENT = Environment.read(BASE_DIR)

# May be empty: Django refuses an empty key only when something is signed, so that commands which
# sign nothing run without it.
SECRET_KEY = ENVIRONMENT.django_secret_key
# The key of the hashes in stream names. It must never change.
HMAC_KEY = (ENVIRONMENT.lepret_hmac_key or (SECRET_KEY and f"hmac {SECRET_KEY}")).encode()
DEBUG = ENVIRONMENT.django_debug
ALLOWED_HOSTS = ENVIRONMENT.django_allowed_hosts
CSRF_TRUSTED_ORIGINS = ENVIRONMENT.django_csrf_trusted_origins

INSTALLED_APPS = [
    # First, since it replaces runserver with one that serves websockets.
    "lepret.front",
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
    "django_otp",
    "django_otp.plugins.otp_static",
    "django_otp.plugins.otp_totp",
    "ninja",
    "lepret",
    "loans",
    "readmodels",
]

MIDDLEWARE = [
    # These set headers, or rewrite answers. They come before those that answer by themselves.
    "lepret.common.answer_headers.answer_headers",
    "lepret.api.refusals.refusals_are_problems",
    "lepret.common.patience.limited_patience",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "lepret.api.https_only.https_only",
    "lepret.common.static_files.StaticFiles",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "lepret.common.unreadable_forms.refuse_unreadable_forms",
    "django.middleware.csrf.CsrfViewMiddleware",
    "lepret.staff.sessions.StaffSessionMiddleware",
    "lepret.staff.access.AdminRefusals",
    "lepret.common.admin_input.AdminInput",
    "django.contrib.messages.middleware.MessageMiddleware",
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
                "lepret.staff.provider_sign_in.ways_to_log_in",
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
        "BACKEND": "lepret.common.channel_layer.ChannelLayer",
        "CONFIG": {
            "hosts": [
                {
                    "address": ENVIRONMENT.redis_url,
                    "socket_connect_timeout": 2,
                    "health_check_interval": 10,
                    # A broken connection is noticed only when it is used. Without a retry, the
                    # first message after a restart of Valkey would be lost.
                    "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), 3),
                }
            ]
        },
    }
}

# How long to wait for Valkey where one can do without its answer, in seconds.
VALKEY_PATIENCE: dict[str, Any] = {
    "socket_connect_timeout": 0.5,
    "socket_timeout": 0.5,
    # As above: a broken connection is noticed only when it is used.
    "retry": BlockingRetry(NoBackoff(), 1),
}

# Counts the API's calls, for all web servers together. While Valkey is slow or down, calls wait for
# it only briefly, and pass uncounted.
CACHES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "lepret.common.cache_pool.Cache",
        "LOCATION": ENVIRONMENT.redis_url,
        "KEY_PREFIX": "lepret",
        "OPTIONS": {
            "pool_class": "lepret.common.cache_pool.SharedPool",
            "serializer": "lepret.common.cache_pool.AsJson",
            **VALKEY_PATIENCE,
        },
    }
}

# Where `readmodels.live.presence` keeps who has which request open, for all web servers together.
PRESENCE_URL = ENVIRONMENT.redis_url

# How many proxies of ours add to X-Forwarded-For: see `lepret.common.callers`.
WEB_PROXIES = ENVIRONMENT.web_proxies

# How large a request's body may be, in bytes, and how many fields a form may have: much more than
# the largest valid form, and a list in admin with 100 ticked rows. `lepret.front` refuses larger
# bodies before it reads them. No form takes files.
DATA_UPLOAD_MAX_MEMORY_SIZE = FILE_UPLOAD_MAX_MEMORY_SIZE = 65_536
DATA_UPLOAD_MAX_NUMBER_FIELDS = 200
DATA_UPLOAD_MAX_NUMBER_FILES = 0

# Limits of `lepret.front`: how long a request may take to come in, in seconds, and how many
# connections and websockets an address may have, of each web process.
WEB_REQUEST_SECONDS = ENVIRONMENT.web_request_seconds
WEB_CONNECTIONS_PER_ADDRESS = ENVIRONMENT.web_connections_per_address
WEB_SOCKETS_PER_ADDRESS = ENVIRONMENT.web_sockets_per_address

# How often a caller may call the API. A caller is a token's user or, without a token, an address.
API_RATE = ENVIRONMENT.api_rate
API_ANONYMOUS_RATE = ENVIRONMENT.api_anonymous_rate

# How often one may apply for a loan, by form and API together: from an address (without a token),
# and for a national ID.
APPLICATIONS_PER_ADDRESS = ENVIRONMENT.applications_per_address
APPLICATIONS_PER_NATIONAL_ID = ENVIRONMENT.applications_per_national_id

# How often one may try in vain to find a request by its number and a national ID: from an address,
# and for a number.
LOOKUPS_PER_ADDRESS = ENVIRONMENT.lookups_per_address
LOOKUPS_PER_NUMBER = ENVIRONMENT.lookups_per_number

# The event store, and the timeout in seconds of every call to it, and of all calls for one answer.
EVENTSTORE_URI = ENVIRONMENT.eventstore_uri
EVENTSTORE_TIMEOUT_SECONDS = 5.0

# After how many seconds a reservation lapses if no request has been recorded: longer than any web
# server takes to record one.
RESERVATION_LAPSES_AFTER_SECONDS = 60.0

# The credit bureau: a URL, or `None` for the simulator with this latency in seconds.
CREDIT_BUREAU_URL = ENVIRONMENT.credit_bureau_url
CREDIT_BUREAU_LATENCY_SECONDS = ENVIRONMENT.credit_bureau_latency_seconds
CREDIT_BUREAU_CONNECT_TIMEOUT_SECONDS = 1.0
CREDIT_BUREAU_READ_TIMEOUT_SECONDS = 2.0
# For all attempts together, since an applicant is waiting. Afterwards a worker makes the check.
CREDIT_BUREAU_DEADLINE_SECONDS = 5.0
CREDIT_BUREAU_ATTEMPTS = 3
# Each process's circuit breaker opens after this many failures in a row, for this many seconds.
CREDIT_BUREAU_BREAKER_FAILURES = 5
CREDIT_BUREAU_BREAKER_PAUSE_SECONDS = 5.0

# Of `check_credit`: the number of retries for a request, the longest delay between them in seconds,
# and the number of threads. With these values it gives up after about an hour.
CREDIT_CHECK_RETRIES = 24
CREDIT_CHECK_LONGEST_DELAY_SECONDS = 300.0
CREDIT_CHECK_THREADS = 8

# Times and limits of `manage.py project` that differ from `readmodels.projector.tuning.Tuning`.
PROJECTOR_TUNING: dict[str, Any] = {}

# How long, in seconds, a page or an API call waits for a read model that is a moment behind.
READ_MODEL_WAIT_SECONDS = 2.0

# How often an open page is told that it is connected. It takes the connection for lost after twice
# this time and two seconds more without a message.
LIVE_HEARTBEAT_SECONDS = 7.0

# How many seconds a read model may be behind before `/readyz` answers 503; `None`: any number.
READYZ_MAX_LAG_SECONDS = ENVIRONMENT.readyz_max_lag_seconds

# Who may see `/metrics`, and all of `/readyz`: see `lepret.common.insiders`.
MONITORING_TOKEN = ENVIRONMENT.monitoring_token
MONITORING_NETWORKS = ENVIRONMENT.monitoring_networks

# Long, not the user's name, not well known, not easy to guess here; of any characters (OWASP ASVS
# 5.0, V6.2).
_VALIDATORS = "django.contrib.auth.password_validation"
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [
    {"NAME": f"{_VALIDATORS}.UserAttributeSimilarityValidator"},
    {"NAME": f"{_VALIDATORS}.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": f"{_VALIDATORS}.CommonPasswordValidator"},
    {"NAME": "lepret.staff.password_rules.SiteWordsValidator"},
    {"NAME": "lepret.staff.password_rules.GuessableValidator"},
]
# Passwords that are set in a demo are valid in no other server: see `lepret.demo.passwords`.
if ENVIRONMENT.lepret_demo:
    PASSWORD_HASHERS = [
        "lepret.demo.passwords.DemoPasswordHasher",
        *global_settings.PASSWORD_HASHERS,
    ]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home-of-role"
LOGOUT_REDIRECT_URL = "login"

# Not the default, which keeps messages in a cookie: they may hold an applicant's name.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

AUTHENTICATION_BACKENDS = []
if ENVIRONMENT.password_login:
    AUTHENTICATION_BACKENDS += ["django.contrib.auth.backends.ModelBackend"]

# The second factor: whether everybody must have one, and how many seconds a login waits for it.
STAFF_SECOND_FACTOR = ENVIRONMENT.staff_second_factor
SECOND_STEP_SECONDS = 600
OTP_TOTP_ISSUER = "lepret"
# A code is valid in its half minute and those beside it, however wrong a phone's clock has been.
OTP_TOTP_SYNC = False

# The company's identity provider (OpenID Connect), if it is named. Those with the prefix OIDC_RP_,
# and OIDC_USE_PKCE, are mozilla-django-oidc's. Timeout in seconds, of each call.
OIDC_ISSUER = ENVIRONMENT.oidc_issuer
OIDC_BACKEND = "lepret.staff.provider_sign_in.ProviderBackend"
if OIDC_ISSUER:
    AUTHENTICATION_BACKENDS += [OIDC_BACKEND]
OIDC_RP_CLIENT_ID = ENVIRONMENT.oidc_client_id
OIDC_RP_CLIENT_SECRET = ENVIRONMENT.oidc_client_secret
OIDC_RP_SCOPES = ENVIRONMENT.oidc_scopes
OIDC_AUTHENTICATION_CALLBACK_URL = "from-provider"
OIDC_USE_PKCE = True
OIDC_TIMEOUT = 5.0
OIDC_NAME = ENVIRONMENT.oidc_name
OIDC_USERNAME_CLAIM = ENVIRONMENT.oidc_username_claim
OIDC_GROUPS_CLAIM = ENVIRONMENT.oidc_groups_claim
OIDC_UNDERWRITERS_GROUP = ENVIRONMENT.oidc_underwriters_group
OIDC_LEADS_GROUP = ENVIRONMENT.oidc_leads_group
OIDC_BACK_OFFICE_GROUP = ENVIRONMENT.oidc_back_office_group
OIDC_POLICY_GROUP = ENVIRONMENT.oidc_policy_group
OIDC_SECOND_FACTOR = ENVIRONMENT.oidc_second_factor
PASSWORD_LOGIN = ENVIRONMENT.password_login

SESSION_ENGINE = "lepret.staff.session_store"
# How long a session lasts from its login, and from the last request, in seconds: the server holds
# it to both (`lepret.staff.sessions`), and the browser drops the cookie.
SESSION_COOKIE_AGE = round(ENVIRONMENT.session_hours * 3600)
SESSION_IDLE_SECONDS = ENVIRONMENT.session_idle_minutes * 60

# Browsers take a cookie with the prefix `__Host-` only over HTTPS, from this host, for all of its
# paths (RFC 6265bis), so that no neighbouring site can plant one. No script needs to read them.
# `Lax`, since links in mails and an identity provider's answers must find people logged in.
COOKIE_PREFIX = "__Host-" if ENVIRONMENT.django_https else ""
SESSION_COOKIE_NAME = f"{COOKIE_PREFIX}sessionid"
CSRF_COOKIE_NAME = f"{COOKIE_PREFIX}csrftoken"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"

LANGUAGE_CODE = "en"
TIME_ZONE = ENVIRONMENT.time_zone
# Django's own pages write times as `lepret.common.formats.moment` does.
FORMAT_MODULE_PATH = ["lepret.common.date_formats"]
USE_I18N = True
USE_TZ = True
# The currency of all amounts, as ISO 4217 names it.
CURRENCY = ENVIRONMENT.currency

# Whom applicants may contact, and what they are told about their data: plain text, shown in place
# of the product's own.
CONTACT = ENVIRONMENT.contact
PRIVACY_NOTICE = ENVIRONMENT.privacy_notice

STATIC_URL = "static/"
# Static files are served from the source directories, so that `collectstatic` is not needed.
WHITENOISE_USE_FINDERS = True
WHITENOISE_ALLOW_ALL_ORIGINS = False

# Secure cookies and redirects to HTTPS, except in debug mode or with DJANGO_HTTPS=false, which the
# demo sets.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = ENVIRONMENT.django_https
# Calls of the API are refused instead (`lepret.api.https_only`); its documentation is a page.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$", r"^api/(?!docs$)"]
SECURE_HSTS_SECONDS = 31_536_000 if ENVIRONMENT.django_https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = ENVIRONMENT.django_https
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if ENVIRONMENT.django_https else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Only what comes from here, and nothing that is written into a page: no inline script or style.
# `data:` is for the icons in the style sheets. Websockets belong to 'self' (CSP level 3).
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "font-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
CSRF_FAILURE_VIEW = "loans.web.views.csrf_failure"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "lepret.common.log_lines.LineFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s %(message)s",
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        # These two log each request at INFO.
        "httpx2": {"level": "WARNING"},
        "httpcore2": {"level": "WARNING"},
        # It warns of each retry after a concurrent append, which is normal.
        "stamina": {"level": "ERROR"},
        # It logs a stack trace each second while Valkey is down; our own code logs that once.
        "channels_redis.pubsub": {"level": "CRITICAL"},
    },
}
