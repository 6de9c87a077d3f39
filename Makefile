# The two main commands, for a fresh Debian machine with Rust and make:
#
#   make demo   runs the COLO failover matrix on real QEMU pairs, reports in reports/
#   make test   runs the tests
#
# Both install what is missing: Debian's qemu-system-x86 and binutils, and a QEMU from a newer Debian suite, unpacked into
# .qemu/ without changing the system; the tests also gcc-12, and the Linux guest, built in .guests/ from Debian's kernel.

# Full COLO needs QEMU 11 or later; the older one shows what a QEMU before 11 can and cannot do.
SUITE     ?= sid
OLD_SUITE ?= trixie
QEMU      ?= .qemu/$(SUITE)/bin/qemu-system-x86_64
# Emulation: a nested /dev/kvm in a virtual machine is often ten times slower.
ACCEL     ?= tcg
CARGO     ?= cargo

.PHONY: help architectures cross-version-architectures demo test run-tests qemu qemu-all old-qemu guest debian compiler firmware slurm readers servers shipped lint deny deb deb-files repeat audit audit-runner audit-sabotages suite suite-architectures suite-page clean

help:
	@sed -n 's/^#   //p' Makefile

qemu:
	scripts/install-qemu
	scripts/fetch-qemu $(SUITE)

# The other architectures of the same suite; optional: without them their tests are not run, and listed as such.
qemu-all:
	scripts/install-qemu
	scripts/fetch-qemu $(SUITE) qemu-system-arm qemu-system-s390x qemu-system-ppc

# Optional: without it the tests on that suite are not run, and listed as such.
old-qemu:
	-scripts/fetch-qemu $(OLD_SUITE)

# The Linux guest; optional: without it the tests and cases that need it are not run, and listed as such.
guest:
	-scripts/fetch-guest

# The Debian guest with Redis, PostgreSQL and SSH; optional, and not a part of `make test`, which uses it if it is there.
debian:
	-scripts/install-qemu mmdebstrap ssh:openssh-client
	-scripts/fetch-debian

# For the tests that rebuild the images of the built-in guest; optional: without a compiler its test is ignored.
compiler:
	-scripts/install-qemu gcc-12
	-scripts/install-qemu aarch64-linux-gnu-gcc-12:gcc-12-aarch64-linux-gnu \
		s390x-linux-gnu-gcc-12:gcc-12-s390x-linux-gnu powerpc64-linux-gnu-gcc-12:gcc-12-powerpc64-linux-gnu

# For the tests that boot through UEFI; optional, too.
firmware:
	-scripts/install-qemu /usr/share/OVMF/OVMF_CODE_4M.fd:ovmf

# For the tests of `lockstep engine slurm`, which need root; optional, too.
slurm:
	-scripts/install-qemu slurmctld slurmd sbatch:slurm-client munged:munge

# Unoptimized, as for the tests: it compiles in less than half the time, and the QEMUs take most of the run.
demo: qemu
	$(CARGO) build
	target/debug/lockstep run 'scenarios/colo/failover.yaml' --qemu $(QEMU) --accel $(ACCEL)
	@echo "reports: reports/index.html reports/junit.xml reports/events.jsonl"

# Third-party readers of our files; optional: without them their tests are not run, and listed as such.
readers:
	-scripts/fetch-readers

test: qemu old-qemu guest compiler firmware slurm readers run-tests

# Runs the tests with what is installed; lists those that were not run at the end.
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

# The licences, versions, sources and known vulnerabilities of the dependencies, by deny.toml. The last one needs a network.
DENY ?= licenses bans sources advisories
deny:
	@$(CARGO) deny --version || { echo "cargo-deny is not installed; run: cargo install --locked cargo-deny"; exit 1; }
	$(CARGO) deny check $(DENY)

# A Debian package: the command, completions, man pages, scenarios, schemas. Written to target/debian/.
deb:
	@$(CARGO) deb --version || { echo "cargo-deb is not installed; run: cargo install --locked cargo-deb"; exit 1; }
	$(CARGO) build --release
	$(MAKE) deb-files LOCKSTEP=target/release/lockstep
	$(CARGO) deb --no-build

# What the package has of the command's own output.
deb-files:
	mkdir -p target/deb
	$(LOCKSTEP) man target/deb/man
	$(LOCKSTEP) completions bash > target/deb/lockstep.bash
	$(LOCKSTEP) completions zsh > target/deb/_lockstep
	$(LOCKSTEP) completions fish > target/deb/lockstep.fish

# The databases of scenarios/guests through every failover, move and kill; `make test` runs a few of these.
servers: qemu debian
	$(CARGO) build --release
	target/release/lockstep run scenarios/guests --tag servers --qemu $(QEMU) --accel $(ACCEL) -j 2

# All shipped scenarios on each QEMU: also the long ones, and the controls and guests on the older QEMUs.
shipped: qemu old-qemu guest
	LOCKSTEP_TEST_ALL=1 $(CARGO) test --test shipped

# The failovers, migrations and controls on the other architectures; `make test` runs a few of these if `make qemu-all` has
# been run.
architectures: qemu-all
	LOCKSTEP_TEST_ALL=1 $(CARGO) test --test architectures

# A guest migrates between the two suites' QEMUs and back, on each of them.
cross-version-architectures: qemu-all
	scripts/fetch-qemu $(OLD_SUITE) qemu-system-arm qemu-system-s390x qemu-system-ppc
	$(CARGO) build
	for arch in $(SUITE_ARCHITECTURES); do \
		target/debug/lockstep run scenarios/migration/cross-version.yaml -D arch=$$arch --accel tcg \
			--qemu old=.qemu/$(OLD_SUITE)/bin --qemu new=.qemu/$(SUITE)/bin || exit 1; \
	done

# The eight failovers N times in a row; stops at the first failure.
N ?= 20
repeat: qemu
	$(CARGO) build --release
	benches/repeat $(N) target/release/lockstep run scenarios/colo/failover.yaml --qemu $(QEMU) --accel $(ACCEL)

# How strong the shipped scenarios are; rewrites the tables at the end of docs/audit.md. Each line takes the budget.
AUDIT_CASES = scenarios/colo/failover.yaml 'scenarios/migration/**/*.yaml' 'scenarios/colo/*.yaml'
AUDIT_BUDGET ?= 30m
audit: qemu
	$(CARGO) build --release
	sed -i '/^<!-- audit -->$$/q' docs/audit.md
	for cases in $(AUDIT_CASES); do \
		{ printf '\n## `%s`\n\n' "$$cases" && target/release/lockstep audit "$$cases" --qemu $(QEMU) --accel $(ACCEL) \
			-j 2 -q --seed 1 --budget $(AUDIT_BUDGET) --format markdown; } >>docs/audit.md || exit 1; \
	done

# Each sabotage with a case that notices it and one that does not. `make test` runs one of each kind.
audit-sabotages: qemu
	LOCKSTEP_TEST_ALL=1 $(CARGO) test --test audit sabotages

# The runner with 1,000 garbled monitors: each case must end, and leave nothing behind. `make test` runs a few.
audit-runner: qemu
	LOCKSTEP_AUDIT_TRIES=1000 $(CARGO) test --test audit garbled -- --nocapture

# QEMU's migration test suite on each available QEMU; regenerates docs/migration-suite.md.
SUITE_CASES = scenarios/colo/failover.yaml 'scenarios/migration/**/*.yaml'
SUITE_QEMUS = sid=$(QEMU),$(OLD_SUITE)=.qemu/$(OLD_SUITE)/bin/qemu-system-x86_64,system=/usr/bin/qemu-system-x86_64
suite: qemu old-qemu
	$(CARGO) build --release
	target/release/lockstep run $(SUITE_CASES) --qemu-matrix $(SUITE_QEMUS) --accel $(ACCEL) -j 2 --reports reports/suite
	-target/release/lockstep run $(SUITE_CASES) --tag kvm --qemu $(QEMU) --accel kvm --reports reports/suite-kvm
	$(MAKE) suite-page

# The same on the other architectures, under emulation.
SUITE_ARCHITECTURES = aarch64 s390x ppc64 i386
suite-architectures: qemu-all
	$(CARGO) build --release
	for arch in $(SUITE_ARCHITECTURES); do \
		target/release/lockstep run $(SUITE_CASES) -D arch=$$arch --qemu '.qemu/$(SUITE)/bin/qemu-system-{arch}' --accel tcg \
			-j 2 --reports reports/suite-$$arch || exit 1; \
	done
	$(MAKE) suite-page

# The page of the runs that there are.
suite-page:
	LOCKSTEP_SUITE_EVENTS="$$(printf '%s:' reports/suite*/events.jsonl | sed 's/:$$//')" $(CARGO) test --test suite says

clean:
	$(CARGO) clean
	rm -rf .qemu .guests .tools
