# SPDX-License-Identifier: Apache-2.0
"""How llama.cpp splits text for every name of tokenizer.ggml.pre.

    pip install llama-cpp-python==0.3.36 && python tests/golden/make_gguf_splits.py

The names are those of that version's src/llama-vocab.cpp which stand for vocabularies spelled in bytes. gguf/splits.json holds a
vocabulary whose merges join whatever is not split apart, some texts, and llama.cpp's ids of them; names with the same ids stand together.
The texts leave out what llama.cpp only approximates: letter case beyond ASCII (tekken, gpt-4o, …), and marks after letters there. Where
it leaves out more of the expressions of the models' own tokenizers (ORIGINAL), the ids are those of `tokenizers` with these.
"""
import json
import tempfile
from pathlib import Path

import llama_cpp
from gguf import GGUFWriter
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

HERE = Path(__file__).parent / "gguf"
NAMES = """default gpt-2 smollm llama-bpe dbrx qwen2 qwen35 gpt-4o tekken deepseek-llm deepseek-coder deepseek-v3 falcon a.x-4.0 afmoe bailingmoe
bailingmoe2 bloom chameleon chatglm-bpe codeshell cohere2moe command-r deepseek-r1-qwen exaone exaone-moe exaone4 f2llmv2 falcon-h1 falcon3
gigachat glm4 glm5 gpt3-finnish granite-docling granite-embed-multi-97m grok-2 hunyuan hunyuan-dense hy_v4 jais jais-2 jina-de jina-es
jina-v1-en jina-v2-code jina-v2-de jina-v2-es jina-v5-nano joyai-llm kanana2 kimi-k2 kormo laguna lfm2 llada-moe llama-v3 llama3 llama4
megrez mellum mellum2 midm-2.0 minerva-7b minicpm5 minimax-m2 modern-bert mpt olmo phi-2 pixtral poro-chat refact roberta-bpe seed-coder
smaug-bpe solar-open spark2_5 stablelm2 starcoder superbpe talkie tiny_aya trillion ufakzeka viking youtu""".split()
TEXTS = ["Hello, World's 12345 test_case we'LL go  on", "x = foo(a[1], \"b\");  // 1234567 #tag", "  leading\t\ttabs\r\n\r\nnew\n\n line   ",
         "日本語のテキスト、中文123。 한국어 12", "it's DON'T they'Ve 1,000.50 $9 +3=12", "café (naïve) – “quoted” … 3½",
         "camelCaseWord HTTPServer iPhone9", "<a href='x'>1</a>!!??\n", "a1b22c333d4444e55555", "   \n \n\t x", "слово 42 ещё", "٣٤٥٦ १२३"]

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def cased(upper, lower, digits, line_ends):
    head = r"[^\r\n\p{L}\p{N}]?"
    return (f"{head}{upper}*{lower}+{CONTRACTIONS}|{head}{upper}+{lower}*{CONTRACTIONS}|{digits}"
            rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n{line_ends}]*|\s*[\r\n]+|\s+(?!\S)|\s+")


TINY_AYA = [r"\d{1,3}(?=(?:\d{3})*\b)", cased(UPPER, LOWER, r"\p{N}{1,3}", "/")]
ORIGINAL = {
    "tiny_aya": TINY_AYA,
    "cohere2moe": TINY_AYA,
    "youtu": ["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+", cased(UPPER, LOWER, r"\p{N}", "/")],
    "kimi-k2": [r"\p{Han}+|" + cased(UPPER[:-1] + r"&&[^\p{Han}]]", LOWER[:-1] + r"&&[^\p{Han}]]", r"\p{N}{1,3}", "")],
    "superbpe": [r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
}


def write(path, pre, tokens, merges):
    writer = GGUFWriter(path, "llama")
    for key, value in (("context_length", 64), ("embedding_length", 8), ("block_count", 1), ("feed_forward_length", 8), ("attention.head_count", 1)):
        writer.add_uint32(f"llama.{key}", value)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges(merges)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def ids_by_original(name, model):
    tokenizer = Tokenizer(model)
    cuts = [pre_tokenizers.Split(Regex(expression), "isolated") for expression in ORIGINAL[name]]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return [tokenizer.encode(text).ids for text in TEXTS]


def ids_of(path):
    settings = llama_cpp.llama_model_default_params()
    settings.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), settings)
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    out = []
    for text in TEXTS:
        data = text.encode()
        buffer = (llama_cpp.llama_token * (len(data) + 8))()
        out.append(list(buffer[: llama_cpp.llama_tokenize(vocabulary, data, len(data), buffer, len(buffer), False, False)]))
    llama_cpp.llama_model_free(model)
    return out


def main():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.train_from_iterator(TEXTS * 2, trainers.BpeTrainer(vocab_size=620, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    merges = [" ".join(m) for m in json.loads(tokenizer.to_str())["model"]["merges"]]
    groups = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            write(Path(folder) / "x.gguf", name, tokens, merges)
            ids = ids_by_original(name, tokenizer.model) if name in ORIGINAL else ids_of(Path(folder) / "x.gguf")
            groups.setdefault(json.dumps(ids), []).append(name)
    golden = {"tokens": tokens, "merges": merges, "texts": TEXTS, "splits": [{"names": names, "ids": json.loads(ids)} for ids, names in groups.items()]}
    (HERE / "splits.json").write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
