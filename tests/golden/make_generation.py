# SPDX-License-Identifier: Apache-2.0
"""Golden files of generation: what transformers' truncations keep, and what it writes greedily.

    python tests/golden/make_generation.py --gguf SmolLM2-135M-Instruct.Q4_1.gguf

Versions: requirements.txt. Everything runs in float32 on the CPU with two threads. The files land in tests/golden/generation:

truncation.json  probabilities of the next token after transformers' logits warpers, for logits and settings given beside them
greedy.json      prompts, and the token ids that the real model continues them with, one sequence at a time, up to an end token
"""

import argparse
import json
import tempfile
from itertools import islice
from pathlib import Path

from model_files import settle, unpack, versions

torch = settle()

HERE = Path(__file__).parent
SETTINGS = (
    {}, {"temperature": 0.6}, {"temperature": 1.7}, {"top_k": 1}, {"top_k": 7}, {"top_k": 500}, {"top_p": 0.9}, {"top_p": 0.35},
    {"top_p": 0.01}, {"min_p": 0.05}, {"min_p": 0.4}, {"min_p": 1.0}, {"temperature": 0.8, "top_k": 12, "top_p": 0.9},
    {"temperature": 1.3, "top_p": 0.8, "min_p": 0.1}, {"temperature": 2.0, "top_k": 20, "top_p": 0.95, "min_p": 0.2},
)  # fmt: skip


def truncation():
    from transformers.generation import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    warpers = {"temperature": TemperatureLogitsWarper, "top_k": TopKLogitsWarper, "top_p": TopPLogitsWarper, "min_p": MinPLogitsWarper}
    logits = [round(x, 3) for x in (2.5 * torch.randn(48)).tolist()]
    logits[5] = logits[11]  # a tie
    cases = []
    for settings in SETTINGS:
        scores = torch.tensor([logits])
        for name, warper in warpers.items():
            if name in settings:
                scores = warper(settings[name])(None, scores)
        cases.append({"settings": settings, "probabilities": [round(p, 7) for p in scores.softmax(-1)[0].tolist()]})
    return {"versions": versions(), "logits": logits, "cases": cases}


@torch.no_grad()
def greedy(folder, data, prompts, new_tokens):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    with open(data / "prompts-train.jsonl", encoding="utf-8") as lines:
        for line in islice(lines, prompts):
            prompt = json.loads(line)["prompt"]
            ids = tokenizer.apply_chat_template(prompt, tokenize=True, add_generation_prompt=True, return_dict=True)["input_ids"]
            batch = torch.tensor([ids])
            out = model.generate(batch, attention_mask=torch.ones_like(batch), do_sample=False, max_new_tokens=new_tokens)
            rows.append({"prompt": ids, "completion": out[0, len(ids) :].tolist()})
    return {"versions": versions(), "max_new_tokens": new_tokens, "rows": rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", required=True, help="SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "examples" / "data")
    parser.add_argument("--folder", default=Path(tempfile.gettempdir()) / "smollm2-float32", help="unpacked model")
    given = parser.parse_args()
    (HERE / "generation").mkdir(exist_ok=True)
    folder = unpack(given.gguf, given.folder)
    for name, golden in (("truncation.json", truncation()), ("greedy.json", greedy(folder, given.data, 6, 24))):
        (HERE / "generation" / name).write_text(json.dumps(golden) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
