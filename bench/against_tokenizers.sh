#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures kedge's tokenizer and Hugging Face's `tokenizers` side by side, in one run: ./dev bench --against tokenizers [ARG...];
# `--help` lists the arguments.
#
# What can be set: bench/python_side.sh
# KEDGE_LINES   the program tokenize_lines (build/bin/kedge_tokenize_lines)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$(readlink -f "$0")")/python_side.sh"
export KEDGE_LINES=${KEDGE_LINES:-$root/build/bin/kedge_tokenize_lines}
[[ -x $KEDGE_LINES ]] || cmake --build "$root/build" --target kedge_tokenize_lines
need_python tokenizers
exec "$KEDGE_PYTHON" "$root/bench/against_tokenizers.py" "$@"
