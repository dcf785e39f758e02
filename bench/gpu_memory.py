# SPDX-License-Identifier: Apache-2.0
"""The table of docs/on-a-gpu.md: python3 bench/gpu_memory.py PROGRAM. What `kedge inspect` plans for models of 1 to 11 billion parameters on GPUs of 24, 80 and 141 GB."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODELS = {"Llama-3.2-1B": "bench/gpu/shapes/llama-3.2-1b.json", "Gemma-2B": "tests/golden/papers/gemma-2b.json", "Llama-2-7B": "tests/golden/papers/llama-2-7b.json",
          "SOLAR-10.7B": "tests/golden/papers/solar-10.7b.json"}  # fmt: skip
WAYS = [("full", "adamw_torch_fused"), ("full", "adamw_8bit"), ("LoRA of rank 16", "adamw_torch_fused")]
SIZES = [24, 80, 141]


def cell(plan):
    if not plan["fits"]:
        return f"{plan['bytes'] / 1e9:.0f} GB: no"
    return f"{plan['bytes'] / 1e9:.0f} GB, {plan['tokens_at_once']:,}" + ("*" if plan.get("gradient_checkpointing") else "")


def main():
    program = sys.argv[1]
    print("| model | method | " + " | ".join(f"{size} GB" for size in SIZES) + " |\n" + "|---" * (2 + len(SIZES)) + "|")
    for name, path in MODELS.items():
        for method, optim in WAYS:
            said = subprocess.run([program, "inspect", str(ROOT / path), "--optim", optim, "--json"], check=True, capture_output=True, text=True).stdout
            memory = json.loads(said)["memory"]
            print(f"| {name} | {method}" + (f", `{optim}`" if method == "full" else "") + " | "
                  + " | ".join(cell(memory[f"GPU of {size} GB, {method}"]) for size in SIZES) + " |")  # fmt: skip


if __name__ == "__main__":
    main()
