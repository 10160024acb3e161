# Each target makes the virtual environment .venv, installs what it needs into it, and runs.
# PYTHON names the interpreter, PIP_OPTIONS adds options to pip (for example an index of your own).
PYTHON ?= python3
PIP_OPTIONS ?=
CONSTRAINTS = constraints/tested.txt

.DEFAULT_GOAL := help
.PHONY: help lint typecheck test-fast test docs demo clean

help:       ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

lint: .venv/test ## ruff, its formatter, and the import contract
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports --no-logo

typecheck: .venv/test ## mypy over the package
	.venv/bin/mypy

test-fast: .venv/test ## the tests that take less than a minute in all
	.venv/bin/python -m pytest -n 2 -m "not slow" tests/unit

test: lint typecheck ## lint, mypy and the whole test suite
	.venv/bin/python -m pytest -n 2 tests

docs: .venv/docs ## build the documentation into site/, and fail on a broken link
	.venv/bin/mkdocs build

demo: .venv/demo ## videos, faces, training, test and leaderboard, offline on a CPU
	.venv/bin/lnclip-df demo --out runs/demo

.venv/%: setup.py $(CONSTRAINTS)
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install $(PIP_OPTIONS) --quiet --constraint $(CONSTRAINTS) --editable '.[$*]'
	touch $@

clean: ## remove .venv and what was built
	rm -rf .venv build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
