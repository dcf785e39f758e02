# SPDX-License-Identifier: Apache-2.0
"""Does transformers open a folder that kedge wrote, and does it compute the same numbers?

    kedge score --model_name_or_path OUT --dataset pairs.jsonl --dtype float32 > scores.jsonl
    python tests/golden/check_output.py OUT --pairs pairs.jsonl --scores scores.jsonl

Versions: requirements.txt. The folder is opened by AutoModelForCausalLM and AutoTokenizer, in float32 on the CPU. It prints
one JSON object with the largest absolute differences, and exits with 1 where one of them exceeds its tolerance or a token
count differs.

--pairs, --scores   what `kedge score` printed for these preference pairs (both files needed)
--logits            a JSON file {"ids": […], "logits_rows": [row, …], "logits": [[…], …]} of one sequence
--same_as           another folder or GGUF file: every tensor must be equal, as after training at learning rate 0
"""

import argparse
import json
import sys
from pathlib import Path

from model_files import settle

torch = settle()

from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from make_model import completion_logp, encode, read_pairs  # noqa: E402
from make_tiny import encode_plain  # noqa: E402


def load(path):
    path = Path(path)
    place = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
    folder = path.parent if place else path
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **place)
    return model.eval(), AutoTokenizer.from_pretrained(folder, **place)


def compare_scores(model, tokenizer, pairs, scores):
    """Largest difference of a summed log-probability, and the lines whose token counts differ."""
    if len(pairs) != len(scores):
        sys.exit(f"check_output: {len(pairs)} pairs but {len(scores)} scores; score the same file")
    worst, wrong = 0.0, []
    for line, (pair, score) in enumerate(zip(pairs, scores), start=1):
        ids = (encode_plain if isinstance(pair["prompt"], str) else encode)(tokenizer, pair)
        if any(len(ids[key]) != score[f"tokens_{key}"] for key in ids):
            wrong.append(line)
        for key in ("chosen", "rejected"):
            worst = max(worst, abs(completion_logp(model, ids["prompt"], ids[key]) - score[f"logp_{key}"]))
    return worst, wrong


@torch.no_grad()
def compare_logits(model, given):
    logits = model(torch.tensor([given["ids"]]), use_cache=False).logits[0, given["logits_rows"]]
    return (logits - torch.tensor(given["logits"])).abs().max().item()


def compare_weights(model, other):
    """Largest difference of a weight; tensors of one model alone end the program."""
    mine, theirs = model.state_dict(), other.state_dict()
    if mine.keys() != theirs.keys():
        sys.exit(f"check_output: tensors of one model alone: {sorted(mine.keys() ^ theirs.keys())}")
    return max((mine[name] - theirs[name]).abs().max().item() for name in mine)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--pairs")
    parser.add_argument("--scores")
    parser.add_argument("--logits")
    parser.add_argument("--same_as")
    parser.add_argument("--score_tolerance", type=float, default=2e-3, help="nats a sequence")
    parser.add_argument("--logit_tolerance", type=float, default=1e-4)
    given = parser.parse_args()
    if bool(given.pairs) != bool(given.scores):
        parser.error("--pairs and --scores go together")

    model, tokenizer = load(given.folder)
    result, holds = {}, True
    if given.scores:
        worst, wrong = compare_scores(model, tokenizer, read_pairs(given.pairs, None), read_pairs(given.scores, None))
        result |= {"score_difference": worst, "lines_with_other_tokens": wrong}
        holds &= worst <= given.score_tolerance and not wrong
    if given.logits:
        result["logit_difference"] = compare_logits(model, json.loads(Path(given.logits).read_text()))
        holds &= result["logit_difference"] <= given.logit_tolerance
    if given.same_as:
        result["weight_difference"] = compare_weights(model, load(given.same_as)[0])
        holds &= result["weight_difference"] == 0
    print(json.dumps(result | {"holds": bool(holds)}))
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
