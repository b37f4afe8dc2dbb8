# make build: target/release/salon. make run: http://localhost:3000. make test: everything that verifies it.

# Debian packages the tests need; each is named like the program it brings (but python3-venv, a part of Python).
# SYSTEM= skips the check.
SYSTEM = chromium nginx openssl python3 python3-venv redis-server valgrind
# Virtual environments of Python, one for each file of requirements.
PYTHON = $(patsubst tests/versions/requirements-%.txt,tests/out/python-%/.installed,$(wildcard tests/versions/*.txt))
# Directories of Node tests, one group each.
GROUPS = $(sort $(dir $(wildcard tests/*/*.test.mjs)))
NPM = npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
STEP = @tests/run
# Release code, but with the pipes of tests/seams in it, and with the names by which callgrind finds what it counts.
SEAMS = debug-assertions=true strip=false
COUNTS = cargo run --release --locked --quiet --example counts $(SEAMS:%=--config profile.release.package.salon.%) --
# Programs of the system administrator count too: nginx and haproxy live there.
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: build run test counts bench bench-peers audit system clean need-build need-test
build: need-build static/node_modules/.package-lock.json
	cargo build --release --locked

run: build
	target/release/salon

# Under the hostile kernel every read and write moves one byte, or fails at random; tests that fill the kernel's buffers
# (bulk_) would take hours there. Two cargo profiles only: test (which builds target/debug/salon too) and release. The
# example that live and Node tests run is built by the `cargo test` that selects nothing, so that one comes first.
test: need-test system static/node_modules/.package-lock.json tests/node_modules/.package-lock.json $(PYTHON)
	$(STEP) 'cargo fmt' - cargo fmt --check
	$(STEP) 'cargo clippy' - cargo clippy --all-targets --locked -- -D warnings
	$(STEP) 'cargo test' '^test result' cargo test --locked
	$(STEP) 'cargo test, hostile kernel' '^test result' \
		env SALON_TEST_KERNEL=7 cargo test --locked --test live -- --skip bulk_
	$(STEP) 'instruction counts' '^counts' $(COUNTS)
	@for group in $(GROUPS); do \
		tests/run "node --test $$group" '^# (tests|pass|fail) |^# skipped [1-9]' \
			node --test --test-reporter=tap $$group*.test.mjs || exit; \
	done

# Writes tests/counts/counts.txt anew.
counts: need-build system static/node_modules/.package-lock.json
	@$(COUNTS) write

# Compares salon with what the kernel alone costs: minutes, on a quiet machine.
bench: build
	cargo build --release --locked --example bench
	target/release/examples/bench run --out tests/out/bench.md

.PHONY: build run test counts bench bench-peers audit system clean need-build need-test

# npm leaves this file behind; it is older than the lock exactly when the lock has changed since.
%/node_modules/.package-lock.json: %/package-lock.json
	@cd $* && $(NPM) >/dev/null && touch node_modules/.package-lock.json
	@echo 'ok: npm ci in $*'

VENV = @python3 -m venv $(@D) && \
	$(@D)/bin/pip install -q --disable-pip-version-check --require-hashes -r $< && touch $@ && echo 'ok: pip install of $<'
tests/out/python-%/.installed: tests/versions/requirements-%.txt
	$(VENV)
tests/out/python-peers/.installed: tests/bench/peers/requirements.txt
	$(VENV)

# Rust's and Node's own tools: named, never installed.
need-build:
	@$(call need,cargo node npm,install Rust (https://rustup.rs) and Node.js with npm)
need-test: need-build
	@cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || \
		{ echo 'missing: rustfmt or clippy; rustup component add rustfmt clippy' >&2; exit 1; }

# As root on Debian what is missing is installed, elsewhere it is named.
APT = DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300
system:
	@missing=$(call missing,$(SYSTEM)); [ -z "$$missing" ] && exit; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		tests/run "apt-get install$$missing" - \
			sh -c '$(APT) update && $(APT) install -y --no-install-recommends "$$@"' sh $$missing; \
	else \
		echo "missing:$$missing; install these programs (Debian packages of the same names)" >&2; exit 1; \
	fi

clean:
	cargo clean
	rm -rf static/node_modules tests/node_modules tests/out

# $(call missing,PROGRAMS): those that are not there. $(call need,PROGRAMS,ADVICE): fails if there are any.
missing = $$(for program in $(1); do \
	case $$program in python3-venv) python3 -c 'import ensurepip' ;; *) command -v $$program ;; esac \
	>/dev/null 2>&1 || printf ' %s' $$program; done)
need = missing=$(call missing,$(1)); [ -z "$$missing" ] || { echo "missing:$$missing; $(2)" >&2; exit 1; }
