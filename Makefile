# make demo    the whole path on synthetic data: raw tables to a report, in minutes
# make test    the whole test suite
# make soak    kills, signals, second drivers, full disks: hours; results in docs/soak.md
# make check   format, lint, types, the layers of imports, licences
#
# Each makes .venv and installs what it needs: the files of requirements/, whose hashes pip checks.
# Variables:
#   PYTHON       interpreter that makes .venv, 3.11 to 3.13       (python3)
#   TORCH_INDEX  another index to take torch from; without a GPU, PyTorch's CPU index
#                https://download.pytorch.org/whl/cpu saves several GB. Torch from there, or from a
#                folder named by PIP_FIND_LINKS, is taken by its version, without a hash.

PYTHON ?= python3
TORCH_INDEX ?=
PIP_FIND_LINKS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
HASHED := $(PIP) --require-hashes --no-deps --only-binary :all:
TORCH := $(shell sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements/torch.txt)

ifneq ($(strip $(TORCH_INDEX) $(PIP_FIND_LINKS)),)
PARTS := run
NAMED = $(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(TORCH)
else
PARTS := run torch
NAMED = :
endif

# What setup.py builds with is in requirements/build.txt, so nothing is fetched to build with.
define INSTALL
@echo "installing into .venv (once; a few minutes)"
$(HASHED) $(foreach part,$(1),-r requirements/$(part).txt)
$(NAMED)
PYTHONWARNINGS=ignore $(PIP) --no-deps --no-build-isolation -e .
$(BIN)/python -m pip check
@touch $@
endef

# Tests of jobs that need no run that others have trained.
ALONE := $(wildcard tests/jobs/test_benchmark.py tests/jobs/test_embed_notes.py \
	tests/jobs/test_featurize*.py tests/jobs/test_pretrain_refused.py tests/jobs/test_submit.py)
# Everything that is not a test of a job.
REST := $(wildcard tests/test_*.py) tests/cluster tests/examples tests/gpu tests/medhmp

.PHONY: help demo soak test check
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \{0,1\}//p' Makefile

demo: .venv/installed
	$(BIN)/python -m jobs.all smoke --out runs/demo

soak: .venv/installed
	$(BIN)/python -m jobs.benchmark soak-faults

test: .venv/installed-dev
	@# Two processes with a Ray each: what the one waits for, the other uses.
	@log=$$(mktemp); $(BIN)/python -m pytest tests/jobs $(addprefix --ignore ,$(ALONE)) >$$log 2>&1 & \
		jobs=$$!; $(BIN)/python -m pytest $(REST) $(ALONE); rest=$$?; \
		wait $$jobs; status=$$?; cat $$log; rm $$log; exit $$((rest | status))

check: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/pip-licenses >/dev/null

.venv/created: requirements/build.txt
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or \
		sys.exit("$(PYTHON) is %d.%d; give PYTHON= a Python 3.11 to 3.13" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(HASHED) -r requirements/build.txt
	@touch $@

.venv/installed: .venv/created pyproject.toml setup.py $(wildcard requirements/*.txt)
	$(call INSTALL,$(PARTS))

.venv/installed-dev: .venv/created pyproject.toml setup.py $(wildcard requirements/*.txt)
	$(call INSTALL,$(PARTS) dev)
