# make demo: train, evaluate and sample on real images. make test: the tests. Both set up .venv themselves.
PYTHON ?= python3
SHELL := /bin/bash
.SHELLFLAGS := -eo pipefail -c
BIN := .venv/bin
.PHONY: demo demo-short test theory lint bench numbers crash fuzz clean

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

# Two processes of one thread each: more threads than cores would wait for one another.
test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# The statements of the theory with their long forms, which say the same with finer grids; all other long tests; and the
# theory once more as a GPU computes.
theory: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "long or not long" tests/theory
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m long --ignore tests/theory tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --fixed-shapes tests/theory tests/contract

# What docs/reliability.md promises, at length: a thousand kills and full disks, which takes an hour or so; MINUTES of inputs made invalid.
crash: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.crash --kills 1000

MINUTES ?= 60
fuzz: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.fuzz --minutes $(MINUTES)

lint: .venv/installed
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

# Tables of costs, to runs/bench; the README's table is "overhead" on one thread. Peers need .venv/bin/pip install -e ".[bench]".
bench: .venv/installed
	$(BIN)/python -m benchmarks --tables overhead --threads 1 --out runs/bench/one-thread
	$(BIN)/python -m benchmarks --threads 2 --out runs/bench

# Every number of the README, docs/images.md and docs/text.md, to runs/numbers: many hours on two cores; what is done is not done again. DATA is
# a folder with the files below (docs/results.md, docs/images.md and docs/text.md say what they are).
FILES := globins_train.fasta globins_valid.fasta proteins_train.fasta.gz proteins_valid.fasta.gz fashion_mnist.npz emoji32.npz \
	text27_train.txt.gz text27_valid.txt.gz kjv.txt.gz bert30522_knn.npz
GRIDS := --grids cosine information power-0.5 power-1.5 power-2 events log-events
FASHION := $(addprefix runs/images-17/,scud-gaussian-0 masking-0 classical-gaussian-0)
numbers: .venv/installed
	@for file in $(FILES); do test -f "$(DATA)/$$file" || { echo "no $$file; give its folder: make numbers DATA=folder"; exit 2; }; done
	mkdir -p runs/numbers
	$(BIN)/python -m benchmarks.digits_table --seeds 0 1 | tee runs/numbers/digits.md
	$(BIN)/python -m benchmarks.gamma_sweep --seeds 0 1 | tee runs/numbers/gamma.md
	$(BIN)/python -m benchmarks.labels | tee runs/numbers/labels.md
	$(BIN)/python -m benchmarks.images_table $(DATA)/fashion_mnist.npz --levels 256 --steps 500 --repeats 2 | tee runs/numbers/fashion-256.md
	$(BIN)/python -m benchmarks.images_table $(DATA)/fashion_mnist.npz --levels 17 --steps 500 --repeats 2 | tee runs/numbers/fashion-17.md
	test -f runs/numbers/emoji.md || $(BIN)/scud train fashion_mnist --data.train $(DATA)/emoji32.npz --training.steps 400 --threads 1 --out runs/emoji --overwrite
	$(BIN)/scud evaluate runs/emoji --repeats 4 | tee runs/numbers/emoji.md
	$(BIN)/scud sample runs/emoji --num 32 --overwrite
	$(BIN)/python -m benchmarks.sampling_quality --num 500 | tee runs/numbers/quality-digits.md
	$(BIN)/python -m benchmarks.sampling_quality --num 500 --calls 8 16 32 $(GRIDS) --out runs/sampling-grids | tee runs/numbers/grids-digits.md
	$(BIN)/python -m benchmarks.sampling_quality $(FASHION) --num 250 --calls 4 8 16 32 64 128 --out runs/sampling-fashion | tee runs/numbers/quality-fashion.md
	$(BIN)/python -m benchmarks.sampling_quality $(FASHION) --num 250 --calls 8 16 $(filter-out power-1.5 power-2,$(GRIDS)) --out runs/sampling-grids-fashion | tee runs/numbers/grids-fashion.md
	$(BIN)/python -m benchmarks.sampling_quality $(FASHION) --num 100 --calls 64 512 --out runs/sampling-fashion-long | tee runs/numbers/quality-fashion-long.md
	$(BIN)/python -m benchmarks.gradient_noise runs/digits-table/scud-gaussian-0 --examples 24 | tee runs/numbers/noise-digits.md
	$(BIN)/python -m benchmarks.gradient_noise runs/images-256/scud-gaussian-0 --examples 24 | tee runs/numbers/noise-fashion.md
	$(BIN)/python -m benchmarks.proteins_table globins $(DATA) --steps 600 --repeats 40 | tee runs/numbers/globins.md
	$(BIN)/python -m benchmarks.proteins_table proteins $(DATA) --steps 1300 --repeats 1 --sequences 1000 \
		--set training.validation_repeats=1 | tee runs/numbers/proteins.md
	$(BIN)/python -m benchmarks.data_at_scale | tee runs/numbers/data-at-scale.md
	$(BIN)/python -m benchmarks.text_table characters $(DATA) --steps 900 | tee runs/numbers/characters.md
	$(BIN)/python -m benchmarks.text_table words $(DATA) --steps 400 --seeds 0 | tee runs/numbers/words.md
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	$(MAKE) bench

clean:
	rm -rf .venv
