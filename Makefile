# Everything a user or CI runs. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test unit integration snowflake-acceptance lint format lock up down status doctor bronze silver gold publish run marts dbt-docs notebook bench crash drill readers model dashboards test-ui
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
ACTIVATE := . .venv/bin/activate
# a missing DATE ends with exit code 2 and says so
NEED_DATE = if [ -z "$(DATE)" ]; then echo "DATE is missing, for example: make $@ DATE=2013-01-05" >&2; exit 2; fi
# DOMAIN=operations: of this domain alone, else of all
OF_DOMAIN = $(if $(DOMAIN),--domain "$(DOMAIN)")

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-21s %s\n", $$1, $$2}'

setup: ## Set everything up in .venv; again, only what changed
	@"$(PYTHON)" scripts/setup.py

demo: setup ## The whole pipeline on real data, published and proven
	@$(ACTIVATE) && medallion demo $(OF_DOMAIN)

test: setup ## All tests, in two processes, with real servers of their own
	@$(ACTIVATE) && pytest -n 2 --dist loadgroup tests

# needs Chromium, and says so
test-ui: setup ## The dashboards in headless Chromium, with a server of their own
	@$(ACTIVATE) && pytest -p no:cacheprovider tests/ui $(ARGS)

unit: setup ## Tests without servers, in two processes
	@$(ACTIVATE) && pytest -n 2 --dist loadgroup tests/unit

integration: setup ## Tests with real servers, in two processes
	@$(ACTIVATE) && pytest -n 2 --dist loadgroup tests/integration

# not in two processes: an account is asked by one
snowflake-acceptance: setup ## The publication's suite against the account of SNOWFLAKE_…, else the emulator
	@$(ACTIVATE) && python -m pytest -p tests.acceptance -m acceptance tests/integration/test_publish*.py tests/integration/test_reconcile.py $(ARGS)

lint: setup ## Format, style and types, as CI checks them
	@$(ACTIVATE) && ruff format --check . && ruff check . && mypy

format: setup ## Format the code
	@$(ACTIVATE) && ruff format . && ruff check --fix .

lock: setup ## Make the locks from pyproject.toml
	@.venv/.setup/tools/bin/uv pip compile --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --all-extras pyproject.toml -o requirements.lock
	@.venv/.setup/tools/bin/uv pip compile --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --group jupyterlab -c requirements.lock -o scripts/jupyterlab.lock
	@.venv/.setup/tools/bin/uv pip compile --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --group duckdb-iceberg -o scripts/duckdb_iceberg.lock
	@.venv/.setup/tools/bin/uv pip compile --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --group datacontract -o scripts/datacontract.lock
	@.venv/.setup/tools/bin/uv pip compile --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-strip-extras --group dbt -o scripts/dbt.lock

up: setup ## Start the embedded stack
	@$(ACTIVATE) && medallion up

down: ## Stop the embedded stack
	@if [ -x .venv/bin/medallion ]; then $(ACTIVATE) && medallion down; else echo "nothing is set up"; fi

status: setup ## Show the embedded stack
	@$(ACTIVATE) && medallion status

doctor: setup ## Check what the stack needs
	@$(ACTIVATE) && medallion doctor

bronze: ## Ingest a day: make bronze DATE=2013-01-05
	@$(NEED_DATE); $(MAKE) setup && $(ACTIVATE) && spark-submit jobs/bronze_ingest.py --date "$(DATE)" $(OF_DOMAIN)

silver: ## Refine a day: make silver DATE=2013-01-05
	@$(NEED_DATE); $(MAKE) setup && $(ACTIVATE) && spark-submit jobs/silver_refine.py --date "$(DATE)" $(OF_DOMAIN)

gold: ## Build a day's gold: make gold DATE=2013-01-05
	@$(NEED_DATE); $(MAKE) setup && $(ACTIVATE) && spark-submit jobs/gold_build.py --date "$(DATE)" $(OF_DOMAIN)

publish: ## Publish main: make publish DATE=2013-01-05
	@$(NEED_DATE); $(MAKE) setup && $(ACTIVATE) && spark-submit jobs/snowflake_publish.py --date "$(DATE)"

run: ## All layers of a day as one run: make run DATE=2013-01-05
	@$(NEED_DATE); $(MAKE) setup && $(ACTIVATE) && spark-submit jobs/pipeline.py --date "$(DATE)" $(OF_DOMAIN)

marts: setup ## The dbt marts, all or none: DBT_TARGET=postgres_local, snowflake_dev, snowflake_prod or spark
	@$(ACTIVATE) && medallion marts

dbt-docs: setup ## The documentation of the marts, with their lineage, as one page
	@$(ACTIVATE) && medallion marts docs

# JupyterLab is no part of the environment: it is added here, and again when set-up has renewed that
notebook: up ## Open the notebooks in JupyterLab, on loopback
	@.venv/.setup/tools/bin/uv pip install --quiet --python .venv/bin/python --require-hashes -r scripts/jupyterlab.lock
	@$(ACTIVATE) && jupyter lab --ip 127.0.0.1 --notebook-dir notebooks $$([ "$$(id -u)" != 0 ] || echo --allow-root) $(ARGS)

dashboards: setup ## Open the dashboards on loopback: make dashboards PORT=8501
	@$(ACTIVATE) && exec medallion dashboards $(if $(PORT),--port "$(PORT)")

bench: setup ## Measure; make bench ARGS=quality for the cost of rules
	@$(ACTIVATE) && python -m bench $(ARGS)

drill: setup ## Lose a lake in four ways and restore it: make drill ARGS="--runs 20 --rows 100000"
	@$(ACTIVATE) && python -m bench drill $(ARGS)

# stopped and called again it goes on; MINUTES=30, WORKERS=4, ONLY=merge, WAREHOUSE=snowflake
crash: setup ## Kill every step in every way: make crash CASES=10 SEED=1
	@$(ACTIVATE) && python -m tests.crash --cases "$(or $(CASES),10)" --seed "$(or $(SEED),1)" $(if $(MINUTES),--minutes "$(MINUTES)") \
	  $(if $(WORKERS),--workers "$(WORKERS)") $(if $(ONLY),--only "$(ONLY)") $(if $(WAREHOUSE),--warehouse "$(WAREHOUSE)") $(if $(SPARK),--spark)

readers: setup ## Readers of several tables while publications pass: make readers PUBLICATIONS=1000
	@$(ACTIVATE) && python -m tests.crash.readers --publications "$(or $(PUBLICATIONS),1000)"

model: setup ## What is random or raced, many times; `make test` has it a few times
	@$(ACTIVATE) && THOROUGH=1 pytest tests/model $$(grep -l "^from tests.rounds import" tests/integration/*.py)
