# Two commands do everything: `make demo` shows the whole path on this machine, `make test` passes the tests.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: venv lint test demo schema digits clean

venv: $(READY)

# torch comes first and alone: PyPI's Linux build of it carries CUDA, and an index of CPU builds, where one is
# configured (pip config, PIP_EXTRA_INDEX_URL), must win by the version alone.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	touch $@

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(READY)
	$(BIN)/pytest

demo: $(READY)
	$(BIN)/python recipes/digits/demo.py

# Writes recipes/recipe.schema.json anew from the types; a test says when it is stale.
schema: $(READY)
	$(BIN)/publish schema > recipes/recipe.schema.json

# Trains the digits model anew, in about half an hour; the repository carries the result.
digits: $(READY)
	$(BIN)/python recipes/digits/train.py

clean:
	rm -rf $(VENV) .publish build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
