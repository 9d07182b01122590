.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
STAMP := $(VENV)/.set-up
# Compiled once, not at each start: compiling what a command imports takes longer than a small night.
unexport PYTHONDONTWRITEBYTECODE
export UV_COMPILE_BYTECODE := 1

help: ## What can be made
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

setup: $(STAMP) ## Everything into .venv (uv when present, else venv and pip)

$(STAMP): pyproject.toml constraints.txt $(wildcard pipeline/*/*/*.[ch])
	@if command -v uv >/dev/null; then \
	  uv venv --quiet --allow-existing --python "$(PYTHON)" $(VENV) && \
	  VIRTUAL_ENV=$(VENV) uv pip install --quiet -c constraints.txt -e '.[test,dev]'; \
	else \
	  "$(PYTHON)" -m venv $(VENV) && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1' && \
	  $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test,dev]'; \
	fi
	@touch $@

READERS := tests/.readers

readers: $(READERS)/.set-up ## DuckDB with its extensions for Delta Lake and Iceberg, in an environment of its own: the tests read with it

$(READERS)/.set-up: tests/formats/readers.txt
	@if command -v uv >/dev/null; then \
	  uv venv --quiet --allow-existing --python "$(PYTHON)" $(READERS) && \
	  VIRTUAL_ENV=$(READERS) uv pip install --quiet -r tests/formats/readers.txt; \
	else \
	  "$(PYTHON)" -m venv $(READERS) && \
	  $(READERS)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/formats/readers.txt; \
	fi
	@touch $@

WAREHOUSES := tests/.warehouses

warehouses: $(WAREHOUSES)/.set-up ## Snowflake's emulator fakesnow, in an environment of its own: make test-long loads a snapshot into it

$(WAREHOUSES)/.set-up: tests/warehouses.txt
	@if command -v uv >/dev/null; then \
	  uv venv --quiet --allow-existing --python "$(PYTHON)" $(WAREHOUSES) && \
	  VIRTUAL_ENV=$(WAREHOUSES) uv pip install --quiet -r tests/warehouses.txt; \
	else \
	  "$(PYTHON)" -m venv $(WAREHOUSES) && \
	  $(WAREHOUSES)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/warehouses.txt; \
	fi
	@touch $@

demo: setup ## A whole night against the sandbox: 5,000 IDs to tables in about a minute
	$(BIN)/capillary-export demo

test: setup readers ## All tests but the long matrices (those run in their short form)
	$(BIN)/python -m pytest -n 3

test-long: setup readers warehouses ## All tests, with the rest of the matrices that the default run has in short (15 minutes)
	$(BIN)/python -m pytest -n 3 -m ""

azurite: .azurite/node_modules/azurite ## Azure's blob emulator from npm, for the tests that skip without it

.azurite/node_modules/azurite:
	npm install --silent --no-save --no-package-lock --no-audit --no-fund --ignore-scripts --prefix .azurite azurite@3.37.0

check: setup ## Format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: setup ## Put the format right
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup ## The generated pages
	$(BIN)/python -m pipeline.blocks.dictionary > docs/tables.md

fuzz: setup ## Property tests with new random examples each time
	HYPOTHESIS=wild $(BIN)/python -m pytest -n 2 -q -m "not slow" tests/blocks tests/normalize/test_kernel.py tests/store tests/test_ids.py tests/test_merge.py tests/test_coding.py tests/fetch/test_outcomes.py

crash: setup ## kill -9, power loss, full and broken disks at 200 points and more of a night; each resumed and compared (bench/CRASH.md)
	$(BIN)/python -m tests.death.matrix

crash-s3: setup ## kill -9 at 100 points of publishing into an S3 server, and of 24 whole nights, under a watching reader (bench/CRASH_S3.md, 8 minutes)
	$(BIN)/python -m tests.crash_s3

simulate: setup ## Whole nights of a million IDs by a simulated clock: the plan against how they end (bench/PLAN.md)
	$(BIN)/python -m bench.simulate

bench: setup ## A night, rebuild, resume, growth and peers, measured side by side: bench/RESULTS.md (10 minutes)
	$(BIN)/python -m bench.run

bench-quick: setup ## The same in small, in 3 minutes; prints only
	$(BIN)/python -m bench.run --quick

bench-growth: setup ## The same work for 20,000, 200,000 and two million customers: time, CPU, memory of each process (bench/GROWTH.md, 8 minutes)
	$(BIN)/python -m bench.growth

bench-normalize: setup ## What a customer costs in the second process, stage by stage (bench/NORMALIZE.md, a minute)
	$(BIN)/python -m bench.normalizing

profile: setup ## Where a night's CPU and memory go, by py-spy and memray: bench/PROFILE.md (7 minutes)
	$(BIN)/python -m bench.profiling

bench-knowledge: setup ## Ten million known IDs, a night of a million, a ledger of two: seconds and memory (bench/KNOWLEDGE.md)
	$(BIN)/python -m bench.knowledge

bench-merge: setup ## Last snapshots of 2 and 10 million customers and a night of a tenth: seconds, memory, row groups (bench/MERGE.md, 7 minutes)
	$(BIN)/python -m bench.merge

bench-formats: setup ## A night's commit to a Delta Lake and an Iceberg table: files adopted, rows written anew, changes merged in (bench/FORMATS.md)
	$(BIN)/python -m bench.formats

bench-quota: setup ## How much of the quota is used, and that no window is too full: bench/QUOTA.md (7 minutes)
	$(BIN)/python -m bench.quota

bench-checks: setup ## Thirty wrong nights and thirty clean ones: which are held, and by what; what a million customers cost (bench/CHECKS.md)
	$(BIN)/python -m bench.checks_cost
	$(BIN)/python -m bench.checks

sizing: setup ## Disk, memory and time by the size of the base and the quota, from measured nights (bench/SIZING.md and docs/operations.md)
	$(BIN)/python -m bench.sizing

check-deploy: setup ## The DAG in a real Airflow (an environment of its own), and the Dockerfile's steps without Docker (as root)
	@if command -v uv >/dev/null; then \
	  uv venv --quiet --allow-existing --python "$(PYTHON)" .airflow && \
	  VIRTUAL_ENV=.airflow uv pip install --quiet 'apache-airflow>=3,<4'; \
	else \
	  "$(PYTHON)" -m venv .airflow && .airflow/bin/python -m pip install --quiet 'apache-airflow>=3,<4'; \
	fi
	.airflow/bin/python tests/deploy/airflow_check.py
	$(BIN)/python -m tests.deploy.image

bench-page: setup ## What the morning page of a million calls costs: seconds, memory, bytes
	$(BIN)/python -m bench.page 1,000,000

screenshot: setup ## README's picture of the morning page, from three nights of the demo (needs Chromium; 2 minutes)
	$(BIN)/python -m tests.report.screenshot docs/morning-page.png

bench-rehearse: setup ## Nights in real time, and what plan and rehearse foresaw of them: bench/REHEARSALS.md (8 minutes, mostly waiting)
	$(BIN)/python -m bench.rehearsals

sandbox: setup ## The stand-in API on port 8080
	$(BIN)/capillary-export sandbox --port 8080 --calls-per-minute 1000

clean: ## Away with what can be made again
	rm -rf $(VENV) $(READERS) $(WAREHOUSES) .airflow .azurite dist demo-export .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: crash-s3 bench-growth test-long bench-rehearse sizing bench-normalize azurite screenshot bench-page readers warehouses bench-formats check-deploy bench-checks bench-merge bench bench-quick profile help setup demo test check format docs fuzz crash crash-s3 simulate bench-knowledge bench-quota sandbox clean
