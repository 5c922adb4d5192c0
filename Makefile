# Two commands on a bare checkout: `make demo` and `make test`; each sets up .venv first, `make help` lists the rest.

PYTHON ?= python3
# More options for pip: INSTALL_ARGS='--extra-index-url URL' finds a torch build that the default index has not.
INSTALL_ARGS ?=
TEST_ARGS ?=
TEST_WORKERS ?= 2
TEST_TIMEOUT ?= 2400
# BENCH_ARGS=--quick takes minutes; `reluxfast bench --help` lists what else there is.
BENCH_ARGS ?=
BENCH_OUT ?= bench-out
# GPU_ARGS=--quick takes less than four minutes.
GPU_ARGS ?=
GPU_OUT ?= build/gpu

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(INSTALL_ARGS)
STAMPS := $(VENV)/stamps
CPP_SOURCES := $(shell find csrc -type f \( -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' \) 2>/dev/null)
CPP_TESTS := $(shell find tests -type f \( -name '*.cpp' -o -name '*.h' \) 2>/dev/null)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup setup-demo setup-bench demo test lint format bench gpu clean distclean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z-]*\):.*## /make \1: /p' Makefile

# torch goes in first and by itself: what follows finds it there and cannot ask for another one.
$(STAMPS)/torch: constraints.txt
	@echo "[setup] virtual environment and torch"
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2])' \
	  || { echo "make: Python 3.10 or newer is needed; name one, as in: make PYTHON=python3.12 test" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) torch
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/build-tools: $(STAMPS)/torch pyproject.toml
	@echo "[setup] build tools"
	@$(PIP_INSTALL) 'setuptools>=70.1' wheel ninja packaging numpy
	@touch $@

$(STAMPS)/package: $(STAMPS)/build-tools pyproject.toml setup.py $(CPP_SOURCES)
	@echo "[setup] reluxfast"
	@$(PIP_INSTALL) --no-build-isolation -e .
	@ls reluxfast/_C*.so >/dev/null 2>&1 || echo "[setup] no compiled kernels (is there a C++ compiler?): right, but slower"
	@touch $@

# The package itself is installed by now: an extra only adds what it names.
$(STAMPS)/extra-%: $(STAMPS)/package
	@echo "[setup] what '$*' needs"
	@$(PIP_INSTALL) 'reluxfast[$*]'
	@touch $@

# Peers that are no extra: of their own accord they would ask for another torch. Their versions: constraints.txt.
$(STAMPS)/peers: $(STAMPS)/torch
	@echo "[setup] peers that ask for a torch of their own"
	@$(PIP_INSTALL) --no-deps zennit torchvision grad-cam ttach
	@touch $@

setup: $(STAMPS)/extra-test $(STAMPS)/peers ## install everything the tests need into .venv

setup-demo: $(STAMPS)/extra-demo ## install everything the demo needs

setup-bench: $(STAMPS)/extra-bench $(STAMPS)/peers ## install the peers of the benchmarks

demo: setup-demo ## train two small networks, explain held-out images, draw a gallery in build/demo
	$(BIN)/reluxfast demo --out build/demo

# One OpenMP thread a worker: two workers with two spinning threads each stand in each other's way on two cores.
# pytest-benchmark measures nothing beside other workers, and would say so.
test: setup ## the whole test-suite; TEST_ARGS='-k gate' runs a part
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} timeout --verbose --signal=INT --kill-after=30 $(TEST_TIMEOUT) \
	  $(BIN)/python -m pytest -n $(TEST_WORKERS) -p no:benchmark -o faulthandler_timeout=300 $(TEST_ARGS)

lint: setup ## ruff and clang-format, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "clang-format --dry-run -Werror csrc tests"
	@$(if $(CPP_SOURCES),$(BIN)/clang-format --dry-run -Werror $(CPP_SOURCES) $(CPP_TESTS))

format: setup ## let ruff and clang-format rewrite the files
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	@$(if $(CPP_SOURCES),$(BIN)/clang-format -i $(CPP_SOURCES) $(CPP_TESTS))

bench: setup-bench ## the CPU suite of `reluxfast bench` beside the peers, drawn in bench-out; BENCH_ARGS=--quick
	$(BIN)/reluxfast bench --out $(BENCH_OUT) --plot $(BENCH_ARGS)

# The Python and the torch of a machine with a GPU: nothing is downloaded, nothing installed, no .venv.
gpu: ## on a machine with an NVIDIA GPU: build, test, measure, write build/gpu/report.json; GPU_ARGS=--quick
	PYTHONPATH=. $(PYTHON) -m reluxfast.benchmarks.gpu.report --out $(GPU_OUT) $(GPU_ARGS)

clean: ## remove what was built, keep .venv
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis $(STAMPS)/package $(STAMPS)/extra-*
	find reluxfast kernels benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
	find reluxfast -name '*.so' -type f -delete

distclean: clean ## remove .venv as well
	rm -rf $(VENV)
