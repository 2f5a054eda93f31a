# make demo    a fresh machine with Python 3.11+ and make: one Go function becomes an image for three platforms
# make test    lint, types and all tests through tox; installs what they need (as root), else says what is missing
# make bench   hostbuild against other builders, as ratios; 15 minutes, ARGS=--quick takes 4
# make clean   remove what make made here
#
# PYTHON=/path/to/python3 names the Python; TOX_ARGS and ARGS are handed to tox and to the benchmark.

VENV := .venv
BENCH := $(VENV)/bench
EXAMPLE := examples/go-function
DEMO_PLATFORMS := linux/amd64,linux/arm64,linux/arm/v7
METADATA := setup.cfg setup.py hostbuild/version.py

.DELETE_ON_ERROR:
.PHONY: help demo test bench clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

$(VENV)/bin/pip:
	@python=$$(sh scripts/find_python) && echo "making $(VENV) with $$python" >&2 && "$$python" -m venv $(VENV)

$(VENV)/.hostbuild: $(METADATA) | $(VENV)/bin/pip
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --use-pep517 --editable '.[go]'
	@touch $@

$(VENV)/.tox: | $(VENV)/bin/pip
	$(VENV)/bin/pip install --quiet --disable-pip-version-check 'tox>=4.22,<5'
	@touch $@

demo: $(VENV)/.hostbuild
	@line=$$($(VENV)/bin/hostbuild build $(EXAMPLE) --platform $(DEMO_PLATFORMS)) \
	    && echo "$$line" && $(VENV)/bin/python scripts/show_layout.py $(EXAMPLE)/.func/builds/last/oci

test: $(VENV)/.tox
	sh scripts/test_tools
	$(VENV)/bin/tox run $(TOX_ARGS)

# Not editable: what finds an editable package costs each start of Python some milliseconds.
bench: | $(VENV)/bin/pip
	rm -rf build
	test -x $(BENCH)/bin/pip || $(VENV)/bin/python -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet --disable-pip-version-check '.[fast,go]'
	$(BENCH)/bin/pip install --quiet --disable-pip-version-check --force-reinstall --no-deps .
	$(BENCH)/bin/python -m compileall -q $(BENCH)/lib
	$(BENCH)/bin/python scripts/bench/all.py $(ARGS)

clean:
	rm -rf $(VENV) .tox .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	rm -rf examples/*/.func
	find hostbuild tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
