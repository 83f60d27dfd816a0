# Every target installs what it needs first (scripts/setup), and is quick when nothing is missing.
PRESET ?= release
JOBS ?= $(shell nproc)

.PHONY: demo test build setup format lint test-asan test-tsan cuda-build clean
.DEFAULT_GOAL := build

setup:
	@scripts/setup

build: setup
	@cmake --preset $(PRESET) --log-level=WARNING
	@cmake --build --preset $(PRESET) -j $(JOBS)

test: build
	@ctest --preset $(PRESET) -j $(JOBS)

test-asan:
	@$(MAKE) --no-print-directory test PRESET=asan

test-tsan:
	@$(MAKE) --no-print-directory test PRESET=tsan

format: setup
	@git ls-files '*.cc' '*.h' '*.cu' | xargs clang-format-19 -i

clean:
	rm -rf build
