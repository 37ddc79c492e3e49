# The same few commands for people and CI. Needs Python 3.11 or newer and pip; everything else goes into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# A worker per core, each with one thread.
PARALLEL := -n auto --maxprocesses 8 --dist worksteal
# TensorFlow and torch never share a process, so Keras models have an environment of their own.
KERAS := build/keras

.PHONY: setup demo test test-slow test-keras check bench docs clean
.DEFAULT_GOAL := help

help:
	@echo "make setup | demo | test | test-slow | test-keras | check | bench | docs | clean"

setup: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -c "import sys; assert sys.version_info >= (3, 11), f'Python 3.11 or newer is needed, found {sys.version}'"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade "pip>=24"
	$(BIN)/python -m pip install -e ".[dev]"
	touch $@

demo: setup
	$(BIN)/acclimate demo --overwrite

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" $(PARALLEL)

test-slow: setup
	$(BIN)/python -m pytest -m slow

$(KERAS)/.ready: pyproject.toml
	$(PYTHON) -m venv --clear $(KERAS)
	$(KERAS)/bin/python -m pip install --quiet --upgrade "pip>=24"
	$(KERAS)/bin/python -m pip install --quiet -e ".[keras]" "pytest>=8.3"
	touch $@

# The slow ones too, which run nowhere else. The other converters' conftest needs torch. Training has torch on this side,
# and TensorFlow in that environment's process.
test-keras: $(KERAS)/.ready $(READY)
	$(KERAS)/bin/python -m pytest --noconftest tests/converters/test_keras*.py
	ACCLIMATE_KERAS_PYTHON=$(CURDIR)/$(KERAS)/bin/python OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/server/test_keras_tensorflow.py

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=.typing $(BIN)/lint-imports

bench: setup
	$(BIN)/python -m benchmarks

docs: setup
	$(BIN)/mkdocs build --strict

clean:
	rm -rf build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
