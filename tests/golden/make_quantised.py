# SPDX-License-Identifier: Apache-2.0
"""Weights as bitsandbytes quantises them, and adapters of PEFT trained on quantised bases.

    python tests/golden/make_quantised.py

Versions: requirements.txt. Everything runs in float32 on the CPU. The files land in tests/golden/quantised:

bnb.safetensors  a matrix, and what bitsandbytes makes of it: codes, scales and the numbers again, for nf4 and fp4 with and without double quantisation,
                 and for the rows of int8 of LLM.int8; the map of its 8-bit scales
base/            a tiny Llama in float32
q8_0.gguf        the same as a GGUF file, its matrices in Q8_0 and Q4_0 by the package `gguf`
NAME/            for q8_0, nf4, nf4_double, fp4 and int8: an adapter as it begins, and in golden.json the mean loss of some tokens before each of a few
                 steps of AdamW, with the base dequantised by that package's own code: modules that bitsandbytes leaves alone, embedding and head, stay
"""

import json
import os
from pathlib import Path

from model_files import settle

torch = settle()

import bitsandbytes  # noqa: E402
import bitsandbytes.functional as bnb  # noqa: E402
import peft  # noqa: E402
from gguf import GGMLQuantizationType as Type  # noqa: E402
from gguf import GGUFWriter, dequantize, quantize  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

HERE = Path(__file__).parent / "quantised"
STEPS, RATE = 12, 1e-2
CONFIG = {"vocab_size": 61, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
          "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": False}
FOUR_BITS = {"nf4": ("nf4", False), "nf4_double": ("nf4", True), "fp4": ("fp4", False), "fp4_double": ("fp4", True)}


def in_four_bits(weight, kind, double):
    codes, state = bnb.quantize_4bit(weight, blocksize=64, quant_type=kind, compress_statistics=double)
    return codes.reshape(-1), state, bnb.dequantize_4bit(codes, state).reshape(weight.shape)


def in_rows(weight):
    codes, scales, _ = bnb.int8_vectorwise_quant(weight.clone())
    return codes, scales, bnb.int8_vectorwise_dequant(codes, scales)


def tables():
    """A matrix whose rows don't end with blocks, and a large one for the scales' own blocks."""
    made = {"dynamic_map": bnb.create_dynamic_map()}
    for name, shape in (("ragged", (7, 100)), ("large", (130, 128))):
        weight = torch.randn(shape) * torch.logspace(-2, 0, shape[0])[:, None]
        made[name] = weight
        for key, (kind, double) in FOUR_BITS.items():
            codes, state, again = in_four_bits(weight, kind, double)
            made |= {f"{name}.{key}.codes": codes, f"{name}.{key}.numbers": again, f"{name}.{key}.scales": state.absmax}
            if double:
                made |= {f"{name}.{key}.scale_scales": state.state2.absmax, f"{name}.{key}.offset": state.offset.reshape(1)}
        codes, scales, again = in_rows(weight)
        made |= {f"{name}.int8.codes": codes.view(torch.uint8), f"{name}.int8.scales": scales, f"{name}.int8.numbers": again}
    save_file({key: value.contiguous() for key, value in made.items()}, HERE / "bnb.safetensors")


def paired(weight, heads):
    """Rows of each head in rotary pairs, as Llama's GGUF files have them."""
    out, width = weight.shape
    return weight.reshape(heads, 2, out // heads // 2, width).swapaxes(1, 2).reshape(out, width)


def halves(weight, heads):
    out, width = weight.shape
    return weight.reshape(heads, out // heads // 2, 2, width).swapaxes(1, 2).reshape(out, width)


def write_gguf(model):
    """returns the weights as `gguf` decodes them"""
    writer = GGUFWriter(HERE / "q8_0.gguf", "llama")
    writer.add_block_count(CONFIG["num_hidden_layers"])
    writer.add_context_length(CONFIG["max_position_embeddings"])
    writer.add_embedding_length(CONFIG["hidden_size"])
    writer.add_feed_forward_length(CONFIG["intermediate_size"])
    writer.add_head_count(CONFIG["num_attention_heads"])
    writer.add_head_count_kv(CONFIG["num_key_value_heads"])
    writer.add_vocab_size(CONFIG["vocab_size"])
    writer.add_layer_norm_rms_eps(CONFIG["rms_norm_eps"])
    writer.add_rope_dimension_count(16)
    writer.add_rope_freq_base(model.config.rope_parameters["rope_theta"])
    again, weights = {}, model.state_dict()

    def put(theirs, name, kind="Q8_0", heads=0):
        weight = weights[name].numpy()
        if kind == "F32":
            writer.add_tensor(theirs, weight, raw_dtype=Type.F32)
            again[name] = weights[name]
            return
        raw = quantize(paired(weight, heads) if heads else weight, Type[kind])
        writer.add_tensor(theirs, raw, raw_dtype=Type[kind])
        numbers = dequantize(raw, Type[kind])
        again[name] = torch.from_numpy(halves(numbers, heads) if heads else numbers)

    put("token_embd.weight", "model.embed_tokens.weight")
    put("output_norm.weight", "model.norm.weight", "F32")
    put("output.weight", "lm_head.weight")
    for n in range(CONFIG["num_hidden_layers"]):
        ours, theirs = f"model.layers.{n}.", f"blk.{n}."
        put(theirs + "attn_norm.weight", ours + "input_layernorm.weight", "F32")
        put(theirs + "ffn_norm.weight", ours + "post_attention_layernorm.weight", "F32")
        put(theirs + "attn_q.weight", ours + "self_attn.q_proj.weight", heads=CONFIG["num_attention_heads"])
        put(theirs + "attn_k.weight", ours + "self_attn.k_proj.weight", heads=CONFIG["num_key_value_heads"])
        put(theirs + "attn_v.weight", ours + "self_attn.v_proj.weight")
        put(theirs + "attn_output.weight", ours + "self_attn.o_proj.weight")
        put(theirs + "ffn_gate.weight", ours + "mlp.gate_proj.weight")
        put(theirs + "ffn_up.weight", ours + "mlp.up_proj.weight", "Q4_0")
        put(theirs + "ffn_down.weight", ours + "mlp.down_proj.weight")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return again


def dequantised(name, model):
    weights = model.state_dict()
    if name == "q8_0":
        return write_gguf(model)
    by = in_rows if name == "int8" else lambda weight: in_four_bits(weight, *FOUR_BITS[name])
    return {key: by(weight)[-1] if weight.dim() == 2 and "layers" in key else weight for key, weight in weights.items()}


def train(name, base):
    weights = dequantised(name, base)
    model = LlamaForCausalLM(LlamaConfig(**CONFIG))
    model.load_state_dict(weights)
    torch.manual_seed(4)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"} | ({"use_dora": True} if name == "nf4_double" else {"use_rslora": name == "fp4"})
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **settings))
    for key, weight in adapted.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(weight, 0, 0.05)
    folder = HERE / name
    adapted.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "../q8_0.gguf" if name == "q8_0" else "../base"
    config["target_modules"] = sorted(config["target_modules"])
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")
    ids = torch.randint(0, CONFIG["vocab_size"], (1, 24))
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=RATE, weight_decay=0)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = -adapted(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None]).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    made = {"peft": peft.__version__, "bitsandbytes": bitsandbytes.__version__, "ids": ids[0].tolist(), "rate": RATE, "losses": losses}
    (folder / "golden.json").write_text(json.dumps(made, separators=(",", ":")) + "\n")
    print(name, losses[0], losses[-1])


def main():
    HERE.mkdir(exist_ok=True)
    tables()
    torch.manual_seed(3)
    base = LlamaForCausalLM(LlamaConfig(**CONFIG, initializer_range=0.15))
    base.save_pretrained(HERE / "base")
    (HERE / "base" / "generation_config.json").unlink(missing_ok=True)
    for name in ("q8_0", "nf4", "nf4_double", "fp4", "int8"):
        train(name, base)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
