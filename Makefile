# Two commands do everything: `make demo` ranks real text, `make test` proves that it works.
# Both make their own environment in .venv; only Python 3.11+, git and make are needed.

PYTHON ?= python3
BIN := .venv/bin
# pins for the tools that build the environment itself
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test test-fast lint types wheel docs clean

demo: .venv/installed-demo
	$(BIN)/qwen3-rerank demo

test: .venv/installed-dev
	$(BIN)/python -m pytest $(ARGS)

test-fast: .venv/installed-dev
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed-dev
	$(BIN)/mypy

wheel: .venv/installed-dev
	$(BIN)/python scripts/check_wheel.py

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --upgrade "pip>=25.1"

.venv/installed-demo: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt --editable ".[cli]"
	touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt --editable ".[all,bench,eval,mteb,quantization]" --group dev
	touch $@ .venv/installed-demo

clean:
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
