#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compares every family of models with transformers and PEFT: logits, gradients, and what kedge writes of it; `--help` lists the arguments.
#
# What can be set: bench/python_side.sh
# KEDGE_NUMBERS  the program family_numbers (build/bin/kedge_family_numbers)
set -euo pipefail
# shellcheck source=../../bench/python_side.sh
source "$(dirname "$(readlink -f "$0")")/../../bench/python_side.sh"
export KEDGE_NUMBERS=${KEDGE_NUMBERS:-$root/build/bin/kedge_family_numbers}
need_python transformers
exec "$KEDGE_PYTHON" -W ignore "$root/tests/peers/compare_families.py" "$@"
