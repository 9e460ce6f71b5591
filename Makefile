# Each target sets up what it needs; a second run installs nothing.
.PHONY: help demo test check bench evidence audit render lock setup servers
.DEFAULT_GOAL := help

DATA ?= packaged
THEME ?=
WHAT ?= architectures
EVIDENCE ?= evidence
export RAY_USAGE_STATS_ENABLED := 0

help:            ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1  /p' Makefile

demo: setup      ## a whole campaign on real images, active against random (DATA=packaged|mednist|msd_hippocampus|adrenalmnist3d)
	@.venv/bin/hilum demo --data $(DATA) --store demo

test: setup servers  ## every test, with real Ray and real servers
	@.ci/test

check: setup     ## format, lint, types, floors, licences and docs
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python .ci/licences.py
	.venv/bin/pytest -q tests/docs

bench: setup     ## peers measured beside us in one run (THEME=reading|ingest|network|augment|genesis|scoring|selection|label_studio|publishing|sliding|serving; without: all)
	.venv/bin/python tests/bench/run.py $(THEME)

evidence: setup  ## a question answered on real images, as a page of platform/docs/evidence (WHAT=architectures|pretraining|strategies|million|scale|serving|chaos)
	.venv/bin/python -m tests.evidence.$(WHAT) $(EVIDENCE)

audit: setup     ## known vulnerabilities of what is locked (asks a service on the network)
	@.ci/audit

render: setup    ## what is made from the chart: its README and deploy/kuberay
	@.venv/bin/python -m tests.helm.render

lock: setup      ## pin everything again from pyproject.toml
	@.venv/bin/python .ci/lock.py

setup:
	@.ci/setup

servers:
	@.ci/setup-servers
