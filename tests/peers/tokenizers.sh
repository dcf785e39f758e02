#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compares kedge's tokenizers with Hugging Face's `tokenizers` on 100,000 random strings each; `--help` lists the arguments.
#
# What can be set: bench/python_side.sh
# KEDGE_LINES         the program tokenize_lines (build/bin/kedge_tokenize_lines)
# KEDGE_VOCABULARIES  the folder where the unpacked sdist of llama-cpp-python is, or goes (.deps/vocabularies)
set -euo pipefail
# shellcheck source=../../bench/python_side.sh
source "$(dirname "$(readlink -f "$0")")/../../bench/python_side.sh"
export KEDGE_LINES=${KEDGE_LINES:-$root/build/bin/kedge_tokenize_lines}
need_python tokenizers
exec "$KEDGE_PYTHON" "$root/tests/peers/compare_tokenizers.py" "$@"
