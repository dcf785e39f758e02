#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares `kedge tokenize` with transformers' AutoTokenizer on folders whose files state facts twice, drawn at random.

    KEDGE=build/bin/kedge compare_tokenizer_folders.py [--count 1000] [--seed 2]

The folders are those of tests/golden/make_text_sides.py. Prints each folder whose ids differ, and a row of counts; exits 1 where one differs. A
folder that one side refuses and the other reads is counted, and no difference: kedge reads some that transformers does not.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "golden"))
import make_text_sides as sides  # noqa: E402


def kedge(folder):
    run = subprocess.run([os.environ["KEDGE"], "tokenize", "--model_name_or_path", folder, "--json", "--json_lines"],
                         input="".join(json.dumps(t) + "\n" for t in sides.TEXTS), capture_output=True, text=True)
    return [json.loads(line) for line in run.stdout.splitlines()] if run.returncode == 0 else run.stderr.strip()


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--count", type=int, default=1000)
    options.add_argument("--seed", type=int, default=2)
    o = options.parse_args()
    counts = {"equal": 0, "differ": 0, "kedge refuses": 0, "transformers refuses": 0, "both refuse": 0}
    with tempfile.TemporaryDirectory() as folder:
        for base, changed, files in sides.folders(o.count, o.seed):
            sides.write_folder(folder, base, changed, files)
            theirs, ours = sides.ask(folder), kedge(folder)
            refused = isinstance(ours, str)
            verdict = ("both refuse" if refused else "transformers refuses") if theirs is None else "kedge refuses" if refused else \
                "equal" if ours == theirs["ids"] else "differ"
            counts[verdict] += 1
            if verdict in ("differ", "kedge refuses"):
                print(verdict, base, json.dumps(changed), json.dumps(files), ours if refused else "", flush=True)
    print("| " + " | ".join(counts) + " |\n| " + " | ".join(map(str, counts.values())) + " |")
    sys.exit(1 if counts["differ"] else 0)


if __name__ == "__main__":
    main()
