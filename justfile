# Daily habits; `just` lists them.

default:
    @just --list

# The main job.
demo *args:
    cargo run --release -- demo {{args}}

# What a change must pass.
ci:
    .ci/run

fmt:
    cargo fmt --all

lint:
    cargo clippy --release --all-targets -- -D warnings

test *args:
    cargo test --release {{args}}

# The build for NVIDIA cards; none is needed to make it.
cuda *args:
    scripts/build-cuda.sh {{args}}
