# Stagedoor. A fresh machine needs Python 3.11 and make; everything else comes from the
# lock files, with hashes, into .venv.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes
SELF := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
COMPILE := $(BIN)/pip-compile --quiet --allow-unsafe --generate-hashes --no-strip-extras \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host

FUZZ_S ?= 60
SCAN_S ?= 60
SCANNER := .venv-scan

.DEFAULT_GOAL := help
.PHONY: wordpress wp-plugin wp-plugin-pot coverage help run test lint types imports unit verifiers fmt docs lock bench node-clients test-recorded test-real-llm fuzz scan clean distclean

help: ## List what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(VENV)/.runtime ## Serve at once: the keys at hand, or a simulated model
	@exec $(BIN)/stagedoor demo

test: lint types imports unit wordpress ## Everything CI checks

lint: $(VENV)/.dev ## Style and format, checked
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy and pyright, both strict
	$(BIN)/mypy
	$(BIN)/pyright

imports: $(VENV)/.dev ## Who may import whom
	$(BIN)/lint-imports

unit: $(VENV)/.dev verifiers ## The tests, on all cores; they check the docs too
	$(BIN)/python -m pytest -q -n auto -m "not real_llm and not wordpress"

coverage: $(VENV)/.dev verifiers ## The tests in one process, with branch coverage
	$(BIN)/coverage run -m pytest -q -m "not real_llm and not wordpress"
	$(BIN)/coverage report --skip-covered --sort=cover

wordpress: $(VENV)/.dev ## The WordPress plugin on real sites, servers and browsers
	@tests/wordpress/setup.sh
	$(BIN)/python -m pytest -q -m wordpress tests/wordpress

wp-plugin-pot: ## Collect the plugin's strings for translators anew (after `make wordpress`)
	@php -d memory_limit=512M -d error_reporting=8191 "$${STAGEDOOR_WORDPRESS_DIR:-$$HOME/.cache/stagedoor-wordpress}/studio/wp-cli/wp-cli.phar" \
	  --allow-root i18n make-pot wp-plugin/stagedoor wp-plugin/stagedoor/languages/stagedoor.pot --domain=stagedoor --skip-theme-json --skip-block-json \
	  --headers='{"Report-Msgid-Bugs-To":"","POT-Creation-Date":"","Last-Translator":"","Language-Team":""}'

wp-plugin: $(VENV)/.runtime ## Build the WordPress plugin's zip into dist/
	@$(BIN)/python -m tools.wp_plugin dist

verifiers: ## What tests need of the system; says what is left out
	@tests/storage/audit_independent/setup.sh
	@tests/storage/sql/setup.sh
	@tests/browser/setup.sh

fmt: $(VENV)/.dev ## Format, and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev ## Write the generated pages of docs/ anew
	$(BIN)/stagedoor settings --format markdown > docs/settings.md
	$(BIN)/python -m wire.field_policies > docs/dialects-fields.md
	$(BIN)/python -m gateway.admin.reference docs/admin-api.md > docs/admin-api.md.new && mv docs/admin-api.md.new docs/admin-api.md
	$(BIN)/python -m tests.recorded.matrix > docs/dialects.md
	$(BIN)/python -m tests.e2e.client_matrix

lock: $(VENV)/.dev ## Resolve the dependencies anew
	$(COMPILE) --upgrade --output-file=requirements/runtime.lock pyproject.toml
	$(COMPILE) --upgrade --constraint=requirements/runtime.lock --output-file=requirements/dev.lock pyproject.toml requirements/dev.in
	$(COMPILE) --upgrade --constraint=requirements/runtime.lock --output-file=requirements/build.lock requirements/build.in
	$(COMPILE) --upgrade --output-file=requirements/fuzz.lock requirements/fuzz.in
	$(COMPILE) --upgrade --output-file=requirements/scan.lock requirements/scan.in

bench: $(VENV)/.dev ## Measure against a stock gateway, in the same run
	$(BIN)/python -m bench.unary
	$(BIN)/python -m bench.stream

node-clients: ## Install the JavaScript clients that tests/recorded runs (needs node and npm)
	cd tests/clients && npm ci --no-progress

test-recorded: $(VENV)/.dev ## Every recording to every client it can be told to, no sampling
	RECORDED_ALL=1 $(BIN)/python -m pytest -q tests/recorded

fuzz: $(VENV)/.fuzz ## Fuzz every codec for FUZZ_S seconds together (60)
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_S)

scan: $(VENV)/.dev $(SCANNER)/.installed ## Let Wapiti attack the Console, SCAN_S seconds (60) with each kind of attack
	$(BIN)/python -m tests.console.scan --wapiti $(SCANNER)/bin/wapiti --seconds $(SCAN_S)

test-real-llm: $(VENV)/.dev ## Through the gateway to a real, small model (compiles it once)
	tests/real_llm/run.sh

clean: ## Remove what tools leave behind
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage build dist *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## Remove the environment too
	rm -rf $(VENV) $(SCANNER)

# The environment. Each stamp is newer than the locks it was made from.

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Stagedoor needs Python 3.11 or later; name one with make PYTHON=...")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements/build.lock requirements/runtime.lock pyproject.toml | $(BIN)/python
	@echo "Installing what requirements/runtime.lock names into $(VENV)"
	@$(PIP) -r requirements/build.lock -r requirements/runtime.lock
	@$(SELF)
	@touch $@

$(VENV)/.dev: requirements/dev.lock requirements/build.lock requirements/runtime.lock pyproject.toml | $(BIN)/python
	@echo "Installing what requirements/dev.lock names into $(VENV)"
	@$(PIP) -r requirements/dev.lock
	@$(SELF)
	@touch $@ $(VENV)/.runtime

# Its own: it wants other versions of what the gateway has.
$(SCANNER)/.installed: requirements/scan.lock | $(BIN)/python
	@echo "Installing what requirements/scan.lock names into $(SCANNER)"
	@$(PYTHON) -m venv $(SCANNER)
	@$(SCANNER)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/scan.lock
	@touch $@

$(VENV)/.fuzz: requirements/fuzz.lock $(VENV)/.dev
	@echo "Installing what requirements/fuzz.lock names into $(VENV)"
	@$(PIP) -r requirements/fuzz.lock
	@touch $@
