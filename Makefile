# Every verb of the project. `make help` lists them.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
RUN_STAMP := .venv/.run-stamp
DEV_STAMP := .venv/.dev-stamp

.PHONY: help demo run test check fix cover bench drill test-live test-llamaindex docs sbom wheel lock clean
help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Ostiary needs Python 3.11 or newer on the PATH (or: make PYTHON=/path/to/python3.12 ...)"; exit 2; }
	@$(PYTHON) -m venv .venv || { echo "This Python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"; exit 2; }

$(RUN_STAMP): requirements/run.txt pyproject.toml | $(BIN)/python
	@echo "installing Ostiary into .venv (once)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/run.txt
	@$(BIN)/python dev/link.py
	@touch $@

$(DEV_STAMP): requirements/dev.txt $(RUN_STAMP)
	@echo "installing the development tools into .venv (once)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/dev.txt
	@touch $@

demo: $(RUN_STAMP)  ## a gateway with simulated providers and lively traffic; stays up until interrupted
	@$(BIN)/ostiary demo

run: $(RUN_STAMP)  ## the gateway itself, with ./ostiary.yaml if there is one
	@$(BIN)/ostiary serve

test: $(DEV_STAMP)  ## all tests: minutes
	@$(BIN)/python -m pytest -rs -n 2 --dist worksteal tests

check: $(DEV_STAMP)  ## format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

fix: $(DEV_STAMP)  ## format and mend what can be mended
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

cover: $(DEV_STAMP)  ## test coverage
	@$(BIN)/python -m pytest -n 2 --cov=ostiary --cov-branch --cov-report=term-missing:skip-covered tests

bench: $(DEV_STAMP)  ## what the gateway costs, beside nginx in the same run (docs/performance.md)
	@$(BIN)/python bench/run.py

drill: $(DEV_STAMP)  ## the tests with new seeds and more of them, soaks and wall-clock faults too: long
	@OSTIARY_DRILL=1 $(BIN)/python -m pytest -rs -n 2 --dist worksteal -m "not live and not llamaindex" tests

test-live: $(DEV_STAMP)  ## against a real model server built on the spot (compiles llama.cpp once, minutes)
	@bash dev/live.sh

test-llamaindex: $(DEV_STAMP)  ## LlamaIndex's chat models, in an environment of their own (installed once)
	@bash dev/llamaindex.sh

docs: $(DEV_STAMP)  ## write the generated pages of docs/ anew
	@$(BIN)/python dev/errors.py
	@$(BIN)/python dev/guarantees.py
	@$(BIN)/python dev/conformance.py
	@$(BIN)/python dev/providers.py
	@$(BIN)/python dev/models.py

sbom: $(DEV_STAMP)  ## dist/ostiary.cdx.json: every package the product runs with, its hashes and licence
	@$(BIN)/python dev/sbom.py

wheel: $(DEV_STAMP)  ## dist/*.whl, the same bytes whenever it is built from the same tree
	@$(BIN)/python dev/wheel.py

lock: $(DEV_STAMP)  ## resolve the dependencies anew
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11 -o requirements/run.txt pyproject.toml
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11 -c requirements/run.txt --extra postgresql --extra redis -o requirements/server.txt pyproject.toml
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11 -c requirements/run.txt --group dev -o requirements/dev.txt pyproject.toml

clean:  ## remove the environment and caches
	@rm -rf .venv .mypy_cache .ruff_cache .import_linter_cache .hypothesis htmlcov dist
