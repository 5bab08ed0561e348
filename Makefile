# The commands of this project.  Each one checks the system packages first
# (lib/cmake/bootstrap.sh) and does nothing that is already done.
BUILD := build/release

.PHONY: help build demo test lint format tidy abi-record clean

help:
	@echo 'make demo        build the v4infer command and let a model talk'
	@echo 'make test        build everything, run every test'
	@echo 'make build       leave the command at $(BUILD)/v4infer'
	@echo 'make lint        include rules, sizes, text rules of the sources'
	@echo 'make format      clang-format the sources that git sees as changed'
	@echo 'make tidy        clang-tidy the sources that git sees as changed'
	@echo 'make abi-record  record include/v4infer/v4infer.h as the header of release 1.0'
	@echo 'make clean       delete build/'

build:
	@lib/cmake/build.sh v4infer_all

demo: build
	@examples/demo.sh $(BUILD)

test:
	@tests/support/run.sh $(BUILD)

lint:
	@tests/lint/run.sh

format:
	@tests/lint/changed.sh '*.cc' '*.h' '*.hpp' '*.c' '*.cu' '*.cuh' | xargs -r clang-format -i

tidy: build
	@tests/lint/changed.sh '*.cc' | xargs -r clang-tidy -p $(BUILD) --quiet

abi-record:
	@lib/cmake/bootstrap.sh
	@python3 tests/abi/record.py write

clean:
	rm -rf build
