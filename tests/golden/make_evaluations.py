# SPDX-License-Identifier: Apache-2.0
"""Evaluations while training, the best model and early stopping, as TRL's DPOTrainer and SFTTrainer have them.

    python tests/golden/make_evaluations.py

Versions: requirements.txt. Everything runs in float32 on the CPU, from tests/golden/tiny/tied on pairs.jsonl: the first 12 pairs are trained on, the last
4 are held out. The file lands in tests/golden/tiny/trl_evaluations.json, a list of runs:

settings      what the trainer was told
evaluations   {"step", "eval_loss", ...} of each, in order
log           {"step", "loss", "logits/chosen", ...} of every step
steps         how many steps were done
best_step, best_metric   as the trainer's state has them
end_loss      of the model at the end, the best one where it was asked for, on the held-out pairs
"""

import json
import tempfile
from pathlib import Path

from model_files import settle

torch = settle()

from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, EarlyStoppingCallback, Trainer  # noqa: E402
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer  # noqa: E402

TINY = Path(__file__).parent / "tiny"
KEPT = ("eval_loss", "eval_rewards/chosen", "eval_rewards/rejected", "eval_rewards/accuracies", "eval_rewards/margins", "eval_logps/chosen", "eval_logps/rejected",
        "eval_logits/chosen", "eval_logits/rejected", "eval_entropy", "eval_mean_token_accuracy", "eval_num_tokens")
LOGGED = ("loss", "logits/chosen", "logits/rejected", "entropy", "mean_token_accuracy", "num_tokens")
COMMON = {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 4, "lr_scheduler_type": "constant", "warmup_steps": 0, "max_grad_norm": 1.0}
RUNS = [
    {"method": "dpo", "learning_rate": 3e-3, "max_steps": 8, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2, "load_best_model_at_end": True},
    {"method": "dpo", "learning_rate": 3e-3, "max_steps": 9, "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 2,
     "load_best_model_at_end": True, "metric_for_best_model": "rewards/margins", "save_total_limit": 1},
    {"method": "dpo", "learning_rate": 1e-2, "num_train_epochs": 6, "eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True, "early_stopping_patience": 2},
    {"method": "dpo", "learning_rate": 3e-3, "max_steps": 12, "eval_strategy": "steps", "eval_steps": 0.1, "save_strategy": "best", "metric_for_best_model": "eval_loss",
     "load_best_model_at_end": True, "early_stopping_patience": 1, "early_stopping_threshold": 0.02, "eval_delay": 3},
    {"method": "dpo", "learning_rate": 3e-3, "max_steps": 5, "eval_strategy": "steps", "eval_steps": 3, "save_strategy": "no", "metric_for_best_model": "loss", "greater_is_better": True,
     "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
    {"method": "sft", "learning_rate": 2e-2, "max_steps": 12, "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2, "load_best_model_at_end": True,
     "early_stopping_patience": 2},
]


def read():
    pairs = [json.loads(line) for line in (TINY / "pairs.jsonl").read_text().splitlines()]
    return pairs[:12], pairs[12:]


def run(settings):
    given = {**COMMON, **settings}
    method = given.pop("method")
    patience, threshold = given.pop("early_stopping_patience", 0), given.pop("early_stopping_threshold", 0.0)
    callbacks = [EarlyStoppingCallback(patience, threshold)] if patience else []
    if patience:
        given.setdefault("metric_for_best_model", "loss")
    train, held_out = read()
    if method == "sft":
        train, held_out = ([{"prompt": p["prompt"], "completion": p["chosen"]} for p in rows] for rows in (train, held_out))
    config, trainer = (DPOConfig, DPOTrainer) if method == "dpo" else (SFTConfig, SFTTrainer)
    with tempfile.TemporaryDirectory() as folder:
        args = config(output_dir=folder, report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False, logging_steps=1, disable_tqdm=True,
                      train_sampling_strategy="sequential", **given)
        trained = trainer(model=AutoModelForCausalLM.from_pretrained(TINY / "tied", dtype=torch.float32), args=args, train_dataset=Dataset.from_list(train),
                          eval_dataset=Dataset.from_list(held_out), processing_class=AutoTokenizer.from_pretrained(TINY / "tied"), callbacks=callbacks)
        trained.train()
        state = trained.state
        evaluations = [{"step": row["step"], **{key: row[key] for key in KEPT if key in row}} for row in state.log_history if "eval_loss" in row]
        log = [{"step": row["step"], **{key: row[key] for key in LOGGED if key in row}} for row in state.log_history if "loss" in row]
        end = trained.evaluate()
        return {"settings": {**COMMON, **settings}, "evaluations": evaluations, "log": log, "steps": state.global_step, "best_step": state.best_global_step, "best_metric": state.best_metric,
                "end_loss": end["eval_loss"]}


results = [run(settings) for settings in RUNS]
(TINY / "trl_evaluations.json").write_text("[\n" + ",\n".join(json.dumps(one) for one in results) + "\n]\n")
for one in results:
    print(one["steps"], one["best_step"], one["best_metric"], one["end_loss"], [round(e["eval_loss"], 4) for e in one["evaluations"]])
