# make build: target/release/salon. make run: http://localhost:3000. make test: everything that verifies it.

# Debian packages the tests need; each is named like the program it brings (but libssl-dev, a library, and
# python3-venv, a part of Python).
# SYSTEM= skips the check. Those below are for the downloads and for running the Windows one.
SYSTEM = chromium firefox-esr haproxy libssl-dev nginx openssl pkg-config python3 python3-venv redis-server valgrind
PACKAGE_SYSTEM = cargo-web gcc-mingw-w64-i686-win32 gcc-mingw-w64-x86-64-win32 musl-tools rust-web-src rustc-web zip
WINE_SYSTEM = wine wine64
# Virtual environments of Python, one for each file of requirements.
PYTHON = $(patsubst tests/versions/requirements-%.txt,tests/out/python-%/.installed,$(wildcard tests/versions/*.txt))
# The user of the chat with rust_socketio. A crate of its own, which only tests/versions needs.
RUST_CLIENT = target/rust-client/debug/chatter
# Directories of Node tests, one group each; `make mixed` runs the one that needs a second program.
GROUPS = $(filter-out tests/mixed/,$(sort $(dir $(wildcard tests/*/*.test.mjs))))
NPM = npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
STEP = @tests/run
# Release code, but with the pipes of tests/seams in it, and with the names by which callgrind finds what it counts.
SEAMS = debug-assertions=true strip=false
COUNTS = cargo run --release --locked --quiet --example counts $(SEAMS:%=--config profile.release.package.salon.%) --
# Programs of the system administrator count too: nginx and haproxy live there.
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: build run test mixed checker stress windows test-windows package test-package cluster counts bench bench-peers speed pictures soak fuzz fuzz-corpus audit clean
.PHONY: system system-package system-wine need-build need-test
build: need-build static/node_modules/.package-lock.json
	cargo build --release --locked

run: build
	target/release/salon

# Under the hostile kernel every read and write moves one byte, or fails at random; tests that fill the kernel's buffers
# (bulk_) would take hours there. Over TLS everything runs once: those tests, and the chat's, with large records, all
# others under that kernel too. Two cargo profiles only: test (which builds target/debug/salon too) and release. The
# example that live and Node tests run is built by the `cargo test` that selects nothing, so that one comes first; what
# follows mostly waits for timers and peers, so JOBS of them run side by side.
JOBS = 3
test: need-test system static/node_modules/.package-lock.json tests/node_modules/.package-lock.json $(PYTHON) $(RUST_CLIENT)
	$(STEP) 'cargo fmt' - cargo fmt --check
	$(STEP) 'cargo clippy' - cargo clippy --all-targets --locked -- -D warnings
	$(STEP) 'cargo test' '^test result' cargo test --locked
	@$(MAKE) --no-print-directory --output-sync --jobs=$(JOBS) $(SUITES)

SUITES = $(GROUPS:%/=suite-%) suite-kernel suite-tls suite-tls-kernel suite-counts
.PHONY: $(SUITES)
suite-kernel:
	$(STEP) 'cargo test, hostile kernel' '^test result' \
		env SALON_TEST_KERNEL=7 cargo test --locked --test live -- --skip bulk_
suite-tls:
	$(STEP) 'cargo test, TLS' '^test result' env SALON_TEST_TLS=1 cargo test --locked --test live -- bulk_ chat::
suite-tls-kernel:
	$(STEP) 'cargo test, TLS and hostile kernel' '^test result' \
		env SALON_TEST_TLS=1 SALON_TEST_KERNEL=7 cargo test --locked --test live -- --skip bulk_
suite-counts:
	$(STEP) 'instruction counts' '^counts' $(COUNTS)
$(GROUPS:%/=suite-%): suite-%:
	$(STEP) 'node --test $*/' '^# (tests|pass|fail) |^# skipped [1-9]' \
		node --test --test-reporter=tap $*/*.test.mjs

# The program of this commit, the last one before notes and files changed, runs beside today's: in one cluster, on one file.
# It is built once, from what git has of that commit, with our copy of the client for the page.
BEFORE = be3326b5fcaa5877f742c9bd6192808e036f1176
BEFORE_DIR = target/before/$(BEFORE)
export BEFORE_PROGRAM = $(BEFORE_DIR)/target/debug/salon
mixed: need-test system tests/node_modules/.package-lock.json $(BEFORE_PROGRAM)
	cargo build --locked --bin salon
	$(STEP) 'node --test tests/mixed/' '^# (tests|pass|fail) |^# skipped [1-9]' \
		node --test --test-reporter=tap tests/mixed/*.test.mjs

$(BEFORE_PROGRAM): | need-build static/node_modules/.package-lock.json
	@git cat-file -e '$(BEFORE)^{commit}' 2>/dev/null || { \
		echo 'missing: commit $(BEFORE); in a shallow clone, git fetch --unshallow' >&2; exit 1; }
	@rm -rf $(BEFORE_DIR) && mkdir -p $(BEFORE_DIR) && git archive $(BEFORE) | tar -x -C $(BEFORE_DIR) && \
		cp -r static/node_modules $(BEFORE_DIR)/static
	$(STEP) 'cargo build of $(BEFORE)' - \
		cargo build --locked --bin salon --manifest-path $(BEFORE_DIR)/Cargo.toml --target-dir $(BEFORE_DIR)/target

# Looks for what the cluster loses, doubles or miscounts: SEEDS runs from SEED on (default: the clock), MINUTES each, with
# random faults that follow from the seed. make test has a short form (tests/cluster/checker.test.mjs).
checker: export SEEDS ?= 1
checker: export MINUTES ?= 5
checker: need-test system tests/node_modules/.package-lock.json
	cargo build --locked --bin salon
	@SEED=$(SEED) node tests/cluster/checker/main.mjs

# Looks for tests that fail now and then: GROUP (a directory of Node tests, or `live`, Rust's live tests) so many times, in
# random order and on a busy machine, until one fails. `SALON_TEST_KERNEL=7 make stress GROUP=live` and the like go too.
GROUP = live
TIMES = 20
SEED = $(shell date +%s)
THREADS = 8
stress: need-test system static/node_modules/.package-lock.json tests/node_modules/.package-lock.json $(PYTHON) $(RUST_CLIENT)
stress: $(if $(filter tests/mixed%,$(GROUP)),$(BEFORE_PROGRAM))
	cargo build --locked --bins --example conformance
	@tests/stress $(GROUP) $(TIMES) $(SEED) $(THREADS)

# The Windows programs, for 64 and 32 bit; tests/package/build says how.
windows: build-x86_64-pc-windows-gnu build-i686-pc-windows-gnu

build-%: system-package static/node_modules/.package-lock.json
	$(STEP) 'build for $*' - tests/package/build $*

# The 64-bit program under Wine, with the stand-in for a DLL that this Wine lacks. One runs all the time: the first program
# starts Wine's own processes, which take over its output and outlive it, and a test waits for the end of both. Each group
# has a Wine of its own, which ends with all that has gone astray in it.
WINE = target/wine
WINE_GROUPS = tests/windows/wine.mjs tests/clients/chat.test.mjs tests/cluster/tls.test.mjs
test-windows: need-test system system-wine windows tests/node_modules/.package-lock.json
	@mkdir -p $(WINE) && cp target/download/x86_64-pc-windows-gnu/release/salon.exe $(WINE)
	@x86_64-w64-mingw32-gcc -shared -O2 -s -o $(WINE)/bcryptprimitives.dll tests/windows/prng.c -ladvapi32
	$(STEP) 'wine salon.exe' '^salon' tests/windows/salon --version
	@for tests in $(WINE_GROUPS); do \
		: >$(WINE)/log; tests/windows/salon --port 0 >$(WINE)/log 2>&1 & \
		until grep -q listens $(WINE)/log; do sleep 0.1; done; \
		SALON_BIN=tests/windows/salon tests/run "node --test $$tests, Windows" '^# (tests|pass|fail) |^# skipped [1-9]' \
			node --test --test-reporter=tap $$tests; \
		status=$$?; WINEPREFIX=$(CURDIR)/$(WINE)/prefix wineserver -k; wait; [ $$status = 0 ] || exit $$status; \
	done

# What one downloads, under dist/. test-package looks inside, and runs the Linux program in an empty root (as root).
package: windows build-x86_64-unknown-linux-musl
	@node tests/package/pack.mjs

test-package: need-test system package tests/node_modules/.package-lock.json
	$(STEP) 'node --test tests/package/dist.mjs' '^# (tests|pass|fail) |^# skipped [1-9]' \
		node --test --test-reporter=tap tests/package/dist.mjs

# Three servers behind nginx and HAProxy (tests/cluster/nginx.conf, haproxy.cfg), 300 clients, a minute each; make test has a short form.
cluster: build need-test system tests/node_modules/.package-lock.json
	SALON_BIN=target/release/salon SALON_CLIENTS=300 SALON_SECONDS=60 node --test tests/cluster/sticky.test.mjs

# Each target of tests/fuzz for FUZZ_SECONDS, from what was found before; what is new goes to tests/out/fuzz, and so does an
# input that breaks something. RUSTC_BOOTSTRAP: libFuzzer wants to know which branches were taken, which stable Rust does not
# offer. `make fuzz-corpus` then keeps the 40 inputs that together reach most of the code, for `make test` to replay.
FUZZ_SECONDS = 60
FUZZ_TARGETS = $(basename $(notdir $(wildcard tests/fuzz/fuzz_targets/*.rs)))
FUZZ_TOOL = tests/out/cargo/bin/cargo-fuzz
# $(call fuzz,TARGET,DIRECTORIES,FLAGS OF LIBFUZZER)
fuzz = env RUSTC_BOOTSTRAP=1 $(FUZZ_TOOL) run --fuzz-dir tests/fuzz --target-dir target/fuzz -s none $(1) $(2) -- \
	-artifact_prefix=$(CURDIR)/tests/out/fuzz/$(1)- -rss_limit_mb=1024 -timeout=10 $(3)
fuzz: need-build static/node_modules/.package-lock.json $(FUZZ_TOOL)
	@$(foreach target,$(FUZZ_TARGETS),mkdir -p tests/out/fuzz/$(target) && tests/run 'fuzz $(target)' '^Done ' \
		$(call fuzz,$(target),tests/out/fuzz/$(target) tests/fuzz/corpus/$(target),-max_total_time=$(FUZZ_SECONDS)) &&) true

fuzz-corpus: need-build static/node_modules/.package-lock.json $(FUZZ_TOOL)
	@$(foreach target,$(FUZZ_TARGETS),mkdir -p tests/out/fuzz/$(target) && rm -rf tests/out/fuzz/kept && mkdir tests/out/fuzz/kept && \
		tests/run 'fuzz-corpus $(target)' - $(call fuzz,$(target),tests/out/fuzz/kept tests/out/fuzz/$(target) \
		tests/fuzz/corpus/$(target),-set_cover_merge=1) && \
		(cd tests/out/fuzz/kept && ls -tr | tail -n +41 | xargs -r rm) && \
		rm -rf tests/fuzz/corpus/$(target) && mv tests/out/fuzz/kept tests/fuzz/corpus/$(target) &&) true

$(FUZZ_TOOL):
	$(STEP) 'cargo install cargo-fuzz' - cargo install --quiet --locked --root tests/out/cargo cargo-fuzz@0.13.2

# Writes tests/counts/counts.txt anew.
counts: need-build system static/node_modules/.package-lock.json
	@$(COUNTS) write

# Compares salon with what the kernel alone costs: minutes, on a quiet machine.
bench: build
	cargo build --release --locked --example bench
	target/release/examples/bench run --out tests/out/bench.md

# The same beside Socket.IO on Node, socketioxide and python-socketio, each with the same chat.
PEERS = tests/out/python-peers/bin/python
PEER_VERSIONS = $$(node -p '"socket.io " + require("./tests/node_modules/socket.io/package.json").version + " on Node " + process.versions.node'), \
	$$(cd tests/bench/peers/socketioxide && cargo tree --depth 1 --prefix none --format '{p}' | grep -E '^(socketioxide|axum|tokio) ' | tr '\n' ' '), \
	$$($(PEERS) -m pip freeze | grep -iE '^(python-socketio|uvicorn|uvloop|websockets)=' | tr '\n' ' ')
bench-peers: build tests/node_modules/.package-lock.json tests/out/python-peers/.installed
	cargo build --release --locked --example bench
	cargo build --release --locked --manifest-path tests/bench/peers/socketioxide/Cargo.toml --target-dir target/peers
	target/release/examples/bench run --out tests/out/bench-peers.md --tries 3 \
		--server node='node tests/lib/reference.mjs' --server socketioxide=target/peers/release/peer \
		--server python='$(PEERS) tests/bench/peers/chat.py' --note "$(PEER_VERSIONS)"

# The page under load, in Chromium: what its script costs the main thread, and what it keeps. On a quiet machine.
speed: need-test system tests/node_modules/.package-lock.json
	cargo build --locked --bin salon
	$(STEP) 'node --test tests/browser/speed.mjs' '^# (tests|pass|fail|round) ' \
		node --test --test-reporter=tap tests/browser/speed.mjs

# README's screenshots, in Chromium. The server has port 3000 meanwhile.
pictures: build need-test system tests/node_modules/.package-lock.json
	@node tests/pictures/main.mjs

# Clients of all kinds come and go for MINUTES minutes (1 if not given); nothing of them may be left.
soak: build tests/node_modules/.package-lock.json
	node tests/soak/main.mjs

# Asks the database of advisories on the network. Without it, `make test` still refuses versions known to be broken
# (tests/pure/dependencies.rs).
audit:
	@cargo audit --version >/dev/null 2>&1 || { echo 'missing: cargo-audit; cargo install cargo-audit' >&2; exit 1; }
	cargo audit

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

# The order: cargo needs what `system` installs, but only these files decide whether the program is out of date.
$(RUST_CLIENT): $(wildcard tests/versions/rust/Cargo.* tests/versions/rust/src/*.rs) | need-build system
	$(STEP) 'cargo build of tests/versions/rust' - \
		cargo build --locked --manifest-path tests/versions/rust/Cargo.toml --target-dir target/rust-client
	@touch $@

# Rust's and Node's own tools: named, never installed.
need-build:
	@$(call need,cargo node npm,install Rust (https://rustup.rs) and Node.js with npm)
need-test: need-build
	@cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || \
		{ echo 'missing: rustfmt or clippy; rustup component add rustfmt clippy' >&2; exit 1; }

# As root on Debian what is missing is installed, elsewhere it is named.
APT = DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300
system: ; $(call install,$(SYSTEM))
system-package: ; $(call install,$(PACKAGE_SYSTEM))
system-wine: ; $(call install,$(WINE_SYSTEM))
install = @missing=$(call missing,$(1)); [ -z "$$missing" ] && exit; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		tests/run "apt-get install$$missing" - \
			sh -c '$(APT) update && $(APT) install -y --no-install-recommends "$$@"' sh $$missing; \
	else \
		echo "missing:$$missing; install these programs (Debian packages of the same names)" >&2; exit 1; \
	fi

clean:
	cargo clean
	rm -rf dist static/node_modules tests/node_modules tests/out

# $(call missing,PROGRAMS): those that are not there, as a program or as a package. $(call need,PROGRAMS,ADVICE): fails if there are any.
missing = $$(for program in $(1); do \
	case $$program in libssl-dev) pkg-config --exists openssl ;; python3-venv) python3 -c 'import ensurepip' ;; *) command -v $$program || dpkg -s $$program ;; esac \
	>/dev/null 2>&1 || printf ' %s' $$program; done)
need = missing=$(call missing,$(1)); [ -z "$$missing" ] || { echo "missing:$$missing; $(2)" >&2; exit 1; }
