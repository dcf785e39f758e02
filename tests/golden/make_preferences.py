# SPDX-License-Identifier: Apache-2.0
"""Token ids of preference pairs as TRL's DPOTrainer prepares them.

    python tests/golden/make_preferences.py --gguf SmolLM2-135M-Instruct.Q4_1.gguf --data examples/data

Versions: requirements.txt; the model: model_files.py. The trainer itself splits and tokenises the pairs (its dataset), and its
collator cuts them at max_length. The files land in tests/golden/preferences:

sentiment.jsonl   20 pairs of sentiment-train.jsonl with the tokenizer of the real model, and without a limit
cases.jsonl       made-up pairs of every shape with the tokenizer of gguf/qwen3.gguf: {"case", "max_length", "pair", "ids"}
"""

import argparse
import json
import tempfile
from itertools import islice
from pathlib import Path

from model_files import settle

torch = settle()

from datasets import Dataset  # noqa: E402
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM  # noqa: E402
from trl import DPOConfig, DPOTrainer  # noqa: E402

HERE = Path(__file__).parent
OUT = HERE / "preferences"
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# Renders a prompt that is answered differently from one that is not.
SHY_TEMPLATE = TEMPLATE.replace("assistant\\n' }}{% endif %}", "assistant\\n<think>' }}{% endif %}")


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


CASES = [
    ("text", None, None, {"prompt": "The anchor is", "chosen": " ahead.", "rejected": " behind the boat."}),
    ("text that ends already", None, None, {"prompt": "We hauled", "chosen": " on.<|im_end|>", "rejected": " until 1234 <|im_end|> "}),
    ("text whose tokens merge", None, None, {"prompt": "The an", "chosen": "chor was short", "rejected": "swers"}),
    ("implicit prompt in texts", None, None, {"chosen": "The boat lay still.", "rejected": "The boat went on."}),
    ("implicit prompt, one begins the other", None, None, {"chosen": "It was short", "rejected": "It was short, and clear"}),
    ("implicit prompt beyond ASCII", None, None, {"chosen": "Très bien ça", "rejected": "Très bien où"}),
    ("implicit prompt within a character's bytes", None, None, {"chosen": "né", "rejected": "nê"}),
    ("messages", TEMPLATE, None, {"prompt": [user("Which is better?")], "chosen": [assistant("The first.")], "rejected": [assistant("No. 2")]}),
    ("system and several turns", TEMPLATE, None,
     {"prompt": [{"role": "system", "content": "Be kind."}, user("Hi"), assistant("Hello."), user("And now?")],
      "chosen": [assistant("We haul."), user("Good."), assistant("Yes.")], "rejected": [assistant("Nothing.")]}),
    ("implicit prompt in messages", TEMPLATE, None, {"chosen": [user("Hi"), assistant("Hello 🙂")], "rejected": [user("Hi"), assistant("é")]}),
    ("prompt that renders differently alone", SHY_TEMPLATE, None,
     {"prompt": [user("Hi")], "chosen": [assistant("Hello.")], "rejected": [assistant("Ho.")]}),
    ("cut at max_length", TEMPLATE, 24, {"prompt": [user("Hi")], "chosen": [assistant("short")], "rejected": [assistant("a long answer that is cut")]}),
    ("one token left", None, 7, {"prompt": "The boat lay", "chosen": " still and", "rejected": " there"}),
]


def prepare(tokenizer, pairs, max_length=None):
    """What the trainer makes of the pairs: prompt, chosen and rejected."""
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model, reference = (LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)) for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        settings = DPOConfig(folder, max_length=max_length, report_to="none", use_cpu=True, bf16=False)
        trainer = DPOTrainer(model=model, ref_model=reference, args=settings, train_dataset=Dataset.from_list(pairs), processing_class=tokenizer)
        rows = list(trainer.train_dataset)
        assert len(rows) == len(pairs)
        out = []
        for row in rows:
            batch = trainer.data_collator([row])
            kept = [[i for i, m in zip(ids, mask) if m] for ids, mask in zip(batch["input_ids"].tolist(), batch["attention_mask"].tolist())]
            scored = [sum(mask) for mask in batch["completion_mask"].tolist()]
            out.append({"prompt": row["prompt_ids"], "chosen": kept[0][-scored[0]:], "rejected": kept[1][-scored[1]:]})
    return out


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--gguf", type=Path, required=True)
    arguments.add_argument("--data", type=Path, required=True)
    given = arguments.parse_args()
    OUT.mkdir(exist_ok=True)
    with open(given.data / "sentiment-train.jsonl", encoding="utf-8") as lines:
        some = [json.loads(line) for line in islice(lines, 0, 560, 28)]
    tokenizer = AutoTokenizer.from_pretrained(given.gguf.parent, gguf_file=given.gguf.name)
    with open(OUT / "sentiment.jsonl", "w", encoding="utf-8") as out:
        for pair, ids in zip(some, prepare(tokenizer, some)):
            out.write(json.dumps({"pair": pair, "ids": ids}, ensure_ascii=False) + "\n")
    with open(OUT / "cases.jsonl", "w", encoding="utf-8") as out:
        for case, template, limit, pair in CASES:
            tokenizer = AutoTokenizer.from_pretrained(HERE / "gguf", gguf_file="qwen3.gguf")
            tokenizer.chat_template = template
            ids = prepare(tokenizer, [pair], limit)[0]
            line = {"case": case, "template": template or "", "max_length": limit or 0, "pair": pair, "ids": ids}
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
