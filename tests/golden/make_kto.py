# SPDX-License-Identifier: Apache-2.0
"""Steps and evaluations of TRL's KTOTrainer on the tiny checkpoint tied/.

    python tests/golden/make_kto.py

Versions: requirements.txt. Everything runs in float64 on the CPU: TRL's head sums in float32, which leaves differences of log-probabilities 1.5e-5, so its source is run with wider
numbers. The file tests/golden/tiny/trl_kto.json has for each run its settings, the completions
that it trains on and measures, the metrics of every step, and the evaluations.
"""

import inspect
import json
import tempfile
from pathlib import Path

from model_files import settle, versions

torch = settle()

from datasets import Dataset  # noqa: E402
from transformers import AutoTokenizer, TrainerCallback  # noqa: E402
from trl import KTOConfig, KTOTrainer  # noqa: E402
from trl.kernels import chunked_logprob  # noqa: E402
from trl.trainer import utils  # noqa: E402

TINY = Path(__file__).parent / "tiny"
PLAIN = {"max_steps": 8, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "lr_scheduler_type": "constant", "max_grad_norm": 1.0}
MEASURED = {"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 4}
FIXED = {
    "bf16": False, "optim": "adamw_torch", "use_cpu": True, "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "gradient_checkpointing": False,
    "warmup_steps": 0, "weight_decay": 0.0,
}  # fmt: skip
RUNS = {
    "plain": MEASURED,
    "weighted": {"desirable_weight": 1.5, "undesirable_weight": 0.5, "beta": 0.5},
    "anchored": {"loss_type": "apo_zero_unpaired", **MEASURED},
    "accumulation": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
    "ragged last batch": {"per_device_train_batch_size": 5},
    "pairs": {},
    "text": {"per_device_train_batch_size": 2},
    "truncated": {"max_length": 48},
    "moving reference": {"sync_ref_model": True, "ref_model_sync_steps": 2, "ref_model_mixup_alpha": 0.6, **MEASURED},
    "three steps a line": {"logging_steps": 3, "max_steps": 9},
}


def widen_head():
    source = inspect.getsource(chunked_logprob).replace("float32", "float64").replace(".float()", ".double()")
    exec(compile(source, chunked_logprob.__file__, "exec"), chunked_logprob.__dict__)
    utils._ChunkedLogProbFunction = chunked_logprob.ChunkedLogProbFunction


def read(name):
    return [json.loads(line) for line in (TINY / name).read_text(encoding="utf-8").splitlines()]


def one(pair, desirable):
    return {"prompt": pair["prompt"], "completion": pair["chosen" if desirable else "rejected"], "label": desirable}


def completions(name):
    """Batches of four with both labels, then one of desirable completions alone, then one of others; and what is held out."""
    if name == "pairs":
        return read("pairs.jsonl"), []
    if name == "text":
        return [one(pair, desirable) for pair in read("pairs-text.jsonl") for desirable in (True, False)], []
    pairs = read("pairs.jsonl")
    both = [one(pair, desirable) for pair in pairs[:8] for desirable in (True, False)]
    return both + [one(pair, True) for pair in pairs[8:12]] + [one(pair, False) for pair in pairs[9:13]], [
        one(pair, desirable) for pair in pairs[12:] for desirable in (True, False)
    ] + [one(pairs[0], True)]


class Keep(TrainerCallback):
    def __init__(self):
        self.steps, self.evaluations = [], []

    def on_log(self, args, state, control, logs=None, **kwargs):
        rows = self.steps if "loss" in logs else self.evaluations if "eval_loss" in logs else []
        rows.append({k: v for k, v in logs.items() if not k.endswith(("epoch", "runtime", "_per_second"))} | {"step": state.global_step})


def run(name, changes):
    train, held_out = completions(name)
    settings = PLAIN | changes
    keep = Keep()
    with tempfile.TemporaryDirectory() as output:
        trainer = KTOTrainer(
            model=str(TINY / "tied"),
            args=KTOConfig(output_dir=output, model_init_kwargs={"dtype": torch.float64}, **({"logging_steps": 1} | FIXED | settings)),
            train_dataset=Dataset.from_list(train),
            eval_dataset=Dataset.from_list(held_out) if "eval_strategy" in settings else None,
            processing_class=AutoTokenizer.from_pretrained(TINY / "tied"),
            callbacks=[keep],
        )
        trainer.train()
    return {"settings": settings, "train": train, "held_out": held_out if "eval_strategy" in settings else [], "steps": keep.steps, "evaluations": keep.evaluations}


if __name__ == "__main__":
    widen_head()
    made = {name: run(name, changes) for name, changes in RUNS.items()}
    (TINY / "trl_kto.json").write_text(json.dumps({"versions": versions(), "runs": made}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
