# Needs python3 (3.10 or newer, with venv) and make; everything else goes into .venv.
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo check test slow matrix docs results gallery bench gpu clean venv

PYTHON ?= python3
GPU_RECIPES ?= glow_cifar10 flow_pp_cifar10 gated_pixel_cnn_mnist pixel_cnn_pp_cifar10 image_transformer_cifar10_dmol pixel_snail_cifar10 tarflow_cifar10_small conv_vae_mnist iaf_vae_cifar10
GPU_MINUTES ?= 60
DATA_ROOT ?= runs/data
RUNS ?= runs

BIN := .venv/bin
METADATA := setup.cfg pyproject.toml
NEWER := import sys; v = sys.version_info; v >= (3, 10) or sys.exit(f"Python {v[0]}.{v[1]} is too old, need 3.10: make PYTHON=...")
CUDA := import sys, torch; torch.cuda.is_available() or sys.exit("make gpu needs a CUDA device; torch sees none here.")
# From Python 3.12 on, coverage can use a faster tracer.
TRACER := import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")
heading = @printf '\n== %s ==\n' "$(1)"

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

venv: .venv/.test  ## set up .venv with what the tests and the docs need

demo: .venv/.run  ## train a small Glow on real images (3 minutes on 2 cores) and write runs/demo/
	$(BIN)/pyro-exact demo

check: .venv/.test  ## lint, types and the fast tests
	$(call heading,ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(call heading,mypy)
	$(BIN)/mypy
	$(call heading,pytest)
	$(BIN)/pytest --numprocesses auto -m "not slow"

test: .venv/.test  ## lint, types, all tests with their coverage, and the generated pages (15 minutes on 2 cores, with the installation)
	$(call heading,ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(call heading,mypy)
	$(BIN)/mypy
	$(call heading,pytest)
	COVERAGE_CORE=$$($(BIN)/python -c '$(TRACER)') $(BIN)/pytest --numprocesses auto --cov --cov-report=term:skip-covered
	$(call heading,generated pages)
	$(BIN)/python docs/make_results.py --check
	$(BIN)/python docs/make_layers.py --check
	$(BIN)/python docs/make_how_large.py --check
	$(BIN)/python docs/make_notebooks.py --check

slow: .venv/.test  ## measure all tests, and write the list of slow ones, tests/slow.txt
	$(BIN)/pytest --junitxml=.matrix/durations.xml
	$(BIN)/python tests/find_slow.py .matrix/durations.xml

matrix:  ## run the fast tests on the oldest and on the newest supported Python, torch and Pyro
	nice $(PYTHON) tests/matrix.py

docs: .venv/.test  ## build the documentation into docs/_build/html
	rm -rf docs/api
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

results: .venv/.run  ## write docs/results.md and its curves from the records, and docs/layers.md from the docstrings
	$(BIN)/python docs/make_results.py
	$(BIN)/python docs/make_curves.py
	$(BIN)/python docs/make_layers.py
	$(BIN)/python docs/make_how_large.py
	$(BIN)/python docs/make_notebooks.py

gallery: .venv/.bench  ## draw the pictures of docs/ again, from the runs in runs/ (RUNS, DATA_ROOT), after code that draws changed
	$(BIN)/python docs/make_gallery.py --runs $(RUNS) --data_root $(DATA_ROOT)

bench: .venv/.bench  ## run every script in benchmarks/, ours beside the peers
	$(call heading,benchmarks)
	@set -e; for script in benchmarks/bench_*.py; do echo "$$script"; $(BIN)/python "$$script"; done

gpu: .venv/.test .venv/.bench  ## everything that waits for a GPU: the tests, the benchmarks, the recipes in GPU_RECIPES
	@$(BIN)/python -c '$(CUDA)'
	$(call heading,pytest)
	$(BIN)/pytest
	$(MAKE) bench
	$(call heading,recipes)
	@set -e; for recipe in $(GPU_RECIPES); do \
		echo "$$recipe"; \
		$(BIN)/pyro-exact train "$$recipe" --data-root $(DATA_ROOT) --download --training.minutes $(GPU_MINUTES); \
		$(BIN)/pyro-exact evaluate "runs/$$recipe"; \
	done

clean:  ## remove what the build, the tests and the docs leave behind; .venv and runs/ stay
	rm -rf build dist ./*.egg-info docs/_build docs/api .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .matrix
	find . -path ./.venv -prune -o -name __pycache__ -print0 | xargs -0 rm -rf

$(BIN)/python:
	@$(PYTHON) -c '$(NEWER)'
	$(PYTHON) -m venv .venv

# One stamp for each set of extras: a second call finds it newer than the metadata and does nothing.
.venv/.run: $(METADATA) | $(BIN)/python
	$(BIN)/pip install -e .
	@touch $@

.venv/.test: $(METADATA) | $(BIN)/python
	$(BIN)/pip install -e '.[test,docs]'
	@touch $@ .venv/.run

.venv/.bench: $(METADATA) | $(BIN)/python
	$(BIN)/pip install -e '.[bench]'
	@touch $@ .venv/.run
