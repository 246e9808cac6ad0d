# The tasks of everyday work. Each installs what it needs first (packaging/install-deps.sh, which
# is done at once when all is there) and works without a terminal.
.PHONY: help run build package test test-long fuzz bench lint format coverage clean
.DEFAULT_GOAL := help

DEPS = packaging/install-deps.sh
SOURCES = $(shell git ls-files -co --exclude-standard '*.c' '*.h')

# Configures a preset only once; Ninja configures again by itself when a CMakeLists.txt changes.
define build_preset
	@test -f $(1)/build.ninja || cmake --preset $(2) >build-$(2).log 2>&1 || \
		{ cat build-$(2).log; rm -f build-$(2).log; exit 1; }
	@rm -f build-$(2).log
	@cmake --build --preset $(2) $(3) -- --quiet
endef

# For editors: the compilation database of the build with the most in it.
define link_commands
	@for dir in build build/dev; do \
		test ! -e $$dir/compile_commands.json || ln -sfn $$dir/compile_commands.json .; \
	done
endef

help:
	@echo "make run     build and run stratod in the foreground, on its defaults"
	@echo "make build   the release, in build/ (build/bin/stratod)"
	@echo "make package a .deb and a .rpm, in build/packages/"
	@echo "make test    every test: unit, conformance, integration, fuzz; with and without sanitizers"
	@echo "make test-long   the tests that are scaled down in make test, at full size"
	@echo "make fuzz   every fuzzer for SECONDS_EACH (60)"
	@echo "make bench   speed, side by side with a bare epoll loop and with webdis + Redis"
	@echo "make bench-grpc, bench-disk, bench-redis   the same for gRPC, the disk backend, Redis"
	@echo "make bench-abuse   what a good client's reads take beside clients that flood"
	@echo "make bench-instructions   instructions that a request costs, beside 0.2.0"
	@echo "make lint    clang-format and clang-tidy; make format formats in place"
	@echo "make coverage   lines and branches that the tests run; build/coverage/html/index.html"
	@echo "make clean   removes build/"

run: build
	@exec build/bin/stratod

build:
	@$(DEPS) build
	$(call build_preset,build,release)
	$(link_commands)

package: build
	@$(DEPS) package
	@cd build && cpack >cpack.log 2>&1 || { cat cpack.log; exit 1; }
	@ls build/packages/*.deb build/packages/*.rpm

# All runs are made even when one fails, so that one report shows everything.
test: package
	@$(DEPS) test
	$(call build_preset,build/dev,dev)
	$(link_commands)
	$(call build_preset,build/asan,asan)
	$(call build_preset,build/tsan,tsan,--target torture)
	$(call build_preset,build/fuzz,fuzz,--target fuzzers)
	@failed=; \
	for preset in tsan fuzz asan dev; do \
		echo "== ctest --preset $$preset"; \
		ctest --preset $$preset || failed="$$failed $$preset"; \
	done; \
	echo "== bench_instructions.py --check"; \
	/usr/bin/python3 tests/bench/bench_instructions.py --check || failed="$$failed instructions"; \
	test -z "$$failed" || { echo "failed in:$$failed"; exit 1; }

test-long:
	@$(DEPS) test
	$(call build_preset,build/dev,dev)
	@STRATO_LONG=1 ctest --preset dev -L long

# Longer than make test fuzzes: each for SECONDS_EACH. Findings are in build/fuzz/findings.
SECONDS_EACH ?= 60
fuzz:
	@$(DEPS) test
	$(call build_preset,build/fuzz,fuzz,--target fuzzers)
	@mkdir -p build/fuzz/findings; failed=; \
	for program in build/fuzz/tests/fuzz_*; do \
		name=$${program##*/fuzz_}; found=build/fuzz/tests/fuzz/found/$$name; mkdir -p $$found; \
		echo "== $$name"; \
		$$program -max_total_time=$(SECONDS_EACH) -timeout=10 -rss_limit_mb=4096 -verbosity=0 \
			-artifact_prefix=build/fuzz/findings/$$name- $$found tests/fuzz/corpus/$$name || \
			failed="$$failed $$name"; \
	done; \
	test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

bench: build
	@$(DEPS) bench
	@/usr/bin/python3 tests/bench/bench.py

# make bench-redis and so on: tests/bench/bench_redis.py
bench-%: build
	@$(DEPS) bench
	@/usr/bin/python3 tests/bench/bench_$*.py

lint:
	@$(DEPS) lint
	$(call build_preset,build/dev,dev)
	@clang-format --dry-run --Werror $(SOURCES)
	@run-clang-tidy -quiet -p build/dev 2>/dev/null

# Figures even when a test fails, which is then said.
coverage:
	@$(DEPS) coverage
	$(call build_preset,build/coverage,coverage)
	@find build/coverage -name '*.gcda' -delete
	@ctest --preset coverage || failed=$$?; tests/coverage.sh build/coverage; exit $${failed:-0}

format:
	@$(DEPS) lint
	@clang-format -i $(SOURCES)

clean:
	@rm -rf build
