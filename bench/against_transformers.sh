#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures kedge generate and transformers' generate side by side, in one run: ./dev bench --against transformers [ARG...];
# `--help` lists the arguments.
#
# What can be set: bench/python_side.sh
# KEDGE_LLAMA_PYTHON  a Python that has llama-cpp-python, gguf and numpy; only for `--sides … llama.cpp`
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$(readlink -f "$0")")/python_side.sh"
need_python transformers
exec "$KEDGE_PYTHON" "$root/bench/against_transformers.py" "$@"
