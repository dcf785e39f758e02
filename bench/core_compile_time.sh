#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Seconds to parse kedge.hpp alone, the best of five (processor time), against the budget. Exit code 1 above it.
# Usage: bench/core_compile_time.sh [COMPILER] [BUDGET]
set -eu
cd "$(dirname "$0")/.."
compiler=${1:-g++}
budget=${2:-1.2}
file=$(mktemp --suffix=.cpp)
trap 'rm -f "$file"' EXIT
echo '#include <kedge/kedge.hpp>' > "$file"
best=999
for _ in 1 2 3 4 5; do
  seconds=$(bash -c "TIMEFORMAT='%U'; time $compiler -std=c++20 -Iinclude -fsyntax-only '$file'" 2>&1)
  best=$(printf '%s\n%s\n' "$best" "$seconds" | sort -g | head -1)
done
echo "kedge.hpp with $compiler: $best s, budget $budget s"
[ "$(printf '%s\n%s\n' "$best" "$budget" | sort -g | tail -1)" = "$budget" ]
