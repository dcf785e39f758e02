# SPDX-License-Identifier: Apache-2.0
"""Seconds and memory of kedge soup and of mergekit-yaml on the same recipe, side by side (see against_mergekit.sh).

Every run is a whole command, from its start to a result that is flushed to disk: kedge flushes by itself, mergekit's files
are flushed within the time. The sides take turns, so that a slow minute of the machine hits both. Two models of 135 million
parameters in bfloat16 are made from SmolLM2 by adding noise; their files are in the page cache.

With --gigabytes N the inputs are two checkpoints of N GB each with random weights instead, and the peer is what any merge
has to do: reading both once and writing one, flushed. Inputs and outputs are dropped from the page cache before each run.

  seconds  minimum and median of the repetitions
  memory   the largest resident set of the process, mapped inputs included, as the kernel reports it
  others   processor time that other programs took meanwhile, as a share of the machine
"""

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import side_process

sys.path.insert(0, str(side_process.ROOT / "tests" / "golden"))
RECIPES = {
    "linear": "merge_method: linear\nmodels:\n- {model: A, parameters: {weight: 0.3}}\n- {model: B, parameters: {weight: 0.7}}\n",
    "slerp": "merge_method: slerp\nbase_model: A\nmodels: [{model: A}, {model: B}]\nparameters: {t: 0.3}\n",
    "ties": "merge_method: ties\nbase_model: A\nmodels: [{model: B, parameters: {weight: 1, density: 0.5}}]\n",
}


def make_models(gguf, folder):
    """A and B: the model in bfloat16, and the same with noise of the size that fine-tuning makes."""
    from model_files import settle, unpack

    torch = settle()
    from safetensors.torch import load_file, save_file

    source = unpack(gguf, folder / "float32")
    weights = load_file(source / "model.safetensors")
    for name, noise in (("A", 0.0), ("B", 1e-3)):
        shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("model.safetensors"))
        changed = {n: (t + noise * torch.randn(t.shape)).to(torch.bfloat16) for n, t in weights.items()}
        save_file(changed, folder / name / "model.safetensors", metadata={"format": "pt"})
        config = json.loads((folder / name / "config.json").read_text()) | {"dtype": "bfloat16"}
        (folder / name / "config.json").write_text(json.dumps(config))
    shutil.rmtree(source)


def make_large(folder, gigabytes):
    """Two checkpoints of random bfloat16 in the shapes of a wide Llama."""
    import numpy

    hidden, inner = 4096, 14336
    shapes = {"self_attn.q_proj": (hidden, hidden), "self_attn.o_proj": (hidden, hidden), "mlp.up_proj": (inner, hidden), "mlp.down_proj": (hidden, inner)}
    bytes_a_layer = sum(2 * a * b for a, b in shapes.values())
    layers = max(1, round(gigabytes * 1e9 / bytes_a_layer))
    for seed, name in enumerate("AB"):
        random = numpy.random.default_rng(seed)
        header, begin = {"__metadata__": {"format": "pt"}}, 0
        for layer in range(layers):
            for part, shape in shapes.items():
                size = 2 * shape[0] * shape[1]
                header[f"model.layers.{layer}.{part}.weight"] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, begin + size]}
                begin += size
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)  # as every writer of the format does, so that tensors are aligned
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": hidden, "num_hidden_layers": layers}))
        block = (random.standard_normal(1 << 25, dtype=numpy.float32).view(numpy.uint32) >> 16).astype(numpy.uint16)
        with open(folder / name / "model.safetensors", "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for at in range(0, begin, block.nbytes):
                file.write(block.tobytes()[: begin - at])
            file.flush()
            os.fsync(file.fileno())


def flush(folder):
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def forget(folder):
    """Drops the files' clean pages from the cache."""
    for path in folder.rglob("*.safetensors"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def run(command, folder):
    """Seconds from the start to a flushed result, peak memory, and the share of the machine that others took."""
    clock = side_process.watch()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    trouble = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"against_mergekit: {' '.join(map(str, command))} failed: {trouble.decode()[-2000:]}")
    flush(folder / "out")
    return {"seconds": clock.seconds(), "memory": usage.ru_maxrss * 1024, "others": clock.others()}


def main():
    parser = argparse.ArgumentParser(prog="against_mergekit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=RECIPES, default="linear")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--gigabytes", type=float, default=0, help="inputs of this size each, against reading and writing alone")
    parser.add_argument("--folder", help="where to make the models; else a temporary folder")
    parser.add_argument("--program", default=os.environ.get("KEDGE_PROGRAM", str(side_process.ROOT / "build/bin/kedge")))
    parser.add_argument("--model", default=os.environ.get("KEDGE_MODEL", str(side_process.ROOT / ".deps/smollm2-135m-instruct.gguf")))
    given = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        # In a process of its own: what this one has held would count as memory of the commands that it starts.
        work = (make_large, (folder, given.gigabytes)) if given.gigabytes else (make_models, (Path(given.model).resolve(), folder))
        maker = multiprocessing.get_context("spawn").Process(target=work[0], args=work[1])
        maker.start()
        maker.join()
        if maker.exitcode != 0:
            raise SystemExit("against_mergekit: the models could not be made (see above)")
        (folder / "recipe.yml").write_text(RECIPES[given.recipe] + "dtype: bfloat16\n")
        copy = "cat A/model.safetensors > /dev/null && mkdir out && dd if=B/model.safetensors of=out/x bs=4M conv=fsync status=none"
        sides = {
            "kedge": [Path(given.program).resolve(), "soup", "--recipe", "recipe.yml", "--output_dir", "out", "--quiet"],
            "read+write" if given.gigabytes else "mergekit": ["sh", "-c", copy]
            if given.gigabytes
            else [Path(sys.executable).parent / "mergekit-yaml", "recipe.yml", "out", "--quiet", "--no-write-model-card"],
        }
        runs = {side: [] for side in sides}
        for _ in range(given.repeat):
            for side, command in sides.items():
                if given.gigabytes:
                    forget(folder)
                else:
                    subprocess.run(["cat", "A/model.safetensors", "B/model.safetensors"], cwd=folder, stdout=subprocess.DEVNULL, check=True)
                runs[side].append(run(command, folder))
                shutil.rmtree(folder / "out")
    report(runs)


def report(runs):
    (ours, theirs) = runs
    print("| side | seconds, minimum | median | peak memory | others |\n|---|---|---|---|---|")
    for side, rows in runs.items():
        seconds = [row["seconds"] for row in rows]
        memory, others = max(row["memory"] for row in rows) / 2**20, statistics.median(row["others"] for row in rows)
        print(f"| {side} | {min(seconds):.2f} | {statistics.median(seconds):.2f} | {memory:.0f} MiB | {100 * others:.0f} % |")
    for what, of in (("minimum", min), ("median", statistics.median)):
        ratio = of(r["seconds"] for r in runs[theirs]) / of(r["seconds"] for r in runs[ours])
        print(f"{what}: {theirs} takes {ratio:.2f} times as long as kedge")


if __name__ == "__main__":
    main()
