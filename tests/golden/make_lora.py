# SPDX-License-Identifier: Apache-2.0
"""Adapters that PEFT wrote on tiny models of tests/golden/families, and what PEFT computes with them.

    python tests/golden/make_lora.py [KIND ...]

Versions: requirements.txt. The files land in tests/golden/lora/NAME: adapter_config.json, whose base is given relative to the
folder, adapter_model.safetensors, and golden.json with, all in float32: ids, the loss of the whole sequence with the adapter and
without it, and the gradients of A and B, as make_families.py sums them up; for llama2_reward, an adapter of a reward model, the reward
of the sequence, and the gradients of the reward; for the kinds of KINDS the log-probability of every token after the first, the gradients
of the mean loss, and the log-probabilities after two steps of AdamW.
"""

import json
import os
import sys
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

# Whatever else PEFT's adapters are: name: (family, settings)
ALL = ["q_proj", "v_proj"]
KINDS = {
    "rank_and_alpha_pattern": ("llama2", {"r": 4, "lora_alpha": 8, "target_modules": ALL, "rank_pattern": {"layers.1.self_attn.q_proj": 2},
                                          "alpha_pattern": {"v_proj": 16, "^model.layers.0.self_attn.q_proj": 3}}),
    "rank_pattern_rslora": ("llama2", {"r": 4, "lora_alpha": 8, "target_modules": ALL, "rank_pattern": {"v_proj": 1}, "use_rslora": True}),
    "dora": ("llama2", {"r": 2, "lora_alpha": 8, "target_modules": "all-linear", "use_dora": True}),
    "dora_embedding": ("llama_bias", {"r": 2, "lora_alpha": 4, "target_modules": ["embed_tokens", "o_proj"], "use_dora": True}),
    "saved_embedding_and_head": ("llama2", {"r": 2, "lora_alpha": 4, "target_modules": ALL, "modules_to_save": ["embed_tokens", "lm_head"]}),
    "saved_norms": ("llama2", {"r": 2, "lora_alpha": 4, "target_modules": ALL, "modules_to_save": ["norm", "input_layernorm"]}),
    "head": ("llama2", {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "lm_head"]}),
    "tied_head": ("llama_bias", {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "lm_head"]}),
    "embedding": ("llama2", {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "embed_tokens"]}),
    "tied_embedding": ("llama_bias", {"r": 2, "lora_alpha": 4, "target_modules": ["embed_tokens"]}),
    "regular_expression": ("llama2", {"r": 2, "lora_alpha": 4, "target_modules": r".*layers\.[12]\.self_attn\.(q|v)_proj"}),
    "some_layers": ("llama2", {"r": 2, "lora_alpha": 4, "target_modules": ALL, "layers_to_transform": [0, 2]}),
    "qualified_names": ("llama2", {"r": 2, "lora_alpha": 4, "target_modules": ["self_attn.q_proj", "mlp.up_proj"]}),
    "excluded": ("llama2", {"r": 2, "lora_alpha": 4, "target_modules": ALL, "exclude_modules": ["model.layers.1.self_attn.v_proj"]}),
    "bias_of_b": ("llama_bias", {"r": 2, "lora_alpha": 4, "target_modules": ALL, "lora_bias": True}),
    "new_bias_of_b": ("llama2", {"r": 2, "lora_alpha": 4, "target_modules": [*ALL, "up_proj"], "lora_bias": True}),
    "all_biases": ("llama_bias", {"r": 2, "lora_alpha": 4, "target_modules": ALL, "bias": "all"}),
    "their_biases": ("llama_bias", {"r": 2, "lora_alpha": 4, "target_modules": ALL, "bias": "lora_only"}),
    "tokens": ("llama2", {"r": 2, "lora_alpha": 4, "target_modules": ALL, "trainable_token_indices": [3, 8, 40]}),
    "tied_tokens": ("llama_bias", {"r": 2, "lora_alpha": 4, "target_modules": ALL, "trainable_token_indices": {"embed_tokens": [4, 30]}}),
    "resized": ("llama2", {"r": 2, "lora_alpha": 4, "target_modules": ALL}),
    "both_patterns_and_layers": ("llama2", {"r": 3, "lora_alpha": 5, "target_modules": [*ALL, "down_proj"], "layers_to_transform": [1, 2], "exclude_modules": ["layers.2.mlp.down_proj"],
                                            "rank_pattern": {r"layers\.1\..*_proj": 2}, "alpha_pattern": {"down_proj": 7}}),
    "saved_mlp": ("llama2", {"r": 2, "lora_alpha": 4, "target_modules": ALL, "modules_to_save": ["mlp", "lm_head"]}),
    "saved_tied_embedding": ("llama_bias", {"r": 2, "lora_alpha": 4, "target_modules": ALL, "modules_to_save": ["embed_tokens"]}),
    "saved_tied_head": ("llama_bias", {"r": 2, "lora_alpha": 4, "target_modules": ALL, "modules_to_save": ["lm_head"]}),
    "gemma_embedding": ("gemma2", {"r": 2, "lora_alpha": 4, "target_modules": ["embed_tokens", "down_proj", "lm_head"]}),
    "dora_head": ("llama2", {"r": 2, "lora_alpha": 4, "target_modules": ["lm_head", "v_proj"], "use_dora": True, "use_rslora": True}),
    "dora_fused": ("phi3", {"r": 2, "lora_alpha": 4, "target_modules": ["qkv_proj", "gate_up_proj", "down_proj"], "use_dora": True}),
    "dora_biases": ("llama_bias", {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "down_proj"], "use_dora": True, "bias": "all"}),
    "bias_of_b_of_head": ("llama2", {"r": 2, "lora_alpha": 4, "target_modules": ["lm_head"], "lora_bias": True}),
    "gemma_norms": ("gemma2", {"r": 2, "lora_alpha": 4, "target_modules": ALL, "modules_to_save": ["post_feedforward_layernorm"]}),
}
EXPERTS = {"r": 2, "lora_alpha": 4, "target_modules": ["o_proj"], "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}
KINDS |= {
    "experts": ("mixtral", EXPERTS),
    "experts_of_qwen": ("qwen3_moe", {**EXPERTS, "use_rslora": True, "rank_pattern": {"experts.down_proj": 3}}),
    "experts_down": ("olmoe", {**EXPERTS, "target_parameters": ["experts.down_proj"]}),
    "experts_of_gpt_oss": ("gpt_oss", EXPERTS),
    "experts_of_granite": ("granitemoe", {**EXPERTS, "target_parameters": ["experts.gate_up_proj", "experts.down_proj"]}),
}
RESIZED = 51
# What is read and merged, and not trained: kedge refuses to go on with it.
UNTRAINED = ("tokens", "tied_tokens", "resized")
STEPS, RATE = 2, 1e-2


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
    config["base_model_name_or_path"] = os.path.relpath(FAMILIES / family, folder)
    for key in ("target_modules", "modules_to_save", "exclude_modules"):
        config[key] = sorted(config[key]) if isinstance(config.get(key), list) else config.get(key)
    path.write_text(json.dumps(config, indent=1) + "\n")
    return model.eval()


def gradients_of(model):
    name = lambda key: key.replace(".default", "").replace(".modules_to_save", "").replace("magnitude_vector.weight", "magnitude_vector")
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


def completion_logp(model, ids):
    return model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]


def trained(model, ids):
    """The gradients of the mean loss, and the log-probabilities after a few steps of AdamW."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, weight_decay=0)
    made = {}
    for _ in range(STEPS):
        optimizer.zero_grad()
        (-completion_logp(model, ids).mean()).backward()
        made = made or {"gradients": gradients_of(model)}
        optimizer.step()
    with torch.no_grad():
        return made | {"rate": RATE, "steps": STEPS, "after": completion_logp(model, ids).tolist()}


def kinds():
    for name, (family, settings) in KINDS.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        torch.manual_seed(len(name))
        base = open_fresh(FAMILIES / family)
        if name == "resized":
            base.resize_token_embeddings(RESIZED)
        folder, ids = LORA / "kinds" / name, ids_of(family)
        model = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", **settings))
        with torch.no_grad():
            for weight in model.parameters():
                if weight.requires_grad:
                    weight.add_(0.2 * torch.randn(weight.shape))
        model = save(model, folder, family)
        with torch.no_grad():
            logp = completion_logp(model, ids)
        made = {"peft": peft.__version__, "ids": ids[0].tolist(), "logp": logp.tolist()}
        if name not in UNTRAINED:
            made |= trained(model, ids)
        (folder / "golden.json").write_text(json.dumps(made, separators=(",", ":")) + "\n")
        print(name, float(logp.sum()), len(made.get("gradients", ())), flush=True)


def main():
    kinds()
    if sys.argv[1:]:
        return
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
