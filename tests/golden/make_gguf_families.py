# SPDX-License-Identifier: Apache-2.0
"""The tiny models of tests/golden/families as GGUF files, written by llama.cpp's own converter.

    python tests/golden/make_gguf_families.py [NAME ...]

Versions: requirements.txt; the converter is that of the sdist which tests/peers/vocabularies.py downloads. The files land in
tests/golden/gguf/families/NAME.gguf: matrices in bfloat16, as in the folder they come from, and vectors in float32. All have one
vocabulary, of 48 pieces, that SentencePiece made for this; texts.json holds its ids of some texts.
"""

import io
import json
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "peers"))
import vocabularies  # noqa: E402

LLAMA_CPP = vocabularies.sdist()
sys.path[:0] = [str(LLAMA_CPP / "gguf-py"), str(LLAMA_CPP)]

import gguf  # noqa: E402
import sentencepiece  # noqa: E402
from conversion import ModelBase, get_model_class  # noqa: E402

OUT = HERE / "gguf" / "families"
# Their converters look for a vocabulary that they know, of bytes; they get the one of the others.
OTHER_WORDS = {"exaone4", "glm4", "gpt_oss", "olmo2", "olmoe", "qwen3_moe", "seed_oss"}
CORPUS = ["the boat lay still while the anchor went ahead", "which of the two answers is better", "we hauled until the chain was short"]
TEXTS = ["the boat", "anchor chain  short", "hauled", "", "still the  anchor lay"]


def pieces():
    """A SentencePiece model of 48 pieces: <unk>, <s>, </s>, the letters of the corpus and what they join to."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(CORPUS * 4), model_writer=model, vocab_size=48, model_type="bpe",
                                             normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2)
    return model.getvalue()


def convert(folder, tokenizer, out):
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / folder.name
        shutil.copytree(folder, model)
        (model / "tokenizer.model").write_bytes(tokenizer)
        kind = get_model_class(ModelBase.load_hparams(model, False)["architectures"][0])
        if folder.name in OTHER_WORDS:
            kind = type(kind.__name__, (kind,), {"model_arch": kind.model_arch, "set_vocab": lambda self: self._set_vocab_sentencepiece()})
        kind(model, gguf.LlamaFileType.MOSTLY_BF16, out).write()


def main():
    OUT.mkdir(exist_ok=True)
    tokenizer = pieces()
    for folder in sorted((HERE / "families").iterdir()):
        # Of a family without a file, kedge reads folders alone.
        if folder.name in (sys.argv[1:] or [file.stem for file in OUT.glob("*.gguf")]):
            convert(folder, tokenizer, OUT / f"{folder.name}.gguf")
    encoder = sentencepiece.SentencePieceProcessor(model_proto=tokenizer)
    (OUT / "texts.json").write_text(json.dumps([{"text": text, "ids": encoder.encode(text)} for text in TEXTS], indent=1) + "\n")


if __name__ == "__main__":
    main()
