# Building, trying out, testing and installing res_ai_bridge. `make help` lists the targets.
#
# Every target that needs packages or an Asterisk gets them by itself (tests/rig/setup.sh); when nothing is
# missing that takes a fraction of a second.

MODULE := target/release/libres_ai_bridge.so
CHECKED := target/checked/libres_ai_bridge.so
PROFILE ?= practice
SPOKEN ?= en
SIP_ADDRESS ?= 127.0.0.1
export CARGO_TARGET_DIR := $(CURDIR)/target

# Recipes that compile or run: with the Asterisk that set-up has found or built, or the one whose headers are named
# (ASTERISK_INCLUDE_DIR, or PREFIX of an Asterisk built from source).
ASTERISK_INCLUDE_DIR ?= $(if $(PREFIX),$(PREFIX)/include)
WITH_ASTERISK = set -a; if [ -e target/rig.env ]; then . target/rig.env; fi; \
	$(if $(ASTERISK_INCLUDE_DIR),ASTERISK_INCLUDE_DIR='$(ASTERISK_INCLUDE_DIR)';) set +a;

# What the script that installs may be told (docs/installing.md).
INSTALL = DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" MODULE_DIR="$(MODULE_DIR)" CONFIG_DIR="$(CONFIG_DIR)" DATA_DIR="$(DATA_DIR)" \
	packaging/install.sh

.DEFAULT_GOAL := build
.PHONY: build install uninstall deb package-test image image-test demos demo demo-outbound demo-assist up test lint unit wire integration-built integration bench bench-docs checked setup setup-build clean help

build: setup-build ## Build the module: target/release/libres_ai_bridge.so (default)
	@$(WITH_ASTERISK) cargo build --release

# Root need not have the Rust that another user has built the module with.
install: $(shell { [ -e $(MODULE) ] && ! [ -O $(MODULE) ]; } || ! command -v cargo >/dev/null || echo build) ## Install module, help texts and configuration into this machine's Asterisk (DESTDIR, PREFIX: docs/installing.md)
	@$(INSTALL) install

uninstall: ## Take them out again; the configuration stays
	@$(INSTALL) uninstall

deb: build ## A Debian package for the Asterisk that was built against: target/deb/
	@packaging/deb.sh

package-test: build demos ## The package, `make install` and an Asterisk that loads everything, in a clean root of Debian's Asterisk
	@tests/packaging.sh

image: ## The Docker image res_ai_bridge, also where no registry can be reached (docs/docker.md)
	@docker/with-engine.sh docker/build.sh

# As with the integration tests, what fails on a machine that stands still now and then is run once more.
IMAGE_TESTS = cargo test --release -p res_ai_bridge --test image -- --ignored --nocapture --test-threads 1

image-test: setup ## Build the image, run it as compose.yaml does, call it with a SIP phone
	@docker/with-engine.sh sh -ec 'docker/build.sh; $(WITH_ASTERISK) $(IMAGE_TESTS) || $(IMAGE_TESTS)'

# One selection for all of them: with another one the same crates would be compiled with other features once more.
demos: setup
	@$(WITH_ASTERISK) cargo build --quiet --release -p practice-agent -p rig

demo: build demos ## Place a real call to the AI and show what happens (PROFILE=assistant: to OpenAI)
	@$(WITH_ASTERISK) target/release/rig demo --profile $(PROFILE)

demo-outbound: build demos ## Have the AI call a person and an answering machine, and show what happens
	@$(WITH_ASTERISK) target/release/rig demo-outbound

demo-assist: build demos ## Have two phones talk, an assistant help the operator, and a browser show it (SPOKEN=ru: in Russian)
	@tests/venv.sh page
	@$(WITH_ASTERISK) target/release/rig demo-assist --language $(SPOKEN)

up: build demos ## Run Asterisk and the practice agent for a softphone, until Ctrl-C (SIP_ADDRESS=: for phones on other machines)
	@$(WITH_ASTERISK) exec target/release/rig up --profile $(PROFILE) --address $(SIP_ADDRESS)

test: setup ## Everything CI runs: lint, unit tests, wire formats, integration tests with a real Asterisk, the package, the image
	@tests/all.sh

# With the profile of everything else, macros and build scripts are compiled once for all of it.
lint: setup-build ## Formatting, clippy and documentation, warnings are errors
	@cargo fmt --all --check
	@$(WITH_ASTERISK) cargo clippy --release --workspace --all-targets --all-features -- -D warnings
	@$(WITH_ASTERISK) RUSTDOCFLAGS=-Dwarnings cargo doc --release --quiet --workspace --no-deps --document-private-items

unit: setup ## Unit tests, and the rig's test of itself
	@$(WITH_ASTERISK) cargo test --release --no-fail-fast --workspace --exclude res_ai_bridge

wire: unit ## What the unit tests of dialects and test servers have sent, read with the types of the vendors' own packages (from PyPI)
	@tests/venv.sh wire
	@target/wire/venv/bin/python tests/wire/check.py target/tmp/wire
	@target/wire/venv/bin/python tests/wire/servers.py target/tmp/wire/server
	@target/wire/venv/bin/python tests/wire/clients.py target/release/practice-agent

integration-built: checked setup
	@$(WITH_ASTERISK) cargo test --release --no-run -p res_ai_bridge

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
	@ASTERISK_INCLUDE_DIR="$(ASTERISK_INCLUDE_DIR)" tests/rig/setup.sh build

clean: ## Remove everything that was built (not the Asterisk root in the cache folder)
	@rm -rf target demo

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22
