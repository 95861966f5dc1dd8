# One-word commands. `make help` lists them. Everything goes into .venv; nothing outside this folder is touched but your dockerlab store.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# The host shapes in which containers can be run (tests/hosts/shapes.py has them all).
SHAPES := ranged,single,no-mount,no-userns,refused,limited-root
SUITES := tests/engine tests/notebooks tests/cli

.PHONY: help demo lab test compat shapes host check bench soak clean
help: ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(VENV)/ready: pyproject.toml tools/bootstrap.py tools/hatch_build.py dockerlab/cli/client.c
	$(PYTHON) tools/bootstrap.py $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[lab,test,lint,zstd]'
	@touch $@

demo: $(VENV)/ready ## Execute lesson one for real and say where to read it
	$(BIN)/python tools/demo.py

lab: $(VENV)/ready ## Open the lessons in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

test: $(VENV)/ready ## Run the tests
	$(BIN)/python -m pytest -q -n 2 tests --ignore-glob "tests/compat/test_docker*.py" --ignore tests/compat/test_tools.py

compat: $(VENV)/ready ## Compare with the real tools (root; docker.io, crun, runc, skopeo, umoci)
	$(BIN)/python -m pytest -q tests/compat

check: $(VENV)/ready ## Lint, types, order of the rooms
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

shapes: $(VENV)/ready ## Run the tests that speak to an engine in the other host shapes (root)
	$(BIN)/python -m tests.hosts $(SHAPES) python -m pytest -q -n 2 -p no:cacheprovider $(SUITES)

host: $(VENV)/ready ## A shell in a host shape, as SHAPE=single (root; SHAPE=list names them)
	$(BIN)/python -m tests.hosts $(or $(SHAPE),list)

bench: $(VENV)/ready ## One table: our time against the real tools' (root, docker.io, crun, runc)
	$(BIN)/python benchmarks/bench.py

soak: $(VENV)/ready ## All tiers, and the long loops: kill -9 at random, many rounds
	DOCKERLAB_TIERS=all $(BIN)/python -m pytest -q -n 2 tests/engine tests/isolation tests/runtime tests/magics
	$(BIN)/python -m pytest -q tests -m soak --timeout 3600
	$(if $(filter 0,$(shell id -u)),$(BIN)/python -m tests.hosts $(SHAPES) python -m pytest -q -p no:cacheprovider tests/soak -m soak --timeout 3600)

clean: ## Remove the environment
	rm -rf $(VENV)
