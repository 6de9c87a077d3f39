# The two commands that do everything on a fresh Debian machine with Rust and make:
#
#   make demo   runs the main job: the COLO failover matrix on real QEMU pairs, reports in reports/
#   make test   passes the tests
#
# Both install what is missing: Debian's qemu-system-x86 and binutils, and a QEMU of a newer Debian suite, unpacked into
# .qemu/ without any change to the system; the tests also gcc-12, and the Linux guest, made in .guests/ of Debian's kernel.

# Full COLO needs QEMU 11 or later; the older one shows what a QEMU before 11 can and cannot do.
SUITE     ?= sid
OLD_SUITE ?= trixie
QEMU      ?= .qemu/$(SUITE)/bin/qemu-system-x86_64
# Emulation: a nested /dev/kvm, as virtual machines have it, is often ten times slower.
ACCEL     ?= tcg
CARGO     ?= cargo

.PHONY: help demo test run-tests qemu old-qemu guest compiler readers lint repeat suite clean

help:
	@sed -n 's/^#   //p' Makefile

qemu:
	scripts/install-qemu
	scripts/fetch-qemu $(SUITE)

# Without it the tests on that suite are not run, and listed as such.
old-qemu:
	-scripts/fetch-qemu $(OLD_SUITE)

# The Linux guest; without it the tests and cases that need it are not run, and listed as such.
guest:
	-scripts/fetch-guest

# What the image of the built-in guest is compared with; without it that test is left out, and says so.
compiler:
	-scripts/install-qemu gcc-12

demo: qemu
	$(CARGO) build --release
	target/release/lockstep run 'scenarios/colo/failover.yaml' --qemu $(QEMU) --accel $(ACCEL)
	@echo "reports: reports/index.html reports/junit.xml reports/events.jsonl"

# Programs of others that read our files; without them the tests with them are not run, and listed as such.
readers:
	-scripts/fetch-readers

test: qemu old-qemu guest compiler readers run-tests

# The tests on what is there; what was not run for want of something is listed at the end.
NOT_RUN = $(CURDIR)/target/tests-not-run
run-tests:
	@mkdir -p target && rm -f $(NOT_RUN)
	@LOCKSTEP_TEST_NOT_RUN=$(NOT_RUN) $(CARGO) test --no-fail-fast; code=$$?; \
		if [ -s $(NOT_RUN) ]; then echo "not run:"; sort -u $(NOT_RUN) | sed 's/^/  /'; fi; \
		rm -f $(NOT_RUN); exit $$code

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps

# The eight failovers N times in a row; stops at the first failure.
N ?= 20
repeat: qemu
	$(CARGO) build --release
	benches/repeat $(N) target/release/lockstep run scenarios/colo/failover.yaml --qemu $(QEMU) --accel $(ACCEL)

# QEMU's migration test suite on each QEMU there is, and docs/migration-suite.md of that.
SUITE_CASES = scenarios/colo/failover.yaml 'scenarios/migration/**/*.yaml'
SUITE_QEMUS = sid=$(QEMU),$(OLD_SUITE)=.qemu/$(OLD_SUITE)/bin/qemu-system-x86_64,system=/usr/bin/qemu-system-x86_64
suite: qemu old-qemu
	$(CARGO) build --release
	target/release/lockstep run $(SUITE_CASES) --qemu-matrix $(SUITE_QEMUS) --accel $(ACCEL) -j 2 --reports reports/suite
	-target/release/lockstep run $(SUITE_CASES) --tag kvm --qemu $(QEMU) --accel kvm --reports reports/suite-kvm
	LOCKSTEP_SUITE_EVENTS=reports/suite/events.jsonl:reports/suite-kvm/events.jsonl \
		$(CARGO) test --test suite says

clean:
	$(CARGO) clean
	rm -rf .qemu .guests .tools
