# SPDX-License-Identifier: Apache-2.0
"""How the cost of `kedge dpo` grows with the model, the length of pairs, the pairs of a prompt and the vocabulary.

Every point is a run of its own on a model of random weights and pairs of random words: two steps of one batch, the reference
pass counted. A series varies one thing and keeps the rest. Printed are

  step s       seconds of a training step
  reference s  seconds of scoring that batch once
  rest s       the whole command less training and reference: starting, loading, tokenising, saving
  exponent     of a power law through the series, by least squares of the logarithms: 1 is linear

and with --svg FILE a picture of the steps' seconds. Needs numpy alone beside the program.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy

ROOT = Path(__file__).resolve().parent.parent
BASE = {"hidden": 384, "layers": 10, "vocabulary": 49152, "prompt": 96, "completion": 64, "pairs": 8, "prompts": 8}
SERIES = {
    "parameters of the layers": [{"hidden": h, "layers": n} for h, n in ((192, 6), (256, 10), (384, 12), (512, 18), (576, 30))],
    "tokens of a pair": [{"prompt": p, "completion": p // 4, "pairs": 2, "prompts": 2} for p in (96, 192, 384, 768, 1536)],
    "pairs of a prompt": [{"pairs": n, "prompts": 1} for n in (1, 2, 4, 8, 16)],
    "vocabulary": [{"vocabulary": v} for v in (49152, 65536, 98304, 131072)],
}


def layer_parameters(of):
    hidden, inner = of["hidden"], of["hidden"] * 8 // 3 // 16 * 16
    return of["layers"] * (hidden * hidden * 2 + hidden * hidden // 3 * 2 + 3 * hidden * inner)


def abscissa(series, of):
    if series == "parameters of the layers":
        return layer_parameters(of)
    if series == "tokens of a pair":
        return of["prompt"] + 2 * of["completion"]
    return of["pairs"] if series == "pairs of a prompt" else of["vocabulary"]


def write_model(folder, of, tokenizer):
    """A Llama of random weights; three query heads to a key-value head, 64 numbers a head."""
    hidden, inner, heads = of["hidden"], of["hidden"] * 8 // 3 // 16 * 16, of["hidden"] // 64
    kv = heads // 3 if heads % 3 == 0 else heads
    shapes = {"model.embed_tokens.weight": (of["vocabulary"], hidden), "model.norm.weight": (hidden,)}
    for i in range(of["layers"]):
        at = f"model.layers.{i}."
        shapes |= {at + "input_layernorm.weight": (hidden,), at + "post_attention_layernorm.weight": (hidden,)}
        shapes |= {at + f"self_attn.{n}_proj.weight": (rows, hidden) for n, rows in (("q", hidden), ("k", 64 * kv), ("v", 64 * kv), ("o", hidden))}
        shapes |= {at + f"mlp.{n}_proj.weight": (inner, hidden) for n in ("gate", "up")} | {at + "mlp.down_proj.weight": (hidden, inner)}
    random, header, begin = numpy.random.default_rng(0), {}, 0
    for name, shape in shapes.items():
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, begin + size]}
        begin += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tokenizer / name).read_bytes())
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": inner,
        "num_hidden_layers": of["layers"], "num_attention_heads": heads, "num_key_value_heads": kv, "head_dim": 64, "rms_norm_eps": 1e-5,
        "vocab_size": of["vocabulary"], "max_position_embeddings": 8192, "rope_theta": 10000.0, "tie_word_embeddings": True, "hidden_act": "silu"}))
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shape in shapes.values():
            scale = 0.02 if len(shape) == 2 else 0
            values = random.standard_normal(shape, dtype=numpy.float32) * scale + (0 if scale else 1)
            file.write(values.astype(numpy.float32).tobytes())


def write_pairs(path, of):
    words = "time way day thing man world life hand part child eye woman place work week case point home water room".split()
    random = numpy.random.default_rng(1)

    def text(n):
        return " ".join(random.choice(words, n))

    prompts = [text(of["prompt"]) for _ in range(of["prompts"])]
    lines = [{"prompt": prompts[i % len(prompts)] + " ", "chosen": text(of["completion"]), "rejected": text(of["completion"])} for i in range(of["pairs"])]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def measure(given, of, tokenizer):
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        write_model(folder, of, tokenizer)
        write_pairs(folder / "pairs.jsonl", of)
        command = [given.program, "dpo", "--model_name_or_path", folder, "--data", folder / "pairs.jsonl", "--output_dir", folder / "out", "--max_length", "0",
                   "--per_device_train_batch_size", of["pairs"], "--max_steps", 2, "--logging_steps", 1, "--dtype", given.dtype, "--threads", given.threads,
                   "--json", "--quiet"]
        start = time.perf_counter()
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        wall = time.perf_counter() - start
        if done.returncode != 0:
            raise SystemExit(f"growth: {done.stderr.strip()}")
    summary = json.loads(done.stdout)
    step = (summary["train_runtime"] - summary["reference_runtime"]) / summary["steps"]
    return {"step": step, "reference": summary["reference_runtime"], "rest": wall - summary["train_runtime"]}


def exponent(points, key):
    x, y = (numpy.log([p[k] for p in points]) for k in ("x", key))
    return float(numpy.polyfit(x, y, 1)[0])


def picture(results, path):
    """One panel a series, both axes logarithmic, with the line of the fitted power."""
    width, height, panels = 260, 220, []
    for column, (series, points) in enumerate(results.items()):
        x, y = (numpy.log10([p[k] for p in points]) for k in ("x", "step"))
        slope, offset = numpy.polyfit(x, y, 1)
        left, top = 50 + column * (width + 40), 40
        px = left + (x - x.min()) / (x.max() - x.min()) * width
        low, high = min(y.min(), offset + slope * x.min()), max(y.max(), offset + slope * x.max())

        def py(value, low=low, high=high, top=top):
            return top + height - (value - low) / max(high - low, 1e-9) * height

        dots = "".join(f'<circle cx="{a:.1f}" cy="{py(b):.1f}" r="4" fill="#0b6e99"><title>{10**c:.4g}: {10**b:.3g} s</title></circle>' for a, b, c in zip(px, y, x))
        line = f'<line x1="{px[0]:.1f}" y1="{py(offset + slope * x[0]):.1f}" x2="{px[-1]:.1f}" y2="{py(offset + slope * x[-1]):.1f}" stroke="#d9822b"/>'
        labels = (f'<text x="{left}" y="{top - 12}">{series}: exponent {slope:.2f}</text><text x="{left}" y="{top + height + 18}">{points[0]["x"]:.3g}</text>'
                  f'<text x="{left + width}" y="{top + height + 18}" text-anchor="end">{points[-1]["x"]:.3g}</text>'
                  f'<text x="{left - 6}" y="{top + 8}" text-anchor="end">{10**high:.2g} s</text><text x="{left - 6}" y="{top + height}" text-anchor="end">{10**low:.2g} s</text>')
        panels.append(f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#999"/>{line}{dots}{labels}')
    total = 50 + len(results) * (width + 40)
    Path(path).write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {height + 80}" font-family="sans-serif" font-size="12">'
                          f'<rect width="100%" height="100%" fill="white"/>{"".join(panels)}</svg>\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.environ.get("KEDGE_PROGRAM", str(ROOT / "build/bin/kedge")))
    parser.add_argument("--model", default=os.environ.get("KEDGE_MODEL", str(ROOT / ".deps/smollm2-135m-instruct.gguf")), help="whose tokenizer is taken")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", help="where to make the models; else a temporary folder")
    parser.add_argument("--series", nargs="+", choices=list(SERIES), default=list(SERIES))
    parser.add_argument("--svg")
    given = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        tokenizer = Path(name) / "tokenizer"
        subprocess.run([given.program, "soup", given.model, "--method", "passthrough", "--output_dir", str(tokenizer), "--quiet"], check=True)
        for series in given.series:
            results[series] = []
            for change in SERIES[series]:
                of = BASE | change
                results[series].append({"x": abscissa(series, of)} | measure(given, of, tokenizer))
                print(f"growth: {series} {results[series][-1]['x']:.4g}", file=sys.stderr, flush=True)
    for series, points in results.items():
        print(f"\n| {series} | step s | reference s | rest s |\n|---|---|---|---|")
        for p in points:
            print(f"| {p['x']:,} | {p['step']:.3f} | {p['reference']:.3f} | {p['rest']:.2f} |")
        print(f"| exponent | {exponent(points, 'step'):.2f} | {exponent(points, 'reference'):.2f} | {exponent(points, 'rest'):.2f} |")
    if given.svg:
        picture(results, given.svg)


if __name__ == "__main__":
    main()
