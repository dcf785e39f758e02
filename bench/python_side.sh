#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by the bench/against_PEER.sh, which compare kedge with a Python package. Sets
#
# KEDGE_PROGRAM  the program                  (build/bin/kedge)
# KEDGE_MODEL    SmolLM2-135M-Instruct, GGUF  (.deps/smollm2-135m-instruct.gguf)
# KEDGE_PYTHON   a Python that has what tests/golden/requirements.txt names; without it one is set up in .deps/trl, which
#                downloads some gigabytes once
#
# where they aren't set, and root, the project's folder.
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
export KEDGE_PROGRAM=${KEDGE_PROGRAM:-$root/build/bin/kedge}
export KEDGE_MODEL=${KEDGE_MODEL:-$root/.deps/smollm2-135m-instruct.gguf}

# need_python NAME [FOLDER PINS]: sets KEDGE_PYTHON up where it is missing, in .deps/FOLDER by the requirements PINS, telling the user what for.
need_python() {
  [[ -z ${KEDGE_PYTHON:-} ]] || return 0
  local environment=$root/.deps/${2:-trl} pins=${3:-$root/tests/golden/requirements.txt}
  KEDGE_PYTHON=$environment/bin/python
  ! cmp -s "$pins" "$environment/.pins" || return 0
  printf '%s: setting up %s in %s (once)\n' "$(basename "$0" .sh)" "$1" "$environment" >&2
  rm -rf "$environment"
  python3 -m venv "$environment"
  "$KEDGE_PYTHON" -m pip install --quiet --disable-pip-version-check --requirement "$pins"
  cp "$pins" "$environment/.pins"
}
