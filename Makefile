# What people and CI type. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PREFIX ?= /usr
SYSCONFDIR ?= /etc
UNITDIR ?= /usr/lib/systemd/system
SYSUSERSDIR ?= /usr/lib/sysusers.d
UDEVDIR ?= /usr/lib/udev
# Where zsh looks is Debian's choice here; others say $(PREFIX)/share/zsh/site-functions.
ZSHDIR ?= $(PREFIX)/share/zsh/vendor-completions
# What `make manual` wrote; empty for an installation without manual pages and completions.
MANUAL ?= $(target)/manual
# Seconds for each fuzz target.
FUZZ_SECONDS ?= 60
# Arguments for the suites in guests, such as SUITE=--write, which keeps their table.
SUITE ?=
# Arguments for the faults' suite, such as FAULTS=--write, which keeps its rows, or FAULTS=--long.
FAULTS ?=
# Arguments for `perch demo`, such as DEMO="--listen 0.0.0.0:8080 --audio".
DEMO ?=

# Where cargo builds to is the user's choice. Asked only when it is needed.
target = $(or $(shell cargo metadata --no-deps --offline --format-version 1 2>/dev/null | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'),target)

.PHONY: help
help: ## List what there is
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 12

.PHONY: demo
demo: needs-build release ## Install what is missing, build, and show a test picture in the browser
	$(target)/release/perch demo $(DEMO)

.PHONY: release
release: web/dist/index.html manual ## Build the program with its page
	cargo build --release --locked

# Of the command line's own definition, on the machine that builds and for it, whatever the program is built for.
.PHONY: manual
manual:
	cargo run --quiet --locked -p manual -- "$(target)/manual"

.PHONY: deb
deb: needs-build release ## Build the Debian package
	scripts/make-deb

.PHONY: deb-arm64
deb-arm64: needs-build web/dist/index.html manual ## Build the Debian package for arm64 on amd64
	scripts/install-needs cross
	scripts/cross-arm64
	scripts/make-deb aarch64-unknown-linux-gnu

.PHONY: test
test: needs-test test-rust test-page test-interop test-browser ## Install what is missing, build, and run every test

.PHONY: test-rust
test-rust: web/dist/index.html
	if ! command -v cargo-nextest >/dev/null; then cargo install --locked cargo-nextest; fi
	cargo nextest run --locked --workspace --no-fail-fast
	cargo test --locked --workspace --doc

# What the suites below start.
.PHONY: programs
programs: web/dist/index.html fault-plugin
	cargo build --locked --workspace --bins --examples

# A directory of its own: GStreamer looks through all that is below one of its plugin paths.
.PHONY: fault-plugin
fault-plugin:
	cargo build --locked -p faultgate
	install -D $(target)/debug/libgstfaultgate.so $(target)/faults/libgstfaultgate.so

.PHONY: test-page
test-page: web/node_modules/.package-lock.json
	npm --prefix web run test

.PHONY: test-interop
test-interop: programs tests/node_modules/.package-lock.json
	PERCH_BIN=$(target)/debug/perch npm --prefix tests run interop

.PHONY: test-browser
test-browser: programs tests/node_modules/.package-lock.json
	PERCH_BIN=$(target)/debug/perch PERCH_LOBBY_BIN=$(target)/debug/examples/lobby npm --prefix tests run browser

# These four need root.
.PHONY: test-systemd
test-systemd: deb programs ## The installed package under a real systemd, in a container
	scripts/install-needs container
	cargo build --locked -p faultgate
	SWARM_BIN=$(target)/debug/swarm PERCH_LOBBY_BIN=$(target)/debug/examples/lobby node tests/systemd/run.mjs $(SUITE)

.PHONY: test-qemu
test-qemu: deb programs tests/node_modules/.package-lock.json ## The package switched on in an emulated machine, a browser outside
	scripts/install-needs guest test
	cargo build --locked -p faultgate
	SWARM_BIN=$(target)/debug/swarm PERCH_LOBBY_BIN=$(target)/debug/examples/lobby node tests/qemu/run.mjs $(SUITE)

.PHONY: test-deb
test-deb: deb programs ## The Debian package, on Debian 12 and 13, in containers
	scripts/install-needs container package
	SWARM_BIN=$(target)/debug/swarm PERCH_LOBBY_BIN=$(target)/debug/examples/lobby node tests/deb/run.mjs $(SUITE)

.PHONY: test-arm64
test-arm64: deb-arm64 programs ## The package for arm64, emulated, with a viewer outside
	scripts/install-needs container emulate
	SWARM_BIN=$(target)/debug/swarm PERCH_LOBBY_BIN=$(target)/debug/examples/lobby node tests/arm64/run.mjs $(SUITE)

.PHONY: lint
lint: web/node_modules/.package-lock.json manual ## Formatting, clippy, the page's types, the systemd unit, the Yocto recipe
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo check --locked --manifest-path fuzz/Cargo.toml --target-dir $(target)
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --no-deps --workspace --document-private-items
	npm --prefix web run check
	cargo build --locked --bin perch
	scripts/check-unit $(target)/debug/perch
	scripts/check-recipe

.PHONY: deny
deny: ## Licences, sources and known holes of the dependencies
	scripts/check-dependencies

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZ_SECONDS
	fuzz/run.sh $(FUZZ_SECONDS)

.PHONY: bench
bench: release tests/node_modules/.package-lock.json ## Measure what a viewer costs and how long it waits
	PERCH_BIN=$(target)/release/perch benches/run.sh

# FAULTS_STEPS says how many faults the random order has, FAULTS_SEED repeats one.
.PHONY: test-faults
test-faults: programs tests/node_modules/.package-lock.json ## Inject the field's faults, print what a viewer sees of each
	PERCH_BIN=$(target)/debug/perch $(target)/debug/faults $(FAULTS)

# SOAK_JOINS or SOAK_HOURS says how long, SOAK_SEED repeats a run.
.PHONY: soak
soak: release ## Let thousands of viewers come and go, and see what is kept of them
	cargo build --release --locked -p swarm
	$(target)/release/swarm soak

# The sources with the page built in, for builds that have no network: dist/perch-VERSION.tar.gz.
.PHONY: dist
dist: needs-build web/dist/index.html manual ## Make the release tarball, which the Yocto recipe builds
	scripts/make-dist "$(target)/manual"

define install_manual
test -d "$(MANUAL)" || { echo "$(MANUAL) is missing: run \`make manual\`, or install without it: MANUAL=" >&2; exit 1; }
install -d "$(DESTDIR)$(PREFIX)/share/man/man1"
install -m644 "$(MANUAL)"/man/*.1 "$(DESTDIR)$(PREFIX)/share/man/man1/"
install -Dm644 "$(MANUAL)/completions/perch.bash" "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/perch"
install -Dm644 "$(MANUAL)/completions/_perch" "$(DESTDIR)$(ZSHDIR)/_perch"
install -Dm644 "$(MANUAL)/completions/perch.fish" "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/perch.fish"
endef

# Installs what `make release` built, or PERCH_BIN, so that this half can run as root without a
# toolchain. A packager's DESTDIR is honoured; nothing is enabled or started. Settings that are there stay.
.PHONY: install
install: ## Install under DESTDIR and PREFIX what `make release` built
	install -Dm755 "$(or $(PERCH_BIN),$(target)/release/perch)" "$(DESTDIR)$(PREFIX)/bin/perch"
	install -d "$(DESTDIR)$(PREFIX)/share/perch/pipelines"
	install -m644 pipelines/*.toml "$(DESTDIR)$(PREFIX)/share/perch/pipelines/"
	install -Dm644 src/config/default.toml "$(DESTDIR)$(PREFIX)/share/doc/perch/perch.toml.reference"
	install -Dm644 README.md "$(DESTDIR)$(PREFIX)/share/doc/perch/README.md"
	install -d "$(DESTDIR)$(PREFIX)/share/doc/perch/docs"
	install -m644 docs/*.md "$(DESTDIR)$(PREFIX)/share/doc/perch/docs/"
	install -Dm644 packaging/conf.d/README "$(DESTDIR)$(SYSCONFDIR)/perch/conf.d/README"
	test -e "$(DESTDIR)$(SYSCONFDIR)/perch/perch.toml" || \
		install -m644 packaging/perch.toml "$(DESTDIR)$(SYSCONFDIR)/perch/perch.toml"
	install -d "$(DESTDIR)$(UNITDIR)"
	sed 's|^ExecStart=/usr/bin/perch|ExecStart=$(PREFIX)/bin/perch|' systemd/perch.service >"$(DESTDIR)$(UNITDIR)/perch.service"
	chmod 644 "$(DESTDIR)$(UNITDIR)/perch.service"
	install -Dm644 systemd/perch.sysusers "$(DESTDIR)$(SYSUSERSDIR)/perch.conf"
	install -Dm644 systemd/60-perch.rules "$(DESTDIR)$(UDEVDIR)/rules.d/60-perch.rules"
	install -Dm644 systemd/perch-reboot.conf "$(DESTDIR)$(PREFIX)/share/perch/systemd/reboot.conf"
	$(if $(MANUAL),$(install_manual))

.PHONY: needs-build needs-test
needs-build:
	scripts/install-needs build run
needs-test:
	scripts/install-needs build run test

# npm writes this file when it is done, so it is as old as what is installed.
web/node_modules/.package-lock.json: web/package-lock.json
	npm --prefix web ci --no-audit --no-fund
	touch $@

tests/node_modules/.package-lock.json: tests/package-lock.json
	npm --prefix tests ci --no-audit --no-fund
	touch $@

page_sources := $(shell find web/src web/public -type f 2>/dev/null) web/index.html web/vite.config.ts web/tsconfig.json web/package.json

web/dist/index.html: web/node_modules/.package-lock.json $(page_sources)
	npm --prefix web run build
	touch $@
