# Every target first installs what it needs (scripts/setup), and is quick when nothing is missing.
PRESET ?= release
JOBS ?= $(shell nproc)

.DEFAULT_GOAL := build
.PHONY: setup build demo paper dist test test-asan test-tsan fuzz format lint cuda-build clean

setup:
	@scripts/setup

build: setup
	@scripts/build $(PRESET) $(JOBS)

# Starts llavad on the demo checkpoint, asks about the pictures in demo/pictures, prints the answers.
demo: build
	@scripts/demo

# The paper's data, stages, evaluations and ablations in a small world: build/paper/report.md (docs/paper.md).
paper: build
	@scripts/paper

test: build
	@scripts/test $(PRESET) $(JOBS)

test-asan: setup
	@scripts/build asan $(JOBS)
	@scripts/test asan $(JOBS)

test-tsan: setup
	@scripts/build tsan $(JOBS)
	@scripts/test tsan $(JOBS)

# The libFuzzer targets, and each of them for some seconds.
fuzz: setup
	@scripts/build fuzz $(JOBS) fuzzers
	@scripts/fuzz-campaign 0.2

format: setup
	@git ls-files '*.cc' '*.h' '*.cu' '*.cuh' | xargs clang-format-19 -i

lint: setup
	@scripts/lint $(JOBS)

# Compiles and links with CUDA; nvcc comes from pinned wheels, a GPU is not needed.
cuda-build: setup
	@scripts/setup --cuda
	@scripts/build cuda $(JOBS)

# build/dist: a relocatable tree as an archive, Debian packages, their digests (docs/deploying.md).
dist: build
	@cd build/$(PRESET) && cpack -B ../dist >../dist.log || { tail -20 ../dist.log; exit 1; }
	@rm -rf build/dist/_CPack_Packages && ls -l build/dist

clean:
	rm -rf build
