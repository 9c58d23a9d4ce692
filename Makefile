# Berth. `make demo` shows it at work, `make test` runs everything, `make dist` makes packages, `make bench` measures.

SHELL := /bin/bash
PROGRAMS := .build/release
# Programs that need no Swift on the machine they run on. `-s`: without symbols they are a third as large.
RELEASE := swift build -c release -Xswiftc -static-stdlib -Xlinker -s
SOURCES := Package.swift Sources Tests Benchmarks

.PHONY: build demo dist test soak sanitize bench format lint clean

build: dependencies-build
	@$(RELEASE)

.PHONY: dependencies-build dependencies-dist dependencies-test dependencies-bench
dependencies-build:
	@packaging/install-dependencies.sh build

dependencies-dist:
	@packaging/install-dependencies.sh dist

dependencies-test:
	@packaging/install-dependencies.sh test

dependencies-bench:
	@packaging/install-dependencies.sh bench

demo: build
	@packaging/demo.sh "$(CURDIR)/$(PROGRAMS)"

# A tarball that works wherever it is unpacked, and a Debian package, in dist/.
dist: dependencies-dist build
	@packaging/dist.sh "$(CURDIR)/$(PROGRAMS)" "$(CURDIR)/dist"

# libFuzzer's coverage and the address sanitizer in our own modules. Suites that mount and run containers take turns, and what
# they leave of the processors goes to fuzzing: for each target so many seconds of processor time.
FUZZ_SECONDS := 60
FUZZ := BERTH_FUZZING=1 swift build --quiet -c release --product berth-fuzz --scratch-path .build-fuzz && \
	.build-fuzz/release/berth-fuzz --jobs $$(nproc) --seconds

# The programs under test are the ones that are shipped.
test: dependencies-test lint
	@$(RELEASE)
	@packaging/dist.sh "$(CURDIR)/$(PROGRAMS)" "$(CURDIR)/dist"
	@chrt --idle 0 bash -c '$(FUZZ) $(FUZZ_SECONDS)' >.build/fuzz.log 2>&1 & fuzz=$$!; \
	trap 'kill $$fuzz' INT TERM; result=0; set -o pipefail; \
	BERTH_PROGRAMS="$(CURDIR)/$(PROGRAMS)" BERTH_PACKAGING="$(CURDIR)/packaging" swift test 2>&1 | tee .build/test.log || result=1; \
	wait $$fuzz || result=1; cat .build/fuzz.log; tail -n 1 .build/test.log; exit $$result

# What `make test` does for minutes, for as long as you like: histories with seeds that nobody chose, and mutated input.
SOAK := 1000000
FROM = $(shell date +%s)000000
soak: dependencies-test
	@$(RELEASE)
	@$(PROGRAMS)/berth-simulate --from $(FROM) --count $(SOAK) --jobs $$(nproc)
	@$(FUZZ) 600

# The tests of the data plane with the thread sanitizer, then with the address sanitizer.
sanitize: dependencies-test
	@BERTH_DATA_PLANE_ONLY=1 swift test --sanitize=thread --scratch-path .build-thread
	@BERTH_DATA_PLANE_ONLY=1 ASAN_OPTIONS=detect_leaks=0 swift test --sanitize=address --scratch-path .build-address

# Everything beside JuiceFS and the local file system; hours. A short look: make bench BENCH=--quick
bench: dependencies-bench
	@$(RELEASE)
	@python3 Benchmarks/bench.py $(BENCH)

format:
	@swift format --in-place --recursive $(SOURCES)

lint:
	@swift format lint --strict --recursive --parallel $(SOURCES)

clean:
	@rm -rf .build .build-* dist
