#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""core/comparison.csv: intervals and length-controlled win rates by mpmath, 40 digits, from their formulas.

    python make_comparison.py        (versions: requirements.txt)

Columns: case, shares and differences between blanks, rate with its interval, length-controlled rate with its interval, slope.
"""
import pathlib
import random

from mpmath import mp, mpf, exp, findroot, log, matrix, sqrt, tanh

mp.dps = 40
z = sqrt(2) * mp.erfinv(mpf("0.95"))


def wilson(p, n):
    # The two shares q for which (p - q)^2 = z^2 q(1 - q)/n.
    a, b, c = 1 + z * z / n, -(2 * p + z * z / n), p * p
    root = sqrt(b * b - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def win_rate(shares):
    m = len(shares)
    p = sum(shares) / m
    variance = sum((w - p) ** 2 for w in shares) / (m - 1) / m if m > 1 else mpf(0)
    spread = p * (1 - p)
    n = spread / variance if variance > 0 and spread > 0 else mpf(m)
    return p, *wilson(p, n)


def controlled(shares, lengths):
    m = len(shares)
    mean = sum(lengths) / m
    sigma = sqrt(sum((d - mean) ** 2 for d in lengths) / m)
    x = [tanh(d / sigma) if sigma > 0 else mpf(0) for d in lengths]

    def p(theta, phi, i):
        return 1 / (1 + exp(-(theta + phi * x[i])))

    def gradient(theta, phi):
        return [sum(p(theta, phi, i) - shares[i] for i in range(m)) + mpf("1e-6") * theta,
                sum((p(theta, phi, i) - shares[i]) * x[i] for i in range(m)) + phi]

    start = log(sum(shares) + mpf("0.5")) - log(m - sum(shares) + mpf("0.5"))
    theta, phi = findroot(lambda a, b: gradient(a, b), (start, mpf(0)), tol=mpf("1e-50"), maxsteps=500)
    h = matrix([[mpf("1e-6"), 0], [0, 1]])
    s = matrix(2)
    for i in range(m):
        q = p(theta, phi, i)
        v = matrix([1, x[i]])
        h += q * (1 - q) * v * v.T
        s += (q - shares[i]) ** 2 * v * v.T
    inverse = h ** -1
    error = sqrt((inverse * s * inverse)[0, 0])

    def logistic(t):
        return 1 / (1 + exp(-t))

    return logistic(theta), logistic(theta - z * error), logistic(theta + z * error), phi


def main():
    random.seed(5)
    cases = {"one prompt": ([1], [3]),
             "all equal": ([0.5] * 6, [1, 2, 3, -1, 0, 4]),
             "no difference in length": ([0, 1, 1, 0.5, 1], [7] * 5),
             "length decides": ([1 if d > 0 else 0 for d in range(-10, 11) if d], [d for d in range(-10, 11) if d]),
             "against length": ([0.25, 0.75, 1, 0, 0.5, 1, 1, 0.25], [50, -20, -80, 100, 5, -60, -10, 30])}
    lengths = [random.randint(-300, 500) for _ in range(60)]
    cases["drawn"] = ([random.choice([0, 0.25, 0.5, 0.75, 1]) if random.random() < 0.5 else (1 if d > 0 else 0) for d in lengths], lengths)
    rows = []
    for name, (shares, differences) in cases.items():
        w, d = [mpf(v) for v in shares], [mpf(v) for v in differences]
        numbers = [repr(float(v)) for v in (*win_rate(w), *controlled(w, d))]
        rows.append(",".join([name, " ".join(map(str, shares)), " ".join(map(str, differences)), *numbers]))
    (pathlib.Path(__file__).parent / "core/comparison.csv").write_text("\n".join(rows) + "\n")


main()
