# The course from a fresh clone. Without make: the commands below can be typed as they stand.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Processes that share the tests, each with one thread.
WORKERS ?= 2
PYTEST_OPTIONS := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# What catches most in the shortest time: the rules of the house, what every part stands on, and of each chapter the
# function that the rest of it computes with. `make test` runs everything.
QUICK_TESTS := tests/test_house.py tests/test_repository.py tests/test_distribution.py tests/test_errors.py \
  tests/test_checks.py tests/test_locations.py tests/test_statistics.py tests/runs/test_runs.py tests/texts/test_user_files.py \
  tests/prompts/test_verbalizers.py tests/complexity tests/smart/test_divergence.py tests/smart/test_smoothness.py \
  tests/smart/test_proximal.py tests/ppt/test_patterns.py tests/icl/experiments/test_context_size.py tests/icl/test_calibration.py \
  tests/icl/test_prompting.py tests/classroom/checking/test_comparing.py tests/classroom/exercises/test_framework.py \
  tests/classroom/pipeline/test_build.py tests/classroom/pipeline/test_catalogue.py tests/classroom/grading/test_channel.py tests/classroom/grading/test_journal.py

.DEFAULT_GOAL := help
.PHONY: help course install lint check test tests lab notebooks bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

course: $(STAMP) ## install, download the assets, run every lesson; pages go to build/
	$(BIN)/course build
	$(BIN)/course assets --fetch
	$(BIN)/course run

install: $(STAMP) ## install the packages, and nothing else

lint: $(STAMP) ## check style, types and that the notebooks are in step
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/course build --check

check: $(STAMP) ## lint, and beside it run a quick selection of the tests
	@$(MAKE) --no-print-directory --jobs=2 lint tests TESTS="$(QUICK_TESTS)"

test: $(STAMP) ## lint, and beside it run all tests
	@$(MAKE) --no-print-directory --jobs=2 lint tests

# Without TESTS all of them.
tests: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) $(TESTS)

lab: $(STAMP) ## open JupyterLab on the notebooks
	$(BIN)/course lab

notebooks: $(STAMP) ## build the notebooks from notebooks/src
	$(BIN)/course build

bench: $(STAMP) ## measure speed, and bring docs/benchmarks.md and the README's picture up to date
	# peers, without what they ask for: old stubs that break mypy, and an older python-dateutil
	$(BIN)/python -m pip install --quiet --no-deps smart-pytorch==0.0.4 lm-eval==0.4.13
	$(BIN)/python -m tests.benchmarks
	$(BIN)/python -m course_lib.plotting.readme docs/sample_size.png

clean: ## remove what runs wrote to build/, and the virtual environment; downloads stay (see: course clean --assets)
	[ ! -x $(BIN)/course ] || $(BIN)/course clean --yes
	[ ! -e $(STAMP) ] || rm -rf $(VENV)

# A torch that already is in the environment and fits the pin (a CPU build, for example) is kept.
$(STAMP): requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "The course needs Python 3.11 or newer; $(PYTHON) is not. Try: make PYTHON=python3.12 course" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || \
	  { echo "$(PYTHON) has no venv. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -r requirements.txt
	@touch $(STAMP)
