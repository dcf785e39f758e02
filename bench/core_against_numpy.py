#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""APO rounds on a bandit: kedge with Eigen (bench core_rounds) against the same loop in NumPy, in one run.

Usage: core_against_numpy.py PATH/kedge_bench_core_rounds
"""
import json
import subprocess
import sys
import time

import numpy as np


def rounds_by_numpy(reward, rounds=100, alpha=0.3, beta=0.5):
    result = np.zeros_like(reward)
    previous = result
    for t in range(rounds):
        start = result + (alpha if t else 0.0) * (result - previous)
        previous = result
        largest = start.max()
        reference = start - (largest + np.log(np.exp(start - largest).sum()))
        result = reference + reward / beta
    return result


def seconds_by_numpy(arms):
    reward = np.linspace(0, 1, arms)
    rounds_by_numpy(reward)
    best = float("inf")
    for _ in range(7):
        repeats = max(1, 20000 // arms)
        start = time.perf_counter()
        for _ in range(repeats):
            rounds_by_numpy(reward)
        best = min(best, (time.perf_counter() - start) / repeats)
    return best


if len(sys.argv) != 2:
    sys.exit(__doc__)
command = [sys.argv[1], "--benchmark_format=json", "--benchmark_repetitions=9",
           "--benchmark_enable_random_interleaving=true", "--benchmark_min_time=0.05",
           "--benchmark_filter=^(kedge|hand)/(10|1000)$"]
runs = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["benchmarks"]
times = {}
for run in runs:
    if run["run_type"] == "iteration":
        times[run["run_name"]] = min(times.get(run["run_name"], float("inf")), run["cpu_time"] * 1e-9)
for arms in (10, 1000):
    kedge, hand, numpy = times[f"kedge/{arms}"], times[f"hand/{arms}"], seconds_by_numpy(arms)
    print(f"{arms} arms, 100 rounds: kedge {kedge * 1e6:.1f} us, by hand {hand * 1e6:.1f} us (ratio {kedge / hand:.3f}), "
          f"NumPy {np.__version__} {numpy * 1e6:.1f} us ({numpy / kedge:.1f} times kedge)")
