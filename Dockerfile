# One image for the site, the follower, the TensorBoards, the worker and the clock (docker-compose.yml). PostgreSQL and Valkey are services
# of their own there; started alone, `manage.py up` in it uses the embedded ones.
FROM python:3.11-slim-bookworm AS packages

WORKDIR /app
COPY requirements.txt .
RUN python -m venv /app/.venv && /app/.venv/bin/pip install --no-cache-dir -r requirements.txt

FROM python:3.11-slim-bookworm

# An ordinary user with a name (initdb looks it up) and a number that a volume's owner can be set to.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin trainmon \
    && install -d -o trainmon -g trainmon /data
WORKDIR /app
COPY --from=packages /app/.venv /app/.venv
COPY . .
# Nothing is compiled later: each start would do it again, and keep 10 MB of memory for having done so.
RUN /app/.venv/bin/python -m compileall -q -x '/\.venv/' .

ENV PATH=/app/.venv/bin:$PATH \
    MALLOC_ARENA_MAX=2 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TRAINMON_HOME=/data \
    TRAINMON_ENV=production
USER 10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
CMD ["python", "-m", "trainmon.web", "-v", "0", "-b", "0.0.0.0", "-p", "8000"]
