#!/usr/bin/env bash
# Builds `core` for NVIDIA cards on a machine that need not have one.
#
#   scripts/build-cuda.sh                        the program, at target/cuda/build/release/core
#   scripts/build-cuda.sh toolkit                only the toolkit
#   scripts/build-cuda.sh test --test cuda …     anything else cargo can do, with the feature and the toolkit
#
# Needs Linux on x86_64 or aarch64, cargo, python3 with pip, g++, and 5 GB below target/cuda. CUDA's compiler and libraries are
# fetched once, as Python wheels, through pip as it is set up here; no Python package of the system is touched.
# What has been done is not done again, so a run that was stopped goes on where it was.
#
#   CUDA_HOME          a CUDA 13.0 toolkit that is already installed (with lib64/stubs/libcuda.so); nothing is fetched then
#   CUDA_COMPUTE_CAP   oldest card to build for, 80 for 8.0 [default: this machine's card, else 80; newer cards run it too]
#   CORE_CUDA_DIR      where everything goes [default: target/cuda]
set -euo pipefail
cd "$(dirname "$0")/.."

# One release of CUDA; the parts of a release have versions of their own.
WHEELS=(
  nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-cccl==13.0.85
  nvidia-cuda-runtime==13.0.96 nvidia-cuda-nvrtc==13.0.88 nvidia-cublas==13.0.2.14 nvidia-curand==10.4.0.35
)
DIR=${CORE_CUDA_DIR:-$PWD/target/cuda}
# Nothing is installed into the system's Python, so pip need not warn of that.
export PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
TOOLKIT=$DIR/toolkit

say() { printf '%s\n' "build-cuda: $*" >&2; }
fail() { say "$*"; exit 1; }

require() {
  command -v "$1" >/dev/null || fail "$1 is not there: $2"
}

check_machine() {
  [[ $(uname -s) == Linux ]] || fail "the wheels of the CUDA toolkit are for Linux; this is $(uname -s)"
  require cargo "install Rust"
  require g++ "install a C++ compiler (on Debian: apt-get install g++); CUDA's compiler calls it"
  [[ -n ${CUDA_HOME:-} ]] && return
  require python3 "install Python 3; it fetches the toolkit, and is not needed afterwards"
  python3 -m pip --version >/dev/null 2>&1 || fail "python3 has no pip: install it (on Debian: apt-get install python3-pip)"
  mkdir -p "$DIR"
  local free
  free=$(df --output=avail -k "$DIR" | tail -n 1)
  ((free > 5000000)) || [[ -e $TOOLKIT ]] || fail "$DIR has $((free / 1000)) MB free, and 5000 are needed: free some, or set CORE_CUDA_DIR"
}

# Wheels → one tree with bin, include, lib and nvvm, which gets its name when it is whole.
fetch_toolkit() {
  if [[ -e $TOOLKIT ]]; then
    say "toolkit: $TOOLKIT is there"
    return
  fi
  say "toolkit: fetching ${#WHEELS[@]} wheels, 600 MB, into $DIR/wheels"
  python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$DIR/wheels" "${WHEELS[@]}" ||
    fail "pip could not fetch the wheels (its reason is above); what has arrived is kept, so run this again"
  local new=$DIR/toolkit.new
  rm -rf "$new"
  python3 -m pip install --quiet --no-deps --no-index --no-compile --find-links "$DIR/wheels" --target "$new" "${WHEELS[@]}" ||
    fail "pip could not unpack the wheels: delete $DIR/wheels and run this again"
  local tree=$new/nvidia/cu13
  [[ -x $tree/bin/nvcc && -d $tree/nvvm && -d $tree/include ]] ||
    fail "the wheels are laid out in another way than expected: there is no nvcc, nvvm and include in $tree"
  # Linkers look for names without a version, and build scripts for lib64.
  local lib name
  for lib in "$tree"/lib/lib*.so.*; do
    name=${lib##*/}
    ln -sf "$name" "$tree/lib/${name%%.so.*}.so"
  done
  ln -s lib "$tree/lib64"
  mv "$tree" "$TOOLKIT.whole"
  rm -rf "$new"
  mv "$TOOLKIT.whole" "$TOOLKIT"
}

# The driver's library comes with a driver, never with a toolkit; to link, its names are enough. Called, every one of them
# answers CUDA_ERROR_STUB_LIBRARY, so that with it in LD_LIBRARY_PATH the program starts without a driver and says so.
make_stub() {
  local stub=$DIR/stub names
  [[ -e $stub/libcuda.so ]] && return
  cargo fetch --quiet --locked || fail "cargo could not fetch the crates (its reason is above)"
  names=$(cargo metadata --format-version 1 --locked --features cuda |
    grep -o '"manifest_path":"[^"]*/cudarc-[^"/]*/Cargo.toml"' | head -n 1 | cut -d '"' -f 4)
  names=$(dirname "$names")/src/driver/sys/mod.rs
  [[ -f $names ]] || fail "the crate cudarc has no $names: its sources have moved, and this script must follow"
  mkdir -p "$stub"
  grep -oE 'fn cu[A-Z][A-Za-z0-9_]*' "$names" | cut -c 4- | sort -u | sed 's/.*/int &(void) { return 34; }/' >"$stub/cuda.c"
  cc -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$stub/libcuda.so.1" "$stub/cuda.c" ||
    fail "the stub of the driver's library does not compile (cc's reason is above)"
  ln -sf libcuda.so.1 "$stub/libcuda.so"
  say "stub: $(wc -l <"$stub/cuda.c") names of the driver's library in $stub"
}

use_toolkit() {
  if [[ -n ${CUDA_HOME:-} ]]; then
    [[ -x $CUDA_HOME/bin/nvcc ]] || fail "CUDA_HOME is $CUDA_HOME, but there is no bin/nvcc in it: correct it, or unset it"
    say "toolkit: $CUDA_HOME, from CUDA_HOME"
  else
    fetch_toolkit
    CUDA_HOME=$TOOLKIT
  fi
  make_stub
  if [[ -z ${CUDA_COMPUTE_CAP:-} ]]; then
    CUDA_COMPUTE_CAP=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d .) || true
    CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-80}
  fi
  unset NVCC CUDA_TOOLKIT_ROOT_DIR
  export CUDA_HOME CUDA_COMPUTE_CAP CUDA_PATH=$CUDA_HOME CUDA_ROOT=$CUDA_HOME PATH=$CUDA_HOME/bin:$PATH
  export CUDARC_CUDA_VERSION=13000 CARGO_TARGET_DIR=$DIR/build
  # The program finds the toolkit's libraries where they are now; the driver's come from the system.
  export RUSTFLAGS="${RUSTFLAGS:-} -L native=$DIR/stub -C link-arg=-Wl,-rpath,$CUDA_HOME/lib64"
}

check_machine
use_toolkit
case ${1:-build} in
  toolkit) ;;
  build)
    shift || true
    say "building for compute capability $CUDA_COMPUTE_CAP and newer, into $CARGO_TARGET_DIR"
    cargo build --release --locked --features cuda "$@"
    say "done: $CARGO_TARGET_DIR/release/core, $(du -h "$CARGO_TARGET_DIR/release/core" | cut -f 1)"
    ;;
  *) cargo "$1" --release --locked --features cuda "${@:2}" ;;
esac
