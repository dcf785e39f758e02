# SPDX-License-Identifier: Apache-2.0
"""What a step of DPO on a GPU can reach, by arithmetic: python3 bench/roofline.py

A step of 8 pairs of 2048 tokens (1024 + 2 × 512), full fine-tuning in bfloat16. Its time is the larger of the host's, launches times microseconds, and of
the GPU's, the sum of

  products     6 operations a parameter of the layers and token, 8 of the head and completion token (its logits are computed twice), at a share of the peak
  attention    12 operations a head's number and key that is seen, at half the peak
  memory       bytes that all else reads and writes, at a share of the bandwidth: of a token and layer, a logit, a weight and micro-batch, a weight of
               the head and chunk of its rows, a parameter and step of the optimizer

and MFU is the share of the peak that 6 operations a parameter and token (the head's at completion tokens), and attention, are in that time. Nothing here was
measured: the shares are those with which the way that everything was computed by LibTorch's plain operations comes out as a careful hand count had it.
"""

import argparse
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHAPES = ["bench/gpu/shapes/smollm2-135m.json", "bench/gpu/shapes/qwen2.5-0.5b.json", "bench/gpu/shapes/llama-3.2-1b.json", "tests/golden/papers/llama-2-7b.json",
          "tests/golden/papers/solar-10.7b.json"]  # fmt: skip
PAIRS, PROMPT, COMPLETION = 8, 1024, 512


def shape(path):
    c = json.loads((ROOT / path).read_text())
    heads, dim = c["num_attention_heads"], c.get("head_dim", c["hidden_size"] // c["num_attention_heads"])
    s = {"name": Path(path).stem, "V": c["vocab_size"], "H": c["hidden_size"], "I": c["intermediate_size"], "layers": c["num_hidden_layers"], "q": heads * dim, "dim": dim,
         "kv": c.get("num_key_value_heads", heads) * dim, "tied": c["tie_word_embeddings"]}  # fmt: skip
    s["body"] = s["layers"] * (s["H"] * (2 * s["q"] + 2 * s["kv"]) + 3 * s["H"] * s["I"])
    s["head"] = s["V"] * s["H"]
    s["parameters"] = s["body"] + s["head"] * (1 if s["tied"] else 2)
    return s


# Bytes of a token and layer that are read and written outside products and attention proper, whose traffic their rates have in them: norms, gate and
# rotation as tests/llm/model/launches_test.cpp counts them, both ways. g: keys gathered for each there is, since both completions see the prompt's.
def gathered():
    return (PROMPT + 2 * (PROMPT + COMPLETION)) / (PROMPT + 2 * COMPLETION)


def plain_operations(s):
    """Each an operation of LibTorch's, residual stream, norms and rotations in float32: seven for a norm and ten for its way back, six for a rotation, …"""
    return (252 + 32) * s["H"] + 42 * s["I"] + 64 * (s["q"] + s["kv"]) + (36 * gathered() + 20) * s["kv"]


def own_kernels(s):
    """A kernel for a norm with the residual, a rotation, a gate, each way, and for a gather and a reduce."""
    return 84 * s["H"] + 18 * s["I"] + 8 * (s["q"] + s["kv"]) + 4 * s["dim"] + (20 * gathered() + 4) * s["kv"]


# What a way of computing costs. `chunk`: rows of the head at a time.
WAYS = {
    "as it was": {"launches": 123, "token": plain_operations, "logit": 62, "weight": 12, "head_weight": 12, "parameter": 50, "micro": PAIRS,
                  "chunk": lambda s: 64 * 2**20 / (4 * s["V"])},
    "defaults of a GPU": {"launches": 123, "token": plain_operations, "logit": 62, "weight": 12, "head_weight": 12, "parameter": 50, "micro": 1, "chunk": lambda s: 2048},
    "own kernels": {"launches": 32, "token": own_kernels, "logit": 12, "weight": 8, "head_weight": 8, "parameter": 36, "micro": 1, "chunk": lambda s: 4096},
}  # fmt: skip


def step(s, way, given):
    tokens, rows = PAIRS * (PROMPT + 2 * COMPLETION), PAIRS * 2 * COMPLETION
    seen = PAIRS * (PROMPT * (PROMPT + 1) / 2 + 2 * (PROMPT * COMPLETION + COMPLETION * (COMPLETION + 1) / 2))
    attention = 12 * seen * s["layers"] * s["q"]
    useful = 6 * (s["body"] * tokens + s["head"] * rows) + attention
    chunks = rows / way["chunk"](s)
    moved = (way["token"](s) * s["layers"] * tokens + way["logit"] * s["V"] * rows + way["weight"] * s["body"] * way["micro"]
             + way["head_weight"] * s["head"] * chunks + way["parameter"] * s["parameters"])  # fmt: skip
    products = (6 * s["body"] * tokens + 8 * s["head"] * rows) / (given.products * given.peak)
    gpu = products + attention / (given.peak / 2) + moved / (given.memory * given.bandwidth)
    host = (way["launches"] * s["layers"] * way["micro"] + 15 * chunks) * given.launch
    return {"seconds": max(gpu, host), "host": host, "products": products, "mfu": useful / max(gpu, host) / given.peak, "bytes": way["token"](s)}


# The hand count of the first two ways, in percent.
COUNTED = {"smollm2-135m": (12, 20), "qwen2.5-0.5b": (22, 28), "llama-3.2-1b": (37, 43), "llama-2-7b": (52, 57), "solar-10.7b": (54, 59)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peak", type=float, default=790e12, help="operations a second, dense bfloat16: what an H200 does with random numbers")
    parser.add_argument("--bandwidth", type=float, default=4.3e12, help="bytes a second")
    parser.add_argument("--launch", type=float, default=4.2e-6, help="seconds of the host for a launch")
    parser.add_argument("--products", type=float, default=0.9, help="share of the peak that products reach")
    parser.add_argument("--memory", type=float, default=0.75, help="share of the bandwidth that all else reaches")
    given = parser.parse_args()
    print("| | " + " | ".join(WAYS) + " | of its step in products | milliseconds a step | bytes a token and layer, as it was → own kernels | hand count of the first two |")
    print("|---" * 8 + "|")
    for s in map(shape, SHAPES):
        ways = [step(s, way, given) for way in WAYS.values()]
        last, first = ways[-1], ways[0]
        print(f"| {s['name']} | " + " | ".join(f"{100 * w['mfu']:.0f} %" for w in ways)
              + f" | {100 * last['products'] / last['seconds']:.0f} % | {1000 * first['seconds']:.0f} → {1000 * last['seconds']:.0f} | {first['bytes'] / 1000:,.0f} k → {last['bytes'] / 1000:,.0f} k"
              + " | " + ", ".join(f"{x} %" for x in COUNTED[s["name"]]) + " |")  # fmt: skip


if __name__ == "__main__":
    main()
