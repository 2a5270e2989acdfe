# `make demo` and `make test` need nothing but Python 3.11 to 3.13 and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test docs lint clean

$(VENV)/.installed: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

# Train on the procedural world, evaluate, and leave pictures in demo/.
demo: $(VENV)/.installed
	$(BIN)/uit train --config=configs/demo.py --workdir=demo
	$(BIN)/uit evaluate --workdir=demo

test: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

# The pages of docs/ as a site, in site/index.html.
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: $(VENV)/.installed
	$(BIN)/ruff check --fix .

clean:
	rm -rf demo site .cache .pytest_cache .ruff_cache
