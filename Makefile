PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := runs/demo

.DEFAULT_GOAL := help
.PHONY: help install kernels demo test test-slow lint types fix reach bench bench-train bench-explain bench-detect networks readme clean

help:  ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[lab,dev]'
	touch $(READY)

install: $(READY)  ## make .venv with everything, at the versions of constraints.txt

kernels: $(READY)  ## build the CPU kernels, once; without a compiler everything runs in plain torch
	-$(BIN)/whatwhere kernels

demo: kernels  ## train a small CNN bare and with SE, BAM and CBAM on the embedded images, and compare
	$(BIN)/whatwhere compare --host resnet8 --gates none,se,bam,cbam --data scenes --seeds 3 --epochs 4 --padding 0 --precision bf16 --start identity --out $(DEMO)
	@echo "table: $(DEMO)/table.md   picture: $(DEMO)/picture.png   numbers: $(DEMO)/summary.json"

test: lint types kernels  ## every check: lint, types, house rules, tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m 'not slow'

test-slow: kernels  ## the tests that take minutes
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

fix: $(READY)  ## format, and mend what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reach: $(READY)  ## hold the sites found in torchvision's and timm's networks against timm's own feature_info
	$(BIN)/python benchmarks/reach.py

bench: kernels  ## race the gates against those of other libraries on the CPU; some twelve minutes
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	OMP_WAIT_POLICY=passive $(BIN)/python benchmarks/gates.py

bench-train: $(READY)  ## race the training loop against a plain one and timm's parts; some fifteen minutes
	$(BIN)/python benchmarks/train_step.py

bench-explain: kernels  ## race records and class activation maps against torchcam and pytorch-grad-cam; some ten minutes
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	OMP_WAIT_POLICY=passive $(BIN)/python benchmarks/explain.py

bench-detect: kernels  ## race training, evaluating and gating of detectors against plain loops; some fifteen minutes
	$(BIN)/python benchmarks/detection.py

networks: kernels  ## train the two small networks that come with the package anew; some five minutes
	$(BIN)/whatwhere compare --host resnet8 --gates none,cbam --data scenes --seeds 1 --epochs 16 --padding 0 --precision bf16 --start identity --out runs/networks
	for arm in none cbam; do $(BIN)/whatwhere pack runs/networks/$$arm-seed0-* --out src/whatwhere/explain/networks/$$arm || exit 1; done

readme: $(READY)  ## fill the tables of README.md, docs/speed.md and docs/cells.md from the result files
	$(BIN)/python benchmarks/readme.py
	$(BIN)/whatwhere cells > docs/cells.md

clean:  ## remove what was built and trained here
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache
