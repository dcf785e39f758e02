# SPDX-License-Identifier: Apache-2.0
"""Tiny checkpoints, recipes in mergekit's format, and what mergekit makes of them.

    python tests/golden/make_soup.py

Versions: requirements.txt. Everything runs on the CPU. The files land in tests/golden/soup:

base/, a/, b/, c/     random Llamas of one shape: base in float32, a and b trained from it, so to say, in bfloat16, c in float16
lora/, lora-rs/       adapters of base, the second rank-stabilised
words/, more/, wide/  models with tokenizers: more has other words and added tokens, wide has words' tokenizer and more rows than tokens
RECIPE.yml            recipes; models are named relative to the folder
expected.safetensors  for each recipe the result's tensors, flattened and joined in the order of their names, in the format of
                      the result
vocabularies.json     for each recipe of models with tokenizers, the ids that transformers reads from the result
templates.json        what mergekit's chat templates make of some conversations
scalars.json          plain YAML scalars, and their type and value in PyYAML
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

from model_files import settle

torch = settle()

import peft  # noqa: E402
import yaml  # noqa: E402
from mergekit.config import MergeConfiguration  # noqa: E402
from mergekit.merge import run_merge  # noqa: E402
from mergekit.options import MergeOptions  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from tokenizers import AddedToken, Tokenizer, models as tokenizer_models, pre_tokenizers  # noqa: E402
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: E402

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
    "adapter": {"merge_method": "linear", "models": models("base+lora", "a", weight=(0.6, 0.4))} | ONCE,
    "adapter-base": {
        "merge_method": "task_arithmetic", "models": models("b", {"model": {"path": "base"}, "lora": {"path": "lora-rs"}}, weight=0.5),
        "base_model": "base+lora",
    } | ONCE,
}  # fmt: skip

# Methods whose every number is told in float32 and in bfloat16.
TWICE = {
    "sce": tasks("sce", {"select_topk": 0.4}),
    "sce-all": tasks("sce", {"int8_mask": True}),
    "ram": tasks("ram", {"epsilon": 0.006}),
    "ramplus_tl": tasks("ramplus_tl", {"epsilon": 0.006, "r": 0.5, "alpha": 0.9}),
    "nearswap": {"merge_method": "nearswap", "models": models("a"), "base_model": "base", "parameters": {"t": [0.002, 0.01]}},
    "arcee_fusion": {"merge_method": "arcee_fusion", "models": models("b"), "base_model": "base"},
}  # fmt: skip
for name, recipe in TWICE.items():
    # The divergences of arcee_fusion are differences of nearly equal numbers: in float32 they are mostly rounding.
    inner = "float64" if name == "arcee_fusion" else "float32"
    RECIPES[name] = recipe | {"dtype": inner, "out_dtype": "bfloat16"}
    RECIPES[f"{name}-float32"] = recipe | {"dtype": inner, "out_dtype": "float32"}


def mixture(*names, tokenizer, base="words"):
    """Half of each, on the vocabulary that `tokenizer` says."""
    return {"merge_method": "linear", "models": models(*names, weight=0.5), "base_model": base, "tokenizer": tokenizer} | ONCE


VOCABULARIES = {
    "vocabulary-union": mixture("words", "more", tokenizer={"source": "union"}),
    "vocabulary-base": mixture("more", "words", tokenizer={"source": "base"}),
    "vocabulary-model": mixture("words", "more", tokenizer={"source": "more"}),
    "vocabulary-rows": mixture("wide", "words", tokenizer={"source": "base"}),
    "vocabulary-padded": mixture("words", "more", tokenizer={"source": "union", "pad_to_multiple_of": 8}),
    "vocabulary-tokens": mixture("words", "more", "wide", tokenizer={"source": "union", "tokens": {
        "<|new|>": {"source": {"kind": "zero"}},
        "<|a|>": {"source": "words", "force": True},
        "<|c|>": {"source": {"kind": "model_token", "model": "more", "token": "<|b|>"}, "force": True},
        "gh": {"source": {"kind": "model_token", "model": "words", "token_id": 3}},
        "cd": {"source": "more", "force": True},
    }}),
}  # fmt: skip

CONVERSATIONS = [
    [{"role": "user", "content": "Hello there. "}],
    [{"role": "system", "content": " Be brief."}, {"role": "user", "content": "One?"}, {"role": "assistant", "content": "Two.\n"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": " b"}, {"role": "user", "content": "c\nd"}],
    [{"role": "system", "content": "s"}, {"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}, {"role": "user", "content": "z"}],
    [{"role": "user", "content": "q"}, {"role": "user_context", "content": "k"}, {"role": "assistant", "content": "r"}],
    [{"role": "assistant", "content": "first"}, {"role": "user", "content": "second"}],
]
SCALARS = (
    "1 -1 +1 0 00 010 -017 08 09.5 1_0 1__0 _1 0x1 0X1 -0xF_f 0b101 0o17 1:30 1:3:05 -1:30 1:60 1:99 1:30.5 0:30 1e-1 1.e-1 1.0e-1 1.0e1 1.0e+1 .5 -.5 +.5 "
    "5. 5_0.2_5 ._5 .5_ .inf -.inf +.Inf .INF .nan -.nan .NaN ~ null Null NULL nULL yes No TRUE false On off y n T F tRue 1.2.3 1,5 1e5 12e03 "
    "inf nan 0.1f 1_000.5 190:20:30.15 685_230 6.8523015e+5 += 0_ 0b 0x"
).split()


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


def make_adapters():
    for name, stabilised in (("lora", False), ("lora-rs", True)):
        torch.manual_seed(len(name))
        config = peft.LoraConfig(task_type="CAUSAL_LM", r=3, lora_alpha=6, target_modules=["q_proj", "down_proj"], use_rslora=stabilised)
        model = peft.get_peft_model(LlamaForCausalLM.from_pretrained("base"), config)
        for n, p in model.named_parameters():
            if "lora_" in n:
                p.data = 0.1 * torch.randn(p.shape)
        model.save_pretrained(name)
        Path(name, "README.md").unlink(missing_ok=True)


def make_tokenizers():
    """More has one word alone that words lacks: mergekit gives several their ids in the order of a hash table."""
    letters = list("abcdefgh")
    kinds = {
        "words": (letters + ["ab", "cd"], ["ab", "cd"], [("<|end|>", True), ("<|a|>", False)], 12),
        "more": (letters[::-1] + ["cd", "gh"], ["cd", "gh"], [("<|end|>", True), ("<|b|>", True), ("<|c|>", False)], 16),
        "wide": (letters + ["ab", "cd"], ["ab", "cd"], [("<|end|>", True), ("<|a|>", False)], 20),
    }
    for name, (tokens, merges, added, rows) in kinds.items():
        torch.manual_seed(len(name))
        inner = Tokenizer(tokenizer_models.BPE({t: i for i, t in enumerate(tokens)}, [tuple(m) for m in merges]))
        inner.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>")
        tokenizer.add_tokens([AddedToken(t, special=special, normalized=False, lstrip=t == "<|c|>") for t, special in added])
        config = LlamaConfig(**CONFIG | {"vocab_size": rows, "num_hidden_layers": 1, "tie_word_embeddings": name != "wide"})
        LlamaForCausalLM(config).save_pretrained(name)
        tokenizer.save_pretrained(name)
        Path(name, "generation_config.json").unlink(missing_ok=True)


def merged(recipe, folder):
    with tempfile.TemporaryDirectory() as adapters:
        options = MergeOptions(write_model_card=False, quiet=True, copy_tokenizer=False, lora_merge_cache=adapters)
        run_merge(MergeConfiguration.model_validate(recipe), folder, options)
    tensors = load_file(Path(folder) / "model.safetensors")
    return torch.cat([tensors[n].flatten() for n in sorted(tensors)])


def render(name, conversation, prompt):
    from importlib.resources import files

    tokenizer = AutoTokenizer.from_pretrained("words")
    tokenizer.bos_token = "<|begin|>"
    tokenizer.chat_template = files("mergekit._data.chat_templates").joinpath(f"{name}.jinja").read_text()
    try:
        return tokenizer.apply_chat_template(conversation, add_generation_prompt=prompt, tokenize=False)
    except Exception:  # noqa: BLE001
        return None


def dump(name, value):
    Path(name).write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


def make_texts():
    names = ("alpaca", "chatml", "exaone", "llama3", "mistral")
    cases = [(c, p) for c in CONVERSATIONS for p in (False, True)]
    dump("templates.json", {"cases": cases, **{n: [render(n, c, p) for c, p in cases] for n in names}})
    values = [(t, yaml.safe_load(f"- {t}\n")[0]) for t in SCALARS]
    dump("scalars.json", [(t, type(v).__name__, str(v)) for t, v in values])


def main():
    shutil.rmtree(SOUP, ignore_errors=True)
    make_models()
    os.chdir(SOUP)
    make_adapters()
    make_tokenizers()
    make_texts()
    expected, vocabularies = {}, {}
    for name, recipe in (RECIPES | VOCABULARIES).items():
        Path(f"{name}.yml").write_text(yaml.safe_dump(recipe, sort_keys=False, default_flow_style=None, width=140))
        with tempfile.TemporaryDirectory() as folder:
            expected[name] = merged(recipe, folder)
            if name in VOCABULARIES:
                vocabularies[name] = dict(sorted(AutoTokenizer.from_pretrained(folder).get_vocab().items(), key=lambda item: item[1]))
                vocabularies[name]["vocab_size"] = json.loads(Path(folder, "config.json").read_text())["vocab_size"]
    dump("vocabularies.json", vocabularies)
    save_file(expected, "expected.safetensors")


if __name__ == "__main__":
    main()
