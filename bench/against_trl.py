# SPDX-License-Identifier: Apache-2.0
"""Speed, memory and loss of kedge and of TRL's DPOTrainer on the same pairs, side by side (see against_trl.sh).

Every run is a process of its own; the sides take turns, so that a slow minute of the machine hits both. Same model, pairs,
order, batch, element type and threads. Measured are
  pairs/s   pairs over seconds of training, the reference pass included; loading the model, tokenising and writing it are not.
            TRL: trainer.train(), and the pass that fills its cache where the reference is computed beforehand.
            kedge: train_runtime of its report, which spans the same work
  cpu s     processor seconds: TRL's of that span alone, kedge's of the whole process. With --threads 1, where no thread spins while it
            waits, they compare the sides even on a busy machine
  memory    the largest resident set of the process, loading included, as the kernel reports it
  loss      of every step
  tokens/s  the same times the tokens of a pair, its prompt once
  bound     the rate of a 2048 x 2048 x 2048 product in that type, or in float32 where that is faster, measured between the runs, over
            the work that the pairs need: six
            operations a parameter and token, each prompt once a pair, the head at completion tokens alone, attention at its real
            lengths, and a third of that for the reference
  others    processor time that other programs took meanwhile, as a share of the machine: the best repetition is reported, and a
            comparison with much of it is worth repeating
"""

import argparse
import json
import math
import os
import random
import resource
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import side_process
import sides_picture
import trl_side

sys.path.insert(0, str(side_process.ROOT / "tests" / "golden"))

LEARNING_RATE, BETA, MAX_LENGTH = 1e-6, 0.1, 1024


def run_kedge(program, dtype, model, pairs_file, threads, settings, extra):
    """Runs the program; returns seconds and losses."""
    pairs = len(pairs_file.read_text().splitlines())
    with tempfile.TemporaryDirectory() as work:
        command = [
            program, "dpo", "--model_name_or_path", model, "--dataset", pairs_file, "--output_dir", f"{work}/out",
            "--per_device_train_batch_size", settings["batch"], "--max_steps", pairs // settings["batch"], "--no_shuffle", "--learning_rate", settings["learning_rate"],
            "--lr_scheduler_type", "constant", "--weight_decay", 0, "--max_grad_norm", 1, "--beta", settings["beta"], "--max_length", settings["max_length"],
            "--dtype", dtype, "--logging_steps", 1, "--threads", threads, "--json", *extra,
        ]  # fmt: skip
        report = side_process.report_of(command, "train_runtime", "against_trl")
        metrics = [json.loads(line) for line in Path(work, "out", "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in metrics if "loss" in row]
    return {"seconds": report["train_runtime"], "reference_seconds": report.get("reference_runtime"), "losses": losses}


def matrix_rate(dtype, threads):
    """Operations a second of a large product, the best of ten; of a smaller one where a processor only emulates the type."""
    import torch

    torch.set_num_threads(threads)
    rate = 0
    for size in (256, 512, 1024, 2048):
        if rate and 2 * size**3 / rate > 1:
            break
        a = torch.rand(size, size, dtype=torch.float32).to(getattr(torch, dtype))
        out, best = a @ a, math.inf
        for _ in range(10):
            start = time.perf_counter()
            torch.mm(a, a, out=out)
            best = min(best, time.perf_counter() - start)
        rate = 2 * size**3 / best
    return rate


def needed_work(folder, pairs_file):
    """Operations of a training pass over the pairs and of their reference, and tokens with each prompt once a pair."""
    import plain_loop

    config = json.loads(Path(folder, "config.json").read_text())
    hidden, layers, heads = (config[k] for k in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
    d = config.get("head_dim") or hidden // heads
    keys = config["num_key_value_heads"] * d
    body = layers * (2 * hidden * (heads * d + keys) + 3 * hidden * config["intermediate_size"])
    head, total, tokens = hidden * config["vocab_size"], 0, 0
    for prompt, chosen, rejected in plain_loop.encode(folder, pairs_file, MAX_LENGTH):
        p, own = len(prompt), (len(chosen), len(rejected))
        seen = p * (p + 1) / 2 + sum(p * n + n * (n + 1) / 2 for n in own)
        tokens += p + sum(own)
        total += 6 * (body * (p + sum(own)) + head * sum(own)) + 12 * layers * heads * d * seen
    return {"operations": total * 4 / 3, "tokens": tokens}


def long_pairs(data, count):
    """Ragged pairs: the texts of `data`, repeated and cut to lengths drawn as UltraFeedback has them: the median of prompt and one
    completion is 409 tokens, prompt to completion 0.42, both log-normal."""
    words = [word for line in data for text in (json.loads(line)["chosen"], json.loads(line)["rejected"]) for word in text[-1]["content"].split()]
    draw = random.Random(1)

    def text(median):
        count = min(max(4, round(median * math.exp(0.8 * draw.gauss(0, 1)))), 900) * 3 // 4  # four tokens are about three words
        first = draw.randrange(len(words))
        return " ".join(words[(first + i) % len(words)] for i in range(count))

    for _ in range(count):
        prompt, chosen, rejected = text(121), text(288), text(288)
        message = lambda role, content: [{"role": role, "content": content}]  # noqa: E731
        yield json.dumps({"prompt": message("user", prompt), "chosen": message("assistant", chosen), "rejected": message("assistant", rejected)}) + "\n"


def worker(given):
    """The part that runs in a process of its own: one side once, one JSON line on stdout."""
    who, settings = resource.RUSAGE_SELF, {"batch": given.batch, "learning_rate": LEARNING_RATE, "beta": BETA, "max_length": MAX_LENGTH}
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    if given.worker == "bound":
        result = {"operations_per_second": max(matrix_rate(dtype, given.threads) for dtype in {"float32", given.dtype})} | needed_work(given.folder, given.pairs_file)
    elif given.worker == "plain":
        import plain_loop

        result = plain_loop.run(given.dtype, given.folder, given.pairs_file, given.threads, settings)
    elif given.worker == "kedge":
        result = run_kedge(given.program, given.dtype, given.model, given.pairs_file, given.threads, settings, given.kedge_flag)
        who = resource.RUSAGE_CHILDREN
    else:
        result = trl_side.run(given.worker, given.dtype, given.folder, given.pairs_file, given.threads, settings)
    side_process.answer(result, who)


def measure(side, dtype, given, folder, pairs_file):
    command = [
        os.environ["KEDGE_PYTHON_TRL_028"] if side == "trl-0.28" else sys.executable, __file__, "--worker", side, "--dtype", dtype, "--folder", folder,
        "--pairs_file", pairs_file, "--batch", given.batch, "--threads", given.threads, "--program", given.program, "--model", given.model,
    ]  # fmt: skip
    command += [f"--kedge_flag={flag}" for flag in given.kedge_flag]
    return side_process.ask(command, f"against_trl: the {side} run") | {"side": side, "dtype": dtype}


def bound(dtype, given, pairs_file):
    """Pairs a second that the machine's matrix rate allows, and tokens a pair."""
    found = measure("bound", dtype, given, Path(given.folder).absolute(), pairs_file)
    return given.pairs * found["operations_per_second"] / found["operations"], found["tokens"] / given.pairs


def summary(runs, pairs):
    rows = []
    for (dtype, side), best in side_process.best(runs, lambda run: (run["dtype"], run["side"])).items():
        mine = [run for run in runs if (run["dtype"], run["side"]) == (dtype, side)]
        rows.append(
            {
                "dtype": dtype,
                "side": side,
                "pairs_per_second": pairs / best["seconds"],
                "all_pairs_per_second": [pairs / run["seconds"] for run in mine],
                "processor_seconds": min(run["processor_seconds"] for run in mine),
                "peak_bytes": max(run["peak_bytes"] for run in mine),
                "others": best["others"],
                "losses": best["losses"],
            }
        )
    return rows


def table(rows, bounds, tokens):
    base = {row["dtype"]: row for row in rows if row["side"] == "trl"}
    yield f"{'dtype':9} {'side':10} {'pairs/s':>8} {'tokens/s':>8} {'× trl':>6} {'bound':>6} {'cpu s':>6} {'memory':>8} {'% trl':>6} {'others':>6}  loss of every step"
    for row in rows:
        trl = base.get(row["dtype"], row)
        yield (
            f"{row['dtype']:9} {row['side']:10} {row['pairs_per_second']:8.3f} {row['pairs_per_second'] * tokens:8.1f} {row['pairs_per_second'] / trl['pairs_per_second']:6.2f}"
            f" {100 * row['pairs_per_second'] / bounds[row['dtype']]:5.0f}%"
            f" {row['processor_seconds']:6.1f} {row['peak_bytes'] / 2**30:5.2f}GiB {100 * row['peak_bytes'] / trl['peak_bytes']:6.0f} {100 * row['others']:5.0f}%  "
            + " ".join(f"{loss:.6f}" for loss in row["losses"])
        )


def machine():
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    return {"processor": model, "cores": os.cpu_count(), "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")}


def main():
    sides = [*trl_side.SIDES, "plain", "kedge"]
    parser = side_process.arguments("against_trl", __doc__, "sentiment-train.jsonl", sides, sides)
    parser.add_argument("--pairs", type=int, default=32, help="the first N pairs")
    parser.add_argument("--long", action="store_true", help="ragged long pairs instead: the texts of --data cut to UltraFeedback's lengths")
    parser.add_argument("--batch", type=int, help="pairs of a step; else 8, and 4 of the long ones")
    parser.add_argument("--svg", type=Path, help="draws the result, too")
    parser.add_argument("--pairs_file", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.batch = given.batch or (4 if given.long else 8)
    if given.worker:
        return worker(given)

    side_process.require(given, "against_trl")
    side_process.unpack(given.model, given.folder)
    with tempfile.TemporaryDirectory() as work:
        pairs_file = Path(work, "pairs.jsonl")
        with open(given.data, encoding="utf-8") as lines:
            pairs_file.write_text("".join(long_pairs(lines, given.pairs) if given.long else islice(lines, given.pairs)), encoding="utf-8")
        bounds = {dtype: bound(dtype, given, pairs_file) for dtype in given.dtypes}
        turns = [(dtype, side) for dtype in given.dtypes for _ in range(given.repeat) for side in given.sides]
        runs = []
        for dtype, side in turns:
            runs.append(measure(side, dtype, given, Path(given.folder).absolute(), pairs_file))
            seconds = runs[-1]["seconds"]
            print(f"against_trl: {dtype} {side} {seconds:.1f} s, {given.pairs / seconds:.3f} pairs/s", file=sys.stderr)
        tokens = next(iter(bounds.values()))[1]
        bounds = {dtype: max(known, bound(dtype, given, pairs_file))[0] for dtype, known in bounds.items()}  # again: somebody may have been busy
    rows = summary(runs, given.pairs)
    print("\n".join(table(rows, bounds, tokens)))
    print("bound: " + ", ".join(f"{dtype} {pairs:.3f} pairs/s" for dtype, pairs in bounds.items()))
    side_process.write(given, {"machine": machine(), "pairs": given.pairs, "long": given.long, "tokens_a_pair": tokens, "bounds": bounds, "summary": rows, "runs": runs})
    if given.svg:
        sides_picture.write(given.svg, rows, bounds)


if __name__ == "__main__":
    main()
