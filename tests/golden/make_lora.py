# SPDX-License-Identifier: Apache-2.0
"""Adapters that PEFT wrote on tiny models of tests/golden/families, and what PEFT computes with them.

    python tests/golden/make_lora.py

Versions: requirements.txt. The files land in tests/golden/lora/NAME: adapter_config.json, whose base is given relative to the
folder, adapter_model.safetensors, and golden.json with, all in float32: ids, the loss of the whole sequence with the adapter and
without it, and the gradients of A and B, as make_families.py sums them up.
"""

import json
from pathlib import Path

from model_files import settle

torch = settle()

import peft  # noqa: E402
from make_families import FAMILIES, open_fresh, summary  # noqa: E402

LORA = Path(__file__).parent / "lora"
CASES = {
    "llama2": {"r": 4, "lora_alpha": 6, "target_modules": "all-linear"},
    "gemma2": {"r": 2, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.1},
    "phi3": {"r": 3, "lora_alpha": 5, "target_modules": ["qkv_proj", "gate_up_proj", "down_proj"], "use_rslora": True},
}


def main():
    for name, settings in CASES.items():
        torch.manual_seed(len(name))
        folder = LORA / name
        ids = torch.tensor([json.loads((FAMILIES / name / "golden.json").read_text())["ids"]])
        model = peft.get_peft_model(open_fresh(FAMILIES / name), peft.LoraConfig(task_type="CAUSAL_LM", **settings))
        for key, weight in model.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(weight, 0, 0.3)
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        path = folder / "adapter_config.json"
        config = json.loads(path.read_text())
        config["base_model_name_or_path"] = f"../../families/{name}"
        config["target_modules"] = sorted(config["target_modules"])
        path.write_text(json.dumps(config, indent=1) + "\n")
        model.eval()
        loss = model(ids, labels=ids).loss
        loss.backward()
        with model.disable_adapter():
            base = model(ids, labels=ids).loss
        gradients = {
            key.replace(".default", ""): summary(weight.grad) for key, weight in model.named_parameters() if weight.grad is not None
        }
        made = {"peft": peft.__version__, "ids": ids[0].tolist(), "loss": float(loss), "base_loss": float(base), "gradients": gradients}
        (folder / "golden.json").write_text(json.dumps(made, separators=(",", ":")) + "\n")
        print(name, float(loss), float(base), len(gradients))


if __name__ == "__main__":
    main()
