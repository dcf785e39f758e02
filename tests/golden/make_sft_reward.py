# SPDX-License-Identifier: Apache-2.0
"""Steps of TRL's SFTTrainer and RewardTrainer on the tiny checkpoint tied/.

    python tests/golden/make_sft_reward.py

Versions: requirements.txt. Everything runs in float32 on the CPU. Two files land in tests/golden/tiny:

trl_sft.json     runs on the chosen sides of pairs.jsonl, as prompt and completion, or as whole conversations: settings, and
                 metrics of every step
trl_reward.json  runs on pairs.jsonl: the score head that all start from, settings, metrics of every step, and the rewards of all
                 pairs under the trained model
"""

import json
import tempfile
from pathlib import Path

from model_files import settle, versions

torch = settle()

from datasets import Dataset  # noqa: E402
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback  # noqa: E402
from trl import RewardConfig, RewardTrainer, SFTConfig, SFTTrainer  # noqa: E402

TINY = Path(__file__).parent / "tiny"
PLAIN = {"max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "lr_scheduler_type": "constant", "max_grad_norm": 1.0}
FIXED = {
    "train_sampling_strategy": "sequential", "bf16": False, "use_cpu": True, "logging_steps": 1, "save_strategy": "no",
    "report_to": "none", "disable_tqdm": True, "gradient_checkpointing": False, "warmup_steps": 0, "weight_decay": 0.0,
}  # fmt: skip
DROPPED = ("epoch", "train_runtime")

SFT = {
    "plain": {},
    "accumulation": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
    "whole sequence": {"completion_only_loss": False},
    "messages": {},
    "text": {},
    "truncated": {"max_length": 70},
    "dynamic": {"loss_type": "dft"},
    "smoothed labels": {"label_smoothing_factor": 0.1},
    "smoothed labels in two batches": {"label_smoothing_factor": 0.2, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
}
REWARD = {
    "plain": {},
    "margin": {},
    "centred": {"center_rewards_coefficient": 0.1},
    "text": {"per_device_train_batch_size": 2},
}


def read(name):
    return [json.loads(line) for line in (TINY / name).read_text(encoding="utf-8").splitlines()]


class Keep(TrainerCallback):
    def __init__(self):
        self.rows = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.rows.append({k: v for k, v in logs.items() if k not in DROPPED} | {"step": state.global_step})


def sft(name, changes):
    text = name == "text"
    examples = [{"prompt": p["prompt"], "completion": p["chosen"]} for p in read("pairs-text.jsonl" if text else "pairs.jsonl")]
    if name == "messages":
        examples = [{"messages": e["prompt"] + e["completion"]} for e in examples]
    settings = PLAIN | changes
    keep = Keep()
    with tempfile.TemporaryDirectory() as output:
        trainer = SFTTrainer(
            model=str(TINY / "tied"),
            args=SFTConfig(output_dir=output, model_init_kwargs={"dtype": torch.float32}, **FIXED, **settings),
            train_dataset=Dataset.from_list(examples),
            processing_class=AutoTokenizer.from_pretrained(TINY / "tied"),
            callbacks=[keep],
        )
        trainer.train()
    return {"settings": settings, "steps": keep.rows}


def score_head():
    values = torch.randn(32, generator=torch.Generator().manual_seed(5)) * 0.2
    return values.reshape(1, 32)


@torch.no_grad()
def rewards(model, rows):
    """Of chosen and rejected, one sequence at a time."""
    return [[model(torch.tensor([row[key]])).logits.item() for key in ("chosen_ids", "rejected_ids")] for row in rows]


def reward(name, changes):
    pairs = read("pairs-text.jsonl" if name == "text" else "pairs.jsonl")
    if name == "margin":
        pairs = [p | {"margin": 0.25 * (i % 3)} for i, p in enumerate(pairs)]
    settings = PLAIN | changes
    keep = Keep()
    model = AutoModelForSequenceClassification.from_pretrained(TINY / "tied", num_labels=1, dtype=torch.float32)
    with torch.no_grad():
        model.score.weight.copy_(score_head())
    with tempfile.TemporaryDirectory() as output:
        trainer = RewardTrainer(
            model=model,
            args=RewardConfig(output_dir=output, **FIXED, **settings),
            train_dataset=Dataset.from_list(pairs),
            processing_class=AutoTokenizer.from_pretrained(TINY / "tied"),
            callbacks=[keep],
        )
        trainer.train()
    return {"settings": settings, "steps": keep.rows, "rewards_after": rewards(trainer.model.eval(), trainer.train_dataset)}


def write(name, content):
    (TINY / name).write_text(json.dumps({"versions": versions()} | content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write("trl_sft.json", {"runs": {name: sft(name, changes) for name, changes in SFT.items()}})
    write("trl_reward.json", {"score": score_head()[0].tolist(), "runs": {n: reward(n, c) for n, c in REWARD.items()}})
