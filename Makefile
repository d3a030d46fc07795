# Every target does its own set-up and is safe to repeat.
PYTHON ?= python3
PORT ?= 8000
SIZE ?= 1000000
PARTS ?= all
# Of tests, for two cores: they wait for half of their time.
WORKERS ?= 4
# Else each process of the tests would compile all modules, and pytest rewrite them.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test lint format bench lock venv clean a11y screenshots docs manual crash powerloss bounded fuzz soak soak-server \
  upstream dist sbom chromium prometheus redis atheris

help: ## List the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

# The manual is built while the demo starts.
demo: $(VENV)/.runtime ## Server and builds on a fresh SQLite file with 30 days of history (PORT=8000)
	@mkdir -p build
	@$(MAKE) --silent manual >build/manual.log 2>&1 &
	$(BIN)/asu-stats demo --port $(PORT)

test: $(VENV)/.dev chromium prometheus redis ## Everything: unit, property, API, PostgreSQL, browser
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/.dev ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

crash: $(VENV)/.dev ## The long crash campaign: kill -9, again and again (KILLS=60)
	KILLS=$(or $(KILLS),60) $(BIN)/python -m pytest -s -m crash tests/crash tests/importers $(ARGS)

powerloss: $(VENV)/.dev ## Power failures at many moments: what was not synced is lost (CUTS=200)
	CUTS=$(or $(CUTS),200) $(BIN)/python -m pytest -s tests/powerloss $(ARGS)

bounded: $(VENV)/.dev ## A sender that makes up names: memory and responses stay bounded (NAMES=1000000)
	NAMES=$(or $(NAMES),1000000) MALLOC_ARENA_MAX=1 $(BIN)/python -m pytest -s tests/api/test_bounded.py $(ARGS)

fuzz: $(VENV)/.dev atheris ## Odd requests, frames and bytes; slow texts (FUZZ_EXAMPLES=2000 SEARCH_SECONDS=60 FRAMES=5000)
	$(BIN)/python -m tests.coverage_fuzz $(or $(SEARCH_SECONDS),60)
	FRAMES=$(or $(FRAMES),5000) $(BIN)/python -m pytest -s tests/server/test_frames.py $(ARGS)
	SEARCH_SECONDS=$(or $(SEARCH_SECONDS),60) $(BIN)/python -m pytest -s tests/test_slow_texts.py $(ARGS)
	FUZZ_EXAMPLES=$(or $(FUZZ_EXAMPLES),2000) $(BIN)/python -m pytest tests/api/test_openapi.py tests/api/test_fuzz.py $(ARGS)

soak: $(VENV)/.dev ## The long campaign of generated histories against the oracle (SOAK=25)
	SOAK=$(or $(SOAK),25) $(BIN)/python -m pytest -n 2 --timeout 0 tests/api/test_oracle.py tests/api/test_further.py \
	  tests/api/test_rolling.py tests/api/test_legacy.py tests/importers/test_go_builder.py $(ARGS)

# One process with low priority: it takes minutes per part, and hours for all of them.
.PHONY: mutants
mutants: $(VENV)/.mutants ## Put faults into the code, and count those that tests notice (PARTS="windows leases" DIGITS=)
	nice -n 15 $(BIN)/python -m tests.mutation $(filter-out all,$(PARTS)) --digits "$(DIGITS)"

soak-server: $(VENV)/.dev ## Mixed load at half of the maximum: memory, log and responses stay flat, figures right (MINUTES=60 DATABASE=sqlite)
	MINUTES=$(or $(MINUTES),60) DATABASE=$(or $(DATABASE),sqlite) $(BIN)/python -m tests.soak_server

upstream: $(VENV)/.dev redis ## The plug-in on the real upstream server (UPSTREAM=checkout of openwrt/asu)
	@test -n "$(UPSTREAM)" || { echo "make upstream UPSTREAM=PATH: expected a checkout of openwrt/asu"; exit 2; }
	$(BIN)/python -m tests.integrations.campaign $(UPSTREAM) $(ARGS)
	$(BIN)/python -m tests.integrations.suite $(UPSTREAM)

bench: $(VENV)/.bench ## Measure recording, queries and more in one run (SIZE=1000000 PARTS=all)
	$(BIN)/python -m benchmarks $(PARTS) --size $(SIZE) --json build/benchmarks.json $(ARGS)

a11y: $(VENV)/.dev chromium manual ## Every page: accessibility, width, console, first paint and weight (ARGS=--only=/alerts)
	$(BIN)/python -m tests.browser.accessibility $(ARGS)

screenshots: $(VENV)/.dev chromium ## The pictures of README and docs, of a demo as it runs
	$(BIN)/python -m tests.browser.screenshots

docs: $(VENV)/.dev ## Write the tables of settings, the command line reference, and the examples of the API
	$(BIN)/python -m tests.configuration_page
	$(BIN)/python -m tests.openapi_examples
	$(BIN)/python -m tests.cli_page

# The server at /manual reads it; a wheel has it in any case.
manual: $(VENV)/.manual ## The manual as a site, from docs/; a broken link is an error
	$(BIN)/python manual/build.py src/asu_stats/manual

sbom: $(VENV)/.campaigns ## The packages of an installation with all extras, as CycloneDX, in dist/
	@mkdir -p dist
	$(BIN)/cyclonedx-py requirements requirements/runtime.txt --pyproject pyproject.toml \
	  --output-reproducible --of JSON -o dist/asu-stats.cdx.json

# There are no binary packages of it for every system and Python.
atheris: $(VENV)/.dev
	@$(MAKE) --silent $(VENV)/.campaigns || echo "atheris can't be installed: its part of the campaign is skipped"

# Chromium of the system, or from Debian where we may; without it browser tests are skipped.
# Its shell takes a third less time; screenshots are of the browser that people use.
chromium:
	@command -v chromium chromium-browser >/dev/null || [ "$$(id -u)" != 0 ] || \
	  ! command -v apt-get >/dev/null || { apt-get -qq update && apt-get -qq install -y chromium >/dev/null; } || \
	  echo "Chromium can't be installed: browser tests are skipped"
	@command -v chromium-headless-shell >/dev/null || [ "$$(id -u)" != 0 ] || \
	  ! command -v apt-get >/dev/null || apt-get -qq install -y chromium-headless-shell >/dev/null 2>&1 || true

# The same for Prometheus, which tries our rules and dashboard.
prometheus:
	@command -v promtool >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
	  { apt-get -qq update && apt-get -qq install -y --no-install-recommends prometheus >/dev/null; } || \
	  echo "Prometheus can't be installed: tests of deploy/ are skipped"

# The same for Redis, which RQ's workers need: they fork.
redis:
	@command -v redis-server >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
	  { apt-get -qq update && apt-get -qq install -y --no-install-recommends redis-server >/dev/null; } || \
	  echo "Redis can't be installed: tests of RQ workers are skipped"

venv: $(VENV)/.dev ## Only the virtual environment, with everything in it

lock: $(VENV)/.dev ## Compile the requirements from pyproject.toml, for every Python and system
	$(PIP) install uv
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	  --extra all --extra build pyproject.toml -o requirements/runtime.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	  --extra server --extra postgresql -c requirements/runtime.txt \
	  pyproject.toml -o requirements/container.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	  --extra build --extra manual -c requirements/runtime.txt pyproject.toml -o requirements/manual.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	  --extra dev --extra build -c requirements/runtime.txt -c requirements/manual.txt \
	  pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	  --extra mutants --extra build -c requirements/runtime.txt -c requirements/dev.txt \
	  pyproject.toml -o requirements/mutants.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	  --extra campaigns --extra build -c requirements/runtime.txt -c requirements/dev.txt \
	  pyproject.toml -o requirements/campaigns.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	  --extra bench --extra build -c requirements/runtime.txt -c requirements/dev.txt \
	  pyproject.toml -o requirements/bench.txt

# The same commit gives the same bytes.
dist: $(VENV)/.manual ## Build the wheel and the sdist in dist/
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m hatchling build
	@cd dist && sha256sum asu_stats-*

clean: ## Remove what these targets made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(BIN)/python requirements/runtime.txt pyproject.toml
	$(PIP) install --require-hashes -r requirements/runtime.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.manual: $(VENV)/.runtime requirements/manual.txt
	$(PIP) install --require-hashes -r requirements/manual.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.mutants: $(VENV)/.dev requirements/mutants.txt
	$(PIP) install --require-hashes -r requirements/mutants.txt
	@touch $@

$(VENV)/.campaigns: $(VENV)/.dev requirements/campaigns.txt
	$(PIP) install --require-hashes -r requirements/campaigns.txt
	@touch $@

$(VENV)/.bench: $(VENV)/.dev requirements/bench.txt
	$(PIP) install --require-hashes -r requirements/bench.txt
	@touch $@
