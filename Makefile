# What can be done here; a bare `make` explains it. Every target can be run again at any time.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

export CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/voice-agent-operator
# What `make setup` had to fetch comes last: a newer one of the machine's own wins.
export PATH := $(CURDIR)/.cluster/bin:$(PATH):$(CACHE)/tools/bin

PYTHON := .venv/bin/python
CLUSTER_COMMAND := $(PYTHON) -m local_cluster
LOCKS := operator:operator agent_image:agent local_models:local-models kubectl_voice:cli
CODE := operator agent_image local_models kubectl_voice local_cluster release testing tests docs charts $(wildcard benchmarks demo)
WEB_SOURCES := $(shell find web -type f -not -path '*/node_modules/*' -not -path '*/dist/*' 2> /dev/null)

.PHONY: help
help: ## Explain the targets
	@echo "Usage: make TARGET [VARIABLE=value]"
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nVariables: CLUSTER=auto|kind|netns|current (which Kubernetes), NODES=1|2|3, AUDIT=1 (log API requests).\n'

##@ Use it
.PHONY: demo demo-openai demo-down bench
demo: images ## From nothing to a spoken conversation: cluster, images, chart, a customer who calls
	$(PYTHON) -m demo

demo-openai: venv ## Let the demo's release speak with OpenAI's models: OPENAI_API_KEY=sk-... make demo-openai
	@$(PYTHON) -m demo --openai

demo-down: venv ## Remove the demo's release; the cluster stays
	$(PYTHON) -m demo --down

# Those modules that are commands.
BENCHMARKS = $(subst _,-,$(basename $(notdir $(shell grep -l 'prog="python -m benchmarks' benchmarks/*.py))))
bench: setup venv ## Run a benchmark: make bench NAME=call
	@[ -n "$(filter $(NAME),$(BENCHMARKS))" ] || { echo "Say which: make bench NAME=..., one of: $(BENCHMARKS)"; exit 2; }
	$(PYTHON) -m benchmarks.$(subst -,_,$(NAME))

##@ Cluster
.PHONY: cluster cluster-down cluster-status node-down node-up images kubectl
cluster: venv ## A Kubernetes on this machine; NODES=2 for two nodes; no-op when it is up
	@$(CLUSTER_COMMAND) up

cluster-down: venv ## Take it away without a trace
	@$(PYTHON) -m demo --close
	@$(CLUSTER_COMMAND) down

cluster-status: venv ## Say what runs
	@$(CLUSTER_COMMAND) status

node-down: venv ## Cut a node off, as a power cut would: make node-down N=2
	@$(CLUSTER_COMMAND) node-down $(N)

node-up: venv ## Start it again: make node-up N=2
	@$(CLUSTER_COMMAND) node-up $(N)

images: venv ## A cluster that has our images, built as far as they are not; IMAGES="agent operator" for some
	@$(CLUSTER_COMMAND) images $(IMAGES)

kubectl: venv ## Talk to it: make kubectl ARGS="get pods -A"
	@KUBECONFIG=.cluster/kubeconfig kubectl $(ARGS)

##@ Release it
.PHONY: release
release: venv web ## Images and charts into a registry, bills of material, kubectl voice for krew: make release REGISTRY=registry.example.com VERSION=1.2.3
	@[ -n "$(REGISTRY)" ] && [ -n "$(VERSION)" ] || { echo "Say where and what: make release REGISTRY=HOST/FOLDER VERSION=1.2.3"; exit 2; }
	@$(PYTHON) -m release --registry $(REGISTRY) --version $(VERSION) $(if $(PLATFORMS),--platforms $(PLATFORMS)) $(if $(SOURCE),--source $(SOURCE)) $(if $(DOWNLOADS),--downloads $(DOWNLOADS)) $(if $(PLAIN_HTTP),--plain-http)

##@ Work on it
.PHONY: setup machine venv lock web lint format reference
setup: ## Install what is missing from the operating system (Debian, Ubuntu)
	@sh local_cluster/setup.sh

# The same without what only tests and benchmarks need.
machine:
	@sh local_cluster/setup.sh --no-tests

venv: .venv/.installed ## The Python environment, from the lock file

.venv/.installed: requirements.lock pyproject.toml | machine
	@[ -x $(PYTHON) ] || python3 -m venv .venv
	@echo "Installing the Python packages of requirements.lock into .venv"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check uv==0.13.9
	@.venv/bin/uv pip install --quiet --python $(PYTHON) --require-hashes -r requirements.lock
	@.venv/bin/uv pip install --quiet --python $(PYTHON) --no-deps --editable .
	@touch $@

lock: machine ## Write all lock files anew from pyproject.toml
	@[ -x "$(CACHE)/uv/bin/uv" ] || { python3 -m venv "$(CACHE)/uv" && "$(CACHE)/uv/bin/pip" install --quiet uv; }
	@compile="$(CACHE)/uv/bin/uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url --no-header --quiet"; \
	$$compile --all-extras --output-file requirements.lock; \
	for lock in $(LOCKS); do \
	  $$compile --extra "$${lock##*:}" --constraints requirements.lock --output-file "$${lock%%:*}/requirements.lock"; \
	done

web: $(if $(wildcard web/package.json),web/dist/index.html) ## Build the page into web/dist, and the tests' page of LiveKit's hooks

web/dist/index.html: $(WEB_SOURCES) | machine
	@echo "Building the page"
	@cd web && npm ci --no-audit --no-fund --loglevel=error && npm run --silent build && npm run --silent build:hooks

lint: venv ## Style, types, layers
	@.venv/bin/ruff check $(CODE)
	@.venv/bin/ruff format --check --quiet $(CODE)
	@.venv/bin/mypy $(CODE)
	@PYTHONPATH=operator:agent_image:. .venv/bin/lint-imports
	@[ ! -e operator/__init__.py ] || { echo "operator/__init__.py would shadow Python's own module of that name: remove it"; exit 1; }

format: venv ## Put the code into its style
	@.venv/bin/ruff check --fix-only --quiet $(CODE)
	@.venv/bin/ruff format $(CODE)

reference: venv ## Write docs/reference anew, and the schema of the chart's values, from what they are about
	@$(PYTHON) -m charts.values_schema
	@$(PYTHON) -m charts.dashboards
	@PYTHONPATH=operator:agent_image:. $(PYTHON) -m docs.reference

##@ Test it
# e2e tests lose a node and look on from the other, and read who asked the API server for what. A cluster that stands
# already is taken as it is.
test test-e2e: export NODES := 2
test test-e2e: export AUDIT := $(or $(AUDIT),$(if $(wildcard .cluster/kubeconfig),,1))
PYTEST := PYTHONPATH=. $(PYTHON) -m pytest
TIERS := unit part chart e2e
# Tests mostly wait, for processes and for sounds: so there are more at once than a small machine has cores, and
# whoever has no more takes half of what another has left. e2e tests have the machine to themselves.
OPTIONS_part := --numprocesses=3 --dist=worksteal
# The real things share a few cores with whatever else runs here. Who failed beside the others is tried once more, alone,
# and both outcomes are printed: a test that needs it is a defect to mend, of itself or of what it tests.
define second_try
{ printf '\n==================== tier %s, once more and alone: what failed ====================\n' $(TIER); \
  $(PYTEST) --last-failed --last-failed-no-failures=none --maxfail=3 tests/$(TIER); }
endef
SECOND_TRY_part = $(second_try)
SECOND_TRY_e2e = $(second_try)

.PHONY: test test-unit test-part test-chart test-e2e golden
test: setup lint images ## Lint, then every tier: unit, part, chart, e2e
	@failed=""; \
	for tier in $(TIERS); do \
	  printf '\n==================== tier %s ====================\n' "$$tier"; \
	  $(MAKE) --no-print-directory run-tier TIER=$$tier || failed+=" $$tier"; \
	done; \
	[ -z "$$failed" ] || { echo "Failed:$$failed"; exit 1; }

.PHONY: run-tier
run-tier:
	@$(PYTEST) $(OPTIONS_$(TIER)) tests/$(TIER) || $(or $(SECOND_TRY_$(TIER)),false)

test-unit: venv ## Seconds; nothing outside the process
	@$(PYTEST) tests/unit

test-part: setup venv ## One part with the real things beside it: API server, Postgres, LiveKit, Chromium
	@$(PYTEST) $(OPTIONS_part) tests/part

test-chart: venv ## What the chart renders
	@$(PYTEST) tests/chart

test-e2e: setup images ## Real pods, real LiveKit, real speech
	@$(PYTEST) tests/e2e

golden: venv ## Write the golden files in tests/data anew; read what has changed before you commit it
	@UPDATE_GOLDEN=1 $(PYTEST) tests/unit/test_golden.py tests/chart/test_golden.py
