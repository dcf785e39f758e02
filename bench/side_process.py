# SPDX-License-Identifier: Apache-2.0
"""A side of a comparison, in a process of its own: what against_transformers.py, against_trl.py and against_mergekit.py share.

A script starts itself with --worker SIDE; that process runs the side once and answers with answer(), the script reads it by ask().
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARK = "RESULT "


def answer(result, who):
    """Prints a side's result with the peak memory, and the processor seconds if it has none of its own, of this process
    (RUSAGE_SELF) or of the one that it started (RUSAGE_CHILDREN)."""
    usage = resource.getrusage(who)
    result.setdefault("processor_seconds", usage.ru_utime + usage.ru_stime)
    result["peak_bytes"] = usage.ru_maxrss * 1024
    print(MARK + json.dumps(result))


def busy_seconds():
    """Processor seconds spent by everybody since the machine started."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class watch:
    """Seconds since it was made, and the share of the machine that others than this process and those it waited for took."""

    def __init__(self):
        self.busy, self.start, self.own = busy_seconds(), time.perf_counter(), self.spent()

    @staticmethod
    def spent():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def seconds(self):
        return time.perf_counter() - self.start

    def others(self):
        return max(0.0, busy_seconds() - self.busy - (self.spent() - self.own)) / (self.seconds() * os.cpu_count())


def ask(command, what):
    """What the process of a side answers, and `others`."""
    clock = watch()
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode != 0 or not lines:
        raise SystemExit(f"{what} failed (see above)")
    return json.loads(lines[-1][len(MARK) :]) | {"others": clock.others()}


def report_of(command, key, script):
    """The summary that kedge prints with --json: the last object with that key."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{script}: {command[0]} ended with {done.returncode}")
    objects = (json.loads(line) for line in reversed(done.stdout.splitlines()) if line.startswith("{"))
    return next(row for row in objects if key in row)


def unpack(model, folder):
    """The model as a Hugging Face folder, if it isn't there. In a process of its own: this one stays small, since the kernel counts a
    parent's memory to a new child's peak."""
    work = "import sys, model_files; model_files.unpack(sys.argv[1], sys.argv[2])"
    subprocess.run([sys.executable, "-c", work, model, folder], check=True, cwd=ROOT / "tests" / "golden")


def best(runs, key, seconds=lambda run: run["seconds"]):
    """The best repetition by key: least noise, not luck, since nothing makes a run faster than it is."""
    found = {}
    for run in runs:
        if key(run) not in found or seconds(run) < seconds(found[key(run)]):
            found[key(run)] = run
    return found


def arguments(script, doc, data, sides, chosen):
    """The options that comparisons of kedge with a Python peer share."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.environ.get("KEDGE_PROGRAM", str(ROOT / "build/bin/kedge")))
    parser.add_argument("--model", default=os.environ.get("KEDGE_MODEL", str(ROOT / ".deps/smollm2-135m-instruct.gguf")))
    parser.add_argument("--folder", default=str(ROOT / ".deps/smollm2-float32"), help="the model unpacked for the peer (made if missing)")
    parser.add_argument("--data", type=Path, default=ROOT / "examples/data" / data)
    parser.add_argument("--sides", nargs="+", default=chosen, choices=sides)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count()))
    parser.add_argument("--kedge_flag", action="append", default=[], help="one more word for kedge, as --kedge_flag=WORD")
    parser.add_argument("--output", type=Path, default=ROOT / f"build/{script}.json")
    for hidden in ("--worker", "--dtype"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    return parser


def require(given, script):
    """Leaves with a line where a file is missing."""
    for path, needed in ((given.program, "kedge" in given.sides), (given.model, True), (given.data, True)):
        if needed and not Path(path).exists():
            raise SystemExit(f"{script}: {path} is missing; `./dev bench --against {script.removeprefix('against_')}` builds and fetches what this needs")


def write(given, result):
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(result, indent=1) + "\n")
