#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What has to hold on a GPU, and how fast it is there: bench/gpu.sh [--device cuda:N] [--peak TFLOPS]
#
# 1. log-probabilities and gradients on the device are those of fp64 on the host, in float32 and bfloat16
# 2. the loss before the first step is ln 2, margins are exactly 0
# 3. recorded passes (CUDA graphs) have the log-probabilities and gradients of computed ones
# 4. share of the peak that forward and backward passes reach, computed and recorded, on random models of Qwen2.5-0.5B's and Llama-7B's shapes
#
# Exit code 1 where a check fails, or where there is no GPU. Needs a CUDA build of LibTorch: LIBTORCH_ROOT=… ./dev build,
# cmake -DKEDGE_CUDA=ON build, cmake --build build --target kedge_gpu_check
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
program=${KEDGE_GPU_CHECK:-$root/build/bin/kedge_gpu_check}
if ! nvidia-smi --list-gpus 2>/dev/null | grep -q GPU; then
  echo "gpu.sh: there is no GPU here (nvidia-smi lists none); $program --device cpu --shape tiny proves the program alone" >&2
  exit 1
fi
[[ -x $program ]] || { echo "gpu.sh: $program is missing; cmake --build build --target kedge_gpu_check" >&2; exit 1; }
"$program" --shape qwen2.5-0.5b "$@"
"$program" --shape llama-7b --pairs 4 "$@"
