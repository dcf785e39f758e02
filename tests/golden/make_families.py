# SPDX-License-Identifier: Apache-2.0
"""Tiny random models of every family that kedge knows, and what transformers makes of them.

    python tests/golden/make_families.py [NAME ...]

Versions: requirements.txt. The files land in tests/golden/families/NAME: config.json, in the spelling of transformers 5 or, where
a case says so, of an older release; model.safetensors in bfloat16; golden.json with, all in float32:

ids        the tokens
logits     before token t = 1, 2, …, of the sequence that ends with token t: what depends on a sequence's length sees t + 1 tokens
loss       mean over all tokens but the first, of the whole sequence
gradients  of that loss, tensor by tensor: norm, four elements, and products with sin(i + 1) and cos(i + 1), i the flat index
greedy     how the first `prompt` tokens go on, each the likeliest after all before it
"""

import json
import sys
from pathlib import Path

from model_files import settle, versions

torch = settle()

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText  # noqa: E402

FAMILIES = Path(__file__).parent / "families"
VOCABULARY, LENGTH, PROMPT, NEW = 48, 18, 5, 9
SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": None, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
WIDE = {"head_dim": 8}
OLD = {"transformers_version": "4.44.0", "torch_dtype": "bfloat16"}


def rope(kind, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **more}}


# What stands beside a text model, as small as can be.
VISION = {
    "vision_config": {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "head_dim": 8,
                      "image_size": 8, "patch_size": 4},
    "mm_tokens_per_image": 1, "image_token_index": 40, "boi_token_index": 41, "eoi_token_index": 42,
}  # fmt: skip

# name: (model type, settings, how an older release spelt the file: keys to add; None takes a key away)
CASES = {
    "llama2": ("llama", {}, OLD | {"rope_parameters": None, "rope_theta": 10000.0, "rope_scaling": None}),
    "llama_bias": ("llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, **WIDE}, {}),
    "llama_linear": ("llama", rope("linear", factor=3.0), OLD | {
        "rope_parameters": None, "rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 3.0}}),
    "llama_dynamic": ("llama", {**WIDE, "max_position_embeddings": 12, **rope("dynamic", factor=2.0)}, {}),
    "llama3": ("llama", {**WIDE, **rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                        original_max_position_embeddings=32)}, {}),
    "llama_yarn": ("llama", {**WIDE, **rope("yarn", factor=4.0, original_max_position_embeddings=16)}, {}),
    "llama_yarn_old": ("llama", {**WIDE, **rope("yarn", factor=4.0, beta_fast=16.0, beta_slow=2.0, truncate=False, mscale=1.0, mscale_all_dim=0.5)},
                       OLD | {"rope_parameters": None, "rope_theta": 10000.0, "rope_scaling": {
                           "rope_type": "yarn", "factor": 4.0, "beta_fast": 16.0, "beta_slow": 2.0, "truncate": False, "mscale": 1.0,
                           "mscale_all_dim": 0.5}}),
    "mistral": ("mistral", {"sliding_window": 5}, {}),
    "mistral_old": ("mistral", {"sliding_window": None, **WIDE}, OLD | {"rope_parameters": None, "rope_theta": 1000000.0}),
    "smollm3": ("smollm3", {"num_hidden_layers": 4, "no_rope_layer_interval": 2, "tie_word_embeddings": True,
                            "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}}, {}),
    "gemma": ("gemma", {**WIDE, "num_key_value_heads": 1}, OLD | {
        "rope_parameters": None, "rope_theta": 10000.0, "hidden_act": "gelu", "tie_word_embeddings": None}),
    "gemma2": ("gemma2", {**WIDE, "sliding_window": 5, "query_pre_attn_scalar": 5, "attn_logit_softcapping": 2.0,
                          "final_logit_softcapping": 4.0}, {}),
    "gemma3": ("gemma3_text", {**WIDE, "sliding_window": 4, "query_pre_attn_scalar": 10, "layer_types": [
        "sliding_attention", "full_attention", "sliding_attention"], "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}}, {}),
    "gemma3_old": ("gemma3_text", {**WIDE, "sliding_window": 4, "final_logit_softcapping": 3.0, "layer_types": [
        "sliding_attention", "full_attention", "sliding_attention"]}, OLD | {
            "rope_parameters": None, "layer_types": None, "sliding_window_pattern": 2, "rope_theta": 5000.0,
            "rope_local_base_freq": 100.0, "rope_scaling": {"factor": 2.0, "rope_type": "linear"}}),
    "qwen2": ("qwen2", {"tie_word_embeddings": True}, {}),
    "qwen2_window": ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
                     OLD | {"rope_parameters": None, "rope_theta": 1000000.0, "layer_types": None}),
    "qwen3": ("qwen3", WIDE, {}),
    "phi3": ("phi3", {"sliding_window": 7}, {}),
    "phi3_longrope": ("phi3", {"hidden_size": 32, "partial_rotary_factor": 0.75, "original_max_position_embeddings": 12, "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75, "short_factor": [1.0, 1.5, 2.0],
        "long_factor": [2.0, 3.0, 5.0]}}, {}),
    "granite": ("granite", {"embedding_multiplier": 3.0, "attention_multiplier": 0.3, "residual_multiplier": 0.6, "logits_scaling": 2.5}, {}),
    "olmo2": ("olmo2", {}, {}),
    "olmo3": ("olmo3", {"num_hidden_layers": 4, "sliding_window": 4, "rope_parameters": {
        "full_attention": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 5000.0, "original_max_position_embeddings": 16},
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}}}, {}),
    "olmo3_old": ("olmo3", {"sliding_window": 4, "layer_types": ["full_attention", "sliding_attention", "sliding_attention"], "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 5000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 500000.0}}}, OLD | {"rope_parameters": None, "rope_theta": 5000.0}),
    "arcee": ("arcee", {"mlp_bias": True}, {}),
    "seed_oss": ("seed_oss", {**WIDE, "attention_out_bias": True, "attention_dropout": 0.0, "residual_dropout": 0.0}, {}),
    "ministral": ("ministral", {"head_dim": 4, "sliding_window": 5, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}, {}),
    "ministral3": ("ministral3", {**WIDE, "rope_parameters": {
        "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 8, "beta_fast": 32.0, "beta_slow": 1.0,
        "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.4}}, {}),
    "glm4": ("glm4", WIDE, {}),
    "exaone4": ("exaone4", {"num_hidden_layers": 4, "sliding_window": 4}, {}),
    "exaone4_full": ("exaone4", {"sliding_window": None, "layer_types": ["full_attention"] * 3}, {}),
    "qwen3_moe": ("qwen3_moe", {**WIDE, "moe_intermediate_size": 12, "num_experts": 5, "num_experts_per_tok": 2}, {}),
    "qwen3_moe_normalised": ("qwen3_moe", {"moe_intermediate_size": 12, "num_experts": 4, "num_experts_per_tok": 3, "norm_topk_prob": True,
                                           "head_dim": 4, "use_sliding_window": True, "sliding_window": 5}, {}),
    "mixtral": ("mixtral", {"num_local_experts": 4, "head_dim": 4}, {}),
    "olmoe": ("olmoe", {"num_experts": 6, "num_experts_per_tok": 2}, {}),
    "granitemoe": ("granitemoe", {"num_local_experts": 4, "num_experts_per_tok": 2, "embedding_multiplier": 2.0, "attention_multiplier": 0.4,
                                  "residual_multiplier": 0.7, "logits_scaling": 1.5}, {}),
    "cohere": ("cohere", {}, {}),
    "cohere2": ("cohere2", {"num_hidden_layers": 4, "sliding_window": 4, "logit_scale": 0.3, "attention_bias": True}, {}),
    "qwen3_moe_dense": ("qwen3_moe", {"num_hidden_layers": 4, "moe_intermediate_size": 12, "num_experts": 4, "num_experts_per_tok": 2,
                                      "decoder_sparse_step": 2, "mlp_only_layers": [3]}, {}),
    "gpt_oss": ("gpt_oss", {**WIDE, "num_local_experts": 5, "num_experts_per_tok": 2, "sliding_window": 4, "swiglu_limit": 1.0,
                            "swiglu_alpha": 1.3, "rope_parameters": {
                                "rope_type": "yarn", "rope_theta": 150000.0, "factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
                                "original_max_position_embeddings": 16}}, {}),
    "stablelm": ("stablelm", {"hidden_size": 32, "use_qkv_bias": True}, {}),
    "stablelm_parallel": ("stablelm", {"hidden_size": 32, "use_parallel_residual": True}, OLD | {
        "rope_parameters": None, "rope_theta": 10000.0, "partial_rotary_factor": 0.25}),
    "cwm": ("cwm", {"num_hidden_layers": 5, "head_dim": 8, "sliding_window": 4}, {}),
    "ernie4_5": ("ernie4_5", {**WIDE, "use_bias": True}, {}),
    "glm": ("glm", WIDE, {}),
    "helium": ("helium", {"head_dim": 4, "attention_bias": True}, {}),
    "nemotron": ("nemotron", WIDE, {}),
    "jais2": ("jais2", WIDE, {}),
    "starcoder2": ("starcoder2", {"sliding_window": 5, "residual_dropout": 0.0}, {}),
    "vaultgemma": ("vaultgemma", {**WIDE, "sliding_window": 5, "query_pre_attn_scalar": 5, "attn_logit_softcapping": 2.0,
                                  "final_logit_softcapping": 4.0}, {}),
    "gemma3_multimodal": ("gemma3", {"text_config": {**SHAPE, **WIDE, "sliding_window": 4, "query_pre_attn_scalar": 10, "layer_types": [
        "sliding_attention", "full_attention", "sliding_attention"]}, **VISION}, {}),
    "mistral3_multimodal": ("mistral3", {"text_config": {"model_type": "mistral", **SHAPE, "sliding_window": None}, **VISION}, {}),
}  # fmt: skip


def randomise(model, gemma):
    """Weights large enough that attention, rope, windows, caps and norms all leave their mark on the logits."""
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
            if gemma:
                weight.data -= 1
        elif weight.dim() < 2 or name.endswith("bias"):
            torch.nn.init.normal_(weight, 0, 0.5)
        else:
            torch.nn.init.normal_(weight, 0, 0.5 if "embed" in name else 1.2 * (weight.shape[-1] if weight.dim() == 3 else weight[0].numel()) ** -0.5)


def opener(kind):
    return AutoModelForImageTextToText if kind in ("gemma3", "mistral3") else AutoModelForCausalLM


def save(folder, kind, settings, older):
    shape = {} if "text_config" in settings else SHAPE
    model = opener(kind).from_config(AutoConfig.for_model(kind, **{**shape, **settings}))
    randomise(model, kind.startswith("gemma") or kind in ("nemotron", "vaultgemma"))
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    if older:
        config.pop("dtype")
        for key, value in older.items():
            config.pop(key, None) if value is None and key != "rope_scaling" else config.update({key: value})
    path.write_text(json.dumps(config, indent=1) + "\n")


def summary(g):
    flat = g.double().flatten()
    at = torch.arange(1, len(flat) + 1, dtype=torch.float64)
    return {"norm": float(flat.norm()), "sin": float(flat @ at.sin()), "cos": float(flat @ at.cos()), "first": flat[:4].tolist()}


def open_fresh(folder):
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    return opener(kind).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def gradients_of(model):
    """By the names of the file: transformers stacks what lies there expert by expert."""
    kind = model.config.model_type
    for name, parameter in model.named_parameters():
        name, g = name.replace("model.language_model.", "model."), parameter.grad
        if kind == "mixtral":
            name = name.replace(".mlp.", ".block_sparse_moe.")
        if g is None:
            continue
        if kind == "granitemoe":
            yield name.replace("router.weight", "router.layer.weight").replace("experts.gate_up_proj", "input_linear.weight").replace(
                "experts.down_proj", "output_linear.weight"), g
            continue
        if kind == "gpt_oss":
            yield name, g
            continue
        words = ("w1", "w3", "w2") if kind == "mixtral" else ("gate_proj", "up_proj", "down_proj")
        if name.endswith("experts.gate_up_proj"):
            for e, both in enumerate(g):
                for word, half in zip(words, both.chunk(2)):
                    yield f"{name[:-len('gate_up_proj')]}{e}.{word}.weight", half
        elif name.endswith("experts.down_proj"):
            for e, down in enumerate(g):
                yield f"{name[:-len('down_proj')]}{e}.{words[2]}.weight", down
        else:
            yield name, g


def router(folder, ids):
    """The auxiliary loss of a batch of two sequences of unequal length that begin alike, and its gradients."""
    model = open_fresh(folder)
    if not hasattr(model.config, "output_router_logits"):
        return {}
    other = torch.cat([ids[0, :PROMPT], ids[0, 12:17]])
    batch = torch.zeros(2, 12, dtype=torch.long)
    mask = torch.zeros(2, 12, dtype=torch.long)
    for row, sequence in enumerate([ids[0, :12], other]):
        batch[row, : len(sequence)], mask[row, : len(sequence)] = sequence, 1
    aux = model(batch, attention_mask=mask, output_router_logits=True).aux_loss
    aux.backward()
    return {"router": {"aux_loss": float(aux), "gradients": {name: summary(g) for name, g in gradients_of(model)}}}


def golden(folder):
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(3, VOCABULARY, (1, LENGTH), generator=generator)
    model = open_fresh(folder)
    with torch.no_grad():
        logits = [model(ids[:, : t + 1]).logits[0, t - 1] for t in range(1, LENGTH)]
        greedy = ids[:, :PROMPT]
        fresh = open_fresh(folder)
        while greedy.shape[1] < PROMPT + NEW:
            # Dynamic and long rope change with the length; generation stays within what they leave alone.
            within = fresh.config.max_position_embeddings if "dynamic" in folder.name else 12 if "longrope" in folder.name else LENGTH
            if greedy.shape[1] >= within:
                break
            greedy = torch.cat([greedy, fresh(greedy).logits[:, -1:].argmax(-1)], 1)
    model = open_fresh(folder)
    loss = model(ids, labels=ids).loss
    loss.backward()
    return {
        "versions": versions(),
        "ids": ids[0].tolist(),
        "logits": [[float(f"{x:.7g}") for x in row.tolist()] for row in logits],
        "loss": float(loss),
        "gradients": {name: summary(g) for name, g in gradients_of(model)},
        "prompt": PROMPT,
        "greedy": greedy[0, PROMPT:].tolist(),
        **router(folder, ids),
    }


def main():
    for name, (kind, settings, older) in CASES.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        folder = FAMILIES / name
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(sum(name.encode()))
        save(folder, kind, settings, older)
        made = golden(folder)
        (folder / "golden.json").write_text(json.dumps(made, separators=(",", ":")) + "\n")
        print(name, round(made["loss"], 4), made["greedy"])


if __name__ == "__main__":
    main()
