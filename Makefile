# The same few commands for a person and for CI. Each sets up what it needs in .venv.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
PARAMS ?= params/lab.yaml
BIN := .venv/bin
# Everything by its hash, nothing resolved, and nothing built: what a mirror or an index sends is what was locked, or is refused.
PIP := -m pip install -q --disable-pip-version-check --no-deps
LOCKED := $(PIP) --require-hashes --only-binary :all:
# The book itself has no hash; its build backend is among the locked.
SELF := $(PIP) --no-build-isolation --no-index -e .
READY := .venv/.ready
DEV := .venv/.ready-dev
# JupyterLab has an environment of its own: beside it, every kernel of a run would start more slowly.
BOOK := .venv-book/.ready
# What codespell checks; its settings are in pyproject.toml.
WORDS := README.md CONTRIBUTING.md CHANGELOG.md docs notebooks tools swarmbook tests params

.PHONY: help
help: ## these lines
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

.PHONY: run
run: $(READY) ## the whole book on params/lab.yaml: leaves a verified cluster running
	@$(BIN)/swarmbook run $(PARAMS)

.PHONY: book
book: $(BOOK) ## the book in JupyterLab, at 00 Start here
	@PATH="$(CURDIR)/.venv-book/bin:$$PATH" .venv-book/bin/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/00_start_here.ipynb

# A skipped test is a failed one here: what a test needs of the system, tools/needs.sh installs or names.
# How many files of live tests run side by side. On two cores, two take 38 minutes where one after the other takes 55.
AT_ONCE := 2
PYTEST := SWARMBOOK_NO_SKIPS=1 $(BIN)/pytest

.PHONY: test
test: $(DEV) ## unit tests, then the whole book on a lab of its own: at most 10 minutes
	@tools/needs.sh restic ssh sshd fish tcsh ps gpg gpgv curl unzip systemd-analyze promtool
	@$(PYTEST) -n logical --dist loadgroup tests/unit tests/runbook
	@$(PYTEST) tests/live/test_main_job.py

.PHONY: test-live
test-live: $(DEV) $(BOOK) ## every other test: labs, disks, a browser, a sample of the fire; 40 minutes and more, as root
	@tools/needs.sh root restic ssh sshd ps docker mmdebstrap linux.uml mkfs.ext4 cc chromium
	@$(PYTEST) -n $(AT_ONCE) --dist loadfile -m 'not long' tests/live --ignore=tests/live/test_main_job.py --durations=20

.PHONY: test-long
test-long: $(DEV) ## live tests that take long and show more of the same: each night, say; as root
	@tools/needs.sh root restic ssh sshd ps docker mmdebstrap mariadb sysbench mydumper pt-table-checksum npm
	@$(PYTEST) -n $(AT_ONCE) --dist loadfile -m long tests/live --durations=20

.PHONY: test-all
test-all: test test-live test-long ## all three: everything

.PHONY: pythons
pythons: ## unit tests on every supported Python that is found here
	@tools/pythons.sh

.PHONY: fire
fire: $(DEV) ## kills everything everywhere, 112 times, and checks what is claimed afterwards; writes fire-results/
	@SWARMBOOK_FIRE=all $(PYTEST) tests/live/test_fire.py

.PHONY: matrix
matrix: $(DEV) ## a sample of all combinations of parameters, each run on a lab; ROWS=5 SEED=1
	@tools/needs.sh root docker
	@$(BIN)/python tools/matrix.py $(or $(ROWS),3) $(SEED)

.PHONY: loaded
loaded: $(DEV) ## ten labs of seven nodes, one after the other, while one core is kept busy; NODES=15 MANAGERS=5 RUNS=2 BUSY=1
	@tools/needs.sh docker stress-ng
	@$(BIN)/python tools/loaded.py $(if $(NODES),--nodes $(NODES)) $(if $(MANAGERS),--managers $(MANAGERS)) $(if $(RUNS),--runs $(RUNS)) $(if $(BUSY),--busy $(BUSY))

.PHONY: check
check: $(DEV) ## formatter, linter, types, notebook linter
	@$(BIN)/ruff format --check --quiet || { echo "not formatted: $(BIN)/ruff format"; exit 1; }
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache > .import-linter.log || { sed -n "/^Broken/,$$ p" .import-linter.log; exit 1; }
	@$(BIN)/python tools/lint_notebooks.py
	@$(BIN)/python tools/docs.py --check
	@$(MAKE) words

.PHONY: words
words:
	@$(BIN)/codespell $(WORDS)

.PHONY: bench
bench: $(DEV) ## zero to verified on 3, 5 and 7 nodes; writes bench-results/
	@$(BIN)/python tools/bench.py

.PHONY: drills
drills: $(DEV) ## each fault on a lab while an application works, every commit accounted for; ONLY="kill cut" SEEDS=3; writes docs/what-happens-when.md
	@tools/needs.sh root docker
	@$(BIN)/python -m tools.drills $(if $(SEEDS),--seeds $(SEEDS)) $(if $(ONLY),--only $(ONLY),--docs)

.PHONY: bench-operate
bench-operate: $(DEV) ## restarts, more nodes and fewer, and the endpoint's cost, while an application works; ONLY="roll" or calm, REPEAT=5; writes bench-results/
	@tools/needs.sh root docker sysbench stress-ng
	@$(BIN)/python -m tools.operate $(if $(REPEAT),--repeat $(REPEAT)) $(if $(ONLY),--only $(ONLY))

.PHONY: bench-outage
bench-outage: $(DEV) ## seconds to serve again after a power cut of all machines, and after a clean stop by recover; NODES=3 REPEAT=5; writes bench-results/
	@tools/needs.sh root docker
	@$(BIN)/python -m tools.outage $(if $(NODES),--nodes $(NODES)) $(if $(REPEAT),--repeat $(REPEAT))

.PHONY: destroy
destroy: $(READY) ## takes the lab's cluster and machines away
	@$(BIN)/swarmbook cancel $(PARAMS) --yes

.PHONY: prune
prune: $(READY) ## removes the images that were built
	@$(BIN)/swarmbook prune

.PHONY: clean
clean: ## removes .venv, .venv-book and caches; clusters/ and runs/ stay
	@rm -rf .venv .venv-book .venv-pythons test-results build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import-linter.log
	@find swarmbook tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# The newest of everything, by hash, for every supported Python at once; to change as little as can be: make lock UPGRADE=
UPGRADE := --upgrade
.PHONY: lock
lock: $(READY)
	@tools/lock.sh $(UPGRADE)

.PHONY: audit
audit: $(DEV) ## known vulnerabilities of what is locked, by pip-audit, which asks PyPI
	@$(BIN)/python tools/audit.py $(AUDIT)

# Only what running needs, so that a first `make run` is soon there; tests and checks add theirs.
$(READY): pyproject.toml requirements/run.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { echo "swarmbook needs Python 3.10 or newer as $(PYTHON); another one: make PYTHON=python3.12 ..."; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) lacks venv: apt-get install python3-venv"; exit 2; }
	@echo "setting up .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python $(LOCKED) -r requirements/run.txt
	@$(BIN)/python $(SELF)
	@touch $@

$(BOOK): pyproject.toml requirements/book.txt
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) lacks venv: apt-get install python3-venv"; exit 2; }
	@echo "setting up .venv-book"
	@$(PYTHON) -m venv .venv-book
	@.venv-book/bin/python $(LOCKED) -r requirements/book.txt
	@.venv-book/bin/python $(SELF)
	@touch $@

$(DEV): $(READY) requirements/dev.txt
	@$(BIN)/python $(LOCKED) -r requirements/dev.txt
	@touch $@
