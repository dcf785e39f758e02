# SPDX-License-Identifier: Apache-2.0
"""Speed of kedge's tokenizer and of Hugging Face's `tokenizers` on one thread, side by side (see against_tokenizers.sh).

Same tokenizer.json, same texts, one call of encode a text, no special tokens. Every run is a process of its own and the sides take
turns; reading the tokenizer and the texts is not counted. Seconds are processor seconds, which one thread spends whatever else
the machine does; the best repetition counts. Workloads:
  chat     prompts and answers of examples/data, whole files as one text each
  lines    the same, one text a message
  code     this project's sources and pages, one text a file
  unicode  random texts of all scripts, the same as the parity test's
  word     one word of 1 MB: "ab" again and again; seconds against those of a word of 0.25 MB tell whether it is linear
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "golden"), str(ROOT / "tests" / "peers")]


def run_peer(tokenizer, texts_file, repeats):
    from tokenizers import Tokenizer

    peer = Tokenizer.from_file(tokenizer)
    texts = [json.loads(line) for line in pathlib.Path(texts_file).read_text().split("\n")[:-1]]
    for _ in range(repeats):
        start, tokens = time.process_time(), 0
        for text in texts:
            tokens += len(peer.encode(text, add_special_tokens=False).ids)
        print(json.dumps({"bytes": sum(len(t.encode()) for t in texts), "tokens": tokens, "seconds": time.process_time() - start}), flush=True)


def messages():
    for path in sorted((ROOT / "examples" / "data").glob("*.jsonl")):
        yield path, [m["content"] for line in path.open() for value in json.loads(line).values() if isinstance(value, list) for m in value
                     if isinstance(m, dict) and "content" in m]


def workloads():
    import make_text

    sources = [p for folder in ("include", "adapters", "docs") for p in sorted((ROOT / folder).rglob("*")) if p.suffix in (".hpp", ".cpp", ".md", ".py")]
    return {
        "chat": ["\n".join(texts) for _, texts in messages() if texts],
        "lines": [text for _, texts in messages() for text in texts],
        "code": [p.read_text() for p in sources],
        "unicode": make_text.strings(20_000, 3),
        "word": ["ab" * 500_000],
        "quarter": ["ab" * 125_000],
    }


def measure(command, environment):
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | environment).stdout
    return min((json.loads(line) for line in out.splitlines()), key=lambda run: run["seconds"])


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tokenizers", nargs="+", default=["smollm2", "gpt-2", "llama-bpe", "qwen2", "llama-spm"])
    options.add_argument("--workloads", nargs="+", default=["chat", "lines", "code", "unicode", "word"])
    options.add_argument("--repeat", type=int, default=3, help="turns of both sides; each is three passes")
    options.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    o = options.parse_args()
    if o.peer:
        return run_peer(*o.peer, 3)
    import vocabularies

    texts = workloads()
    paths = vocabularies.make(o.tokenizers)
    print("| tokenizer | workload | MB | tokens | tokenizers MB/s | kedge MB/s | × | linear |\n|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as work:
        for name, path in paths.items():
            for workload in o.workloads:
                best = {}
                for part in (workload,) + (("quarter",) if workload == "word" else ()):
                    file = pathlib.Path(work) / f"{part}.jsonl"
                    file.write_text("".join(json.dumps(t) + "\n" for t in texts[part]))
                    for _ in range(o.repeat):
                        for side, command in (("tokenizers", [sys.executable, __file__, "--peer", str(path), str(file)]),
                                              ("kedge", [os.environ["KEDGE_LINES"], str(path), "time", str(file), "3"])):
                            run = measure(command, {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"})
                            if (part, side) not in best or run["seconds"] < best[part, side]["seconds"]:
                                best[part, side] = run
                kedge, peer = best[workload, "kedge"], best[workload, "tokenizers"]
                if kedge["tokens"] != peer["tokens"]:
                    sys.exit(f"{name}, {workload}: kedge gives {kedge['tokens']} tokens, tokenizers {peer['tokens']}")
                linear = f"{kedge['seconds'] / best['quarter', 'kedge']['seconds'] / 4:.2f}" if workload == "word" else ""
                rate = lambda run: run["bytes"] / run["seconds"] / 1e6
                print(f"| {name} | {workload} | {kedge['bytes'] / 1e6:.2f} | {kedge['tokens']} | {rate(peer):.2f} | {rate(kedge):.2f} "
                      f"| **{rate(kedge) / rate(peer):.1f}** | {linear} |", flush=True)


if __name__ == "__main__":
    main()
