# Two commands: `make run` and `make test`. Each sets up what it needs; Python 3.11 and make are enough.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PYTHONUNBUFFERED = 1

.DEFAULT_GOAL := help
.PHONY: help run server test check docs install clean

help:  ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(READY)  ## the main job on the pocket; ARGS="my.yaml --set seeds=0,1" changes it
	@$(BIN)/lycoris run $(ARGS)

server: $(READY)  ## a Prefect server, an MLflow server and a worker on this machine; ARGS="--folder DIR" moves their data
	@$(BIN)/lycoris server $(ARGS)

test: $(READY)  ## every test that needs neither a GPU nor minutes
	@OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile \
	    -m "not slow and not gpu" $(ARGS)

check: $(READY)  ## lint, format, types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

COMMANDS := run captions study recommend score analyze refresh data pull rollback server convert extract

docs: $(VENV)/.installed-docs  ## the documentation site, in site/; broken links are errors
	@mkdir -p build/cli
	@for command in $(COMMANDS); do COLUMNS=100 $(BIN)/lycoris $$command --help > build/cli/$$command.txt || exit 1; done
	@NO_COLOR=1 $(BIN)/zensical build --clean --strict

$(VENV)/.installed-docs: $(READY)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[docs]'
	@touch $@

install: $(READY)  ## only the set-up

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	    || { echo "Python 3.11 is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test]'
	@touch $(READY)

clean:  ## remove the environment and everything that runs have made
	rm -rf $(VENV) runs
