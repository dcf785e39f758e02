# SPDX-License-Identifier: Apache-2.0
"""Small GGUF files, and what the package `gguf` and transformers make of them.

    python tests/golden/make_gguf.py

Versions: requirements.txt. The files land in tests/golden/gguf:

blocks.gguf           rows of random blocks of every storage type that kedge decodes and `gguf` can
big_endian.gguf       some of them in the other order of bytes
quantised.safetensors  numbers and their bytes as `gguf` quantises them
blocks.safetensors    the same tensors as gguf.dequantize gives them
FAMILY.gguf           a random model of two layers with a small vocabulary
FAMILY.json           what transformers makes of it (gguf_file=…): config, special tokens, token ids of some texts, and of every tensor
                      in float32 the shape and the FNV-1a hash (64 bits) of its bytes
"""

import json
from argparse import Namespace
from pathlib import Path
from unicodedata import normalize
from unittest.mock import patch

import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, GGUFWriter, dequantize, quantize
from gguf.constants import GGML_QUANT_SIZES
from gguf.scripts.gguf_convert_endian import convert_byteorder
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).parent / "gguf"
BLOCKS = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K".split()
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}  # where the binary16 numbers of a block lie
CORPUS = [
    "The boat lay still while the anchor went ahead. We hauled until the chain was short, and carried it on again.",
    "Which of the two answers is better? The first answer is kind and clear, the second is not.",
    "  Two spaces, 12 or 345 numbers, tabs\tand lines\n\nof code: x = {'a': 1};  Don't they're I'll",
]
TEXTS = CORPUS + ["", " ", "   ", "a  1", "é 日本 🙂 \u200d e\u0301", "<s>the</s> <unk>", "<|im_start|>user\nhi<|im_end|>\n",
                  "<think>so</think>", "HELLO, the\r\nboat's 12345 anchors", "▁the ▁"]
HIDDEN, INNER, LAYERS = 32, 64, 2
SHAPES = {"qwen3": (2, 1, 128)}  # heads, key heads, head size; transformers takes 128 for granted in Qwen 3


CODEBOOKS = {"IQ1_S": 0, "IQ1_M": None, "IQ2_XXS": 0, "IQ2_XS": 0, "IQ2_S": 0, "IQ3_XXS": 0, "IQ3_S": 0, "IQ4_NL": 0, "IQ4_XS": 0,
             "TQ1_0": 52, "TQ2_0": 64, "MXFP4": None, "NVFP4": None}  # the same of formats with uneven levels


def codebook_blocks(writer, expected, random):
    """Three rows of random blocks; of the last one the scales are infinite and not a number."""
    for name, at in CODEBOOKS.items():
        kind = Type[name]
        elements, size = GGML_QUANT_SIZES[kind]
        raw = random.integers(0, 256, (3, 256 // elements, size), dtype=np.uint8)
        if at is not None:
            halves = random.integers(0, 0x7C00, raw.shape[:2]).astype(np.uint16) | (random.integers(0, 2, raw.shape[:2]) << 15).astype(np.uint16)
            halves[0, 0], halves[2] = 0x8001, [0x7E00, 0xFC00][len(expected) % 2]
            raw[:, :, at : at + 2] = halves[..., None].view(np.uint8)
        raw = raw.reshape(3, -1)
        writer.add_tensor(name, raw, raw_dtype=kind)
        expected[name] = dequantize(raw, kind)


def blocks(random):
    writer = GGUFWriter(HERE / "blocks.gguf", "llama")
    expected = {}
    for name in BLOCKS:
        kind = Type[name]
        elements, size = GGML_QUANT_SIZES[kind]
        if name in SCALES:
            count = 512 // elements
            raw = random.integers(0, 256, (2, count, size), dtype=np.uint8)
            for at in SCALES[name]:  # finite numbers only, subnormal ones and both zeros among them
                halves = random.integers(0, 0x7C00, (2, count)).astype(np.uint16) | (random.integers(0, 2, (2, count)) << 15).astype(np.uint16)
                halves[0, :2] = 0x8000, 0x0001
                raw[:, :, at : at + 2] = halves[..., None].view(np.uint8)
            raw = raw.reshape(2, count * size)
        else:
            values = random.standard_normal((2, 256)).astype(np.float32)
            raw = quantize(values, kind) if name != "F32" else values
        writer.add_tensor(name, raw, raw_dtype=kind)
        expected[name] = dequantize(raw, kind).astype(np.float32)
    codebook_blocks(writer, expected, np.random.default_rng(11))
    finish(writer)
    save_file(expected, HERE / "blocks.safetensors")


def quantised(random):
    """Numbers, ties and zeros among them, as `gguf` stores them."""
    numbers = random.standard_normal((12, 32)).astype(np.float32) * np.float32(10.0) ** random.integers(-3, 3, (12, 1)).astype(np.float32)
    numbers[0] = 0
    numbers[1, :4] = [127, 0.5, -0.5, 2.5]
    numbers[1, 4:] = 1.5
    numbers[2] = -np.abs(numbers[2])
    file = {"numbers": numbers.reshape(-1)}
    for name in ("F16", "BF16", "Q8_0", "Q4_0"):
        file[name] = quantize(numbers, Type[name]).reshape(-1).view(np.uint8)
    save_file(file, HERE / "quantised.safetensors")


def big_endian():
    """Some of the blocks as gguf-convert-endian writes them for machines of the other order of bytes."""
    source = GGUFReader(HERE / "blocks.gguf")
    path = HERE / "big_endian.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(4096)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_array("numbers", [1, -2, 300])
    writer.add_string("text", "träge")
    for tensor in source.tensors:
        if tensor.name in ("F32", "F16", "Q4_0", "Q8_0", "Q4_K", "Q6_K", "MXFP4"):
            writer.add_tensor(tensor.name, tensor.data.copy(), raw_dtype=tensor.tensor_type)
    finish(writer)
    turned = GGUFReader(path, "r+")
    with patch("builtins.input", return_value="YES"):
        convert_byteorder(turned, Namespace(order="big", dry_run=False))


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def byte_level_vocabulary(writer, pre):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.train_from_iterator(CORPUS * 3, trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get) + ["<think>", "</think>"]
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if t in special else 4 if "think>" in t else 1 for t in tokens])
    writer.add_token_merges([" ".join(m) for m in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    return len(tokens)


def sentencepiece_vocabulary(writer, random, spaces):
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    types = [2, 3, 3] + [6] * 256
    words = sorted({c for text in CORPUS for c in text.replace(" ", "▁")} - {"\n", "\t"})
    for text in CORPUS:
        for word in text.split():
            words += ["▁" + word[:n] for n in range(1, len(word))] + [word[n : n + 2] for n in range(len(word) - 1)]
    words = list(dict.fromkeys(words))[:140] + (["  ", "   "] if spaces else [])
    tokens += words
    types += [1] * len(words)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [float(-s) for s in random.permutation(len(words)) // 2])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    return len(tokens)


def llama3_divisors(theta, head, factor=8.0, low=1.0, high=4.0, original=8192):
    """What a converted Llama 3.1 carries: its frequency scaling, a divisor for each rotary frequency."""
    wave = 2 * np.pi * theta ** (np.arange(0, head, 2) / head)
    smooth = np.clip((original / wave - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def model(family, random, vocabulary):
    heads, keys, head = SHAPES.get(family, (4, 2, 8))
    writer = GGUFWriter(HERE / f"{family}.gguf", family)
    size = vocabulary(writer)
    writer.add_name(f"tiny {family}")
    writer.add_block_count(LAYERS)
    writer.add_context_length(256)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(heads)
    writer.add_head_count_kv(keys)
    writer.add_rope_freq_base(50000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    if family == "llama":
        writer.add_vocab_size(size)
        writer.add_rope_dimension_count(head)
        writer.add_add_bos_token(True)
    elif family != "phi3":
        writer.add_key_length(head)
    if family.startswith("gemma"):
        writer.add_sliding_window(32)

    def put(name, shape, kind="F32"):
        values = random.standard_normal(shape).astype(np.float32)
        writer.add_tensor(name, quantize(values, Type[kind]) if kind != "F32" else values, raw_dtype=Type[kind])

    put("token_embd.weight", (size, HIDDEN), "Q8_0")
    put("output_norm.weight", HIDDEN)
    if family in ("llama", "phi3"):
        put("output.weight", (size, HIDDEN), "F16")
    if family == "llama":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(50000.0, head), raw_dtype=Type.F32)
    for n in range(LAYERS):
        put(f"blk.{n}.attn_norm.weight", HIDDEN)
        put(f"blk.{n}.ffn_norm.weight", HIDDEN)
        if family == "phi3":
            put(f"blk.{n}.attn_qkv.weight", ((heads + 2 * keys) * head, HIDDEN), "Q5_0")
            put(f"blk.{n}.ffn_up.weight", (2 * INNER, HIDDEN), "Q4_1")
        else:
            put(f"blk.{n}.attn_q.weight", (heads * head, HIDDEN), "Q4_1")
            put(f"blk.{n}.attn_k.weight", (keys * head, HIDDEN), "Q4_0")
            put(f"blk.{n}.attn_v.weight", (keys * head, HIDDEN), "BF16")
            put(f"blk.{n}.ffn_gate.weight", (INNER, HIDDEN), "Q5_1")
            put(f"blk.{n}.ffn_up.weight", (INNER, HIDDEN), "Q8_0")
        put(f"blk.{n}.attn_output.weight", (HIDDEN, heads * head), "F16")
        put(f"blk.{n}.ffn_down.weight", (HIDDEN, INNER), "Q4_1")
        if family == "qwen2":
            for part, rows in (("q", heads * head), ("k", keys * head), ("v", keys * head)):
                put(f"blk.{n}.attn_{part}.bias", rows)
        if family in ("qwen3", "gemma3"):
            put(f"blk.{n}.attn_q_norm.weight", head)
            put(f"blk.{n}.attn_k_norm.weight", head)
        if family in ("gemma2", "gemma3"):
            put(f"blk.{n}.post_attention_norm.weight", HIDDEN)
            put(f"blk.{n}.post_ffw_norm.weight", HIDDEN)
    finish(writer)


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def ids_of(tokenizer, text):
    return {"ids": tokenizer(text)["input_ids"], "plain": tokenizer(text, add_special_tokens=False)["input_ids"]}


def expect(family):
    loaded = AutoModelForCausalLM.from_pretrained(HERE, gguf_file=f"{family}.gguf", dtype=torch.float32)
    tied = loaded.config.tie_word_embeddings
    tensors = {name: t for name, t in loaded.state_dict().items() if not (tied and name == "lm_head.weight")}
    tokenizer = AutoTokenizer.from_pretrained(HERE, gguf_file=f"{family}.gguf")
    if family == "llama":  # SentencePiece and llama.cpp put a space before every text, the conversion only before those without one
        backend = tokenizer.backend_tokenizer
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.pre_tokenizer = pre_tokenizers.Split("\n\n\n\n\n\n\n\n", "isolated")  # none
    golden = {
        "config": loaded.config.to_diff_dict() | {"vocab_size": loaded.config.vocab_size},
        "special_tokens": {k: str(v) for k, v in tokenizer.special_tokens_map.items() if k in ("bos_token", "eos_token", "pad_token", "unk_token")},
        "tensors": {name: {"shape": list(t.shape), "hash": fnv1a(t.contiguous().numpy().tobytes())} for name, t in tensors.items()},
        # Qwen 2's own tokenizer composes characters first; the conversion from GGUF leaves that out.
        "texts": [{"text": t, **ids_of(tokenizer, normalize("NFC", t) if family == "qwen2" else t)} for t in TEXTS],
    }
    golden["config"].pop("quantization_config", None)
    (HERE / f"{family}.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    generator = np.random.default_rng(7)
    blocks(generator)
    big_endian()
    quantised(np.random.default_rng(12))
    model("llama", generator, lambda w: sentencepiece_vocabulary(w, generator, False))
    model("qwen2", generator, lambda w: byte_level_vocabulary(w, "qwen2"))
    model("qwen3", generator, lambda w: byte_level_vocabulary(w, "gpt-2"))
    model("gemma2", generator, lambda w: sentencepiece_vocabulary(w, generator, True))
    model("gemma3", generator, lambda w: sentencepiece_vocabulary(w, generator, True))
    model("phi3", generator, lambda w: sentencepiece_vocabulary(w, generator, False))
    for name in ("llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"):
        expect(name)
