#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes text/*.json: tokenizers with the ids that `tokenizers` gives, templates with the text that transformers renders.

    pip install -r requirements.txt && python make_text.py [--model SmolLM2-135M-Instruct.Q4_1.gguf]

The tokenizers are trained here on a few lines and on random Unicode, so the files are small. Without --model the file of the
real vocabulary, text/smollm2_ids.json, is left as it is. The chat templates, templates/*.jinja, were written for this project
in the manner of the models that they are named after, with the constructs that those models' templates use.
"""
import argparse
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import text_snippets

HERE = pathlib.Path(__file__).parent
OUT = HERE / "text"

WORDS = """the of and a to in is you that it he was for on are with as I his they be at one have this from or had by hot but some
what there we can out other were all your when up use word how said an each she which do their time if will way about many then
them would write like so these her long make thing see him two has look more day could go come did my sound no most number who
over know water than call first people may down side been now find I'm don't we'll you're I've he'd it's CAN'T O'Neil""".split()
CODE = ["def f(x):\n\treturn x  # 你好\n", "for (int i = 0; i < n; ++i) {\n    a[i] += b[i] * 3.14e-10;\n}\n",
        '<div class="x">\r\n  <p>&nbsp;</p>\r\n</div>', "https://example.com/a_b?c=d&e=%20f#g"]
EMOJI = ["😀", "👨\u200d👩\u200d👧", "🏳️\u200d🌈", "👍🏽", "🇩🇪", "1️⃣", "❤️", "\u200d"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\n\n", "\u00a0", "\u3000", "\u2003", "\u2028", "\u0085", "\u180e", "\u200b",
          "\ufeff", " \n", " \r\n ", "\x0b", "\x0c"]
MARKS = [chr(c) for c in [*range(0x300, 0x350), 0x591, 0x64B, 0x93C, 0x94D, 0xE31, 0x1161, 0x11A8, 0x1AB0, 0x20D0, 0x3099]]
SCRIPTS = [(0xC0, 0x24F), (0x370, 0x3FF), (0x400, 0x52F), (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F),
           (0x1100, 0x11FF), (0xAC00, 0xD7A3), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0x1E00, 0x1FFF), (0x2100, 0x218F), (0xF900, 0xFAFF),
           (0xFB00, 0xFB4F), (0xFF00, 0xFFEF), (0x1D400, 0x1D7FF), (0x10000, 0x1FFFF), (0x660, 0x669), (0x2460, 0x24FF),
           (0x11000, 0x11FFF), (0x1E000, 0x1EFFF), (0x2F800, 0x2FA1F), (0x3200, 0x33FF)]


def strings(count, seed, specials=()):
    """Random texts: words, scripts of all planes, marks, joiners, controls, line ends, runs, special tokens."""
    r = random.Random(seed)

    def anything():
        while True:
            c = r.choice((r.randrange(0x80), r.randrange(0x800), r.randrange(0x10000), r.randrange(0x110000)))
            if not 0xD800 <= c < 0xE000:
                return chr(c)

    def part():
        kind = r.randrange(15)
        if kind < 3:
            return r.choice(WORDS)
        if kind == 3:
            return r.choice(SPACES)
        if kind == 4:
            return str(r.randrange(10 ** r.randrange(1, 9)))
        if kind == 5:
            return "".join(r.choice("!?.,;:-_()[]{}<>|/\\\"'`~@#$%^&*+=") for _ in range(r.randrange(1, 5)))
        if kind == 6:
            low, high = r.choice(SCRIPTS)
            return "".join(chr(r.randint(low, high)) for _ in range(r.randrange(1, 6)))
        if kind == 7:
            return r.choice(WORDS)[:3] + "".join(r.choice(MARKS) for _ in range(r.randrange(1, 4)))
        if kind == 8:
            return r.choice(EMOJI)
        if kind == 9:
            return r.choice(CODE)[:r.randrange(5, 60)]
        if kind == 10:
            return r.choice(["'s", "'S", "'t", "'LL", "'ll", "'re", "'VE", "'d", "'ſ", "’s", "'m "])
        if kind == 11:
            return chr(r.randrange(0x20))
        if kind == 12:
            return r.choice("a eé1.\n\t ▁=-'0") * r.randrange(1, 40)
        if kind == 13 and specials:
            return r.choice(["", " ", "\n", "x"]) + r.choice(specials) + r.choice(["", " ", "  ", "y"])
        return "".join(anything() for _ in range(r.randrange(1, 6)))

    out = ["", " ", "  ", "\n", "a", "Hello, world!", "x" * 300, "é" * 100, " " * 100, "ab" * 150]
    while len(out) < count:
        out.append(r.choice(["", "", " "]).join(part() for _ in range(int(r.expovariate(0.2)) + 1)))
    return out


CORPUS = [" ".join(WORDS), *CODE, "Straße café naïve Ω привет мир 你好 世界 こんにちは 12 345 6789", "▁ ▁▁ <0x41>"] + strings(60, 1)

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN = LLAMA3.replace("{1,3}", "")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def finish(t, special=(), added=()):
    t.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in special])
    t.add_tokens(list(added))
    return t


def byte_level(pre, special=(), added=(), normalizer=None, size=600, **options):
    t = Tokenizer(models.BPE(**options))
    t.pre_tokenizer = pre
    if normalizer is not None:
        t.normalizer = normalizer
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=size, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=list(special)))
    return finish(t, special, added)


def gpt2():
    return byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True), SPECIALS[:1])


def smollm():
    return byte_level(pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]), SPECIALS)


def split_then_bytes(expression, behavior="isolated", invert=False):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(expression), behavior, invert),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def qwen():
    return byte_level(split_then_bytes(QWEN), SPECIALS, [AddedToken("<tool_call>", normalized=False), AddedToken("ﬁt", normalized=True)],
                      normalizers.NFC())


def llama3():
    t = byte_level(split_then_bytes(LLAMA3), ["<|begin_of_text|>", "<|eot_id|>"])
    definition = json.loads(t.to_str())
    definition["model"]["ignore_merges"] = True
    t = Tokenizer.from_str(json.dumps(definition))
    bos = t.token_to_id("<|begin_of_text|>")
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A $B", special_tokens=[("<|begin_of_text|>", bos)])])
    return t


def gpt4o():
    return byte_level(split_then_bytes(GPT4O, "removed", True), ["<|endoftext|>"])


def falcon():
    return byte_level(pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.Digits(False),
        pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")]), SPECIALS[:1])


def flags():
    added = [AddedToken("left", lstrip=True), AddedToken("right", rstrip=True), AddedToken("BOTH", lstrip=True, rstrip=True, normalized=False),
             AddedToken("word", single_word=True, normalized=False), AddedToken("mixed Case", normalized=True), AddedToken("mixed")]
    return byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), SPECIALS, added, normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip(left=False, right=True)]))


BYTES = [f"<0x{b:02X}>" for b in range(256)]


def sentencepiece_bpe(normalizer, pre, decoder, byte_fallback=True, fuse_unk=True, added=(), bos=True):
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=fuse_unk, byte_fallback=byte_fallback))
    t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")  # words, to learn from
    t.train_from_iterator(CORPUS[:6], trainers.BpeTrainer(
        vocab_size=700, show_progress=False, special_tokens=["<unk>", "<s>", "</s>"] + (BYTES if byte_fallback else [])))
    definition = json.loads(t.to_str())
    definition["added_tokens"] = [a for a in definition["added_tokens"] if not a["content"].startswith("<0x")]
    t = Tokenizer.from_str(json.dumps(definition))
    if pre is not None:
        t.pre_tokenizer = pre
    else:
        definition = json.loads(t.to_str())
        definition["pre_tokenizer"] = None
        t = Tokenizer.from_str(json.dumps(definition))
    t.decoder = decoder
    if bos:
        t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return finish(t, (), added)


LLAMA_DECODER = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])


def llama2():
    return sentencepiece_bpe(normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None, LLAMA_DECODER,
                             added=[AddedToken("<|user|>", rstrip=True, normalized=False)])


def mistral():
    return sentencepiece_bpe(normalizers.Sequence([]), pre_tokenizers.Metaspace(prepend_scheme="first", split=False), LLAMA_DECODER)


def gemma():
    return sentencepiece_bpe(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"),
                             decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]))


def unknowns():
    return sentencepiece_bpe(normalizers.NFKC(), pre_tokenizers.Metaspace(prepend_scheme="always"), decoders.Metaspace(),
                             byte_fallback=False, fuse_unk=False, bos=False)


def unigram(byte_fallback=False):
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    t.train_from_iterator(CORPUS[:6], trainers.UnigramTrainer(
        vocab_size=300, show_progress=False, unk_token="<unk>", special_tokens=["<unk>", "<s>", "</s>"]))
    if byte_fallback:
        definition = json.loads(t.to_str())
        definition["model"]["byte_fallback"] = True
        definition["model"]["vocab"] += [[b, -20.0 - i / 8] for i, b in enumerate(BYTES)]
        t = Tokenizer.from_str(json.dumps(definition))
        t.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", t.token_to_id("</s>"))])
    return t


def words_and_decompositions():
    t = byte_level(pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("merged_with_next"),
                                            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]), SPECIALS[:1],
                   normalizer=normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]))
    return t


TOKENIZERS = dict(gpt2=gpt2, smollm=smollm, qwen=qwen, llama3=llama3, gpt4o=gpt4o, falcon=falcon, flags=flags, llama2=llama2,
                  mistral=mistral, gemma=gemma, unknowns=unknowns, unigram=unigram, unigram_bytes=lambda: unigram(True),
                  words=words_and_decompositions)


def write(name, content):
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    (OUT / name).write_text(text.replace('},{"text"', '},\n{"text"').replace('},{"template"', '},\n{"template"') + "\n")


def cases_of(t, texts):
    out = []
    for text in texts:
        ids = t.encode(text, add_special_tokens=False).ids
        out.append(dict(text=text, ids=ids, framed=t.encode(text, add_special_tokens=True).ids,
                        decoded=t.decode(ids, skip_special_tokens=False), skipped=t.decode(ids, skip_special_tokens=True)))
    return out


def make_tokenizers():
    for seed, (name, make) in enumerate(TOKENIZERS.items()):
        t = make()
        specials = [a.content for a in t.get_added_tokens_decoder().values()]
        write(f"tokenizer_{name}.json", dict(tokenizer=json.loads(t.to_str()), cases=cases_of(t, strings(120, 100 + seed, specials))))


def make_normal_forms():
    """Texts in which reordering and composition matter, in the four forms."""
    r = random.Random(7)
    marks = MARKS + [chr(c) for c in (0x345, 0x1D165, 0x1D16E, 0x302A, 0x3099, 0x309A, 0x1133E, 0x11357, 0x0DCF, 0x09BE, 0x1112B, 0x11131)]
    bases = [chr(c) for c in (0x41, 0x65, 0xE9, 0x1E69, 0x1100, 0x1161, 0x11A8, 0xAC00, 0xAC01, 0x212B, 0x2126, 0xFB01, 0x3392, 0x1D15E, 0x0958,
                              0x09C7, 0x2ADC, 0x11347, 0xF900, 0x2F800, 0x1F82, 0x0344, 0xFDFA, 0x105D2, 0x113C2)]
    out = []
    for _ in range(400):
        text = "".join(r.choice(bases) + "".join(r.choice(marks) for _ in range(r.randrange(4))) for _ in range(r.randrange(1, 4)))
        out.append(dict(text=text, **{f.lower(): getattr(normalizers, f)().normalize_str(text) for f in ("NFC", "NFD", "NFKC", "NFKD")}))
    write("normal_forms.json", out)


def make_smollm2(model):
    from transformers import AutoTokenizer

    path = pathlib.Path(model)
    t = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).backend_tokenizer
    write("smollm2_ids.json", [dict(text=text, ids=t.encode(text, add_special_tokens=False).ids) for text in strings(300, 5, SPECIALS)])


TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "Weather <b>now</b> & é", "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "The city", "enum": ["Paris", "Zürich"]}, "days": {"type": "integer", "default": 3},
        "n": {"type": ["number", "null"]}}, "required": ["city"]}}}]
CALL = {"role": "assistant", "content": "", "tool_calls": [{"id": "abcdef123", "type": "function", "function": {
    "name": "get_weather", "arguments": {"city": "Paris", "days": 2, "x": 1.5, "y": None, "z": True}}}]}
CONVERSATIONS = [
    [{"role": "user", "content": "Hi there"}],
    [{"role": "system", "content": "You are  helpful. "}, {"role": "user", "content": " Hi\n\nthere ü 😀 "},
     {"role": "assistant", "content": "Hello <think>\nhm\n</think>\n\nyes"}, {"role": "user", "content": "Bye"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}],
    [{"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image"}, {"type": "text", "text": "!"}]}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "reasoning_content": "because\n"}, {"role": "user", "content": "c"}],
    [],
    [{"role": "user", "content": "Weather?"}, CALL, {"role": "tool", "tool_call_id": "abcdef123", "name": "get_weather", "content": "{\"t\": 21}"},
     {"role": "assistant", "content": "It is 21."}, {"role": "user", "content": "Thanks"}],
    [{"role": "user", "content": "u1"}, {"role": "user", "content": "u2"}],
    [{"role": "custom", "content": "c"}],
]
SETTINGS = [{"bos_token": "<s>", "eos_token": "</s>", "date_string": "1 Jan 2024"},
            {"bos_token": "<s>", "eos_token": "</s>", "tools": TOOLS, "enable_thinking": False, "date_string": "26 Jul 2024"}]


def rendered(template, messages, prompt, variables):
    from transformers.utils.chat_template_utils import render_jinja_template

    variables = dict(variables)
    tools = variables.pop("tools", None)
    try:
        return {"expected": render_jinja_template([messages], tools=tools, chat_template=template, add_generation_prompt=prompt, **variables)[0][0]}
    except Exception as problem:  # an error there must be an error here
        return {"error": f"{type(problem).__name__}: {problem}"}


def make_templates():
    templates = {path.stem: path.read_bytes().decode() for path in sorted((HERE / "templates").glob("*.jinja"))}
    cases = []
    for name, source in templates.items():
        for c in range(len(CONVERSATIONS)):
            for prompt in (False, True):
                for s, variables in enumerate(SETTINGS):
                    cases.append(dict(template=name, conversation=c, prompt=prompt, settings=s) | rendered(source, CONVERSATIONS[c], prompt, variables))
    write("chat_templates.json", dict(templates=templates, conversations=CONVERSATIONS, settings=SETTINGS, cases=cases))
    snippets = [dict(template=t) | rendered(t, [{"role": "user", "content": "x"}], False, text_snippets.VARIABLES) for t in text_snippets.snippets()]
    write("snippets.json", dict(variables=text_snippets.VARIABLES, cases=snippets))


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--model", help="SmolLM2-135M-Instruct as GGUF")
    model = options.parse_args().model
    OUT.mkdir(exist_ok=True)
    make_tokenizers()
    make_normal_forms()
    make_templates()
    if model:
        make_smollm2(model)


if __name__ == "__main__":
    main()
