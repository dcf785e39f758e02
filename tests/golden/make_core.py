#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/core/losses.csv: value and slopes of every loss of one pair, from the formulas, with 60 digits.

Independent of kedge: values are the papers' formulas written in the plainest way in mpmath, slopes are numerical
derivatives of those values at 60 digits. Pinned: mpmath 1.3.0.
Columns: loss, case, value, slope in logp_chosen, slope in logp_rejected.

And core/unpaired.csv: KTO of single completions, by the same means. Columns: logp, ref, desirable (1 or 0), k, value, slope in logp; beta = 0.1,
weights 1.5 of desirable ones and 0.75 of others.
"""
import pathlib
from mpmath import mp, mpf, exp, log, diff, sqrt

mp.dps = 60


def sigma(x): return 1 / (1 + exp(-x))
def sp(x): return log(1 + exp(x)) if x < 0 else x + log(1 + exp(-x))


CASES = {  # logp_w, logp_l, ref_w, ref_l, n_w, n_l, score_w, score_l
    "note": ("-12.5", "-15.25", "-13", "-14.5", 10, 12, "0.8", "0.2"),
    "wrong": ("-40.5", "-11.25", "-31", "-19.5", 17, 5, "0.65", "0.45"),
    "start": ("-20", "-30", "-20", "-30", 8, 9, "0.5", "0.4"),
    "far": ("-100", "-60100", "-50100", "-10100", 100, 400, "0.9", "0.1"),      # beta h = 1e4
    "far wrong": ("-60100", "-100", "-10100", "-50100", 100, 400, "0.9", "0.1"),  # beta h = -1e4
}
beta, eps = mpf("0.1"), mpf("0.1")


def terms(w, l, c):
    rw, rl, nw, nl, sw, sl = c
    a, b = w - rw, l - rl
    return a, b, a - b, nw, nl, sw, sl


def loss(name):
    def f(w, l, c):
        a, b, d, nw, nl, sw, sl = terms(w, l, c)
        z = beta * d
        pw, pl = w / nw, l / nl
        q = sigma(z)
        if name == "dpo": return sp(-z)
        if name == "hypo": return sp(-beta * (w - l - max(mpf(0), c[0] - c[1])))
        if name == "cdpo": return (1 - eps) * sp(-z) + eps * sp(z)
        if name == "robust_dpo": return ((1 - eps) * sp(-z) - eps * sp(z)) / (1 - 2 * eps)
        if name == "hinge": return max(mpf(0), 1 - z)
        if name == "ipo": return (a / nw - b / nl - 1 / (2 * beta)) ** 2
        if name == "ipo_sum": return (d - 1 / (2 * beta)) ** 2
        if name == "exo":
            e = mpf("0.001")
            return q * (-sp(-z) - log(1 - e)) + sigma(-z) * (-sp(z) - log(e))
        if name == "nca": return sp(-beta * a) + sp(beta * a) / 2 + sp(beta * b) / 2
        if name == "bco": return sp(-beta * a) + sp(beta * b)
        if name == "bco_shifted": return sp(-(beta * a - mpf("0.3"))) + sp(beta * b - mpf("0.3"))
        if name == "sppo_hard": return (a - 1 / (2 * beta)) ** 2 + (b + 1 / (2 * beta)) ** 2
        if name == "sppo": return ((a - (sw - mpf(1) / 2) / beta) ** 2 + (b - (sl - mpf(1) / 2) / beta) ** 2) / 2
        if name == "anchored_zero": return 1 - sigma(beta * a) + sigma(beta * b)
        if name == "anchored_down": return sigma(beta * a) + 1 - sigma(z)
        if name == "discopop":
            m = sigma(z / mpf("0.05"))
            return (1 - m) * sp(-z) + m * exp(-z)
        if name == "length_normalized_dpo": return sp(-beta * (a / nw - b / nl))
        if name == "length_regularized_dpo": return sp(-(z + mpf("0.01") * (nw - nl)))
        if name == "offset_dpo": return sp(-(z - log(sw - sl)))
        if name == "simpo": return sp(-(2 * (pw - pl) - mpf("0.5")))
        if name == "simpo_small_beta": return sp(-(beta * (pw - pl) - mpf("0.5")))
        if name == "alpha_po":
            al = mpf("0.25")
            reward = lambda p: (1 - exp(-al * p)) / al
            return sp(-(2 * (reward(pw) - reward(pl)) - mpf("0.5")))
        if name == "orpo":
            odds = (pw - pl) - (log(1 - exp(pw)) - log(1 - exp(pl)))
            return beta * sp(-odds)
        if name == "cpo": return sp(-beta * (w - l))
        if name == "slic_hf": return max(mpf(0), 1 - w + l) - mpf("0.1") * w
        if name == "kto":
            k = mpf("0.05")
            return 1 - sigma(beta * (a - k)) + 1 - sigma(beta * (k - b))
        if name == "inpo": return (d - 1 / (2 * mpf("0.02"))) ** 2
        if name == "onpo": return (d - beta / 2) ** 2
        if name == "online_ipo": return (d - (sw - sl) / beta) ** 2
        if name == "dno":
            p = sigma(sw - sl)
            return p * sp(-z) + (1 - p) * sp(z)
        if name == "rebel": return (d / mpf("0.5") - (sw - sl)) ** 2
        if name == "distilled_dpo": return (beta * d - (sw - sl)) ** 2
        if name == "forward_kl dpo": return sp(-beta * ((1 - exp(-a)) - (1 - exp(-b))))
        if name == "jensen_shannon dpo":
            s = lambda x: log(2) - sp(-x)
            return sp(-beta * (s(a) - s(b)))
        if name == "alpha_divergence dpo":
            c1 = mpf("-0.5")
            s = lambda x: (exp(c1 * x) - 1) / c1
            return sp(-beta * (s(a) - s(b)))
        raise KeyError(name)
    return f


NAMES = """dpo hypo cdpo robust_dpo hinge ipo ipo_sum exo nca bco bco_shifted sppo_hard sppo anchored_zero anchored_down discopop
length_normalized_dpo length_regularized_dpo offset_dpo simpo simpo_small_beta alpha_po orpo cpo slic_hf kto inpo onpo
online_ipo dno rebel distilled_dpo""".split() + ["forward_kl dpo", "jensen_shannon dpo", "alpha_divergence dpo"]
CAPPED = {"forward_kl dpo", "alpha_divergence dpo", "alpha_po"}  # exponents are capped at 80 there: no far cases

lines = ["loss,case,value,slope_chosen,slope_rejected"]
for name in NAMES:
    f = loss(name)
    for case, row in CASES.items():
        if name in CAPPED and case.startswith("far"):
            continue
        w, l = mpf(row[0]), mpf(row[1])
        c = tuple(mpf(x) for x in row[2:])
        value = f(w, l, c)
        dw = diff(lambda x: f(x, l, c), w)
        dl = diff(lambda x: f(w, x, c), l)
        lines.append(",".join([name, case] + [mp.nstr(x, 17, min_fixed=0, max_fixed=0) for x in (value, dw, dl)]))
out = pathlib.Path(__file__).parent / "core" / "losses.csv"
out.write_text("\n".join(lines) + "\n")
print(len(lines) - 1, "rows ->", out)

lines = ["logp,ref,desirable,k,value,slope"]
for logp, ref in (("-12.5", "-13"), ("-40.5", "-31"), ("-20", "-20"), ("-100", "-50100"), ("-60100", "-10100")):
    for desirable in (1, 0):
        for k in ("0", "0.05", "3.5"):
            def f(x):
                r = x - mpf(ref)
                return mpf("1.5") * (1 - sigma(beta * (r - mpf(k)))) if desirable else mpf("0.75") * (1 - sigma(beta * (mpf(k) - r)))
            numbers = (mp.nstr(x, 17, min_fixed=0, max_fixed=0) for x in (f(mpf(logp)), diff(f, mpf(logp))))
            lines.append(",".join([logp, ref, str(desirable), k, *numbers]))
out = pathlib.Path(__file__).parent / "core" / "unpaired.csv"
out.write_text("\n".join(lines) + "\n")
print(len(lines) - 1, "rows ->", out)
