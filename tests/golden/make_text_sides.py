#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes text/text_sides.json and text/older_files.json: folders of a tokenizer's files, with the ids that transformers' AutoTokenizer gives.

    pip install -r requirements.txt && python make_text_sides.py [--count 90] [--seed 1]

text_sides.json: files that say the same thing twice. older_files.json: folders without tokenizer.json, that have a SentencePiece model (trained
here, text/*.model), or vocab.json and merges.txt.

A folder is a tokenizer of make_text.py, changed here and there, with tokenizer_config.json, special_tokens_map.json, added_tokens.json and
config.json drawn at random: every key present, absent, null or at odds with another file. `folders` is what the comparison in tests/peers
draws from as well. Folders that transformers refuses are left out.
"""
import argparse
import copy
import json
import os
import pathlib
import random
import shutil
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
HERE = pathlib.Path(__file__).parent
BASES = ("smollm", "llama2", "mistral", "gemma", "qwen", "gpt2", "llama3", "unigram_bytes")
CLASSES = (None, None, "PreTrainedTokenizerFast", "TokenizersBackend", "PreTrainedTokenizer", "LlamaTokenizer", "LlamaTokenizerFast", "GPT2Tokenizer",
           "GPT2TokenizerFast", "Qwen2Tokenizer", "Qwen2TokenizerFast", "GemmaTokenizer", "GemmaTokenizerFast", "CohereTokenizerFast",
           "GPTNeoXTokenizer", "CodeGenTokenizer", "CodeLlamaTokenizer", "Qwen3_5Tokenizer", "NoSuchTokenizer", "BloomTokenizerFast")
TYPES = (None, "llama", "mistral", "gemma2", "gemma3_text", "qwen2", "qwen3", "phi3", "smollm3", "granite", "gpt2", "cohere", "olmo2", "qwen3_5")
NAMES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token", "image_token")
CONTENTS = ("<s>", "</s>", "<unk>", "<pad>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|new|>", "<tool>", "the", "Word")
TEXTS = ("Hello world  x 12345", " a<tool>b </tool> <|new|>c<pad> d", "<s>the</s><|im_start|>user\n you<|im_end|>\n", "\u00e9e\u0301 \ufb01t \u4f60\u597d <|endoftext|> ",
         "<unk> <TOOL> Word word  the-then.\n\n\tDON'T you're", "<|extra|> left<|x|> right  <e1> , yes . n't")


def base_of(name):
    return json.loads((HERE / "text" / f"tokenizer_{name}.json").read_text())["tokenizer"]


def flags(r, content):
    token = {"content": content}
    for key in ("lstrip", "rstrip", "single_word", "normalized", "special"):
        if r.random() < 0.8:
            token[key] = r.random() < (0.6 if key == "special" else 0.3)
    return token


def value_of(r):
    """A token as a text, an object or null."""
    content = r.choice(CONTENTS)
    return r.choice((content, content, content, {"__type": "AddedToken", **flags(r, content)}, None))


def config_of(r, tokenizer):
    c = {}
    kind = r.choice(CLASSES)
    if kind is not None:
        c["tokenizer_class"] = kind
    for name in NAMES:
        if r.random() < (0.5 if name in ("bos_token", "eos_token", "pad_token") else 0.15):
            c[name] = value_of(r)
    if r.random() < 0.4:
        c["add_bos_token"] = r.choice((True, False))
    if r.random() < 0.25:
        c["add_eos_token"] = r.choice((True, False))
    if r.random() < 0.3:
        c["add_prefix_space"] = r.choice((True, False))
    if r.random() < 0.3:
        c["legacy"] = r.choice((True, False, None))
    if r.random() < 0.15:
        c["split_special_tokens"] = True
    if r.random() < 0.2:
        c["clean_up_tokenization_spaces"] = r.choice((True, False))
    if r.random() < 0.5:
        size = len(tokenizer["model"]["vocab"])
        listed = {}
        for entry in tokenizer["added_tokens"]:
            if r.random() < 0.7:
                listed[str(entry["id"])] = {k: v for k, v in entry.items() if k != "id"}
        for i, content in enumerate(r.sample(("<tool>", "</tool>", "<|new|>", "<|x|>", "Word", "</s>"), r.randrange(0, 4))):
            listed[str(size + r.choice((0, 0, 3)) + 2 * i)] = flags(r, content)
        c["added_tokens_decoder"] = listed
    for key in ("additional_special_tokens", "extra_special_tokens"):
        if r.random() < 0.25:
            c[key] = r.choice((["<|extra|>", "<e1>"], [], ["<tool>", {"__type": "AddedToken", **flags(r, "<|x|>")}], None))
    if r.random() < 0.1:
        c["extra_special_tokens"] = {"audio_token": "<|extra|>", "eoi_token": "<e1>"}
    return c


def map_of(r):
    out = {}
    for name in NAMES[:5]:
        if r.random() < 0.4:
            content = r.choice(CONTENTS)
            out[name] = r.choice((content, flags(r, content)))
    if r.random() < 0.3:
        out["additional_special_tokens"] = ["<e1>", "<|x|>"]
    return out


def edit(r, tokenizer):
    """Changes a tokenizer.json; returns the keys of the top level that differ."""
    before = copy.deepcopy(tokenizer)
    if r.random() < 0.3:
        tokenizer["post_processor"] = None
    if r.random() < 0.2 and tokenizer["added_tokens"]:
        del tokenizer["added_tokens"][r.randrange(len(tokenizer["added_tokens"]))]
    if r.random() < 0.2:
        tokenizer["added_tokens"].append({"id": len(tokenizer["model"]["vocab"]) + r.choice((0, 5)), "content": r.choice(("<|new|>", "<tool>")),
                                          "single_word": False, "lstrip": False, "rstrip": False, "normalized": r.random() < 0.5, "special": r.random() < 0.5})
    if r.random() < 0.1:
        tokenizer["padding"] = {"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
                                "pad_token": "<|pads|>"}
    return {k: v for k, v in tokenizer.items() if before.get(k) != v}


def folders(count, seed):
    """(base, changed keys of tokenizer.json, other files by name), as often as asked."""
    r = random.Random(seed)
    for _ in range(count):
        base = r.choice(BASES)
        tokenizer = base_of(base)
        changed = edit(r, tokenizer)
        files = {"config.json": {} if (kind := r.choice(TYPES)) is None else {"model_type": kind}}
        if r.random() < 0.9:
            files["tokenizer_config.json"] = config_of(r, tokenizer)
        if r.random() < 0.4:
            files["special_tokens_map.json"] = map_of(r)
        if r.random() < 0.2:
            size = len(tokenizer["model"]["vocab"]) + len(tokenizer["added_tokens"])
            files["added_tokens.json"] = {"<tool>": size + 2, "</tool>": size}
        yield base, changed, files


def write_folder(folder, base, changed, files):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for name, content in {"tokenizer.json": {**base_of(base), **changed}, **files}.items():
        (pathlib.Path(folder) / name).write_text(json.dumps(content))


def ask(folder, texts=TEXTS):
    """What AutoTokenizer makes of a folder; None where it refuses it."""
    import transformers
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    try:
        t = transformers.AutoTokenizer.from_pretrained(folder)
        ids = [t(x)["input_ids"] for x in texts]
        return {"ids": ids, "skipped": [t.decode(i, skip_special_tokens=True) for i in ids],
                "special": t.special_tokens_map}
    except Exception:  # noqa: BLE001  whatever it is: the folder is refused
        return None


def train(name, kind, **more):
    import sentencepiece
    with tempfile.TemporaryDirectory() as folder:
        corpus = pathlib.Path(folder) / "corpus.txt"
        corpus.write_text("\n".join(f"Hello world the quick brown fox {i} said yes, don't you think so" for i in range(300)))
        sentencepiece.SentencePieceTrainer.train(input=str(corpus), model_prefix=str(pathlib.Path(folder) / "m"), model_type=kind, minloglevel=2,
                                                 hard_vocab_limit=False, normalization_rule_name="identity", num_threads=1, **more)
        shutil.copy(pathlib.Path(folder) / "m.model", HERE / "text" / f"{name}.model")


def older_folders():
    """(a SentencePiece model or None, a base whose vocabulary and merges are written or None, other files)"""
    llama, named = {"model_type": "llama"}, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    for model in ("pieces_bpe", "pieces_unigram"):
        for kind in ("LlamaTokenizer", "LlamaTokenizerFast", "PreTrainedTokenizerFast", "GemmaTokenizer", None):
            for more in ({}, {"add_bos_token": True}, {"add_bos_token": True, "add_eos_token": True, "legacy": True}, {"add_prefix_space": False}):
                yield model, None, {"config.json": llama, "tokenizer_config.json": {**({"tokenizer_class": kind} if kind else {}), **named, **more}}
        yield model, None, {"config.json": {"model_type": "gemma2"}}
        yield model, None, {"config.json": {"model_type": "mistral"}, "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True}}
        yield model, None, {"config.json": llama, "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": {"5": {"content": "<renamed>", "special": True}}}}
        yield model, None, {"config.json": llama, "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", **named}, "added_tokens.json": {"<tool>": 9999}}
    for base in ("gpt2", "smollm", "qwen"):
        for kind in ("GPT2Tokenizer", "Qwen2Tokenizer", "CodeGenTokenizer"):
            for more in ({}, {"add_bos_token": True}, {"add_prefix_space": True, "eos_token": "<|im_end|>"}):
                yield None, base, {"config.json": llama, "tokenizer_config.json": {"tokenizer_class": kind, **more}}
        yield None, base, {"config.json": {"model_type": "qwen2"}}


def make_older_files():
    train("pieces_bpe", "bpe", vocab_size=340, byte_fallback=True, user_defined_symbols=["<tool>", "<|x|>"])
    train("pieces_unigram", "unigram", vocab_size=120)
    cases = []
    for model, base, files in older_folders():
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                (pathlib.Path(folder) / name).write_text(json.dumps(content))
            if model:
                shutil.copy(HERE / "text" / f"{model}.model", pathlib.Path(folder) / "tokenizer.model")
            else:
                words = base_of(base)["model"]
                (pathlib.Path(folder) / "vocab.json").write_text(json.dumps(words["vocab"]))
                pairs = [m if isinstance(m, str) else " ".join(m) for m in words["merges"]]
                (pathlib.Path(folder) / "merges.txt").write_text("#version: 0.2\n" + "\n".join(pairs) + "\n")
            if (answer := ask(folder)) is None:
                print("refused:", model, base, json.dumps(files))
                continue
            cases.append({**({"model": f"{model}.model"} if model else {"base": base}), "files": files, "ids": answer["ids"], "skipped": answer["skipped"]})
    write("older_files", cases)
    print(len(cases), "older folders")


def write(name, cases):
    (HERE / "text" / f"{name}.json").write_text(
        '{"texts": ' + json.dumps(TEXTS) + ',\n "cases": [\n  ' + ",\n  ".join(json.dumps(c) for c in cases) + "\n]}\n")


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--count", type=int, default=90)
    options.add_argument("--seed", type=int, default=1)
    o = options.parse_args()
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        for base, changed, files in folders(o.count, o.seed):
            write_folder(folder, base, changed, files)
            listed = [t["content"] for t in files.get("tokenizer_config.json", {}).get("added_tokens_decoder", {}).values()]
            if base == "gpt2" and len(listed) != len(set(listed)) and "<|new|>" in listed:
                continue  # one content under two ids, of which the file has one: kedge takes the other's flags
            if (answer := ask(folder)) is not None:
                cases.append({"base": base, "changed": changed, "files": files, **answer})
    write("text_sides", cases)
    print(len(cases), "of", o.count, "folders")
    make_older_files()


if __name__ == "__main__":
    main()
