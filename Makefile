PYTHON ?= python3
VENV ?= .venv
TORCH ?=

RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check --retries 2 --constraint constraints.txt
CPU_WHEELS := --extra-index-url https://download.pytorch.org/whl/cpu

.PHONY: help setup demo test test-peers lint bench
.DEFAULT_GOAL := help

help: ## list these targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: ## make .venv with pinned packages; TORCH=cpu (default) or TORCH=cuda chooses the build of torch
	@case "$(TORCH)" in ""|cpu|cuda) ;; *) echo "make setup: unknown TORCH=$(TORCH); expected cpu or cuda"; exit 2;; esac
	@if [ -n "$(TORCH)" ] && [ -f $(READY) ] && [ "$$(cat $(READY))" != "$(TORCH)" ]; then \
	  $(RUN) -m pip uninstall --quiet --yes torch; rm -f $(READY); \
	fi
	@$(MAKE) --no-print-directory $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make setup: expected Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V 2>&1): make setup PYTHON=python3.12"; exit 2; }
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@torch="$(TORCH)"; [ -n "$$torch" ] || torch=$$(cat $(READY) 2>/dev/null || echo cpu); \
	if [ "$$torch" = cuda ]; then \
	  echo "setup: downloading about 3 GB (torch with CUDA) into $(VENV)"; wheels=""; \
	else \
	  echo "setup: downloading about 360 MB (torch for the CPU, 190 MB of it) into $(VENV); TORCH=cuda takes about 3 GB"; \
	  wheels="$(CPU_WHEELS)"; \
	fi; \
	$(PIP) $$wheels torch && $(PIP) --editable ".[dev]" && echo "$$torch" > $(READY)
	@echo "setup: done"

demo: $(READY) ## run the demonstration into demo/ (replaces what an earlier one wrote there)
	@$(RUN) -m analyses.cli demo --output demo --overwrite

test: $(READY) ## run the tests and the examples in the docstrings
	@OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 -q

test-peers: $(READY) ## install DeepXDE, Lightning and PINA beside ours and run the tests of our callbacks in them
	@$(PIP) --editable ".[dev,peers]"
	@OMP_NUM_THREADS=1 DDE_BACKEND=pytorch $(RUN) -m pytest -n 2 -q tests/peers solvers/callbacks

lint: $(READY) ## check style, docstrings and who imports whom
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(VENV)/bin/lint-imports --no-cache

bench: $(READY) ## measure everything, over four hours; results in analyses/benchmarks/ and analyses/reproduce/
	@$(RUN) -m analyses.benchmarks.recording --json analyses/benchmarks/recording.json
	@OMP_NUM_THREADS=1 $(RUN) -m analyses.benchmarks.derivatives --json analyses/benchmarks/derivatives.json \
	  --figure analyses/figures/derivatives.png
	@for name in attaching block_gradients corrupted crashes drivers failures full_disks large optimizers problems profiles quasi_newton \
	  random_features rbf_fd readers recoveries resumes self_scaled spectra tall trusted; do \
	  OMP_NUM_THREADS=1 $(RUN) -m analyses.benchmarks.$$name --json analyses/benchmarks/$$name.json || exit 1; \
	done
	@OMP_NUM_THREADS=1 $(RUN) -m analyses.cli reproduce ad-vs-fd --output analyses/reproduce/results/ad-vs-fd --overwrite
	@OMP_NUM_THREADS=1 $(RUN) -m analyses.cli reproduce dt-pinn --output analyses/reproduce/results/dt-pinn --overwrite
	@OMP_NUM_THREADS=1 $(RUN) -m analyses.cli reproduce n-tangentprop --overwrite \
	  --output analyses/reproduce/results/n-tangentprop
	@OMP_NUM_THREADS=1 $(RUN) -m analyses.cli reproduce total-diffusion --overwrite \
	  --output analyses/reproduce/results/total-diffusion $(if $(PINNSCOPE_SHARED),--logs $(PINNSCOPE_SHARED)/published_runs)
