#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures what bfloat16 does to margins in kedge and in TRL: ./dev bench --against trl_noise [ARG...]; `--help` lists the arguments.
#
# What can be set: bench/python_side.sh
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$(readlink -f "$0")")/python_side.sh"
need_python TRL
exec "$KEDGE_PYTHON" "$root/bench/against_trl_noise.py" "$@"
