# Every target installs what it needs into .venv; Python 3.11, 3.12 or 3.13 and make are the only prerequisites.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do $$python -c '$(SUPPORTED)' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PYTHONUNBUFFERED = 1

.DEFAULT_GOAL := help
.PHONY: help run server test wheel-test check audit licences evidence docs install clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(INSTALLED)  ## run the default experiment on the embedded base; ARGS="my.yaml --set seeds=0,1" changes it
	@$(BIN)/lycoris run $(ARGS)

server: $(INSTALLED)  ## start a Prefect server, an MLflow server and a worker; ARGS="--folder DIR" sets their data folder
	@$(BIN)/lycoris server $(ARGS)

test: $(INSTALLED)  ## run all tests that need neither a GPU nor minutes
	@OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile \
	    -m "not slow and not gpu" $(ARGS)

wheel-test: $(INSTALLED)  ## build the wheel and use it in bare environments of Python 3.11 to 3.13; ARGS="--python 3.12 --installer uv"
	@$(BIN)/python .ci/wheel_test.py $(ARGS)

check: $(INSTALLED)  ## check lint, format, types and import layers
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-logo

audit: $(INSTALLED)  ## check constraints.txt against known security advisories; ARGS="--database all.zip" works offline
	@$(BIN)/pip install --quiet -c constraints.txt -e '.[audit]' && $(BIN)/python .ci/advisories.py $(ARGS)

licences: $(INSTALLED)  ## write docs/licences.md, the licences of the dependencies
	@$(BIN)/python .ci/licences.py

evidence: $(INSTALLED)  ## make every stale table of the documents again; ARGS=--plan lists them with their hours
	@$(BIN)/python -m flows.studies.evidence $(ARGS)

docs: $(VENV)/.installed-docs  ## build the documentation in site/; broken links are errors
	@mkdir -p build/cli
	@for command in $$($(BIN)/python -c 'from flows.cli.main import COMMANDS; print(*COMMANDS)'); do COLUMNS=100 $(BIN)/lycoris $$command --help > build/cli/$$command.txt || exit 1; done
	@NO_COLOR=1 $(BIN)/zensical build --clean --strict

$(VENV)/.installed-docs: $(INSTALLED)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[docs]'
	@touch $@

install: $(INSTALLED)  ## set up the environment only

$(INSTALLED): pyproject.toml constraints.txt
	@$(or $(PYTHON),false) -c '$(SUPPORTED)' 2>/dev/null \
	    || { echo "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test]'
	@touch $(INSTALLED)

clean:  ## remove the environment and all results of runs
	rm -rf $(VENV) runs
