# Every target does its own set-up in .venv. `make test` and `make demo` are the README's two commands.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Set TORCH_INDEX to a package index of CPU builds of torch where the default one would bring GPU packages.
TORCH_INDEX ?=
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
SEED ?= 1

.PHONY: install demo test lint type docs bench scale sim chaos attack attack-tests clean

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Parley needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": say make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes the first time)"
	@$(PIP_INSTALL) -e '.[party,demo,dev]'
	@touch $@

install: $(STAMP)

demo: install
	$(BIN)/parley demo --seed $(SEED) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(SCHEME),--scheme $(SCHEME)) $(DEMO_ARGS)

test: install
	$(BIN)/python -m pytest $(TESTS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

type: install
	$(BIN)/mypy

# Writes the parts of docs/ that are taken from the code.
docs: install
	$(BIN)/python -m docs.generate

clean:
	rm -rf $(VENV) demo-report demo-work quickstart .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Schedules of faults drawn from seeds, on two cores; a finding says how to run its schedule again. `make test` runs a tenth of them.
sim: install
	$(BIN)/python -m tests.simulation.schedules --schedules $(or $(SCHEDULES),10000) --parties $(or $(PARTIES),5)

# A gateway that lies to the demo's parties, act by act, and what each answers.
attack: install
	$(BIN)/parley demo --lying-gateway --seed $(SEED)

attack-tests: install
	$(BIN)/python -m pytest tests/attacks

# kill -9 of any process at any moment, more often than `make test` does; the model in the end is that of a run without failures
chaos: install
	CHAOS_RUNS=$(or $(CHAOS_RUNS),20) $(BIN)/python -m pytest tests/e2e -k chaos

# five hundred parties in one process, in some minutes
scale: install
	$(BIN)/python -m benchmarks.masked_scale

bench: install
	@for file in benchmarks/*.py; do name=$$(basename $$file .py); \
	case $$name in __init__|harness|plain_federation|masked_*) ;; *) $(BIN)/python -m benchmarks.$$name || exit 1 ;; esac; done
