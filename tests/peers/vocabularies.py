# SPDX-License-Identifier: Apache-2.0
"""Tokenizers of real vocabularies: the ggml-vocab-*.gguf of the sdist of `llama-cpp-python`, which llama.cpp's converter of models
comes with, SmolLM2's GGUF file, and those of tests/golden/text. Each becomes a tokenizer.json that Hugging Face's `tokenizers` and kedge both read."""
import json
import os
import pathlib
import subprocess
import sys
import tarfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SDIST = "llama_cpp_python-0.3.36"
NORMAL, UNKNOWN, CONTROL, USER = 1, 2, 3, 4  # token types of GGUF

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


PARTS = ("/models/ggml-vocab-", "/conversion/", "/gguf-py/gguf/")


def sdist():
    """llama.cpp's folder, of which there is what PARTS names; downloads it once."""
    folder = pathlib.Path(os.environ.get("KEDGE_VOCABULARIES", ROOT / ".deps" / "vocabularies"))
    sources = folder / SDIST / "vendor" / "llama.cpp"
    if not (sources / "conversion").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:",
                        "--dest", str(folder), SDIST.replace("_", "-").replace("-0.", "==0.")], check=True)
        with tarfile.open(folder / f"{SDIST}.tar.gz") as archive:
            archive.extractall(folder, [m for m in archive.getmembers() if any(f"llama.cpp{part}" in m.name for part in PARTS)], filter="data")
    return sources


def byte_level(use_regex=True, prefix=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": use_regex}


def split(expression):
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def begin(token, index):
    one = {"SpecialToken": {"id": token, "type_id": 0}}
    return {"type": "TemplateProcessing", "single": [one, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [one, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {token: {"id": token, "ids": [index], "tokens": [token]}}}


def fields(path):
    from gguf import GGUFReader  # here: the sources of llama.cpp come with a gguf of their own

    return {key: field.contents() for key, field in GGUFReader(path).fields.items() if key.startswith("tokenizer")}


def added(tokens, types, kinds, normalized=False):
    return [dict(id=i, content=token, single_word=False, lstrip=False, rstrip=False, normalized=normalized and kind == USER, special=kind != USER)
            for i, (token, kind) in enumerate(zip(tokens, types)) if kind in kinds]


def definition(model, added_tokens, normalizer, pre_tokenizer, post_processor, decoder):
    base = dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None, fuse_unk=False,
                byte_fallback=False, ignore_merges=False)
    return dict(version="1.0", truncation=None, padding=None, added_tokens=added_tokens, normalizer=normalizer, pre_tokenizer=pre_tokenizer,
                post_processor=post_processor, decoder=decoder, model=base | model)


def bytes_of(path, pre_tokenizer, normalizer=None, post_processor=None, **model):
    """A byte-level BPE."""
    f = fields(path)
    tokens = f["tokenizer.ggml.tokens"]
    vocabulary = {}
    for i, token in enumerate(tokens):
        vocabulary.setdefault(token, i)
    merges = [m.split(" ") for m in f["tokenizer.ggml.merges"]]
    merges = [m for m in merges if len(m) == 2 and m[0] in vocabulary and m[1] in vocabulary and m[0] + m[1] in vocabulary]
    special = added(tokens, f.get("tokenizer.ggml.token_type", [NORMAL] * len(tokens)), (CONTROL, USER), normalizer is not None)
    return definition(dict(vocab=vocabulary, merges=merges) | model, special, normalizer, pre_tokenizer, post_processor, byte_level(prefix=True))


def pieces_of(path, normalizer, pre_tokenizer, post_processor):
    """A SentencePiece BPE: the merges are all ways to put a piece together, best score first."""
    f = fields(path)
    tokens, types = f["tokenizer.ggml.tokens"], f["tokenizer.ggml.token_type"]
    vocabulary = {token: i for i, token in reversed(list(enumerate(tokens)))}
    scores = dict(zip(tokens, f["tokenizer.ggml.scores"]))
    merges = []
    for token in tokens:
        ways = [(token[:k], token[k:]) for k in range(1, len(token)) if token[:k] in vocabulary and token[k:] in vocabulary]
        merges += sorted(ways, key=lambda way: (vocabulary[way[0]], vocabulary[way[1]]))
    merges.sort(key=lambda way: scores[way[0] + way[1]], reverse=True)
    decoder = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
                                                {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    return definition(dict(vocab=vocabulary, merges=[list(m) for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True),
                      added(tokens, types, (UNKNOWN, CONTROL, USER)), normalizer, pre_tokenizer, post_processor, decoder)


def make(names=None, golden=True):
    """Writes .deps/tokenizers/NAME.json. returns {name: path}"""
    models, model = sdist() / "models", pathlib.Path(os.environ["KEDGE_MODEL"])
    digits = {"type": "Digits", "individual_digits": True}
    prepend = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
    vocabulary = lambda name: models / f"ggml-vocab-{name}.gguf"
    recipes = {
        "smollm2": lambda: bytes_of(model, sequence(digits, byte_level())),
        "gpt-2": lambda: bytes_of(vocabulary("gpt-2"), byte_level()),
        "llama-bpe": lambda: bytes_of(vocabulary("llama-bpe"), sequence(split(LLAMA3), byte_level(False)),
                                      post_processor={"type": "Sequence", "processors": [byte_level(), begin("<|begin_of_text|>", 128000)]}, ignore_merges=True),
        "qwen2": lambda: bytes_of(vocabulary("qwen2"), sequence(split(LLAMA3.replace("{1,3}", "")), byte_level(False)), {"type": "NFC"}),
        "llama-spm": lambda: pieces_of(vocabulary("llama-spm"), prepend, None, begin("<s>", 1)),
        "llama-spm-metaspace": lambda: pieces_of(vocabulary("llama-spm"), None, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False},
                                                 begin("<s>", 1)),
        "starcoder": lambda: bytes_of(vocabulary("starcoder"), sequence(digits, byte_level())),
        "falcon": lambda: bytes_of(vocabulary("falcon"), sequence({"type": "Punctuation", "behavior": "Contiguous"}, byte_level(),
                                                                  {"type": "Digits", "individual_digits": False}, split("[0-9][0-9][0-9]"))),
    }
    for path in sorted((ROOT / "tests" / "golden" / "text").glob("tokenizer_*.json")) if golden else ():
        recipes[path.stem.replace("tokenizer_", "golden-")] = lambda path=path: json.loads(path.read_text())["tokenizer"]
    out = ROOT / ".deps" / "tokenizers"
    out.mkdir(parents=True, exist_ok=True)
    for name, recipe in recipes.items():
        if names and name not in names:
            continue
        path = out / f"{name}.json"
        if not path.exists() or name.startswith("golden-"):
            path.write_text(json.dumps(recipe(), ensure_ascii=False))
    return {name: out / f"{name}.json" for name in recipes if not names or name in names}
