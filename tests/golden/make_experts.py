# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts: steps of TRL with the router's auxiliary loss, and a checkpoint in MXFP4.

    python tests/golden/make_experts.py

Versions: requirements.txt. Everything runs in float32 on the CPU. What lands in tests/golden:

tiny/experts/     a random Mixtral with the tokenizer of tiny/tied
tiny/trl_experts.json   runs of SFTTrainer, on the chosen sides of pairs.jsonl, and of DPOTrainer: settings, and metrics of every step
mxfp4/            a tiny gpt-oss whose experts are stored as blocks and scales, and in expected.safetensors the numbers that
                  transformers makes of them
"""

import json
import shutil
import tempfile
from pathlib import Path

from model_files import settle, versions

torch = settle()

from datasets import Dataset  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoTokenizer, GptOssConfig, GptOssForCausalLM, MixtralConfig, MixtralForCausalLM  # noqa: E402
from transformers.integrations.mxfp4 import convert_moe_packed_tensors  # noqa: E402
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer  # noqa: E402

from make_sft_reward import FIXED, PLAIN, TINY, Keep, read  # noqa: E402

MXFP4 = Path(__file__).parent / "mxfp4"
RUNS = {
    "its own weight": {},
    "a large weight": {"router_aux_loss_coef": 0.5},
    "without": {"router_aux_loss_coef": 0.0},
}


def small(config, kind, folder, dtype):
    model = kind(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, 1.0 if weight.dim() == 1 else 0.0, 0.3)
    model.to(dtype).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)


def mixture():
    folder = TINY / "experts"
    torch.manual_seed(8)
    small(MixtralConfig(vocab_size=320, hidden_size=16, intermediate_size=12, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                        num_local_experts=4, max_position_embeddings=256, sliding_window=None), MixtralForCausalLM, folder, torch.bfloat16)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(TINY / "tied" / name, folder / name)
    return folder


def run(folder, method, changes):
    pairs, keep = read("pairs.jsonl"), Keep()
    kind, args = (SFTTrainer, SFTConfig) if method == "sft" else (DPOTrainer, DPOConfig)
    rows = [{"prompt": p["prompt"], "completion": p["chosen"]} for p in pairs] if method == "sft" else pairs
    with tempfile.TemporaryDirectory() as output:
        trainer = kind(
            model=str(folder),
            args=args(output_dir=output, model_init_kwargs={"dtype": torch.float32}, **FIXED, **PLAIN, **changes),
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(folder),
            callbacks=[keep],
        )
        trainer.train()
    return {"settings": changes, "steps": [{k: row[k] for k in ("loss", "grad_norm", "aux_loss") if k in row} for row in keep.rows]}


def packed():
    """Blocks and scales of random bytes, in place of the experts' weights."""
    torch.manual_seed(9)
    small(GptOssConfig(vocab_size=16, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
                       head_dim=4, num_local_experts=2, num_experts_per_tok=1), GptOssForCausalLM, MXFP4, torch.bfloat16)
    tensors, expected = load_file(MXFP4 / "model.safetensors"), {}
    for name in [n for n in tensors if n.endswith("_proj") and ".experts." in n]:
        experts, width, rows = tensors.pop(name).shape
        blocks = torch.randint(0, 256, (experts, rows, width // 32, 16), dtype=torch.uint8)
        scales = torch.randint(118, 128, (experts, rows, width // 32), dtype=torch.uint8)
        tensors[name + "_blocks"], tensors[name + "_scales"] = blocks, scales
        expected[name] = convert_moe_packed_tensors(blocks, scales)
    save_file(tensors, MXFP4 / "model.safetensors", {"format": "pt"})
    save_file(expected, MXFP4 / "expected.safetensors")
    config = json.loads((MXFP4 / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router"]}
    (MXFP4 / "config.json").write_text(json.dumps(config, indent=1) + "\n")


if __name__ == "__main__":
    packed()
    folder = mixture()
    content = {"versions": versions(), "sft": {n: run(folder, "sft", c) for n, c in RUNS.items()}, "dpo": {n: run(folder, "dpo", c) for n, c in RUNS.items()}}
    (TINY / "trl_experts.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
