# What people and CI call. Each target sets up what it needs: a Python of 3.11 or newer and make are enough.
#   make demo      the main job on the embedded store, no account, no network beyond the package installer
#   make test      format, lint, types, and all tests but the slow ones
#   make PYTHON=/opt/python3.13/bin/python3 test     another Python;  VENV=folder: another virtual environment

PYTHON ?= $(shell for each in python3.13 python3.12 python3.11 python3 python; do \
	$$each -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$each && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST_ARGS ?= -n 3 --dist loadfile  # half of the time a test waits: for servers, processes, locks

.PHONY: demo test test-slow frameworks lint format bench matrix next screenshots clean help

help:
	@sed -n '2,4s/^# *//p' Makefile
	@echo 'Others: make test-slow, frameworks, lint, format, bench, matrix, next, screenshots, clean'

demo: $(VENV)/.installed-demo
	@$(BIN)/mlflow-dsver demo

test: lint
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m 'not slow'

# A real browser, PostgreSQL, a sweep of 200 trials, a kill at every system call, the demo, the benchmarks.
test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m slow

# Training scripts with real frameworks, 2 GB of them; `make test-slow` runs those that are installed.
frameworks: $(VENV)/.installed-frameworks
	$(BIN)/python -m pytest -m slow tests/training_code

lint: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(VENV)/.installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-peers
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

matrix: $(VENV)/.installed-test
	$(BIN)/python tests/compat/matrix.py $(MATRIX_ARGS)

# The newest MLflow, pre-releases included, against itself and the oldest supported one; needs a network.
next: $(VENV)/.installed-test
	$(BIN)/python tests/compat/matrix.py --next $(MATRIX_ARGS)

screenshots: $(VENV)/.installed-test
	$(BIN)/python tests/browser/screenshots.py

clean:
	rm -rf $(VENV) .demo build dist test-artifacts .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment is made once, and installed again only when pyproject.toml changed.
$(BIN)/python:
	@test -n '$(PYTHON)' || { echo 'No Python from 3.11 to 3.13 found. Name one: make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo 'No virtual environment could be made; on Debian: apt-get install python3-venv' >&2; exit 1; }

$(VENV)/.installed-demo: pyproject.toml | $(BIN)/python
	@echo 'Installing (once, some minutes) …'
	@$(INSTALL) --editable '.[demo]'
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	@echo 'Installing what the tests need (once, some minutes) …'
	@$(INSTALL) 'pip>=25.1'  # the first that knows dependency groups
	@$(INSTALL) --editable '.[demo,s3]' --group test
	@touch $@ $(VENV)/.installed-demo

# A dependency group more: peers, frameworks, frameworks-ci.
$(VENV)/.installed-%: $(VENV)/.installed-test
	@$(INSTALL) --group $*
	@touch $@
