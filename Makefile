# make demo    the whole path on synthetic data: raw tables to a report, in minutes
# make test    the whole test suite
# make check   format, lint, types, the layers of imports
#
# Each makes .venv and installs what it needs, at the versions of constraints.txt. Variables:
#   PYTHON       interpreter that makes .venv, 3.11 to 3.13       (python3)
#   TORCH_INDEX  another index to take torch from; without a GPU, PyTorch's CPU index
#                https://download.pytorch.org/whl/cpu saves several GB

PYTHON ?= python3
TORCH_INDEX ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
INSTALL = @echo "installing into .venv (once; a few minutes)"; $(PIP) -e $(1) && touch $@

# Tests of jobs that need no run that others have trained.
ALONE := $(wildcard tests/jobs/test_benchmark.py tests/jobs/test_embed_notes.py \
	tests/jobs/test_featurize*.py tests/jobs/test_pretrain_refused.py tests/jobs/test_submit.py)
# Everything that is not a test of a job.
REST := $(wildcard tests/test_*.py) tests/cluster tests/gpu tests/medhmp

.PHONY: help demo test check
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \{0,1\}//p' Makefile

demo: .venv/installed
	$(BIN)/python -m jobs.all smoke --out runs/demo

test: .venv/installed-test
	@# Two processes with a Ray each: what the one waits for, the other uses.
	@log=$$(mktemp); $(BIN)/python -m pytest tests/jobs $(addprefix --ignore ,$(ALONE)) >$$log 2>&1 & \
		jobs=$$!; $(BIN)/python -m pytest $(REST) $(ALONE); rest=$$?; \
		wait $$jobs; status=$$?; cat $$log; rm $$log; exit $$((rest | status))

check: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

.venv/created:
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or \
		sys.exit("$(PYTHON) is %d.%d; give PYTHON= a Python 3.11 to 3.13" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/installed: .venv/created pyproject.toml setup.py constraints.txt
	$(call INSTALL,.)

.venv/installed-test: .venv/created pyproject.toml setup.py constraints.txt
	$(call INSTALL,'.[test]')

.venv/installed-dev: .venv/created pyproject.toml setup.py constraints.txt
	$(call INSTALL,'.[dev]')
