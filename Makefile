# Every command of the project; `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help env lint images test test-training demo demo-stop bench docs clean

# The tools of the environment, and only they, whatever else is on the PATH.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# A virtual environment that happens to be active must not leak in.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

env: .venv/.installed ## make the environment in .venv, with the `sparkml` command in it

.venv/.installed: pyproject.toml scripts/make-env.sh
	@./scripts/make-env.sh

lint: env ## style, types and the import contract
	ruff check .
	ruff format --check .
	mypy
	lint-imports

images: env ## build the local cluster's images (virtual environments in the user's cache)
	sparkml images build

test: lint images ## lint, then every test (some 11 minutes, on 2 cores)
	pytest --numprocesses 2 --no-loadscope-reorder

test-training: env images ## distributed training with real PyTorch and Horovod (10 minutes, and 8 to build them once)
	sparkml images build torch horovod
	pytest -m training tests/system/test_training.py tests/system/test_ranks_in_spark.py

demo: env ## from nothing to a served model; KEEP=1 leaves everything up
	python -m demo

demo-stop: env ## stop what `make demo KEEP=1` left up
	python -m demo --stop

bench: env ## measure beside the peers (10 minutes); JSON in .state/benchmarks, in the end the README's tables
	@mkdir -p .state/benchmarks && rm -f .state/benchmarks/*.json
	python -m benchmarks.imports >.state/benchmarks/imports.json && cat .state/benchmarks/imports.json
	python -m benchmarks.deferral --apps 1000 --seconds 30 >.state/benchmarks/deferral.json && cat .state/benchmarks/deferral.json
	for kind in MPIJob TrainJob; do python -m benchmarks.deferral --apps 1000 --seconds 30 --kind $$kind \
		>.state/benchmarks/deferral-$$kind.json && cat .state/benchmarks/deferral-$$kind.json || exit; done
	python -m benchmarks.cluster_up >.state/benchmarks/cluster_up.json && cat .state/benchmarks/cluster_up.json
	python -m benchmarks.overhead >.state/benchmarks/overhead.json && cat .state/benchmarks/overhead.json
	python -m benchmarks.tables .state/benchmarks

docs: env ## build the documentation into site/
	mkdocs build --strict

clean: ## remove what the commands above made, but for .venv and the user's cache
	@if [ -d .state/demo ] && [ -x .venv/bin/python ]; then .venv/bin/python -m demo --stop; fi
	rm -rf .state dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
