# `make run` and `make test` are all that a newcomer needs; both install what is missing.
# `make help` lists the rest.

.DEFAULT_GOAL := help
.PHONY: help run build install deb rpm packages lint unit fuzz e2e fleet service guests kprobe-events systemtap test clean

# Where rustup puts cargo, for shells that have not been told yet.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

PREFIX ?= /usr/local
KERNELS ?= $(shell cut -f1 scripts/vm/kernels.tsv | grep -v '^\#')

# Recursive: asked only by targets that need it, after `deps` has looked for cargo.
TARGET = $(or $(CARGO_TARGET_DIR),target)/$(shell rustc --print host-tuple)
# Integration tests that need no root; e2e has a target of its own.
PLAIN_TESTS = $(patsubst %,--test %,$(filter-out e2e,$(notdir $(basename \
	$(wildcard crates/sentby/tests/*.rs)))))
BIN = $(TARGET)/release/sentby

help: ## This list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; \
	do printf '  make %-10s %s\n' "$$name" "$$what"; done

run: ## Trace live. ARGS="icmp --json" are sentby's; without, one real ping is caught
	@scripts/deps rust build run
	@$(MAKE) --no-print-directory build
	@BIN="$(BIN)" scripts/run $(ARGS)

build: ## The program, static: target/*/release/sentby
	@scripts/deps rust build
	cargo build --release --locked

install: ## Program, man pages, completions: into PREFIX (/usr/local), below DESTDIR
	@test -x "$(BIN)" || { echo "make build first" >&2; exit 1; }
	install -D -m 0755 "$(BIN)" "$(DESTDIR)$(PREFIX)/bin/sentby"
	"$(BIN)" generate man "$(DESTDIR)$(PREFIX)/share/man/man1"
	@for made in bash:bash-completion/completions/sentby zsh:zsh/site-functions/_sentby \
		fish:fish/vendor_completions.d/sentby.fish; do \
		to="$(DESTDIR)$(PREFIX)/share/$${made#*:}"; echo "$$to"; \
		install -d "$${to%/*}" && "$(BIN)" generate completions "$${made%%:*}" >"$$to" || exit; \
	done

deb: ## A Debian package of what was built: target/debian
	@scripts/package stage deb

rpm: ## An RPM of what was built, for CentOS 7 and later: target/rpm
	@scripts/package stage rpm

packages: ## Both, installed and removed again in a system of their own; needs root
	@scripts/package stage deb rpm check

service: ## The Debian package's unit under a systemd of its own, in a guest; after `make deb`
	@scripts/deps test vm package
	@scripts/e2e-service target/debian/*.deb

test: ## Everything: lint, unit, e2e, fleet, guests
	@scripts/deps rust build lint test vm
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory e2e
	@$(MAKE) --no-print-directory fleet
	@$(MAKE) --no-print-directory guests

lint: ## Formatting, clippy, taste, shellcheck, licences
	@scripts/deps rust build lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	scripts/taste
	scripts/licences

unit: ## Tests without privileges
	@scripts/deps rust build
	cargo test --workspace --lib --bins --locked
	cargo test -p sentby-wire --tests --locked
	$(if $(PLAIN_TESTS),cargo test -p sentby $(PLAIN_TESTS) --locked)
	cargo test --workspace --doc --locked

e2e: ## Real senders on this kernel; needs root. CASES="ping_v4" chooses
	@scripts/deps rust build test
	@scripts/e2e $(CASES)

fleet: ## Agents in five namespaces, a cluster of NATS, and what goes wrong with them; needs root
	@scripts/deps rust build test
	@$(MAKE) --no-print-directory build
	@. scripts/lib.sh && as_root env PATH="$$PATH:/usr/sbin:/sbin" \
		$${NATS_SERVER:+NATS_SERVER="$$NATS_SERVER"} scripts/e2e-fleet "$(BIN)"

guests: ## The same on other kernels, in QEMU. KERNELS="6.1 6.12" CASES="ping_v4"
	@scripts/deps rust build test vm
	@KERNELS="$(KERNELS)" scripts/e2e-guests $(CASES)

kprobe-events: ## The kprobe-events backend, without bpf(2) and as on 3.10. KERNELS="5.10 6.1"
	@scripts/deps rust build test vm
	@KERNELS="$(if $(filter command line environment,$(origin KERNELS)),$(KERNELS),6.1)" CASES="$(CASES)" scripts/e2e-kprobe-events

systemtap: ## The systemtap backend on 6.1, by a module made here. CASES="ping_v4,ping_v6"
	@scripts/deps rust build test vm
	@SENTBY_E2E_CASES="$(CASES)" scripts/e2e-systemtap

fuzz: ## Fuzz the decoders for SECONDS each (60)
	@scripts/deps rust
	@SECONDS_EACH=$(or $(SECONDS),60) scripts/fuzz

clean: ## What was built
	cargo clean
