# Needs make and a Python 3.11, 3.12 or 3.13 with venv; everything else is fetched by the first target that needs it.
.DEFAULT_GOAL := help
.PHONY: help run demo test check fmt unit chaos bench clean browser
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
JOBS ?= 2

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

run: $(INSTALLED) ## start Kafka and all of Millrace on this machine; BOOTSTRAP=host:port uses an existing Kafka
	@$(if $(BOOTSTRAP),MILLRACE_BOOTSTRAP="$(BOOTSTRAP)") exec $(BIN)/python -m millrace run

demo: $(INSTALLED) ## the same, fed by a small synthetic fleet
	@$(if $(BOOTSTRAP),MILLRACE_BOOTSTRAP="$(BOOTSTRAP)") exec $(BIN)/python -m millrace run --demo

test: check browser ## check, then every test: unit, real Kafka, kill -9; JOBS=n files at a time (2)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

check: $(INSTALLED) ## formatting, lint, types, the schemas' compatibility and documents; changes nothing
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m schemas.compatibility
	@$(BIN)/python -m schemas.asyncapi check
	@$(BIN)/python -m millrace schema docs --check docs/schema.md

fmt: $(INSTALLED) ## format and mend what lint can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# The console's pages are tested with a real Chromium. Where none is found, it is installed where nobody has to be asked
# (root on a system with apt-get); else those tests are skipped. Never a reason for `make test` to fail.
browser:
	@if [ -n "$$MILLRACE_TEST_CHROMIUM" ]; then exit 0; fi; \
	for name in chromium chromium-browser google-chrome google-chrome-stable chrome; do \
	  if command -v $$name >/dev/null 2>&1; then exit 0; fi; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	  echo "installing Chromium for the tests of the console's pages (once; a few hundred MB)"; \
	  said=$$(mktemp); \
	  if DEBIAN_FRONTEND=noninteractive timeout 900 sh -c 'apt-get -qq -o Acquire::Retries=1 update; \
	      apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=60 install chromium' >"$$said" 2>&1 </dev/null; then \
	    rm -f "$$said"; exit 0; \
	  fi; \
	  tail -n 1 "$$said"; rm -f "$$said"; \
	fi; \
	echo "make: no Chromium was found: the tests of pages in a browser are skipped. Install one (Debian: apt-get install chromium;"; \
	echo "      elsewhere Chromium or Chrome as the system has it), or set MILLRACE_TEST_CHROMIUM to its path"

unit: $(INSTALLED) ## the tests that need no Kafka, in seconds
	@$(BIN)/python -m pytest -m "not broker and not slow"

chaos: $(INSTALLED) ## fuzz the codec, then kill, pause and move streams for minutes; ends with EXACT or WRONG; SEED=n draws the same
	@$(BIN)/python -m tests.fuzz --seconds 30 $(if $(SEED),--seed $(SEED))
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED))

bench: $(INSTALLED) ## CPU seconds per million records of gateway, streams and sinks on this machine; about half an hour
	@$(BIN)/python -m tests.bench

clean: ## remove the virtual environment and caches; data stays
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A candidate must run and be right: version managers leave names on the PATH that only print an error.
SUITABLE := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

$(INSTALLED): requirements.lock pyproject.toml
	@if ! $(BIN)/python -c '$(SUITABLE)' 2>/dev/null; then \
	  for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
	    if "$$python" -c '$(SUITABLE)' 2>/dev/null; then found="$$python"; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "make: no Python 3.11, 3.12 or 3.13 with venv was found: install one (Debian, Ubuntu: python3 python3-venv), or say PYTHON=/path/to/python" >&2; \
	    exit 1; \
	  fi; \
	  echo "making $(VENV) with $$("$$found" -c 'import sys; print(sys.executable, sys.version.split()[0])')"; \
	  "$$found" -m venv --clear $(VENV) || { echo "make: cannot make $(VENV) here: is the folder writable and the disk not full?" >&2; exit 1; }; \
	fi
	@echo "installing the locked packages (once; about 250 MB)"
	@$(BIN)/python -m pip --disable-pip-version-check install -q --require-hashes -r requirements.lock \
	  || { echo "make: the packages cannot be installed (the cause stands above): is PyPI, or PIP_INDEX_URL, reachable and the disk not full?" >&2; exit 1; }
	@$(BIN)/python -m pip --disable-pip-version-check install -q --no-deps --no-build-isolation -e . \
	  || { echo "make: Millrace itself cannot be installed (the cause stands above)" >&2; exit 1; }
	@touch $@
