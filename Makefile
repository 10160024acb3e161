# `make demo`, `make test` and `make docs` each make their own virtual environment, install, and run.
# PIP_OPTIONS adds options to pip, such as an index of your own.
PYTHON ?= python3
PIP_OPTIONS ?=
CONSTRAINTS = constraints/tested.txt

.PHONY: demo test docs clean

demo: .venv/demo
	.venv/bin/lnclip-df demo --out runs/demo

test: .venv/test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/python -m pytest -n 2 tests

docs: .venv/docs
	.venv/bin/mkdocs build

.venv/%: setup.py $(CONSTRAINTS)
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install $(PIP_OPTIONS) --quiet --constraint $(CONSTRAINTS) --editable '.[$*]'
	touch $@

clean:
	rm -rf .venv build dist site *.egg-info
