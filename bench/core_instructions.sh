#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Instructions that 100 APO rounds take through kedge's templates and by hand, counted by callgrind: where time is noisy, this isn't.
# Usage: bench/core_instructions.sh [BUILD_DIRECTORY]; needs valgrind and the built benchmark core_rounds
set -eu
cd "$(dirname "$0")/.."
program=${1:-build}/bin/kedge_bench_core_rounds
count() { # NAME ARMS ITERATIONS -> instructions of the measured part
  valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect="*measure<*" \
    "$program" --benchmark_filter="^$1/$2\$" --benchmark_min_time=0 2>&1 | sed -n 's/.*Collected : //p'
}
for arms in 10 1000; do
  kedge=$(count kedge $arms)
  hand=$(count hand $arms)
  awk -v a=$arms -v k="$kedge" -v h="$hand" 'BEGIN { printf "%d arms: kedge %d, hand %d instructions, ratio %.4f\n", a, k, h, k / h }'
done
