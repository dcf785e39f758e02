#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Measures kedge soup and mergekit side by side, in one run: ./dev bench --against mergekit [ARG...]; `--help` lists the arguments.
#
# KEDGE_PROGRAM  the program                  (build/bin/kedge)
# KEDGE_MODEL    SmolLM2-135M-Instruct, GGUF  (.deps/smollm2-135m-instruct.gguf)
# KEDGE_PYTHON   a Python that has what tests/golden/requirements.txt names; without it one is set up in .deps/trl, which
#                downloads some gigabytes once
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
export KEDGE_PROGRAM=${KEDGE_PROGRAM:-$root/build/bin/kedge}
export KEDGE_MODEL=${KEDGE_MODEL:-$root/.deps/smollm2-135m-instruct.gguf}
pins=$root/tests/golden/requirements.txt

if [[ -z ${KEDGE_PYTHON:-} ]]; then
  environment=$root/.deps/trl
  KEDGE_PYTHON=$environment/bin/python
  if ! cmp -s "$pins" "$environment/.pins"; then
    printf 'against_mergekit: setting up mergekit in %s (once)\n' "$environment" >&2
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$KEDGE_PYTHON" -m pip install --quiet --disable-pip-version-check --requirement "$pins"
    cp "$pins" "$environment/.pins"
  fi
fi
exec "$KEDGE_PYTHON" "$root/bench/against_mergekit.py" "$@"
