#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The numbers of tests/unit/statistics_test.cpp, by SciPy: prints the lines of the test.  python3 make_statistics.py"""
from scipy import stats

for t, n in ((0.3, 1), (2.0, 3), (1.96, 9), (4.5, 19), (12.0, 29), (3.0, 199)):
    print(f"  CHECK_THAT(student_t_above({t}, {n}), WithinRel({stats.t.sf(t, n):.15e}, 1e-11));")
for level, n in ((0.95, 1), (0.95, 4), (0.95, 19), (0.9, 9), (0.99, 199)):
    print(f"  CHECK_THAT(student_t_two_sided({level}, {n}), WithinRel({stats.t.ppf((1 + level) / 2, n):.15e}, 1e-10));")
x = [0.31, -0.12, 0.55, 0.08, 0.27, 0.44, -0.05]
print("x:", ", ".join(map(str, x)))
low, high = stats.t.interval(0.95, len(x) - 1, sum(x) / len(x), stats.sem(x))
print(f"  CHECK_THAT(mean_interval(x).low, WithinRel({low:.15e}, 1e-9));")
print(f"  CHECK_THAT(mean_interval(x).high, WithinRel({high:.15e}, 1e-9));")
p_above = stats.ttest_1samp(x, 0.1, alternative="greater").pvalue
p_below = stats.ttest_1samp(x, 0.1, alternative="less").pvalue
low_side = stats.ttest_1samp(x, 0.2 - 0.3, alternative="greater").pvalue
high_side = stats.ttest_1samp(x, 0.2 + 0.3, alternative="less").pvalue
print(f"  CHECK_THAT(p_above(x, 0.1), WithinRel({p_above:.15e}, 1e-10));")
print(f"  CHECK_THAT(p_below(x, 0.1), WithinRel({p_below:.15e}, 1e-10));")
print(f"  CHECK_THAT(p_equivalent(x, 0.2, 0.3), WithinRel({max(low_side, high_side):.15e}, 1e-10));")
