#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures kedge soup and mergekit side by side, in one run: ./dev bench --against mergekit [ARG...]; `--help` lists the arguments.
#
# What can be set: bench/python_side.sh
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$(readlink -f "$0")")/python_side.sh"
need_python mergekit
exec "$KEDGE_PYTHON" "$root/bench/against_mergekit.py" "$@"
