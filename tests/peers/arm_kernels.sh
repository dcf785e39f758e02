#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compiles kedge for 64-bit ARM, what includes LibTorch where its headers are in .deps, and runs the tests of the kernels by an emulator;
# arguments go to the tests.
# `./dev test --all` installs the compiler and the emulator.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)
build=$root/build/arm

# Headers of this machine's libraries that are the same for ARM. All of /usr/include isn't.
mkdir -p "$build/include"
for header in catch2 nlohmann yaml-cpp zlib.h zconf.h zstd.h; do
  ln -sfn "/usr/include/$header" "$build/include/$header"
done

# LibTorch's headers ask the compiler which processor it is for.
torch=$root/.deps/libtorch/torch/include
[[ -d $torch ]] || torch=

cmake -S "$root/tests/peers/arm" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DKEDGE_HEADERS="$build/include" -DKEDGE_LIBTORCH_HEADERS="$torch" \
  >"$build/configure.log" || { cat "$build/configure.log" >&2; exit 1; }
cmake --build "$build"
qemu-aarch64 -L /usr/aarch64-linux-gnu "$build/kernel_tests" "$@"
