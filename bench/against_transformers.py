# SPDX-License-Identifier: Apache-2.0
"""Speed of `kedge generate` and of transformers' generate on the same prompts, side by side (see against_transformers.sh).

Every run is a process of its own; the sides take turns, so that a slow minute of the machine hits all. Same model, prompts,
element type, threads and number of sequences at a time; temperature 1, no truncation, and every completion has --new_tokens
tokens, end tokens or not. A workload PxS is P prompts, S samples of each. Measured are
  tokens/s  new tokens over seconds of generation, the computation of the prompts included; loading and tokenising are not.
            transformers: one call of generate, after a short one that is not counted. kedge: generate_runtime of its report
  cpu s     processor seconds: those of that span alone, for kedge those of the whole process
  memory    the largest resident set of the process, loading included
  others    processor time that other programs took meanwhile, as a share of the machine: the best repetition is reported, and a
            comparison with much of it is worth repeating
The side llama.cpp is not part of the comparison unless asked for: 16-bit weights for both types, the same prompts computed
once for all samples, its own sampler.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import side_process

sys.path.insert(0, str(side_process.ROOT / "tests" / "golden"))


def run_transformers(dtype, folder, prompts_file, samples, new_tokens, threads):
    """One call of generate; returns seconds and tokens."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    from model_files import settle

    torch = settle()
    torch.set_num_threads(threads)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    prompts = [json.loads(line)["prompt"] for line in prompts_file.read_text().splitlines()]
    texts = [tokenizer.apply_chat_template(p, tokenize=False, add_generation_prompt=True) for p in prompts]
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)

    def generate(n):
        return model.generate(
            **batch, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, num_return_sequences=samples, min_new_tokens=n, max_new_tokens=n
        )

    generate(2)
    start, processor = time.perf_counter(), time.process_time()
    out = generate(new_tokens)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    return {"seconds": seconds, "processor_seconds": processor, "tokens": out.shape[0] * (out.shape[1] - batch.input_ids.shape[1])}


def run_kedge(program, dtype, model, prompts_file, samples, new_tokens, threads, extra):
    with tempfile.TemporaryDirectory() as work:
        command = [
            program, "generate", "--model_name_or_path", model, "--prompts", prompts_file, "--output", f"{work}/out.jsonl", "--dtype", dtype,
            "--num_samples", samples, "--max_new_tokens", new_tokens, "--ignore_eos", "--batch_size", 48, "--temperature", 1,
            "--threads", threads, "--json", *extra,
        ]  # fmt: skip
        report = side_process.report_of(command, "generate_runtime", "against_transformers")
    return {"seconds": report["generate_runtime"], "tokens": report["tokens"]}


def half_precision_gguf(source, target, dtype):
    """The GGUF file with its matrices as F16 or BF16, which llama.cpp multiplies as they are."""
    if target.exists():
        return
    import gguf

    reader = gguf.GGUFReader(source)
    kind = gguf.GGMLQuantizationType.BF16 if dtype == "bfloat16" else gguf.GGMLQuantizationType.F16
    writer = gguf.GGUFWriter(target, reader.get_field("general.architecture").contents())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
            continue
        kinds = field.types
        writer.add_key_value(field.name, field.contents(), kinds[0], sub_type=kinds[-1] if kinds[0] == gguf.GGUFValueType.ARRAY else None)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if values.ndim == 1:
            writer.add_tensor(tensor.name, values)
        else:
            writer.add_tensor(tensor.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def run_llama(dtype, model, ids, samples, new_tokens, threads):
    """All sequences in one llama.cpp batch a step; a prompt is decoded once and its cache copied to its samples."""
    import llama_cpp as llama

    target = Path(model).resolve().parent / f"smollm2-{'bf16' if dtype == 'bfloat16' else 'f16'}.gguf"
    if not os.access(target.parent, os.W_OK):
        target = Path(tempfile.gettempdir()) / target.name
    half_precision_gguf(model, target, dtype)
    llama.llama_backend_init()
    loaded = llama.llama_model_load_from_file(str(target).encode(), llama.llama_model_default_params())
    settings = llama.llama_context_default_params()
    sequences = len(ids) * samples
    settings.n_ctx = sequences * (max(map(len, ids)) + new_tokens + 8)
    settings.n_batch = settings.n_ubatch = 512
    settings.n_seq_max, settings.n_threads, settings.n_threads_batch = sequences, threads, threads
    settings.kv_unified = True
    context = llama.llama_init_from_model(loaded, settings)
    sampler = llama.llama_sampler_init_dist(42)
    batch = llama.llama_batch_init(512, 0, 1)

    def decode(entries):
        for i, (token, position, sequence, wanted) in enumerate(entries):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, position, 1, sequence, wanted
        batch.n_tokens = len(entries)
        if llama.llama_decode(context, batch) != 0:
            raise SystemExit("against_transformers: llama_decode failed")

    start, processor = time.perf_counter(), time.process_time()
    last, waiting = {}, [(p, i * samples, tokens) for i, tokens in enumerate(ids) for p in [0]]
    while waiting:
        entries, ends = [], []
        while waiting and len(entries) + len(waiting[0][2]) <= 512:
            _, sequence, tokens = waiting.pop(0)
            entries += [(t, p, sequence, p + 1 == len(tokens)) for p, t in enumerate(tokens)]
            ends.append((len(entries) - 1, sequence, len(tokens)))
        decode(entries)
        for row, sequence, length in ends:
            for k in range(samples):
                if k:
                    llama.llama_memory_seq_cp(llama.llama_get_memory(context), sequence, sequence + k, 0, length)
                last[sequence + k] = (llama.llama_sampler_sample(sampler, context, row), length)
    for _ in range(new_tokens - 1):
        order = sorted(last)
        decode([(last[s][0], last[s][1], s, True) for s in order])
        for row, s in enumerate(order):
            last[s] = (llama.llama_sampler_sample(sampler, context, row), last[s][1] + 1)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    return {"seconds": seconds, "processor_seconds": processor, "tokens": sequences * new_tokens}


def worker(given):
    """The part that runs in a process of its own: one side once, one JSON line on stdout."""
    prompts, samples = map(int, given.workload.split("x"))
    with tempfile.TemporaryDirectory() as work:
        prompts_file = Path(work, "prompts.jsonl")
        with open(given.data, encoding="utf-8") as lines:
            prompts_file.write_text("".join(islice(lines, prompts)), encoding="utf-8")
        if given.worker == "kedge":
            result = run_kedge(given.program, given.dtype, given.model, prompts_file, samples, given.new_tokens, given.threads, given.kedge_flag)
        elif given.worker == "llama.cpp":
            result = run_llama(given.dtype, given.model, json.loads(given.ids), samples, given.new_tokens, given.threads)
        else:
            result = run_transformers(given.dtype, given.folder, prompts_file, samples, given.new_tokens, given.threads)
    side_process.answer(result, resource.RUSAGE_CHILDREN if given.worker == "kedge" else resource.RUSAGE_SELF)


def prompt_ids(given, workload):
    """Token ids of the prompts, by `kedge tokenize`."""
    with open(given.data, encoding="utf-8") as lines:
        prompts = [json.dumps(json.loads(line)["prompt"]) for line in islice(lines, int(workload.split("x")[0]))]
    command = [given.program, "tokenize", "--model_name_or_path", given.model, "--chat", "--add_generation_prompt", "--json"]
    done = subprocess.run(command, input="\n".join(prompts) + "\n", stdout=subprocess.PIPE, text=True, check=True)
    return json.dumps([json.loads(line) for line in done.stdout.splitlines()])


def measure(side, dtype, workload, given):
    python = os.environ.get("KEDGE_LLAMA_PYTHON", sys.executable) if side == "llama.cpp" else sys.executable
    command = [
        python, __file__, "--worker", side, "--dtype", dtype, "--workload", workload, "--folder", Path(given.folder).absolute(), "--threads",
        given.threads, "--program", given.program, "--model", given.model, "--data", given.data, "--new_tokens", given.new_tokens,
    ]  # fmt: skip
    command += [f"--kedge_flag={flag}" for flag in given.kedge_flag]
    if side == "llama.cpp":
        command += ["--ids", prompt_ids(given, workload)]
    result = side_process.ask(command, f"against_transformers: the {side} run")
    return result | {"side": side, "dtype": dtype, "workload": workload, "speed": result["tokens"] / result["seconds"]}


def table(runs):
    best = side_process.best(runs, lambda run: (run["dtype"], run["workload"], run["side"]), lambda run: 1 / run["speed"])
    yield f"{'dtype':9} {'workload':8} {'side':13} {'tokens/s':>8} {'× transformers':>15} {'cpu s':>6} {'memory':>8} {'others':>6}"
    for (dtype, workload, side), run in best.items():
        base = best.get((dtype, workload, "transformers"), run)
        yield (
            f"{dtype:9} {workload:8} {side:13} {run['speed']:8.1f} {run['speed'] / base['speed']:15.2f} {run['processor_seconds']:6.1f}"
            f" {run['peak_bytes'] / 2**30:5.2f}GiB {100 * run['others']:5.0f}%"
        )


def main():
    parser = side_process.arguments("against_transformers", __doc__, "prompts-train.jsonl", ["transformers", "kedge", "llama.cpp"], ["transformers", "kedge"])
    parser.add_argument("--workloads", nargs="+", default=["48x1", "12x4"], help="prompts x samples of each, 48 sequences in all")
    parser.add_argument("--new_tokens", type=int, default=48)
    for hidden in ("--workload", "--ids"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        return worker(given)

    side_process.require(given, "against_transformers")
    if "transformers" in given.sides:
        side_process.unpack(given.model, given.folder)
    runs = []
    for dtype in given.dtypes:
        for workload in given.workloads:
            for side in given.sides * given.repeat:
                runs.append(measure(side, dtype, workload, given))
                print(f"against_transformers: {dtype} {workload} {side} {runs[-1]['speed']:.1f} tokens/s", file=sys.stderr)
    print("\n".join(table(runs)))
    side_process.write(given, {"runs": runs})


if __name__ == "__main__":
    main()
