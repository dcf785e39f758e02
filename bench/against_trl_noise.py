# SPDX-License-Identifier: Apache-2.0
"""What bfloat16 does to margins: kedge's against TRL's arithmetic, each beside its own float32 (see against_trl_noise.sh).

The margin of a pair is log pi(chosen) - log pi(rejected), in nats, summed over the completions' tokens. Two points: the model as
it is, and after one float32 step of DPO on the first short pairs. A loss sees the change of a margin from the reference to the policy;
both are computed in bfloat16, and what they have in common cancels. Printed are, over the pairs,

  margin   |bfloat16 - float32| of margins under the model as it is: median and maximum
  change   the same of the change of margins by the step, and beside it the size of that change itself in float32
  loss     -log sigmoid(beta * change), the mean, in float32 and in bfloat16

TRL's side is its forward pass: transformers' model under bfloat16 autocast over float32 weights, as accelerate wraps it, chosen and
rejected padded to a batch of two, log-probabilities by TRL's own function. kedge's side is `kedge score`, which multiplies by bfloat16 weights, as
runs do with --weights_dtype bfloat16; where runs multiply by their float32 masters, these differences are zero by construction.

SmolLM2 comes in 4 and 8 bits here, so that many of its weights lie halfway between numbers of bfloat16, where the smallest step decides
which way they are rounded. --round_start begins at weights that are bfloat16 numbers, as most published models are.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "golden"), str(ROOT / "bench")]
MAX_LENGTH, BATCH = 1024, 8


def trl_margins(folder, dtype, pairs_file, threads):
    """Margins of all pairs by TRL's arithmetic, in this process."""
    from model_files import settle

    torch = settle()
    torch.set_num_threads(threads)
    import plain_loop
    from transformers import AutoModelForCausalLM
    from trl.trainer.utils import selective_log_softmax

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    margins = []
    for prompt, *completions in plain_loop.encode(folder, pairs_file, MAX_LENGTH):
        length = max(len(c) for c in completions)
        ids = torch.zeros(2, len(prompt) + length, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, completion in enumerate(completions):
            filled = len(prompt) + len(completion)
            ids[row, :filled] = torch.tensor(prompt + completion)
            mask[row, :filled] = 1
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = model(ids, attention_mask=mask, use_cache=False, logits_to_keep=length + 1).logits
        logp = selective_log_softmax(logits[:, :-1].float(), ids[:, len(prompt) :])
        chosen, rejected = ((logp[i] * mask[i, len(prompt) :]).double().sum().item() for i in (0, 1))
        margins.append(chosen - rejected)
    return margins


def kedge_margins(folder, dtype, pairs_file, given):
    command = [given.program, "score", "--model_name_or_path", folder, "--dataset", pairs_file, "--dtype", dtype, "--max_length", MAX_LENGTH,
               "--threads", given.threads, "--quiet"]  # fmt: skip
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [row["logp_chosen"] - row["logp_rejected"] for row in rows]


def margins_of(side, folder, dtype, pairs_file, given):
    print(f"against_trl_noise: {side} {dtype} {folder.name} {pairs_file.stem}", file=sys.stderr)
    if side == "kedge":
        return kedge_margins(folder, dtype, pairs_file, given)
    command = [sys.executable, __file__, "--worker", dtype, "--folder", folder, "--pairs_file", pairs_file, "--threads", given.threads]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def one_step(start, end, pairs_file, given):
    """Writes the model after one float32 step of kedge on the first pairs."""
    command = [given.program, "dpo", "--model_name_or_path", start, "--dataset", pairs_file, "--output_dir", end, "--max_steps", 1, "--max_train_samples", BATCH,
               "--per_device_train_batch_size", BATCH, "--no_shuffle", "--learning_rate", given.learning_rate, "--beta", given.beta,
               "--lr_scheduler_type", "constant", "--max_length", MAX_LENGTH, "--dtype", "float32", "--threads", given.threads, "--quiet"]  # fmt: skip
    subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL, check=True)


def rounded_start(folder, to):
    """The model with its weights rounded to bfloat16, stored in float32."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from model_files import settle

    torch = settle()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).to(torch.float32)
    model.save_pretrained(to)
    AutoTokenizer.from_pretrained(folder).save_pretrained(to)
    return to


def spread(values):
    sizes = [abs(value) for value in values]
    return {"median": statistics.median(sizes), "maximum": max(sizes)}


def minus(a, b):
    return [x - y for x, y in zip(a, b, strict=True)]


def loss(changes, beta):
    return statistics.fmean(math.log1p(math.exp(-beta * change)) for change in changes)


def compare(data, start, end, pairs_file, given):
    rows = []
    for side in given.sides:
        at = {(dtype, folder): margins_of(side, folder, dtype, pairs_file, given) for dtype in ("float32", "bfloat16") for folder in (start, end)}
        change = {dtype: minus(at[dtype, end], at[dtype, start]) for dtype in ("float32", "bfloat16")}
        rows.append({
            "data": data, "side": side, "margin": spread(minus(at["bfloat16", start], at["float32", start])),
            "change": spread(minus(change["bfloat16"], change["float32"])), "true_change": spread(change["float32"]),
            "losses": {dtype: loss(values, given.beta) for dtype, values in change.items()},
        })  # fmt: skip
    return rows


def table(rows):
    yield "| pairs | side | margin, median | maximum | change, median | maximum | true change, median | loss float32 | loss bfloat16 |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        numbers = [row[what][how] for what in ("margin", "change") for how in ("median", "maximum")]
        yield "| " + " | ".join([row["data"], row["side"], *(f"{n:.4f}" for n in numbers), f"{row['true_change']['median']:.4f}",
                                 *(f"{row['losses'][d]:.4f}" for d in ("float32", "bfloat16"))]) + " |"  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.environ.get("KEDGE_PROGRAM", ROOT / "build/bin/kedge"))
    parser.add_argument("--model", type=Path, default=os.environ.get("KEDGE_MODEL"), help="GGUF of SmolLM2-135M-Instruct")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/golden/smollm2-135m-instruct", help="the model as a Hugging Face folder; made where missing")
    parser.add_argument("--data", type=Path, default=ROOT / "examples/data/sentiment-train.jsonl")
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--lengths", nargs="+", choices=["short", "long"], default=["short", "long"])
    parser.add_argument("--round_start", action="store_true")
    parser.add_argument("--sides", nargs="+", choices=["trl", "kedge"], default=["trl", "kedge"])
    parser.add_argument("--learning_rate", type=float, default=1e-6)
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count()))
    parser.add_argument("--output", type=Path, default=ROOT / "build/against_trl_noise.json")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--pairs_file", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        print(json.dumps(trl_margins(given.folder, given.worker, given.pairs_file, given.threads)))
        return

    from against_trl import long_pairs
    from model_files import unpack

    folder, rows = Path(unpack(given.model, given.folder)).absolute(), []
    with tempfile.TemporaryDirectory() as work:
        if given.round_start:
            folder = rounded_start(folder, Path(work, "rounded"))
        end = Path(work, "after-one-step")
        one_step(folder, end, given.data, given)
        for data in given.lengths:
            pairs_file = Path(work, f"{data}.jsonl")
            with open(given.data, encoding="utf-8") as lines:
                pairs_file.write_text("".join(long_pairs(lines, given.pairs) if data == "long" else islice(lines, given.pairs)), encoding="utf-8")
            rows += compare(data, folder, end, pairs_file, given)
    print("\n".join(table(rows)))
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps({"pairs": given.pairs, "round_start": given.round_start, "learning_rate": given.learning_rate, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
