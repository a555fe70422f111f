# What a developer runs. CI runs `make check` by way of .ci/run.
.PHONY: check fmt clippy test doc demo bench nightly fuzz kills test-servers

check: fmt clippy test doc

fmt:
	cargo fmt --all --check

clippy:
	cargo clippy --workspace --all-targets -- -D warnings

# The rules of the house style (tests/tidy.rs) are among the tests.
test:
	cargo test --workspace

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

demo:
	cargo run --release -- demo

# To see lines in perf: CARGO_PROFILE_BENCH_DEBUG=line-tables-only; without it a binary is 4 times smaller.
bench:
	cargo bench --bench floor
	cargo bench --bench capture
	cargo bench --bench head
	cargo bench -p headwater-storage --bench store
	cargo bench -p headwater-storage --bench encodings
	cargo bench -p headwater-exporters --bench sinks

# Ten thousand crashes, faults and damages of the store, about twenty minutes on two cores; and ten
# million blocks with one thing changed, each of which must be refused or not covered by its marks.
nightly:
	HEADWATER_SEEDS=10000 cargo test --release -p headwater-storage store::
	HEADWATER_MUTANTS=10000000 cargo test --release --test headwater mutants:: -- --nocapture

# The fuzz targets, an hour each unless MINUTES says otherwise; `cargo test` runs each for a second.
# With cargo-bolero (`cargo bolero test NAME`) they are driven by coverage.
fuzz:
	BOLERO_RANDOM_TEST_TIME_MS=$$(( $${MINUTES:-60} * 60000 )) BOLERO_RANDOM_ITERATIONS=1000000000 cargo test --workspace --lib -- any_

# kill -9 of the release binary, 200 times.
kills:
	cargo build --release
	HEADWATER_KILLS=200 HEADWATER_BINARY=$(CURDIR)/target/release/headwater cargo test --test headwater killed -- --nocapture

# Real servers without Docker (ops/servers/README.md), foreign clients and readers.
test-servers:
	ops/servers/test.sh

# One of them alone, for example `make test-kafka`.
test-%:
	ops/servers/test.sh $*
