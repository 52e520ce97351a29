# The two commands of a newcomer: `make train` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=

.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# The stamps hold the pinned sets that were installed: nothing is done twice.
$(VENV)/.run: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

train: $(VENV)/.run  ## BERT4Rec on MovieLens-100K; ARGS="model.dim=32 seed=2" changes it
	$(BIN)/lightning-rec train $(ARGS)

test: $(VENV)/.dev  ## all tests that need no large data
	$(BIN)/python -m pytest -n auto $(ARGS)

lint: $(VENV)/.dev  ## ruff, formatting and rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev  ## mypy, strict
	$(BIN)/mypy

docs: $(VENV)/.dev  ## the documentation, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

tables: $(VENV)/.dev  ## README's and experiments' tables from the committed JSON
	$(BIN)/python experiments/tables.py

clean:  ## remove the environment and what was built
	rm -rf $(VENV) site dist build

.PHONY: help train test lint types docs tables clean
