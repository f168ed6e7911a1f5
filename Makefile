# Two commands on a fresh machine: `make demo` and `make test`. Both set up what they need, in .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# in the environment of demo.py: a shell would take a name such as Anna's pics apart
export PHOTOS
export LEARN
PYTEST_FLAGS ?= -n 3 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help install demo test check docs bench table clean

help:
	@echo 'make demo             the main job on real photos, without a download'
	@echo 'make demo PHOTOS=DIR  the same on your own photos (LEARN=DIR: learn codebooks on others)'
	@echo 'make install          imgret with everything optional (PyTorch: 5 GB) in $(VENV): $(BIN)/imgret'
	@echo 'make test             run the tests (IMGRET_TEST_DATA: folder of photos, rankings and vectors for more of them)'
	@echo 'make check            lint, format, fresh docs, architecture'
	@echo 'make docs             write the generated docs anew: pages of imgret/docs, parts of README.md'
	@echo 'make bench            run the benchmarks, one after another'
	@echo 'make table            the ablation table (needs IMGRET_TEST_DATA)'
	@echo 'make clean            remove $(VENV), demo and caches'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'imgret needs Python 3.11 or newer: make PYTHON=python3.x'; exit 1; }
	@# without ensurepip (Debian keeps it in python3-venv) the pip outside installs the one inside
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 \
	  || { $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $@ install --quiet pip; } \
	  || { rm -f $@; echo 'no virtual environment could be made: install python3-venv, or pip'; exit 1; }

# what is installed is noted in a file that is older than pyproject.toml once that has changed
$(VENV)/.demo: pyproject.toml imgret/__init__.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

$(VENV)/.all: pyproject.toml imgret/__init__.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cnn,train,timm,onnx,classic,demo,heif,report,test,bench,dev]'
	@touch $@ $(VENV)/.demo

install: $(VENV)/.all
	@echo 'installed: $(BIN)/imgret'

demo: $(VENV)/.demo
	@$(BIN)/python scripts/demo.py demo

test: $(VENV)/.all
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

check: $(VENV)/.all
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python scripts/docs.py --check
	$(BIN)/python -m pytest tests/test_architecture.py

docs: $(VENV)/.all
	$(BIN)/python scripts/docs.py

bench: $(VENV)/.all
	@set -e; for script in scripts/bench_*.py; do echo; echo "== $$script"; $(BIN)/python $$script; done

table: $(VENV)/.all
	$(BIN)/python scripts/table.py

clean:
	rm -rf $(VENV) demo build .pytest_cache .ruff_cache
