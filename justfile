# Short names for what is done often. Everything that tests or sets up is in tests/run, which needs no `just`.

python := ".venv/bin/python"
target := env("CARGO_TARGET_DIR", "target")

[private]
default:
    @just --list

# build the program, optimised
build:
    cargo build --release --bin mishards

# set up, check and test everything; or a part: `just test --rust`
test *PART:
    tests/run {{ PART }}

# format check and clippy, as the test command does them
lint:
    cargo fmt --check
    cargo clippy --workspace --all-targets --profile ci -- -D warnings

# licences, banned crates, sources (needs cargo-deny; the advisories need the network)
deny *CHECKS="bans licenses sources":
    cargo deny check {{ CHECKS }}

# test the program from outside, with the public client libraries
clients:
    tests/run --clients

# a whole cluster in one process, with real data and real questions
demo *ARGS:
    cargo run --release -- demo {{ ARGS }}

# run a server on this machine; its data stays in mishards-data
standalone *ARGS: build
    "{{ target }}/release/mishards" standalone --data-dir mishards-data {{ ARGS }}

# kill -9 a busy server again and again, and compare: `just crash --kills 500 --seed 7`
crash *ARGS:
    tests/run --python
    cargo build --workspace --profile ci --bin mishards
    MISHARDS_BIN="{{ target }}/ci/mishards" {{ python }} tests/crash/crash.py {{ ARGS }}

# a whole cluster under load while its parts are killed, stopped and cut off: `just chaos --short`
chaos *ARGS:
    MISHARDS_BIN="{{ target }}/ci/mishards" tests/chaos/run {{ ARGS }}
