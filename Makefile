# The two commands are `make demo` and `make test`; each sets the checkout up first.
.PHONY: demo lab test lint setup lock mutants bench-ledger bench-approver bench-chain bench-custody bench-risk
.DEFAULT_GOAL := setup
PYTHON := .venv/bin/python

setup:
	@binder/bootstrap

demo: setup
	@$(PYTHON) -m workbench.cli demo

# The demo world with JupyterLab over it, until Ctrl-C; `make lab ARGS=--visitor` enrols your security key first.
lab: setup
	@$(PYTHON) -m workbench.cli lab $(ARGS)

test: setup
	@$(PYTHON) -m pytest -n 2 --dist loadfile

lint: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

# Do the tests of `ledger/` bite? Every guard is changed; `python -m tests.mutants MODULE …` for some of them.
mutants: setup
	@$(PYTHON) -m tests.mutants

# What the ledger costs, in ratios of one run. Ten minutes.
bench-ledger: setup
	@$(PYTHON) -m tests.bench.ledger

# What looking at the chain costs: proofs, simulations, the observer over a bare call. Two minutes.
bench-chain: setup
	@$(PYTHON) -m tests.bench.chain

# What a signature costs: key generation, 3 of 5, the gate, a token. Two minutes.
bench-custody: setup
	@$(PYTHON) -m tests.bench.custody

# What a year's losses cost to compute, beside how others have them. A minute.
bench-risk: setup
	@$(PYTHON) -m tests.bench.risk

# How long a person waits for the approval page.
bench-approver: setup
	@$(PYTHON) -m tests.bench.approver

# Recompute the locks after a change of pyproject.toml or binder/package.json.
lock: setup
	@cd binder && ../.venv/bin/npm install --package-lock-only
	@for name in uv requirements; do \
	  if [ $$name = uv ]; then from=binder/uv.in; else from="--all-extras --no-emit-package workbench-tss pyproject.toml"; fi; \
	  env -u UV_INDEX -u UV_DEFAULT_INDEX .venv/bin/uv pip compile --quiet --universal --generate-hashes \
	    --no-header --no-annotate --python-version 3.11 $$from -o binder/$$name.txt; \
	done
