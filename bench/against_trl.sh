#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures kedge and TRL side by side, in one run: ./dev bench --against trl [ARG...]; `--help` lists the arguments.
#
# What can be set: bench/python_side.sh
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$(readlink -f "$0")")/python_side.sh"
need_python TRL
# One side is an older TRL, which an environment of its own takes.
if [[ " $* " != *" --sides "* || " $* " == *" trl-0.28 "* ]]; then
  KEDGE_PYTHON_TRL_028=$(KEDGE_PYTHON=${KEDGE_PYTHON_TRL_028:-} && need_python "TRL 0.28" trl-0.28 "$root/bench/trl-0.28.txt" && printf %s "$KEDGE_PYTHON")
  export KEDGE_PYTHON_TRL_028
fi
exec "$KEDGE_PYTHON" "$root/bench/against_trl.py" "$@"
