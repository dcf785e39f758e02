#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a step of training takes on many GPUs, for ZeRO-1, 2 and 3, by a model of computation and links.

    bench/scale_simulation.py measure --model FOLDER   small runs on this machine, 1, 2, 4 and 8 processes of Gloo
    bench/scale_simulation.py fit                      the model against these runs
    bench/scale_simulation.py table                    7B and 10.7B on 8 to 512 GPUs

`measure` writes bench/scale_measured.json, which the others read. It counts bytes on a loopback of its own (unshare -n) and processor seconds of all
processes, of which a busy machine changes little, and no wall time. FOLDER is a Hugging Face folder of the Llama family; of it come tokenizer and config.json,
whose layers are made 12 and narrower. Runs are `kedge sft` from random numbers.
"""
import argparse, fcntl, json, os, pathlib, resource, shutil, socket, struct, subprocess, sys, tempfile

HERE = pathlib.Path(__file__).resolve().parent
MEASURED = HERE / "scale_measured.json"
SHARDING = {1: "no_shard", 2: "shard_grad_op", 3: "full_shard"}

# ---- Bytes -----------------------------------------------------------------------------------------------------------------------------------------------


def bytes_sent(n, processes, zero, passes, gpu, read=4, embedding=0, tied=True):
    """Bytes that a process sends in a step: n trained numbers, `passes` forward and backward, weights read in `read` bytes.
    A ring of W sends (W - 1)/W of what is gathered or summed by parts; Gloo sums whole buckets, which is twice that."""
    share = (processes - 1) / processes
    reduce = 4 * n * (1 if gpu else 2)
    gather = read * n
    if zero == 1:
        return share * (reduce + gather)
    if zero == 2:
        return share * (passes * reduce + gather)
    return share * passes * (reduce + 2 * gather - (0 if tied else read * embedding))


def operations(layers, buckets, zero, passes):
    """Operations of the group in a step, the announcements of passes among them."""
    units = layers + 2
    if zero == 1:
        return 2 * buckets + 4
    if zero == 2:
        return passes * (units + 1) + units + 5
    return passes * (3 * units + 2) + 5


# ---- Small runs ------------------------------------------------------------------------------------------------------------------------------------------


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack("16sh14s", b"lo", 0, b"")
        flags = struct.unpack("16sh14s", fcntl.ioctl(s, 0x8913, request))[1]
        fcntl.ioctl(s, 0x8914, struct.pack("16sh14s", b"lo", flags | 1, b""))


def loopback_bytes():
    for line in open("/proc/net/dev"):
        if line.strip().startswith("lo:"):
            return int(line.split(":")[1].split()[8])
    return 0


def one_run(args):
    """Inside a network of its own: bytes, processor seconds and peaks of a run."""
    loopback_up()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as out:
        command = [args.kedge, "sft", "--config_name", args.model, "--dataset", args.data, "--output_dir", out + "/run", "--max_steps", str(args.steps),
                   "--per_device_train_batch_size", str(args.examples), "--micro_batch_tokens", str(args.tokens_at_once), "--threads", "1", "--quiet",
                   "--learning_rate", "1e-5", "--save_strategy", "no", "--dtype", "float32", "--shuffle", "false", "--report_to", "none", "--max_length", "64",
                   "--gradient_checkpointing", "off", "--fsdp", SHARDING[args.zero]]
        running = []
        for rank in range(args.processes):
            own = dict(os.environ, OMP_NUM_THREADS="1")
            if args.processes > 1:
                own.update(WORLD_SIZE=str(args.processes), LOCAL_WORLD_SIZE=str(args.processes), RANK=str(rank), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1",
                           MASTER_PORT="29511")
            running.append(subprocess.Popen(command, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        peaks = []
        for one in running:
            _, status, usage = os.wait4(one.pid, 0)
            peaks.append(usage.ru_maxrss * 1024)
            if status != 0:
                sys.exit("failed: " + one.stderr.read().decode())
        tokens = [json.loads(line) for line in open(out + "/run/metrics.jsonl")][-1]["num_tokens"]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"bytes": loopback_bytes(), "processor_seconds": seconds, "peak": max(peaks), "tokens": tokens}))


def small_model(folder, to):
    """38M parameters, half of them the embedding, and 64 tokens a line of data."""
    for file in pathlib.Path(folder).iterdir():
        if file.suffix in (".json", ".jinja") and not file.name.endswith("index.json"):
            shutil.copy(file, to)
    config = json.load(open(to + "/config.json"))
    config.update(hidden_size=384, intermediate_size=1024, num_hidden_layers=12, num_attention_heads=6, num_key_value_heads=2, head_dim=64)
    json.dump(config, open(to + "/config.json", "w"))
    words = "the sea is calm and the harbour far from here they said that a meal was warm when rain fell on stone".split()
    with open(to + "/data.jsonl", "w") as data:
        for i in range(512):
            text = " ".join(words[(i * 7 + j * (1 + i % 5)) % len(words)] for j in range(90))
            data.write(json.dumps({"prompt": "Once,", "completion": " " + text}) + "\n")
    return config


def measure(args):
    small = tempfile.mkdtemp()
    config = small_model(args.model, small)
    args.model, args.data = small, small + "/data.jsonl"
    plan = json.loads(subprocess.run([args.kedge, "inspect", args.model + "/config.json", "--json"], capture_output=True, text=True).stdout)
    runs = []
    for processes in (1, 2, 4, 8):
        for zero in (1, 2, 3) if processes > 1 else (1,):
            for passes in (1, 2) if processes < 4 else (1,):
                examples = args.examples * passes
                ends = []
                for steps in (2, 2 + args.steps):
                    command = ["unshare", "-rn", sys.executable, __file__, "one", "--kedge", args.kedge, "--model", args.model, "--data", args.data, "--processes",
                               str(processes), "--zero", str(zero), "--examples", str(examples), "--tokens_at_once", str(64 * args.examples), "--steps", str(steps)]
                    done = subprocess.run(command, capture_output=True, text=True)
                    if done.returncode != 0:
                        sys.exit(done.stderr)
                    ends.append(json.loads(done.stdout))
                step = {k: (ends[1][k] - ends[0][k]) / args.steps for k in ("bytes", "processor_seconds", "tokens")}
                runs.append({"processes": processes, "zero": zero, "passes": passes, **step, "peak": ends[1]["peak"]})
                print(runs[-1], flush=True)
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    model = {"parameters": plan["parameters"], "layers": config["num_hidden_layers"], "embedding": config["vocab_size"] * config["hidden_size"],
             "tied": config["tie_word_embeddings"]}
    MEASURED.write_text(json.dumps({"processor": cpu, "model": model, "runs": runs}, indent=1) + "\n")


# ---- The fit ---------------------------------------------------------------------------------------------------------------------------------------------


def least_squares(rows, values):
    """Coefficients >= 0 that make the relative errors of rows . c against the values small: those that come out negative are left out."""
    live = list(range(len(rows[0])))
    while True:
        a = [[sum(r[i] * r[j] / v / v for r, v in zip(rows, values)) for j in live] + [sum(r[i] / v for r, v in zip(rows, values))] for i in live]
        for i in range(len(a)):
            pivot = a[i][i]
            a[i] = [x / pivot for x in a[i]]
            for k in range(len(a)):
                if k != i:
                    a[k] = [x - a[k][i] * y for x, y in zip(a[k], a[i])]
        found = [row[-1] for row in a]
        if all(c >= 0 for c in found):
            return [found[live.index(i)] if i in live else 0.0 for i in range(len(rows[0]))]
        live.pop(found.index(min(found)))


def fit():
    data = json.loads(MEASURED.read_text())
    n, layers = data["model"]["parameters"], data["model"]["layers"]
    rows, values, told = [], [], []
    for r in data["runs"]:
        w = r["processes"]
        sent = w * bytes_sent(n, w, r["zero"], r["passes"], False, 4, data["model"]["embedding"], data["model"]["tied"]) if w > 1 else 0
        # An optimizer's step, alike for all of them, and in a group each weight and gradient is written once more.
        rows.append([r["tokens"], n, sent, w * operations(layers, 8, r["zero"], r["passes"]) * w if w > 1 else 0])
        values.append(r["processor_seconds"])
        told.append((r, sent))
    c = least_squares(rows, values)
    print(f"processor seconds of a step = {c[0]:.3e} a token + {c[1]:.3e} a parameter + {c[2]:.3e} a byte sent + {c[3]:.3e} an operation and process\n")
    print("| processes | ZeRO | passes a process | bytes a step, all processes | by the formula | processor seconds a step | by the fit |")
    print("|---|---|---|---|---|---|---|")
    worst_bytes = worst_seconds = total = 0
    for (r, sent), row in zip(told, rows):
        by_fit = sum(x * y for x, y in zip(c, row))
        error = by_fit / r["processor_seconds"] - 1
        worst_seconds = max(worst_seconds, abs(error))
        total += error * error
        if sent:
            worst_bytes = max(worst_bytes, abs(r["bytes"] / sent - 1))
        print(f"| {r['processes']} | {r['zero'] if r['processes'] > 1 else ''} | {r['passes']} | {r['bytes']:.4g} | {sent:.4g} | {r['processor_seconds']:.3f} | {by_fit:.3f} ({error:+.0%}) |")
    print(f"\nbytes: at most {worst_bytes:.1%} off; processor seconds: at most {worst_seconds:.0%}, root mean square {(total / len(told)) ** 0.5:.0%}")


# ---- Many GPUs -------------------------------------------------------------------------------------------------------------------------------------------

MODELS = {  # parameters, layers, hidden, intermediate, heads * head_dim, kv_heads * head_dim, vocabulary
    "7B": (6_738_415_616, 32, 4096, 11008, 4096, 4096, 32000),
    "10.7B": (10_731_524_096, 48, 4096, 14336, 4096, 1024, 32000),
}
# By data sheets and published figures, not measured: bf16 products at 60 % of 790 TFLOP/s; 370 GB/s that NCCL makes of NVLink's 450 in a machine of 8;
# between machines 45 GB/s a GPU (its own rail of 400 Gb/s), or 11 GB/s for all 8 (one card of 100 Gb/s); seconds of a hop in and between machines.
GPU = {"flops": 0.6 * 790e12, "memory": 0.9 * 80e9, "memory_bandwidth": 2.5e12, "inside": 370e9, "hop_inside": 3e-6, "hop_between": 12e-6, "start": 20e-6}
NETWORKS = {"a rail of 400 Gb/s a GPU": 8 * 45e9, "one card of 100 Gb/s a machine": 11e9}


def operation_seconds(nbytes, w, network):
    """A ring over all: every link carries (W - 1)/W of the bytes, and a message makes W - 1 hops."""
    machines = (w + 7) // 8
    rate = GPU["inside"] if machines == 1 else min(GPU["inside"], network)
    hops = (w - machines) * GPU["hop_inside"] + (machines if machines > 1 else 0) * GPU["hop_between"]
    return GPU["start"] + hops + (w - 1) / w * nbytes / rate


def activation_bytes(model, again):
    n, layers, h, inner, q, kv, vocabulary = MODELS[model]
    layer = 2 * 4 * h + 2 * (2 * q + 2 * kv + 2 * inner) + 4 * q / 128
    return layers * 4 * h + layer if again else layers * layer


def memory(model, w, zero):
    """As kedge inspect --processes W --fsdp plans it, without activations: bf16 weights, fp32 masters and gradients, AdamW's moments."""
    n, layers, h, _, _, _, vocabulary = MODELS[model]
    ends, layer = vocabulary * h, (n - 2 * vocabulary * h) / layers
    held = 8 * n / w
    held += 2 * n + 4 * n if zero < 3 else (2 + 4) * n / w + 2 * (ends + layer)
    held += 4 * n if zero == 1 else 4 * n / w + 4 * (ends + layer)
    return held


def step(model, w, zero, tokens, network):
    """Seconds of a step of so many tokens a GPU, or nothing where it doesn't fit; the better of keeping what layers compute and computing it again."""
    n, layers, h, _, _, _, vocabulary = MODELS[model]
    unit, best = (n - 2 * vocabulary * h) / layers, None
    for again in (False, True):
        room = GPU["memory"] - memory(model, w, zero) - 2e9
        at_once = int(room / activation_bytes(model, again)) if room > 0 else 0
        if at_once < min(512, tokens):
            continue
        passes = -(-tokens // at_once)
        forward = 2 * n * tokens / passes / GPU["flops"]
        backward = 2 * forward + (forward if again else 0)
        first = operation_seconds(2 * vocabulary * h, w, network)  # nothing to hide behind
        layer_forward, layer_backward = forward / layers, backward / layers
        gather, reduce = operation_seconds(2 * unit, w, network), operation_seconds(4 * unit, w, network)
        last = operation_seconds(4 * vocabulary * h, w, network)
        if zero == 3:
            one = first + layers * max(layer_forward, gather) + first + layers * max(layer_backward, gather + reduce) + last
            total = passes * one
        elif zero == 2:
            total = passes * (forward + layers * max(layer_backward, reduce) + last) + operation_seconds(2 * n, w, network)
        else:
            total = passes * (forward + backward) + max(0, layers * reduce - backward) + last + operation_seconds(2 * n, w, network)
        total += (4 * 7 + 2) * n / w / GPU["memory_bandwidth"]
        if best is None or total < best[0]:
            best = (total, passes, again)
    if best is None:
        return None
    return {"seconds": best[0], "efficiency": 6 * n * tokens / GPU["flops"] / best[0], "passes": best[1], "again": best[2]}


def table():
    for name, network in NETWORKS.items():
        for what, tokens_of in (("32,768 tokens a GPU", lambda w: 32768), ("1,048,576 tokens a step, of all GPUs", lambda w: 1048576 // w)):
            print(f"\n**{what}; {name}**\n\n| model | GPUs | ZeRO-1 | ZeRO-2 | ZeRO-3 | best |\n|---|---|---|---|---|---|")
            for model in MODELS:
                for w in (8, 16, 32, 64, 128, 256, 512):
                    found = {zero: step(model, w, zero, tokens_of(w), network) for zero in (1, 2, 3)}
                    cells = []
                    for zero, s in found.items():
                        held = memory(model, w, zero) / 1e9
                        cells.append(f"{held:.0f} GB: too much" if s is None else f"{held:.0f} GB, {s['seconds']:.2f} s, {s['efficiency']:.0%}" + (f", {s['passes']} passes" if s["passes"] > 1 else "")
                                     + (", layers again" if s["again"] else ""))
                    fits = {zero: s["seconds"] for zero, s in found.items() if s}
                    print(f"| {model} | {w} | " + " | ".join(cells) + f" | {'ZeRO-%d' % min(fits, key=fits.get) if fits else 'none'} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["measure", "one", "fit", "table"])
    parser.add_argument("--kedge", default=str(HERE.parent / "build/bin/kedge"))
    parser.add_argument("--model", default="")
    parser.add_argument("--data", default="")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--zero", type=int, default=1)
    parser.add_argument("--examples", type=int, default=2, help="of a pass of a process")
    parser.add_argument("--steps", type=int, default=2, help="that are measured")
    parser.add_argument("--tokens_at_once", type=int, default=512)
    args = parser.parse_args()
    {"measure": lambda: measure(args), "one": lambda: one_run(args), "fit": fit, "table": table}[args.what]()


if __name__ == "__main__":
    main()
