#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares kedge with Hugging Face's `tokenizers` on random Unicode: ids, ids with special tokens, decoded texts.

    compare_tokenizers.py [--count 100000] [--seed 1] [NAME...]

KEDGE_LINES is the program tokenize_lines, KEDGE_MODEL SmolLM2's GGUF file. The vocabularies of llama.cpp are compared with
llama.cpp's own expectations too, read from GGUF. Prints a row a tokenizer; exits 1 where one differs.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "golden"), str(ROOT / "tests" / "peers")]
import make_text  # noqa: E402
import vocabularies  # noqa: E402

LINES = os.environ["KEDGE_LINES"]


def kedge(path, what, texts):
    run = subprocess.run([LINES, str(path), what], input="".join(json.dumps(t) + "\n" for t in texts), stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in run.stdout.split("\n")[:-1]]


def compare(name, path, count, seed):
    peer = Tokenizer.from_file(str(path))
    texts = make_text.strings(count, seed, [t.content for t in peer.get_added_tokens_decoder().values()])
    differ = []
    for what, special in (("ids", False), ("framed", True)):
        theirs = [e.ids for e in peer.encode_batch(texts, add_special_tokens=special)]
        differ.append([t for t, a, b in zip(texts, kedge(path, what, texts), theirs) if a != b])
        if what == "ids":
            ids = theirs
    decoded = [[peer.decode(i, skip_special_tokens=False), peer.decode(i, skip_special_tokens=True)] for i in ids]
    differ.append([t for t, a, b in zip(texts, kedge(path, "decoded", texts), decoded) if a != b])
    size = sum(len(t.encode()) for t in texts)
    print(f"| {name} | {len(texts)} | {size / 1e6:.1f} MB | {sum(map(len, ids))} | {len(differ[0])} | {len(differ[1])} | {len(differ[2])} |", flush=True)
    for texts in differ:
        for text in texts[:3]:
            print(f"    differs: {ascii(text)[:300]}", flush=True)
    return sum(map(len, differ))


def expectations(name):
    """llama.cpp's ids of its own texts, against kedge reading the same GGUF file."""
    path = vocabularies.sdist() / "models" / f"ggml-vocab-{name}.gguf"
    texts = pathlib.Path(f"{path}.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    expected = [[int(i) for i in line.split()] for line in pathlib.Path(f"{path}.out").read_text().split("\n")]
    texts, expected = texts[:len(expected)], expected[:len(texts)]
    if name == "llama-spm":  # from GGUF kedge follows transformers, which puts no mark in front of a space
        texts, expected = zip(*((t, e) for t, e in zip(texts, expected) if not t.startswith(" ")))
    wrong = [t for t, a, b in zip(texts, kedge(path, "ids", texts), expected) if a != b]
    print(f"| {name}, GGUF against llama.cpp | {len(texts)} | | {sum(map(len, expected))} | {len(wrong)} | | |", flush=True)
    for text in wrong[:3]:
        print(f"    differs: {ascii(text)[:300]}", flush=True)
    return len(wrong)


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--count", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("names", nargs="*")
    o = options.parse_args()
    print("| tokenizer | strings | size | tokens | ids differ | framed differ | decoded differ |\n|---|---|---|---|---|---|---|")
    differ = sum(compare(name, path, o.count, o.seed) for name, path in vocabularies.make(o.names).items())
    if not o.names:
        differ += sum(expectations(name) for name in ("llama-bpe", "llama-spm", "qwen2"))
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
