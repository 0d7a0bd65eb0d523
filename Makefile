# Targets do their own set-up; what is done already is skipped.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-mot demo-lidar test test-all lint clean

# Tests talk on this machine only, in a domain of their own.
TEST := . scripts/env.sh && ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ROS_DOMAIN_ID=$${ROS_DOMAIN_ID:-$$(($$$$ % 80 + 10))} \
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-2} .venv/bin/python -m pytest

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## .venv with pinned wheels, built interfaces in install/, the command .venv/bin/deep-tracking
	@scripts/setup.sh

demo: setup ## track an object in a sample clip over ROS 2, or in your own: VIDEO=clip.mp4 BOX=x,y,w,h; MODEL=siamrpn, OUT=folder
	@.venv/bin/deep-tracking demo $(if $(VIDEO),--video "$(VIDEO)") $(if $(BOX),--box "$(BOX)") \
		$(if $(MODEL),--model "$(MODEL)") $(if $(OUT),--out "$(OUT)")

demo-mot: setup ## find and follow all that moves in a sample clip; your own: VIDEO=clip.mp4 DETECTOR=model.onnx
	@.venv/bin/deep-tracking demo --many $(if $(VIDEO),--video "$(VIDEO)") $(if $(DETECTOR),--detector "$(DETECTOR)")

demo-lidar: setup ## find and follow road users in a simulated lidar; your own: DATA=bag, .npz or folder of .bin sweeps
	@.venv/bin/deep-tracking demo --lidar $(if $(DATA),--data "$(DATA)")

test: ## all tests except the long ones; ARGS= goes to pytest
	@scripts/setup.sh dev
	@$(TEST) $(ARGS)

test-all: ## all tests, the long ones too
	@scripts/setup.sh dev rtx
	@$(TEST) --all $(ARGS)

lint: ## format, style, types, and which room may import which
	@scripts/setup.sh dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

clean: ## remove everything that setup, demo and tests made
	rm -rf .venv build install log out
