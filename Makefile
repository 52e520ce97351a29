# The two commands of a newcomer: `make train` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
DATA   ?= $(LIGHTNING_REC_DATA)/ml-1m/ml-1m.txt.gz

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
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

coverage: $(VENV)/.dev  ## the same tests, and which lines of the package they reach
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal --cov=lightning_rec --cov-report=term:skip-covered $(ARGS)

# Environments of their own, below .bench/.
matrix:  ## a quick round under each declared Python that is installed; says which those were
	.ci/matrix

oldest:  ## with the oldest versions that pyproject.toml allows; of torch the pinned one, an older one would be gigabytes
	PYTHON=$(PYTHON) .ci/oldest

wheel:  ## build sdist and wheel, install the wheel elsewhere and train from an empty folder
	PYTHON=$(PYTHON) .ci/wheel

lint: $(VENV)/.dev  ## ruff, formatting and rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev  ## mypy, strict
	$(BIN)/mypy

docs: $(VENV)/.dev  ## the documentation, into site/
	$(BIN)/zensical build --clean --strict

tables: $(VENV)/.dev  ## README's and experiments' tables from the committed JSON
	$(BIN)/python experiments/tables.py

# Each library in an environment of its own; torch goes first, so that no CUDA build is pulled in.
BENCH := .bench
$(BENCH)/%/.done: PACKAGES_ours     = -r requirements.txt
$(BENCH)/%/.done: PACKAGES_recbole  = recbole==1.2.1 "setuptools<81" "numpy<2" "pandas<3"
$(BENCH)/%/.done: PACKAGES_rectools = "rectools[torch]==0.19.0"
$(BENCH)/%/.done: PACKAGES_replay   = "replay-rec[torch]==0.22.0"
$(BENCH)/%/.done: PACKAGES_fuxictr  = fuxictr==2.3.10 "polars<2"
$(BENCH)/%/.done: PACKAGES_rechub   = torch-rechub==0.9.0
$(BENCH)/%/.done:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(@D)/bin/pip install --quiet --disable-pip-version-check $(PACKAGES_$*)
	test $* != ours || $(@D)/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

bench: $(foreach library,ours recbole rectools replay,$(BENCH)/$(library)/.done)  ## speed beside the peers; DATA=ml-1m.txt.gz
	$(PYTHON) -m benchmarks.sequences.run --data $(DATA) --envs $(BENCH) --out benchmarks/sequences/results $(ARGS)
	$(PYTHON) -m benchmarks.sequences.table benchmarks/sequences/results benchmarks/README.md

ROWS := $(foreach data,ml100k frappe,$(BENCH)/rows/$(data))
$(BENCH)/rows/%: $(BENCH)/ours/.done
	$(BENCH)/ours/bin/python -m benchmarks.clicks.export --experiment deepfm_$* --out $@

bench-clicks: $(foreach library,fuxictr rechub recbole,$(BENCH)/$(library)/.done) $(ROWS)  ## speed of models of clicks; ZOO=FuxiCTR/model_zoo
	$(PYTHON) -m benchmarks.clicks.run --data $(ROWS) --envs $(BENCH) --zoo $(ZOO) --batch-size 4096 --out benchmarks/clicks/results $(ARGS)
	$(PYTHON) -m benchmarks.clicks.table benchmarks/clicks/results benchmarks/clicks/README.md

# Runs in a Python that has torch, transformers and Lightning; WHEELS is a folder of what it lacks. No network is asked.
bench-gpu:  ## speed and figures on a GPU, below eight minutes; PYTHON=… WHEELS=folder
	mkdir -p $(BENCH)/gpu
	test -z "$(WHEELS)" || $(PYTHON) -m pip install --quiet --no-index --no-deps --upgrade --target $(BENCH)/gpu $(WHEELS)/*.whl
	PYTHONPATH=$(CURDIR):$(CURDIR)/$(BENCH)/gpu $(PYTHON) -m benchmarks.gpu --data $(LIGHTNING_REC_DATA) $(ARGS)

clean:  ## remove the environment and what was built
	rm -rf $(VENV) $(BENCH) site dist build

.PHONY: help train test coverage matrix oldest wheel lint types docs tables bench bench-clicks bench-gpu clean
