# Local and CI run the same verbs. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
TOOLS := .tools/bin
LOCK := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links
PROTOS := $(shell find protos -name '*.proto') buf.yaml buf.gen.yaml protos/grpc_plugin.py

help: ## Lists the verbs.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: .venv/.done .tools/.done gen/.done ## Makes the two environments and the generated code.

.venv/.done: requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@# Generated code is imported as `astra.…`; a .pth keeps the root itself out of the path.
	echo "$(CURDIR)/gen/python" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/astra-gen.pth"
	@touch $@

.tools/.done: tools.lock
	$(PYTHON) -m venv .tools
	$(TOOLS)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tools.lock
	@touch $@

gen: gen/.done ## Generates code and the descriptor set from protos/.

gen/.done: .venv/.done .tools/.done $(PROTOS)
	@rm -rf gen/googleapis gen/python && mkdir -p gen/googleapis/google/api gen/googleapis/google/rpc
	@cd "$$($(BIN)/python -c 'import google.api.http_pb2 as m, pathlib; print(pathlib.Path(m.__file__).parents[1])')" && \
	  cp api/{annotations,field_behavior,http,httpbody}.proto "$(CURDIR)/gen/googleapis/google/api/" && \
	  cp rpc/{status,error_details}.proto "$(CURDIR)/gen/googleapis/google/rpc/"
	$(TOOLS)/buf generate
	$(TOOLS)/buf build --as-file-descriptor-set -o gen/descriptors.binpb
	@# An rpc without access, or an event option that names no field, fails here.
	$(BIN)/python -c "from services import contracts; contracts.rpcs(); contracts.events()"
	@touch $@

lock: .tools/.done ## Pins the newest versions and their hashes, without addresses.
	$(TOOLS)/python -m pip install --quiet uv
	$(TOOLS)/uv pip compile $(LOCK) --extra dev pyproject.toml -o requirements.lock
	$(TOOLS)/uv pip compile $(LOCK) --constraint requirements.lock pyproject.toml -o runtime.lock
	$(TOOLS)/uv pip compile $(LOCK) --group tools -o tools.lock
	$(TOOLS)/uv pip compile $(LOCK) --group bench -o bench.lock
	$(TOOLS)/uv pip compile $(LOCK) --group clients -o clients.lock
	$(TOOLS)/uv pip compile $(LOCK) --group servers -o servers.lock

run: setup ## Starts the whole mesh on this machine; Ctrl-C stops it.
	@$(BIN)/python -m services.local run

demo: setup ## Plays the 36-event story and a day of ten users by REST on a mesh of its own, and checks both.
	@$(BIN)/python -m tests.story

check: lint type envoy-check test ## Everything a change must pass.

lint: setup ## Checks style and the protos.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(TOOLS)/buf lint
	$(TOOLS)/buf format --diff --exit-code protos
	$(BIN)/python -m tests.release.check

type: setup ## Checks types.
	$(BIN)/mypy

envoy-check: setup ## Asks the real Envoy whether it accepts the configuration.
	$(BIN)/python -m envoy check

test: setup ## Runs the tests, but for those of check-system.
	$(BIN)/pytest -m 'not long'

packages: ## Installs the Debian packages that check-system needs.
	@missing=$$(dpkg-query -W -f '$${Package} $${db:Status-Status}\n' $$(cat tests/debian-packages.txt) 2>/dev/null | awk '$$2 == "installed" {print $$1}' | \
	  sort | comm -13 - <(sort tests/debian-packages.txt)); [ -z "$$missing" ] || { echo "installing $$missing" && \
	  apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing; }

check-system: setup packages .clients/.done .servers/.done ## Runs the tests that take long, or need Debian's servers, Chromium or containers.
	$(BIN)/pytest -m long
	$(MAKE) contract OFFLINE=1

contract: setup $(if $(OFFLINE),packages) ## Tries the contracts on compose.yaml; OFFLINE=1 makes the images here, without a registry.
	@$(BIN)/python -m tests.containers $(if $(OFFLINE),--offline)

.servers/.done: servers.lock
	$(PYTHON) -m venv .servers
	.servers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r servers.lock
	@touch $@

system: setup ## Runs 2,000 random commands of 50 users with kills in between, and compares everything.
	SYSTEM_COMMANDS=2000 $(BIN)/pytest -s tests/system

mesh-test: setup ## Runs the tests of replicas under steady calls; part of `make test`.
	$(BIN)/pytest tests/mesh_replicas

chaos: setup ## Kills and starves everything for CHAOS_SECONDS (300), then compares all with all; CHAOS_SEED= repeats a run.
	@$(BIN)/python -m tests.chaos

chaos-cluster: setup ## The same on a Redis cluster of three primaries and three replicas, with failovers all the time.
	@CHAOS_CLUSTER=1 $(BIN)/python -m tests.chaos

bench: setup ## Measures the store; goals are printed and written to build/bench/, never asserted.
	@$(BIN)/python -m tests.bench.store

bench-chain: setup ## Measures whole chains by REST, the idle mesh, and 1,000 events/s.
	@$(BIN)/python -m tests.bench.chain

bench-mesh: setup ## Measures what Envoy adds to a call, without and with all it checks, and with mTLS.
	@$(BIN)/python -m tests.bench.mesh

bench-gateway: setup .bench/.done ## Measures the gateway against Envoy's transcoder and a FastAPI handler.
	@$(BIN)/python -m tests.bench.gateway

bench-bus: setup .bench/.done ## Measures bridge and consumers against a raw pipeline and FastStream.
	@$(BIN)/python -m tests.bench.bus

.bench/.done: bench.lock
	$(PYTHON) -m venv .bench
	.bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bench.lock
	@touch $@

.clients/.done: clients.lock
	$(PYTHON) -m venv .clients
	.clients/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r clients.lock
	@touch $@

fuzz-gateway: setup ## Compares the gateway with Envoy's transcoder on 10,000 generated requests.
	@$(BIN)/python -m tests.gateway_fuzz

dashboards: setup ## Writes Grafana's dashboards from monitoring/boards.py to monitoring/dashboards/.
	@$(BIN)/python -m monitoring dashboards

catalogue: setup ## Writes docs/metrics.md, the page with every number that is shown.
	@$(BIN)/python -m monitoring catalogue

status: setup ## Prints the whole running mesh on one screen; JSON=1 for a program.
	@$(BIN)/python -m services.local status $(if $(JSON),--json)

bench-observe: setup ## Measures what metrics and traces cost the REST path.
	@$(BIN)/python -m tests.bench.observe

asyncapi: setup tests/node/node_modules/.done ## Makes the AsyncAPI document of the events and a page of it in build/asyncapi/.
	@mkdir -p build/asyncapi && $(BIN)/python -m services asyncapi > build/asyncapi/asyncapi.json
	@node tests/node/validate_asyncapi.mjs < build/asyncapi/asyncapi.json
	@node tests/node/render_asyncapi.mjs build/asyncapi < build/asyncapi/asyncapi.json
	@echo "build/asyncapi/index.html"

tests/node/node_modules/.done: tests/node/package-lock.json
	cd tests/node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

release: setup ## Promises today's contracts: VERSION=1.2.0 makes protos/released/1.2.0/, to be committed.
	@$(BIN)/python -m tests.release $(VERSION)

golden: setup ## Renews the golden files; their diff is the review.
	RENEW_GOLDEN=1 $(BIN)/pytest tests/unit_envoy/test_render.py

clean: ## Removes what was made; keeps var/ with the data of `make run`.
	rm -rf .venv .tools .bench .clients .servers gen build .mypy_cache .ruff_cache .pytest_cache

.PHONY: $(shell grep -ohE '^[a-z-]+:' $(MAKEFILE_LIST) | tr -d :)
