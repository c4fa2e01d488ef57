# One way in. `make demo` and `make test` need only Python 3.11+ with pip; everything goes into .venv.
#
#   make demo        set up and run the whole loop on the bundled cassettes
#   make test        set up and run every test, also those against the real Agent Server
#   make test-unit   the tests that need no server, in seconds
#   make conformance compare every cell with the real Agent Server, and write docs/conformance.md
#   make fuzz        throw broken cassettes at every reader: make fuzz SECONDS=600
#   make soak        an hour of mixed load with faults on recorder and replayer: make soak SECONDS=600
#   make hostile     how much good streams notice of hostile clients, as a ratio
#   make kills       kill the recorder 100 times under 20 streams
#   make check       format, lint, types          make fix      mend format and lint
#   make bench       measure speed as ratios beside references, and write bench/RESULTS.md
#   make capture     record the bundled cassettes anew from the real Agent Server
#   make clean       remove .venv and what builds left behind

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit conformance fuzz soak hostile kills bench check fix capture clean

help:
	@sed -n 's/^#   //p' Makefile

# Each stamp stands for one pip run; touching pyproject.toml makes them run again.
$(VENV)/.stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "graphtape needs Python 3.11 or later, and $(PYTHON) is not: try make PYTHON=python3.11"; exit 1; }
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "could not create a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.stamp-run: $(VENV)/.stamp-venv pyproject.toml
	@echo "installing graphtape ..."
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.stamp-test: $(VENV)/.stamp-run
	@echo "installing what the tests need, the real Agent Server among it ..."
	@$(PIP) install --group test --group live
	@touch $@

$(VENV)/.stamp-check: $(VENV)/.stamp-test
	@echo "installing ruff and mypy ..."
	@$(PIP) install --group check
	@touch $@

# mypy does not see an editable install; this link lets it find the package under its import name.
.typing/graphtape:
	@mkdir -p .typing && ln -sfn .. $@

setup: $(VENV)/.stamp-check .typing/graphtape

demo: $(VENV)/.stamp-run
	@$(BIN)/graphtape demo $(ARGS)

test: $(VENV)/.stamp-test
	@$(BIN)/python -m pytest -q $(ARGS)

test-unit: $(VENV)/.stamp-test
	@$(BIN)/python -m pytest -q -m "not live and not slow" --ignore=tests/live --ignore=tests/js $(ARGS)

conformance: $(VENV)/.stamp-test
	@$(BIN)/python -m graphtape.tests.live.conformance $(ARGS)

SECONDS ?= 60
fuzz: $(VENV)/.stamp-test
	@$(PIP) install 'atheris>=2.3'
	@$(BIN)/python tests/fuzz/fuzz_reader.py build/fuzz -max_total_time=$(SECONDS) $(ARGS)

# The references that need a venv of their own are optional: a row without them says so.
$(VENV)/.stamp-bench: $(VENV)/.stamp-run
	@echo "installing what the bench compares with ..."
	@$(PIP) install --group bench
	@$(BIN)/python -m graphtape.bench setup || echo "some references are missing; their columns stay empty"
	@touch $@

bench: $(VENV)/.stamp-bench
	@$(BIN)/python -m graphtape.bench $(ARGS)

soak: SECONDS = 3600
soak: $(VENV)/.stamp-test
	@$(BIN)/python -m graphtape.tests.hostile.soak $(SECONDS)

ROUNDS ?= 3
hostile: $(VENV)/.stamp-test
	@$(BIN)/python -m graphtape.tests.hostile $(ROUNDS)

kills: $(VENV)/.stamp-test
	@GRAPHTAPE_KILLS=100 $(BIN)/python -m pytest -q tests/slow -k any_moment $(ARGS)

check: setup
	@$(BIN)/ruff format --check --quiet . || { echo "make fix formats these"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary -p graphtape
	@echo "check: formatted, linted, typed"

fix: setup
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

capture: $(VENV)/.stamp-test
	@$(BIN)/python cassettes/samples/capture.py $(ARGS)

clean:
	rm -rf $(VENV) .typing build dist graphtape.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
