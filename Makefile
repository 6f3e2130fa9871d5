# Everything sets itself up: `make demo` and `make test` need Python 3.11+ and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Tests in two processes of one thread each: twice as fast as the other way round.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: help demo test check fast soak crash fuzz lint types contracts docs site clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lftreg needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip setuptools
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[test,dev,docs]'
	touch $@

demo: $(READY)  ## the main job: two adapters trained, composed, and answering
	@$(BIN)/python tools/demo.py

test: $(READY) lint types contracts  ## everything: lint, types, import contracts, all tests
	$(PYTEST)

check: $(READY) lint types contracts fast  ## what every commit passes, about a minute

fast: $(READY)
	$(PYTEST) -q -m "not slow"

crash: $(READY)  ## a thousand kills of commands that change the registry, and a table of what they left
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.crash --kills 1000

soak: $(READY) crash  ## the long forms: crash, many writers, every fault of doctor and of a hub, 10,000 requests
	LFTREG_KILLS=50 $(PYTEST) tests/training/test_resume.py
	LFTREG_WRITERS=all $(PYTEST) tests/registry/test_many_writers.py
	LFTREG_MACHINE=500 $(PYTEST) tests/registry/test_machine.py
	LFTREG_FAULTS=all $(PYTEST) tests/advice
	LFTREG_HUB_FAULTS=2000 $(PYTEST) tests/hub/test_faults.py
	LFTREG_REQUESTS=10000 $(PYTEST) --timeout 7200 tests/serving/test_selftest.py

fuzz: $(READY)  ## 100,000 adapters, manifests and bundles that are wrong at random
	LFTREG_FUZZ_CASES=100000 $(BIN)/python -m pytest -q -s --timeout 7200 tests/fuzz

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

contracts: $(READY)
	$(BIN)/lint-imports

docs: $(READY)  ## write the generated pages again
	$(BIN)/python tools/docs.py

site: $(READY) docs  ## build docs/ as a site, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

clean:  ## remove what the targets above made
	rm -rf $(VENV) build dist site .demo .mypy_cache .pytest_cache .ruff_cache
