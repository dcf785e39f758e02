#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Lets kedge and huggingface_hub fetch from a server of the loopback into one cache, each finding what the other fetched.
#
# What can be set: bench/python_side.sh
set -euo pipefail
# shellcheck source=../../bench/python_side.sh
source "$(dirname "$(readlink -f "$0")")/../../bench/python_side.sh"
need_python huggingface_hub
exec "$KEDGE_PYTHON" "$root/tests/peers/compare_hub.py"
