#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes corpus/FORMAT/*, the seeds of the fuzz targets, small sound files of every kind, and dictionaries/*.dict. Needs Python alone.

    python3 make_seeds.py
"""
import gzip
import json
import math
import pathlib
import re
import struct
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE.parent / "golden"


def write(target, name, content):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


# --- safetensors ---------------------------------------------------------------------------------------------------------------

def safetensors(tensors, metadata=None):
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def make_safetensors():
    write("safetensors", "f32", safetensors({"a": ("F32", [2, 3], struct.pack("<6f", *range(6)))}))
    write("safetensors", "kinds", safetensors({"h": ("F16", [3], bytes(6)), "b": ("BF16", [1, 2], b"\x80\x3f\x00\x40"), "d": ("F64", [1], bytes(8)),
                                               "i": ("I64", [1], bytes(8)), "x": ("F8_E4M3", [2], bytes(2))}, {"format": "pt"}))
    write("safetensors", "odd", safetensors({"none": ("F32", [0], b""), "scalar": ("F32", [], bytes(4)), "é": ("U8", [1, 1, 1], b"\x01")}))


# --- GGUF ----------------------------------------------------------------------------------------------------------------------

def text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def value_of(value):
    """GGUF's type number and bytes."""
    if isinstance(value, bool):
        return 7, struct.pack("<B", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return 8, text(value)
    kind, _ = value_of(value[0])
    return 9, struct.pack("<IQ", 5 if kind == 4 else kind, len(value)) + b"".join(value_of(v)[1] for v in value)


def gguf(keys, tensors):
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for key, value in keys.items():
        kind, content = value_of(value)
        out += text(key) + struct.pack("<I", kind) + content
    data = b""
    for name, (shape, kind, content) in tensors.items():
        data += bytes(-len(data) % 32)
        out += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in shape) + struct.pack("<IQ", kind, len(data))
        data += content
    return out + bytes(-len(out) % 32) + data


# Bytes of a block of each storage type, by its number.
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84), 11: (256, 110), 12: (256, 144),
          13: (256, 176), 14: (256, 210), 30: (1, 2)}
CODEBOOKS = {16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 28: (1, 8), 29: (256, 56),
             34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18), 42: (64, 18)}


def llama(vocabulary, model, hidden=4):
    size = len(vocabulary)
    keys = {"general.architecture": "llama", "llama.block_count": 1, "llama.embedding_length": hidden, "llama.feed_forward_length": 4,
            "llama.attention.head_count": 2, "llama.attention.head_count_kv": 1, "llama.context_length": 64,
            "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.dimension_count": 2, "llama.vocab_size": size,
            "tokenizer.ggml.model": model, "tokenizer.ggml.tokens": vocabulary, "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"}
    if model == "gpt2":
        keys |= {"tokenizer.ggml.pre": "smollm", "tokenizer.ggml.merges": ["t h", "th e"], "tokenizer.ggml.token_type": [1] * (size - 3) + [3] * 3}
    else:
        keys |= {"tokenizer.ggml.scores": [-float(i) for i in range(size)], "tokenizer.ggml.token_type": [2, 3, 3] + [1] * (size - 3)}
    f32 = lambda *shape: (list(shape), 0, bytes(4 * math.prod(shape)))
    tensors = {"token_embd.weight": f32(hidden, size), "output_norm.weight": f32(hidden), "blk.0.attn_norm.weight": f32(hidden),
               "blk.0.ffn_norm.weight": f32(hidden), "blk.0.attn_q.weight": f32(hidden, 4), "blk.0.attn_k.weight": f32(hidden, 2),
               "blk.0.attn_v.weight": f32(hidden, 2), "blk.0.attn_output.weight": f32(4, hidden), "blk.0.ffn_gate.weight": f32(hidden, 4),
               "blk.0.ffn_up.weight": f32(hidden, 4), "blk.0.ffn_down.weight": f32(4, hidden)}
    return gguf(keys, tensors)


def make_gguf():
    write("gguf", "blocks", gguf({"general.name": "x", "a.list": ["p", "q"], "a.reals": [0.5, 1.0], "a.flag": True},
                                 {f"t{k}": ([n], k, bytes(range(size))) for k, (n, size) in BLOCKS.items()}))
    write("gguf", "codebooks", gguf({"split.count": 1, "split.no": 0}, {f"t{k}": ([n], k, bytes(range(size))) for k, (n, size) in CODEBOOKS.items()}))
    write("gguf", "part", gguf({"split.count": 2, "split.no": 1, "split.tensors.count": 3}, {"t": ([1], 0, bytes(4))}))
    write("gguf", "big_endian", (GOLDEN / "gguf" / "big_endian.gguf").read_bytes())
    write("gguf", "llama_bytes", llama(["t", "h", "e", "th", "the", "<|endoftext|>", "<|im_start|>", "<|im_end|>"], "gpt2"))
    write("gguf", "llama_pieces", llama(["<unk>", "<s>", "</s>", "▁", "t", "h", "▁t", "<0x41>"], "llama"))
    write("gguf", "empty", gguf({}, {}))


# --- JSON of models ------------------------------------------------------------------------------------------------------------

def tokenizer(model, normalizer=None, pre=None, post=None, decoder=None, added=()):
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [{"id": i, "content": c, "single_word": False, "lstrip": left, "rstrip": False, "normalized": n, "special": s}
                             for i, c, left, n, s in added],
            "normalizer": normalizer, "pre_tokenizer": pre, "post_processor": post, "decoder": decoder, "model": model}


def make_tokenizers():
    words = ["a", "b", "c", "Ġ", "t", "h", "e", "th", "the", "Ġthe", "Ċ", "Ã", "©"]
    bpe = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
           "byte_fallback": False, "ignore_merges": False, "vocab": {w: i for i, w in enumerate(words)}, "merges": ["t h", "th e", "Ġ the"]}
    split = {"type": "Split", "pattern": {"Regex": r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)|\s+"},
             "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    write("tokenizer", "gpt2", json.dumps(tokenizer(bpe, None, byte_level, byte_level, byte_level, [(13, "<s>", True, False, True)])) + "\0the  cat's é\n")
    write("tokenizer", "split", json.dumps(tokenizer(dict(bpe, ignore_merges=True, merges=[["t", "h"]]), {"type": "NFC"}, {"type": "Sequence", "pretokenizers": [
        split, {"type": "Digits", "individual_digits": True}, dict(byte_level, use_regex=False)]}, None, byte_level)) + "\0The 123 e\u0301 \U0001f600")
    pieces = ["<unk>", "<s>", "</s>", "<0x41>", "<0xC3>", "▁", "t", "h", "▁t", "th", "▁th"]
    sentencepiece = dict(bpe, unk_token="<unk>", fuse_unk=True, byte_fallback=True, vocab={w: i for i, w in enumerate(pieces)}, merges=["▁ t", "t h", "▁t h"])
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    fallback = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
                                                 {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    write("tokenizer", "llama", json.dumps(tokenizer(sentencepiece, {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}, None, template, fallback,
        [(0, "<unk>", False, False, True), (1, "<s>", False, False, True)])) + "\0th Aé th")
    unigram = {"type": "Unigram", "unk_id": 0, "vocab": [[p, -float(i)] for i, p in enumerate(pieces)], "byte_fallback": False}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
    write("tokenizer", "unigram", json.dumps(tokenizer(unigram, {"type": "Sequence", "normalizers": [
        {"type": "Nmt"}, {"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}, {"type": "Lowercase"},
        {"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "StripAccents"}]}, metaspace, None, metaspace)) + "\0tH  th ﬁ")
    write("tokenizer", "words", json.dumps(tokenizer(bpe, {"type": "NFD"}, {"type": "Sequence", "pretokenizers": [
        {"type": "Whitespace"}, {"type": "Punctuation", "behavior": "MergedWithNext"}, dict(byte_level, use_regex=False)]})) + "\0the, (the)")


def make_configs():
    base = json.loads((GOLDEN / "tiny" / "tied" / "config.json").read_text())
    write("config", "llama", json.dumps(base))
    old = {k: v for k, v in base.items() if k != "rope_parameters"} | {"rope_theta": 5e5, "torch_dtype": "bfloat16", "bos_token": "<s>", "rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}}
    write("config", "old_spelling", json.dumps(old))
    write("config", "linear", json.dumps(old | {"rope_scaling": {"type": "linear", "factor": 2.0}, "eos_token": {"content": "</s>"}}))
    for kind, scaling in (("dynamic", {"factor": 4.0}), ("yarn", {"factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 32, "beta_slow": 1})):
        write("config", kind, json.dumps(base | {"rope_parameters": {"rope_theta": 1e4, "rope_type": kind} | scaling}))
    write("config", "reward", json.dumps(base | {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}))
    shape = {k: base[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size",
                                  "max_position_embeddings", "rms_norm_eps")}
    for name, model, more in (("mistral", "Mistral", {"sliding_window": 4096}), ("qwen2", "Qwen2", {"use_sliding_window": False, "max_window_layers": 1}),
                              ("qwen3", "Qwen3", {"head_dim": 8}), ("phi3", "Phi3", {"original_max_position_embeddings": 64}),
                              ("gemma", "Gemma", {"head_dim": 8, "hidden_activation": "gelu_pytorch_tanh"}),
                              ("gemma2", "Gemma2", {"head_dim": 8, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 50.0,
                                                    "final_logit_softcapping": 30.0, "sliding_window": 8}),
                              ("gemma3_text", "Gemma3", {"head_dim": 8, "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8}),
                              ("smollm3", "SmolLM3", {"no_rope_layers": [1, 0]})):
        write("config", name, json.dumps({"model_type": name, "architectures": [f"{model}ForCausalLM"], "rope_theta": 1e4, **shape, **more}))


# --- folders -------------------------------------------------------------------------------------------------------------------

KEYS = {
    "tokenizer_config.json": "tokenizer_class bos_token eos_token unk_token pad_token sep_token cls_token mask_token image_token added_tokens_decoder "
                             "additional_special_tokens extra_special_tokens model_specific_special_tokens add_bos_token add_eos_token add_prefix_space legacy "
                             "split_special_tokens clean_up_tokenization_spaces chat_template auto_map padding_side model_max_length",
    "special_tokens_map.json": "bos_token eos_token additional_special_tokens extra_special_tokens",
    "generation_config.json": "do_sample temperature top_k top_p min_p top_h typical_p epsilon_cutoff eta_cutoff repetition_penalty encoder_repetition_penalty "
                              "no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids sequence_bias min_length min_new_tokens max_length max_new_tokens "
                              "forced_bos_token_id forced_eos_token_id exponential_decay_length_penalty suppress_tokens begin_suppress_tokens eos_token_id "
                              "bos_token_id pad_token_id num_beams num_beam_groups diversity_penalty penalty_alpha guidance_scale num_return_sequences "
                              "prompt_lookup_num_tokens max_time stop_strings watermarking_config constraints force_words_ids dola_layers token_healing",
    "adapter_config.json": "base_model_name_or_path peft_type r lora_alpha target_modules modules_to_save task_type use_rslora",
    "model.safetensors.index.json": "metadata weight_map",
    "added_tokens.json": "<tool>",
}
VALUES = {"null": None, "object": {}, "list": [], "text": "", "zero": 0, "minus": -1, "huge": 1e300, "true": True, "nested": [[[{"a": [{}]}]]]}


def make_folders():
    small = {"version": "1.0", "added_tokens": [{"id": 2, "content": "</s>", "special": True}], "model": {
        "type": "BPE", "vocab": {"a": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "▁": 4}, "merges": []}}
    sound = {"config.json": {"model_type": "llama", "eos_token_id": 2}, "tokenizer.json": small,
             "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "chat_template": "{{ messages[0].content }}",
                                       "added_tokens_decoder": {"5": {"content": "<tool>", "lstrip": True, "special": False}}},
             "generation_config.json": {"eos_token_id": [2], "repetition_penalty": 1.1, "bad_words_ids": [[1]]}}
    write("folder", "sound", json.dumps(sound))
    write("folder", "named", json.dumps(sound | {"chat_template.jinja": "a", "additional_chat_templates/tool_use.jinja": "b",
                                                 "special_tokens_map.json": {"pad_token": {"content": "<pad>", "lstrip": False}}, "added_tokens.json": {"<new>": 9}}))
    write("folder", "adapter", json.dumps({"adapter_config.json": {"base_model_name_or_path": ".", "peft_type": "LORA"}, "tokenizer.json": small}))
    older = {k: v for k, v in sound.items() if k != "tokenizer.json"}
    write("folder", "words", json.dumps(older | {"vocab.json": {"a": 0, "b": 1, "ab": 2}, "merges.txt": "#version: 0.2\na b\n",
                                                 "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer"}}))
    write("folder", "pieces", json.dumps(older | {"tokenizer.model": (GOLDEN / "text" / "pieces_unigram.model").read_bytes().hex()}))
    for file, keys in KEYS.items():  # one file wrong, all its keys alike
        for name, value in VALUES.items():
            write("folder", f"{file.split('.')[0]}_{name}", json.dumps(sound | {file: {key: value for key in keys.split()}}))


# --- data sets -----------------------------------------------------------------------------------------------------------------

def make_jsonl():
    pair = {"prompt": "p", "chosen": "c é", "rejected": "r", "score_chosen": 2, "score_rejected": -0.5}
    user, assistant = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "a"}
    chat = {"prompt": [user], "chosen": [assistant], "rejected": [dict(assistant, content="b")], "tools": "[]"}
    lines = lambda *objects: "".join(json.dumps(o, ensure_ascii=False) + "\n" for o in objects)
    write("jsonl", "pairs", "\ufeff" + lines(pair, chat, {"chosen": "Très bien ça", "rejected": "Très bien où"}) + "\r\n")
    write("jsonl", "implicit", lines({"chosen": [user, assistant], "rejected": [user, dict(assistant, content="b")], "system": "s"}, {"system": None, **pair}))
    write("jsonl", "demonstrations", lines({"prompt": "p", "completion": "c", "system": ""}, {"messages": [user, assistant]}, {"text": "t"}))
    write("jsonl", "prompts", lines({"prompt": [{"role": "system", "content": "s"}, user]}, {"prompt": "p", "id": [1, -2.5e3, True, None]}))
    write("jsonl", "packed.gz", gzip.compress(lines(pair).encode(), mtime=0) * 2)
    packed = HERE / "corpus" / "jsonl" / "packed.zst"
    if not packed.exists():  # the program's version decides the bytes
        packed.write_bytes(subprocess.run(["zstd", "-c"], input=lines(pair, chat).encode(), stdout=subprocess.PIPE, check=True).stdout)


# --- chat templates ------------------------------------------------------------------------------------------------------------

def make_templates():
    sys.path.insert(0, str(GOLDEN))
    import text_snippets

    snippets = text_snippets.snippets()
    for at in range(0, len(snippets), 12):  # a broken one stops its neighbours, so they are not too many
        write("chat_template", f"snippets_{at:03}", "\n".join(snippets[at:at + 12]))
    for path in sorted((GOLDEN / "templates").glob("*.jinja")):
        write("chat_template", path.stem, path.read_bytes())
    write("chat_template", "messages", "{% for m in messages %}{{ m.content|tojson }}{% endfor %}\0[{\"role\": \"user\", \"content\": [{\"text\": \"é\"}]}]")


# --- dictionaries --------------------------------------------------------------------------------------------------------------

def make_dictionaries():
    """What a fuzzer of text can't guess: the words of the seeds, one a line."""
    (HERE / "dictionaries").mkdir(exist_ok=True)
    for target, word in (("chat_template", rb"[a-z_]{2,24}|\{%-?|-?%\}|\{\{-?|[=<>!]=|\*\*|//"), ("config", rb'"[A-Za-z_0-9]{2,40}"'),
                         ("tokenizer", rb'"[A-Za-z_<>]{1,24}"|\\\\p\{\w+\}'), ("jsonl", rb'"[a-z_]{2,24}"')):
        words = sorted({w for path in (HERE / "corpus" / target).iterdir() for w in re.findall(word, path.read_bytes())})
        lines = [w.decode().replace("\\", "\\\\").replace('"', '\\"') for w in words]
        (HERE / "dictionaries" / f"{target}.dict").write_text("".join(f'"{line}"\n' for line in lines))


if __name__ == "__main__":
    make_safetensors()
    make_gguf()
    make_tokenizers()
    make_configs()
    make_folders()
    make_jsonl()
    make_templates()
    make_dictionaries()
