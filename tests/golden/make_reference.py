# SPDX-License-Identifier: Apache-2.0
"""Steps of TRL's DPOTrainer whose reference moves, or is another model, or whose tokens and pairs have weights.

    python tests/golden/make_reference.py

Versions: requirements.txt. Everything runs in float64 on the CPU, on pairs.jsonl from the tiny checkpoint tied/; make_tiny.py wrote both.
transformers narrows to float32 inside of norms and rotations, whatever the type of the model; here it doesn't, so that what is left of a
difference is no rounding. tests/golden/tiny/trl_reference.json holds a run's settings, the model of its reference, and the metrics of
every step.
"""

import json
import tempfile
from pathlib import Path

from model_files import settle, versions

torch = settle()

from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback  # noqa: E402
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding  # noqa: E402
from trl import DPOConfig, DPOTrainer  # noqa: E402

TINY = Path(__file__).parent / "tiny"
PLAIN = {"max_steps": 8, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "lr_scheduler_type": "constant"}
SYNC = {"sync_ref_model": True}
RUNS = {
    "moved every second step": (None, SYNC | {"ref_model_sync_steps": 2, "ref_model_mixup_alpha": 0.6}),
    "replaced every third step": (None, SYNC | {"ref_model_sync_steps": 3, "ref_model_mixup_alpha": 1.0}),
    "moved every step, two batches a step": (
        None,
        SYNC | {"ref_model_sync_steps": 1, "ref_model_mixup_alpha": 0.3, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
    ),
    "tails count half": (None, {"ld_alpha": 0.5}),
    "no tails, ipo": (None, {"ld_alpha": 0.0, "loss_type": ["ipo"]}),
    "pairs weighted by the policy": (None, {"use_weighting": True}),
    "pairs weighted by the policy, sigmoid and exo": (
        None,
        {"use_weighting": True, "loss_type": ["sigmoid", "exo_pair"], "loss_weights": [0.7, 0.3], "label_smoothing": 1e-3, "ld_alpha": 0.5},
    ),
    "a reference of its own": ("untied", {}),
    "a reference of its own, whose tails count half": ("untied", {"ld_alpha": 0.5}),
    "all at once": ("tied", SYNC | {"ref_model_sync_steps": 2, "ld_alpha": 0.5, "use_weighting": True}),
}  # fmt: skip
KEPT = ("loss", "grad_norm", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected")


def norm(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def rotation(self, x, position_ids):
    # inv_freq is float32 in the model; its exponents are those of the configuration.
    angles = position_ids[:, :, None].to(x.dtype) * self.inv_freq.to(x.dtype)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos() * self.attention_scaling, angles.sin() * self.attention_scaling


LlamaRMSNorm.forward = norm
LlamaRotaryEmbedding.forward = rotation


def load(name):
    return AutoModelForCausalLM.from_pretrained(TINY / name, dtype=torch.float64)


def train(reference, settings):
    rows = []

    class Keep(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            if "loss" in logs:
                rows.append({k: logs[k] for k in KEPT})

    pairs = [json.loads(line) for line in (TINY / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    with tempfile.TemporaryDirectory() as output:
        config = DPOConfig(
            output_dir=output, train_sampling_strategy="sequential", bf16=False, use_cpu=True, logging_steps=1, save_strategy="no",
            report_to="none", disable_tqdm=True, gradient_checkpointing=False, **settings,
        )  # fmt: skip
        trainer = DPOTrainer(
            model=load("tied"), ref_model=load(reference) if reference else None, args=config, train_dataset=Dataset.from_list(pairs),
            processing_class=AutoTokenizer.from_pretrained(TINY / "tied"), callbacks=[Keep()],
        )  # fmt: skip
        trainer.train()
    return {"reference": reference, "settings": settings, "steps": rows}


if __name__ == "__main__":
    made = {name: train(reference, PLAIN | settings) for name, (reference, settings) in RUNS.items()}
    (TINY / "trl_reference.json").write_text(json.dumps({"versions": versions(), "runs": made}, indent=1) + "\n")
