# make run               build .venv from pinned versions, start the service
# make run EXTRAS=xtts   with a heavy engine as well (xtts, pocket, align, speakers, mic; several: xtts,pocket)
# make test              lint, types and tests; installs what they need
# make install           only build .venv
# make services          what the tests need beside Python packages: Chromium and PostgreSQL, by apt where that may be
PYTHON ?= python3
EXTRAS ?=
VENV   ?= .venv

comma := ,
STAMP  = $(VENV)/.installed$(if $(EXTRAS),-$(subst $(comma),-,$(EXTRAS)))

.PHONY: run install services test lint format clean

run: $(STAMP)
	@exec $(VENV)/bin/python main.py

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt deploy/install.sh
	@sh deploy/install.sh "$(PYTHON)" "$(VENV)" "$(EXTRAS)"
	@touch $@

test: EXTRAS := test,xtts,pocket,align,speakers,postgres,redis
test:
	@$(MAKE) --no-print-directory install EXTRAS=$(EXTRAS)
	@$(MAKE) --no-print-directory services
	@$(MAKE) --no-print-directory lint
	$(VENV)/bin/python -m pytest

# PARLEY_NO_BROWSER=1 does without: the tests in a browser are then left out, and say so.
services:
	@sh deploy/services.sh

lint:
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format:
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info
