# trainmon: two commands are enough: `make up LOGS=/path` and `make down`. `make help` lists the rest.

SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
# Keyed on what the files say, not on their times: a checkout of another branch changes times only.
WANTED := $(shell cat requirements.txt | cksum | cut -d' ' -f1)
WANTED_DEV := $(shell cat requirements.txt requirements-dev.txt | cksum | cut -d' ' -f1)
INSTALLED := $(VENV)/.installed-$(WANTED)
INSTALLED_DEV := $(VENV)/.installed-dev-$(WANTED_DEV)

# Make's own variables reach the recipes by the environment, so that a path may hold blanks and quotes.
export LOGS HOST PORT OPEN TRAINMON_HOME
# Each answers one question; the other modules of benchmarks/ are what they measure with.
BENCHMARKS := reader scan sync export runlist charts live fanout steps soak proxy plan cleanup archive
PEERS = $(or $(TRAINMON_HOME),var)/bench/peers
# Workers of pytest-xdist; 0 runs the tests in one process. Three keep two processors busy: many tests wait.
TEST_WORKERS ?= 3
# Files in the order of tests/conftest.py, the longest first: the workers end at about the same time.
SHARED = -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder
CHROMIUM = $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)

.PHONY: bench-peers help up down demo install install-dev test browser soak lint types migrations bench chromium clean
.DEFAULT_GOAL := help

help:
	@echo "make up LOGS=/path      install what is needed, read the logs there, serve the site (HOST, PORT)"
	@echo "                        several: LOGS=\"lora=/volume/tensorboard router=/moe-data/tb_logs\""
	@echo "                        OPEN=1 opens it in the browser"
	@echo "make down               stop what 'make up' runs on this data"
	@echo "make demo               a small real training on the CPU, to have something to look at"
	@echo "make install            only the environment"
	@echo "make test               every test; make soak: the long kill runs; make bench: the benchmarks"
	@echo "make bench-peers        what the benchmarks compare with, in an environment of its own"
	@echo "make lint types migrations   what CI checks besides"
	@echo "Data lie under TRAINMON_HOME (default ./var)."

up: install
	@exec $(PY) manage.py up

down: install
	@exec $(PY) manage.py down

demo: install
	@exec $(PY) manage.py demo

install: $(INSTALLED)
install-dev: $(INSTALLED_DEV)
# CI imports a quarter of what there is: only that gets compiled, then.
PIP_INSTALL = $(PY) -m pip install --quiet --disable-pip-version-check $(if $(CI),--no-compile)

$(PY):
	@for python in $$PYTHON python3.11 python3.12 python3.13 python3.14 python3; do \
	    if "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then \
	        echo "Making $(VENV) with $$python"; exec "$$python" -m venv $(VENV); \
	    fi; \
	done; \
	echo "trainmon needs Python 3.11 to 3.14 with venv (Debian: apt-get install python3 python3-venv)." >&2; exit 1

$(INSTALLED): | $(PY)
	$(PIP_INSTALL) -r requirements.txt
	@rm -f $(VENV)/.installed-[0-9]*; touch $@

$(INSTALLED_DEV): | $(PY)
	$(PIP_INSTALL) -r requirements.txt -r requirements-dev.txt
	@rm -f $(VENV)/.installed-*; touch $(INSTALLED) $@

# Where CI is set, what failed is run once more, alone, and printed twice: on a machine busy with others' tests a race may show. It is a defect.
once_more = || { [ $$? = 1 ] && [ -n "$$CI" ] && echo "== failed: once more, alone" && $(PY) -m pytest -q -rA --last-failed --last-failed-no-failures none $(1); }

test: install-dev chromium
	$(PY) -m pytest -q $(SHARED) --ignore=tests/browser $(call once_more,--ignore=tests/browser)
	@$(MAKE) --no-print-directory browser

# Pytest processes of their own: Playwright's event loop and Django's do not share one.
browser: install-dev chromium
	@if [ -d tests/browser ]; then $(PY) -m pytest -q $(SHARED) tests/browser $(call once_more,tests/browser); fi

soak: install-dev
	$(PY) -m pytest -q -m soak --ignore=tests/browser

lint: install-dev
	$(PY) -m ruff check .

types: install-dev
	$(PY) -m mypy

migrations: install-dev
	$(PY) manage.py makemigrations --check --dry-run

bench: install-dev
	@failed=; for name in $(BENCHMARKS); do echo "== $$name"; $(PY) -m benchmarks.$$name || failed="$$failed $$name"; done; \
	[ -z "$$failed" ] || { echo "A bar was missed:$$failed" >&2; exit 1; }

# What benchmarks compare with and nothing of ours imports: an environment of its own.
bench-peers: $(PY)
	$(PY) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check mlflow-skinny==3.17.2 sqlalchemy alembic psycopg2-binary

# Without Chromium the browser tests fail; they never skip.
chromium:
	@if [ -n "$(CHROMIUM)" ] || [ ! -d tests/browser ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing Chromium for the browser tests"; \
	    apt-get install -y -qq --no-install-recommends chromium >/dev/null 2>&1 \
	    || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; }; \
	else \
	    echo "The browser tests need Chromium: sudo apt-get update && sudo apt-get install -y chromium" >&2; \
	fi

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache
