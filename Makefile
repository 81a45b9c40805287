# What a newcomer needs: `make demo` shows the main job, `make test` passes all tests.
.DEFAULT_GOAL := help
.PHONY: help demo test check build packages

help:
	@echo 'make demo    shows the main job with real PostgreSQL (as root; installs what is missing)'
	@echo 'make test    passes all tests: format, tidy, clippy, unit, root, end-to-end (as root)'
	@echo 'make check   format, clippy, tidy, unit tests (no root)'
	@echo 'make build   builds target/release/orlop'

demo: packages
	cargo build --release
	@bash examples/demo.sh

test: packages
	cargo xtask all

check:
	cargo xtask check

build:
	cargo build --release

packages:
	@bash .ci/packages.sh
