# SPDX-License-Identifier: Apache-2.0
"""Adapters that PEFT wrote on tiny models of tests/golden/families, and what PEFT computes with them.

    python tests/golden/make_lora.py

Versions: requirements.txt. The files land in tests/golden/lora/NAME: adapter_config.json, whose base is given relative to the
folder, adapter_model.safetensors, and golden.json with, all in float32: ids, the loss of the whole sequence with the adapter and
without it, and the gradients of A and B, as make_families.py sums them up; for llama2_reward, an adapter of a reward model, the reward
of the sequence, and the gradients of the reward.
"""

import json
from pathlib import Path

from model_files import settle

torch = settle()

import peft  # noqa: E402
from make_families import FAMILIES, open_fresh, summary  # noqa: E402
from transformers import AutoModelForSequenceClassification  # noqa: E402

LORA = Path(__file__).parent / "lora"
CASES = {
    "llama2": {"r": 4, "lora_alpha": 6, "target_modules": "all-linear"},
    "gemma2": {"r": 2, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.1},
    "phi3": {"r": 3, "lora_alpha": 5, "target_modules": ["qkv_proj", "gate_up_proj", "down_proj"], "use_rslora": True},
}


def ids_of(family):
    return torch.tensor([json.loads((FAMILIES / family / "golden.json").read_text())["ids"]])


def save(model, folder, family):
    """The adapter, with B and scores that aren't zero."""
    for key, weight in model.named_parameters():
        if "lora_B" in key or (weight.requires_grad and "score" in key):
            torch.nn.init.normal_(weight, 0, 0.3)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = f"../../families/{family}"
    for key in ("target_modules", "modules_to_save"):
        config[key] = config[key] and sorted(config[key])
    path.write_text(json.dumps(config, indent=1) + "\n")
    return model.eval()


def gradients_of(model):
    name = lambda key: key.replace(".default", "").replace(".modules_to_save", "")
    return {name(key): summary(weight.grad) for key, weight in model.named_parameters() if weight.grad is not None}


def reward():
    torch.manual_seed(9)
    base = AutoModelForSequenceClassification.from_pretrained(FAMILIES / "llama2", num_labels=1, dtype=torch.float32, attn_implementation="eager")
    model = save(peft.get_peft_model(base, peft.LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=5, target_modules=["q_proj", "down_proj"])),
                 LORA / "llama2_reward", "llama2")
    value = model(ids_of("llama2")).logits[0, 0]
    value.backward()
    made = {"peft": peft.__version__, "ids": ids_of("llama2")[0].tolist(), "reward": float(value), "gradients": gradients_of(model)}
    (LORA / "llama2_reward" / "golden.json").write_text(json.dumps(made, separators=(",", ":")) + "\n")
    print("llama2_reward", float(value), len(made["gradients"]))


def main():
    reward()
    for name, settings in CASES.items():
        torch.manual_seed(len(name))
        folder = LORA / name
        ids = ids_of(name)
        model = save(peft.get_peft_model(open_fresh(FAMILIES / name), peft.LoraConfig(task_type="CAUSAL_LM", **settings)), folder, name)
        loss = model(ids, labels=ids).loss
        loss.backward()
        with model.disable_adapter():
            base = model(ids, labels=ids).loss
        made = {"peft": peft.__version__, "ids": ids[0].tolist(), "loss": float(loss), "base_loss": float(base), "gradients": gradients_of(model)}
        (folder / "golden.json").write_text(json.dumps(made, separators=(",", ":")) + "\n")
        print(name, float(loss), float(base), len(made["gradients"]))


if __name__ == "__main__":
    main()
