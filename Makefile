# make demo: train, evaluate and sample on real images. make test: the tests. Both set up .venv themselves.
PYTHON ?= python3
BIN := .venv/bin
.PHONY: demo demo-short test lint bench clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: .venv/installed
	$(BIN)/scud train digits --out runs/demo --overwrite
	$(BIN)/scud evaluate runs/demo --repeats 40
	$(BIN)/scud sample runs/demo --num 64

# The same path end to end in under a minute: too few steps for good samples.
demo-short: .venv/installed
	$(BIN)/scud train digits --out runs/demo-short --overwrite --training.steps 60
	$(BIN)/scud evaluate runs/demo-short --repeats 2
	$(BIN)/scud sample runs/demo-short --num 16 --steps 16

test: .venv/installed
	$(BIN)/python -m pytest -n 2

lint: .venv/installed
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

# Tables of costs, to runs/bench; the README's table is "overhead" on one thread. Peers need .venv/bin/pip install -e ".[bench]".
bench: .venv/installed
	$(BIN)/python -m benchmarks --tables overhead --threads 1 --out runs/bench/one-thread
	$(BIN)/python -m benchmarks --threads 2 --out runs/bench

clean:
	rm -rf .venv
