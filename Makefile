# The developer's whole interface. `make demo` and `make test` set up everything they need by themselves.
VENV := .venv
PY := $(VENV)/bin/python
DEMO_SECONDS ?= 60

.PHONY: demo test test-all check bench docs lock clean setup setup-dev

setup: ; scripts/setup demo
setup-dev: ; scripts/setup dev

demo: setup
	$(VENV)/bin/edge-agent demo --seconds $(DEMO_SECONDS)

test: setup-dev
	$(PY) -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

# On every supported Python that this machine has; says which it has not.
test-all:
	scripts/test-all $(ARGS)

# The documentation as a site in site/: strict, and without network.
docs: setup-dev
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet --clean

# Renews constraints/, the tested versions of all packages for each Python, and runs the suite on them.
lock:
	scripts/lock

check: setup-dev
	scripts/check

bench: setup-dev
	$(PY) -m benchmarks.suite --out docs $(ARGS)

clean:
	rm -rf $(VENV) $(VENV)-* build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
