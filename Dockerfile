# One image for the web server, the projector, the workers and the migrations.

FROM python:3.13.16-slim-bookworm@sha256:a1165e272e578941b84abc79e4ab38a0305cd12803a5c4247979ac7655f4d641 AS dependencies
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PROJECT_ENVIRONMENT=/opt/venv \
    UV_PYTHON=/usr/local/bin/python3 \
    UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir --root-user-action=ignore uv==0.13.9
WORKDIR /app
# Copied first, so that the dependencies are installed again only when they change. Their versions
# are pinned in pyproject.toml; the demo's and the developers' tools stay out of the image.
COPY pyproject.toml ./
RUN uv sync --no-cache --no-default-groups

FROM python:3.13.16-slim-bookworm@sha256:a1165e272e578941b84abc79e4ab38a0305cd12803a5c4247979ac7655f4d641
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    PYTHONUNBUFFERED=1 \
    DJANGO_SETTINGS_MODULE=lepret.settings
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent lepret
COPY --from=dependencies /opt/venv /opt/venv
WORKDIR /app
COPY . .
# This user can only read the files, which root owns: the processes keep nothing on disk.
USER 10001:10001
EXPOSE 8000
# Quiet: daphne's request log would hold whole URLs, with the names that admin was searched for.
CMD ["daphne", "--verbosity", "0", "-b", "0.0.0.0", "-p", "8000", "lepret.asgi:application"]
