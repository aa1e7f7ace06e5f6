# The two commands are `make demo` and `make test`; both install what they need and may be run again at any time.
# Work happens in tools/*.sh, each of which also runs on its own.
.DEFAULT_GOAL := help
.PHONY: help demo build test asan tsan fuzz bench format lint clean

help:           ## what there is
	@echo "make TARGET, where TARGET is"
	@sed -n 's/^\([a-z]*\):[^#]*## /  \1\t/p' Makefile | expand -t 11
	@echo
	@echo "Start with 'make demo'. Then: build/release/intaglio --help, README.md, docs/ARCHITECTURE.md"

demo:           ## Gemma 3 270M from weights to words: install, build, fetch, export, generate
	@tools/setup.sh
	@tools/build.sh release intaglio
	@tools/demo.sh

build:          ## build/release/intaglio and all tests, optimised
	@tools/setup.sh
	@tools/build.sh release

test:           ## everything that a change must pass: unit and parity tests, sanitizers, 30 s of every fuzz target
	@tools/setup.sh test
	@tools/test.sh

asan:           ## the tests of all that reads outside bytes, under address and undefined-behaviour sanitizers
	@tools/setup.sh
	@tools/sanitize.sh asan

tsan:           ## the tests of all that runs in threads, under the thread sanitizer
	@tools/setup.sh
	@tools/sanitize.sh tsan

fuzz:           ## every parser of outside bytes, FUZZ_SECONDS=30 each
	@tools/setup.sh test
	@tools/fuzz.sh

bench:          ## kernels as a share of the machine's limits, and tokens per second of the demo's model
	@tools/setup.sh
	@tools/bench.sh

format:         ## rewrites C++, CMake and Python files in the house layout
	@tools/setup.sh lint
	@tools/lint.sh --fix

lint:           ## layout, clang-tidy, function sizes, Python and shell
	@tools/setup.sh lint
	@tools/lint.sh

clean:          ## removes build/, with the model and the Python packages in it
	rm -rf build
