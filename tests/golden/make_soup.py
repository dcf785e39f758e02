# SPDX-License-Identifier: Apache-2.0
"""Tiny checkpoints, recipes in mergekit's format, and what mergekit makes of them.

    python tests/golden/make_soup.py

Versions: requirements.txt. Everything runs on the CPU. The files land in tests/golden/soup:

base/, a/, b/, c/     random Llamas of one shape: base in float32, a and b trained from it, so to say, in bfloat16, c in float16
RECIPE.yml            recipes; models are named relative to the folder
expected.safetensors  for each recipe the result's tensors, flattened and joined in the order of their names, in the format of
                      the result
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

from model_files import settle

torch = settle()

import yaml  # noqa: E402
from mergekit.config import MergeConfiguration  # noqa: E402
from mergekit.merge import run_merge  # noqa: E402
from mergekit.options import MergeOptions  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

SOUP = Path(__file__).parent / "soup"
CONFIG = dict(
    vocab_size=24, hidden_size=8, intermediate_size=12, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1,
    max_position_embeddings=64, tie_word_embeddings=True,
)  # fmt: skip


def models(*names, **parameters):
    """Entries of `models`; a parameter is one value a model, or one for all."""
    value = lambda v, i: v[i] if isinstance(v, tuple) else v  # noqa: E731
    return [{"model": n, "parameters": {k: value(v, i) for k, v in parameters.items()}} for i, n in enumerate(names)]


def tasks(method, parameters=None, **each):
    return {"merge_method": method, "models": models("a", "b", "c", **each), "base_model": "base", "parameters": parameters or {}}


def slices(*ranges, **parameters):
    return [{"sources": [{"model": m, "layer_range": list(r)} for m, r in pairs], **parameters} for pairs in ranges]


ONCE = {"dtype": "float32", "out_dtype": "bfloat16"}  # one rounding, at the end
MLP_BY_DEPTH = [{"filter": "mlp", "value": [0.1, 0.9]}, {"filter": "q_proj", "value": [1, 0.5, 0]}, {"value": 0.4}]
RECIPES = {
    "linear-halves": {"merge_method": "linear", "models": models("a", "b", weight=0.5), "dtype": "bfloat16"},
    "linear-bfloat16": {"merge_method": "linear", "models": models("a", "b", weight=(0.3, 0.7)), "dtype": "bfloat16"},
    "linear-once": {"merge_method": "linear", "models": models("base", "a", "b", weight=(0.2, 0.3, 0.5))} | ONCE,
    "linear-mixed": {"merge_method": "linear", "models": models("a", "c", "b", weight=(1, 2, 0.5))},
    "linear-float16": {"merge_method": "linear", "models": models("base", "c", weight=(0.9, -0.2)), "dtype": "float16"},
    "linear-twice": {"merge_method": "linear", "models": models("a", "b", weight=(0.3, 0.7)), "out_dtype": "float32"},
    "linear-plain": {"merge_method": "linear", "models": models("a", "b", weight=(0.3, 0.9)), "parameters": {"normalize": False}} | ONCE,
    "linear-depth": {"merge_method": "linear", "models": models("a", "b", weight=(MLP_BY_DEPTH, 1e-1))} | ONCE,
    "linear-slices": {
        "merge_method": "linear",
        "slices": [
            {"sources": [{"model": "a", "layer_range": [0, 2], "parameters": {"weight": 0.9}}, {"model": "b", "layer_range": [1, 3]}],
             "parameters": {"weight": [0.1, 0.2]}},
            {"sources": [{"model": "b", "layer_range": [2, 3]}, {"model": "a", "layer_range": [0, 1]}]},
        ],
        "parameters": {"weight": 0.7},
    } | ONCE,
    "passthrough-stack": {"merge_method": "passthrough", "slices": slices([("a", (0, 2))], [("b", (1, 3))], [("a", (2, 3))]), "dtype": "bfloat16"},
    "passthrough-scale": {
        "merge_method": "passthrough", "models": models("a", scale=[{"filter": "o_proj", "value": 0.3}, {"filter": "down_proj", "value": 0}]),
        "dtype": "bfloat16",
    },
    "slerp": {
        "merge_method": "slerp", "slices": slices([("a", (0, 3)), ("b", (0, 3))]), "base_model": "a",
        "parameters": {"t": [{"filter": "self_attn", "value": [0, 0.5, 0.3]}, {"filter": "mlp", "value": [1, 0.5]}, {"value": 0.5}]},
    } | ONCE,
    "nuslerp": {"merge_method": "nuslerp", "models": models("a", "b", weight=(1, 3))} | ONCE,
    "nuslerp-base": {"merge_method": "nuslerp", "models": models("a", "b", weight=0.5), "base_model": "base"} | ONCE,
    "nuslerp-rows": {"merge_method": "nuslerp", "models": models("a", "b", weight=(0.3, 0.7)), "parameters": {"nuslerp_flatten": False}} | ONCE,
    "nuslerp-columns": {
        "merge_method": "nuslerp", "models": models("a", "b", weight=(0.3, 0.7)), "base_model": "base",
        "parameters": {"nuslerp_flatten": False, "nuslerp_row_wise": True},
    } | ONCE,
    "multislerp": {"merge_method": "multislerp", "models": models("a", "b", "c", weight=(0.2, 0.5, 0.4))} | ONCE,
    "multislerp-base": {"merge_method": "multislerp", "models": models("a", "b", "c", weight=(0.2, 0.5, 0.4)), "base_model": "base"} | ONCE,
    "karcher": {"merge_method": "karcher", "models": models("a", "b", "c")} | ONCE,
    "task_arithmetic": tasks("task_arithmetic", {"lambda": 0.8, "normalize": True}, weight=(0.5, 0.4, -0.2)) | ONCE,
    "ties": tasks("ties", {"lambda": 1.1}, weight=(1, 0.5, 0.7), density=(0.5, 0.3, [0.2, 0.9])) | ONCE,
    "ties-rescaled": tasks("ties", {"normalize": 0, "rescale": True, "int8_mask": True}, weight=(1, 0.5, 0.7), density=0.4) | ONCE,
    "breadcrumbs": tasks("breadcrumbs", weight=(0.5, 0.4, 0.3), density=(0.9, 0.4, 0.95), gamma=(0.05, 0.1, 0.2)) | ONCE,
    "breadcrumbs_ties": tasks("breadcrumbs_ties", {"rescale": True}, weight=(0.5, 0.4, 0.3), density=0.6, gamma=0.1) | ONCE,
    "della-all": tasks("della", weight=(0.5, 0.4, 0.3), density=1) | ONCE,
    "dare_ties-all": tasks("dare_ties", {"normalize": True}, weight=(0.5, 0.4, 0.3), density=1) | ONCE,
    "model_stock": tasks("model_stock") | ONCE,
    "model_stock-rows": tasks("model_stock", {"filter_wise": True}) | ONCE,
}  # fmt: skip


def make_models():
    base = LlamaForCausalLM(LlamaConfig(**CONFIG)).state_dict()
    base.pop("lm_head.weight")
    formats = {"base": torch.float32, "a": torch.bfloat16, "b": torch.bfloat16, "c": torch.float16}
    for name, dtype in formats.items():
        folder = SOUP / name
        folder.mkdir(parents=True, exist_ok=True)
        step = 0 if name == "base" else 0.01
        weights = {n: (t + step * torch.randn(t.shape)).to(dtype).contiguous() for n, t in base.items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        config = LlamaConfig(**CONFIG, dtype=dtype, architectures=["LlamaForCausalLM"]).to_dict()
        keep = ("architectures", "dtype", "model_type", "rms_norm_eps", "rope_parameters", *CONFIG)
        (folder / "config.json").write_text(json.dumps({k: config[k] for k in keep}, indent=2) + "\n")


def merged(recipe):
    with tempfile.TemporaryDirectory() as folder:
        options = MergeOptions(write_model_card=False, quiet=True, copy_tokenizer=False)
        run_merge(MergeConfiguration.model_validate(recipe), folder, options)
        tensors = load_file(Path(folder) / "model.safetensors")
    return torch.cat([tensors[n].flatten() for n in sorted(tensors)])


def main():
    shutil.rmtree(SOUP, ignore_errors=True)
    make_models()
    os.chdir(SOUP)
    expected = {}
    for name, recipe in RECIPES.items():
        Path(f"{name}.yml").write_text(yaml.safe_dump(recipe, sort_keys=False, default_flow_style=None, width=140))
        expected[name] = merged(recipe)
    save_file(expected, "expected.safetensors")


if __name__ == "__main__":
    main()
