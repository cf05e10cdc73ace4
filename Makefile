# Building, trying out, testing and installing res_ai_bridge. `make help` lists the targets.
#
# Every target that needs packages or an Asterisk gets them by itself (tests/rig/setup.sh); when nothing is
# missing that takes a fraction of a second.

MODULE := target/release/libres_ai_bridge.so
CHECKED := target/checked/libres_ai_bridge.so
PROFILE ?= practice
SPOKEN ?= en
export CARGO_TARGET_DIR := $(CURDIR)/target

# Asterisk's directory for $(1), a line of `core show settings`: from the running Asterisk, else from its
# configuration ($(2)), else where distributions put it ($(3)).
asterisk_dir = $(firstword $(shell { asterisk -rx 'core show settings' | sed -n 's/^ *$(1): *//p'; \
	sed -n 's/^ *$(2) *=>* *//p' /etc/asterisk/asterisk.conf; ls -d $(3); } 2>/dev/null))
MODULE_DIR = $(call asterisk_dir,Module directory,astmoddir,/usr/lib/*/asterisk/modules /usr/lib64/asterisk/modules /usr/lib/asterisk/modules)
CONFIG_DIR = $(call asterisk_dir,Configuration directory,astetcdir,/etc/asterisk)
DATA_DIR = $(call asterisk_dir,Data directory,astdatadir,/usr/share/asterisk /var/lib/asterisk)

# Recipes that compile or run: with the Asterisk that set-up has found or built.
WITH_ASTERISK = set -a; . target/rig.env; set +a;

.DEFAULT_GOAL := build
.PHONY: build install demo demo-outbound demo-assist up test lint unit wire integration bench bench-docs checked setup setup-build clean help

build: setup-build ## Build the module: target/release/libres_ai_bridge.so (default)
	@$(WITH_ASTERISK) cargo build --release

install: build ## Install module, help texts and configuration into this machine's Asterisk (DESTDIR works)
	@test -n "$(MODULE_DIR)" || { echo "No Asterisk was found. Say where: make install MODULE_DIR=… CONFIG_DIR=… DATA_DIR=…"; exit 1; }
	@install -D -m 755 $(MODULE) "$(DESTDIR)$(MODULE_DIR)/.res_ai_bridge.so.new"
	@mv "$(DESTDIR)$(MODULE_DIR)/.res_ai_bridge.so.new" "$(DESTDIR)$(MODULE_DIR)/res_ai_bridge.so"
	@install -D -m 644 -t "$(DESTDIR)$(DATA_DIR)/documentation/thirdparty" res_ai_bridge/res_ai_bridge-en_US.xml
	@install -D -m 644 -t "$(DESTDIR)$(CONFIG_DIR)" asterisk-conf/ai_bridge.conf.sample
	@cd asterisk-conf; for file in ai_bridge.conf instructions.md; do \
		test -e "$(DESTDIR)$(CONFIG_DIR)/$$file" && continue; \
		install -m 640 $$file "$(DESTDIR)$(CONFIG_DIR)/"; \
		if getent group asterisk >/dev/null; then chgrp asterisk "$(DESTDIR)$(CONFIG_DIR)/$$file"; fi; done
	@echo "Installed in $(DESTDIR)$(MODULE_DIR). Now: asterisk -rx 'module load res_ai_bridge.so'"
	@echo "After an update restart Asterisk: the old module stays in memory until then."

demo: build setup ## Place a real call to the AI and show what happens (PROFILE=assistant: to OpenAI)
	@$(WITH_ASTERISK) cargo build --quiet --release -p practice-agent -p rig
	@$(WITH_ASTERISK) target/release/rig demo --profile $(PROFILE)

demo-outbound: build setup ## Have the AI call a person and an answering machine, and show what happens
	@$(WITH_ASTERISK) cargo build --quiet --release -p rig
	@$(WITH_ASTERISK) target/release/rig demo-outbound

demo-assist: build setup ## Have two phones talk, an assistant help the operator, and a browser show it (SPOKEN=ru: in Russian)
	@tests/venv.sh page
	@$(WITH_ASTERISK) cargo build --quiet --release -p rig
	@$(WITH_ASTERISK) target/release/rig demo-assist --language $(SPOKEN)

up: build setup ## Run Asterisk and the practice agent for a softphone, until Ctrl-C
	@$(WITH_ASTERISK) cargo build --quiet --release -p practice-agent -p rig
	@$(WITH_ASTERISK) exec target/release/rig up --profile $(PROFILE)

test: lint unit wire integration ## Everything CI runs: lint, unit tests, wire formats, integration tests with a real Asterisk

lint: setup-build ## Formatting, clippy and documentation, warnings are errors
	@cargo fmt --all --check
	@$(WITH_ASTERISK) cargo clippy --workspace --all-targets --all-features -- -D warnings
	@$(WITH_ASTERISK) RUSTDOCFLAGS=-Dwarnings cargo doc --quiet --workspace --no-deps --document-private-items

unit: setup ## Unit tests, and the rig's test of itself
	@$(WITH_ASTERISK) cargo test --release --no-fail-fast --workspace --exclude res_ai_bridge

wire: setup ## What dialects and test servers send, read with the types of the vendors' own packages (from PyPI)
	@tests/venv.sh wire
	@cargo test --release --quiet -p ai-dialect
	@target/wire/venv/bin/python tests/wire/check.py target/tmp/wire
	@cargo test --release --quiet -p practice-agent
	@target/wire/venv/bin/python tests/wire/servers.py target/tmp/wire/server
	@target/wire/venv/bin/python tests/wire/clients.py target/release/practice-agent

integration: checked setup ## The module in a real Asterisk (TEST=name runs only tests so named)
	@tests/venv.sh wire
	@tests/venv.sh api
	@tests/venv.sh page
	@tests/venv.sh pipecat
	@$(WITH_ASTERISK) RES_AI_BRIDGE_SO=$(CURDIR)/$(CHECKED) RUST_TEST_THREADS=4 tests/run.sh $(TEST)

bench: build setup ## Measure AI() beside its rivals: target/bench/report.md, in under ten minutes (BENCH=--all: all there is, hours)
	@tests/venv.sh bench
	@$(WITH_ASTERISK) cargo build --quiet --release -p bench
	@$(WITH_ASTERISK) target/release/bench $(BENCH)

bench-docs: ## Put the last report of `make bench`, its figures and pictures into docs/benchmarks/
	@test -e target/bench/report.md || { echo "There is no report yet: make bench"; exit 1; }
	@mkdir -p docs/benchmarks
	@rm -f docs/benchmarks/*.svg
	@cp target/bench/report.md target/bench/report.json docs/benchmarks/
	@if ls target/bench/*.svg >/dev/null 2>&1; then cp target/bench/*.svg docs/benchmarks/; fi

# The module with the allocator guard of its tests. Dependencies are shared with the ordinary build.
checked: setup-build
	@$(WITH_ASTERISK) cargo build --release --features checked
	@install -D $(MODULE) $(CHECKED)

setup: ## Packages and an Asterisk 22 for building and testing
	@tests/rig/setup.sh

setup-build:
	@tests/rig/setup.sh build

clean: ## Remove everything that was built (not the Asterisk root in the cache folder)
	@rm -rf target demo

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22
