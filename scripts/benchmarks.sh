#!/usr/bin/env bash
# One run of our benchmarks beside the peers' (PyTorch, TRL, transformers, llama.cpp), and the page that compares them.
#
#   scripts/benchmarks.sh PEERS [run.jsonl]
#
# PEERS is the folder with the peers' benchmark: `bench_peers.py` runs one case a process and takes ours by --extra.
# Cases of ours are named core-<case>-<precision>; the small shape is trained with --recompute.
# Set ONLY to a regular expression to run some of the cases (ours start with core-). Takes about half an hour.
set -euo pipefail
cd "$(dirname "$0")/.."
peers=$(realpath "${1:?usage: scripts/benchmarks.sh PEERS [run.jsonl]}")
run=$(realpath -m "${2:-target/benchmarks.jsonl}")
only=${ONLY:-'^(core-|tiny-(torch-autocast-completion-compile|trl-(sft|grpo|mpo)-f32$|generate-sample-4x8|llamacpp)|small-(lora-trl|lora-torch-bf16|llamacpp-(f32|bf16)|generate-sample-b8))'}
cargo build --release --locked
core=$(realpath target/release/core)
extra=()
for shape in tiny small; do
  precisions="f32 bf16"
  layouts="pairs shared"
  again=""
  # A third of the peers' memory is meant there: activations are computed again.
  if [ $shape = small ]; then precisions=bf16 layouts=pairs again=--recompute; fi
  for precision in $precisions; do
    for work in sft grpo sample rewrite; do
      extra+=(--extra "core-$work-$shape-$precision=$core bench $work --shape $shape --precision $precision $again --json")
    done
    for layout in $layouts; do
      extra+=(--extra "core-mpo-$shape-$layout-$precision=$core bench mpo --layout $layout --shape $shape --precision $precision $again --json")
    done
  done
done
priority=()
if [ "$(id -u)" = 0 ]; then priority=(--priority); fi
python3 "$peers/bench_peers.py" "${priority[@]}" --only "$only" --out "$run" "${extra[@]}"
"$core" bench compare "$run" --page docs/benchmarks.md
