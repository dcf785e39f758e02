# SPDX-License-Identifier: Apache-2.0
"""What stays of examples that are too long, and which tokens of a conversation are the assistant's.

    python tests/golden/make_truncation.py

Versions: requirements.txt; the tokenizer is that of gguf/qwen3.gguf. The files land in tests/golden/data:

keep_end.jsonl  pairs cut by TRL's collator with truncation_mode="keep_end": {"max_length", "pair", "ids"}, where ids are the two whole
                sequences and how many of their last tokens are the completion's
turns.jsonl     conversations with transformers' return_assistant_tokens_mask: {"case", "template", "messages", "ids", "mask"}
"""

import json
from pathlib import Path

from model_files import settle

torch = settle()

from transformers import AutoTokenizer  # noqa: E402
from trl.data_utils import common_prefix_length  # noqa: E402
from trl.trainer.dpo_trainer import DataCollatorForPreference  # noqa: E402

HERE = Path(__file__).parent
OUT = HERE / "data"
PAIRS = [
    {"prompt": "The boat lay still at the quay until the tide came in", "chosen": " and then it went on.", "rejected": " there."},
    {"prompt": "The boat", "chosen": " lay still at the quay until the tide came in and then it went on", "rejected": " sank."},
    {"prompt": "We", "chosen": " haul.", "rejected": " wait."},
]
CHATML = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ '<|im_start|>assistant\\n' }}{% generation %}"
    "{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}{% else %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# The mark begins with the line break after the role and ends within a word that may merge with it.
TIGHT = (
    "{%- for message in messages %}\n    {{- '<|im_start|>' + message.role }}\n    {%- if message.role == 'assistant' %}\n"
    "        {%- generation -%}\n        {{- '\\n' + message.content }}\n        {%- endgeneration -%}\n"
    "    {%- else %}\n        {{- '\\n' + message.content }}\n    {%- endif %}\n    {{- '<|im_end|>\\n' }}\n{%- endfor %}"
)
PLAIN = CHATML.replace("{% generation %}", "").replace("{% endgeneration %}", "")


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


CONVERSATIONS = [
    ("one turn", [user("Hi"), assistant("Hello there.")]),
    ("several turns", [{"role": "system", "content": "Be kind."}, user("Hi"), assistant("Hello."), user("And now?"), assistant("We haul.\n\nOn.")]),
    ("no ASCII", [user("né"), assistant("Très bien 🙂"), user("où"), assistant("🙂🙂")]),
    ("the user last", [user("a"), assistant("b"), user("c")]),
    ("two in a row", [user("a"), assistant("b"), assistant("c d")]),
    ("line breaks", [user("a"), assistant("\n\nb\n")]),
]


def tokenizer_with(template):
    tokenizer = AutoTokenizer.from_pretrained(HERE / "gguf", gguf_file="qwen3.gguf")
    tokenizer.chat_template = template
    return tokenizer


def cut_pairs(out):
    tokenizer = tokenizer_with(None)
    for limit in (4, 8, 12, 16):
        collator = DataCollatorForPreference(pad_token_id=0, max_length=limit, truncation_mode="keep_end")
        for pair in PAIRS:
            prompt = tokenizer(pair["prompt"])["input_ids"]
            both = [tokenizer(pair["prompt"] + pair[side] + tokenizer.eos_token)["input_ids"] for side in ("chosen", "rejected")]
            shared = min(common_prefix_length(prompt, ids) for ids in both)
            row = {"prompt_ids": prompt[:shared], "chosen_ids": both[0][shared:], "rejected_ids": both[1][shared:]}
            batch = collator([row])
            ids = {}
            for side, tokens, mask, scored in zip(("chosen", "rejected"), *(batch[key].tolist() for key in ("input_ids", "attention_mask", "completion_mask"))):
                ids[side] = {"ids": [i for i, m in zip(tokens, mask) if m], "completion": sum(scored)}
            out.write(json.dumps({"max_length": limit, "pair": pair, "ids": ids}) + "\n")


def mask_turns(out):
    for template in (CHATML, TIGHT):
        tokenizer = tokenizer_with(template)
        for case, messages in CONVERSATIONS:
            got = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
            line = {"case": case, "template": template, "messages": messages, "ids": got["input_ids"], "mask": got["assistant_masks"]}
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
            if template is CHATML:  # by turns: the line break behind a turn is the assistant's too
                plain = dict(line, template=PLAIN, mask=[m or (i > 0 and line["mask"][i - 1]) for i, m in enumerate(line["mask"])])
                out.write(json.dumps(plain, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    with open(OUT / "keep_end.jsonl", "w", encoding="utf-8") as file:
        cut_pairs(file)
    with open(OUT / "turns.jsonl", "w", encoding="utf-8") as file:
        mask_turns(file)
