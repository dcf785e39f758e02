# SPDX-License-Identifier: Apache-2.0
"""Golden file of learning rates: what transformers' schedules give at every step.

    python tests/golden/make_lr.py

Versions: requirements.txt. The file lands in tests/golden/lr/schedules.json: for a type, a peak, a warm-up as `--warmup_steps` has it, a
number of steps and what else the schedule is told, the rate of every step.
"""

import json
from pathlib import Path

from model_files import settle, versions

torch = settle()

HERE = Path(__file__).parent
PEAK, STEPS = 2e-3, 23
PLAIN = ("linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt", "constant", "constant_with_warmup")
TOLD = (
    ("cosine", {"num_cycles": 1.25}),
    ("cosine_with_restarts", {"num_cycles": 3}),
    ("polynomial", {"lr_end": 1e-4, "power": 2.5}),
    ("inverse_sqrt", {"timescale": 5}),
    ("cosine_with_min_lr", {"min_lr": 3e-4}),
    ("cosine_with_min_lr", {"min_lr_rate": 0.1, "num_cycles": 0.75}),
)


def rates(name, warmup, told):
    from transformers import TrainingArguments, get_scheduler

    arguments = TrainingArguments(output_dir="unused", warmup_steps=warmup, report_to=[], use_cpu=True)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    schedule = get_scheduler(name, optimizer, arguments.get_warmup_steps(STEPS), STEPS, scheduler_specific_kwargs=dict(told))
    all_rates = []
    for _ in range(STEPS):
        all_rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return all_rates


def main():
    cases = []
    for warmup in (0, 0.13, 0.5, 4):
        for name, told in [(name, {}) for name in PLAIN] + list(TOLD):
            cases.append({"type": name, "warmup_steps": warmup, "kwargs": told, "rates": rates(name, warmup, told)})
    out = HERE / "lr" / "schedules.json"
    out.parent.mkdir(exist_ok=True)
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    head = f' "versions": {json.dumps(versions())},\n "peak": {PEAK},\n "steps": {STEPS},\n'
    out.write_text("{\n" + head + ' "cases": [\n' + lines + "\n ]\n}\n")


if __name__ == "__main__":
    main()
