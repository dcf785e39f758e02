# SPDX-License-Identifier: Apache-2.0
"""tiny/compare.json: KL(untied || tied) of the first two tokens behind each prompt of tiny/pairs.jsonl, exactly, by transformers.

    python tests/golden/make_compare.py        (versions: requirements.txt)

Every first token is followed: KL = Σ_v p(v) [log p(v) − log q(v) + KL of the second token behind v], without the last term where v ends the answer.
"""

import json
from pathlib import Path

from model_files import settle, versions

torch = settle()

from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

TINY = Path(__file__).parent / "tiny"
A, B = "tied", "untied"


def next_logp(model, ids):
    with torch.no_grad():
        return torch.log_softmax(model(ids).logits[:, -1].double(), -1)


def of_prompt(a, b, prompt):
    """KL in nats, and the mean number of tokens."""
    start = [t.apply_chat_template(prompt, add_generation_prompt=True, return_tensors="pt", return_dict=False) for _, t in (a, b)]
    q, p = (next_logp(m, ids)[0] for (m, _), ids in zip((a, b), start))
    first = torch.arange(len(p))[:, None]
    q2, p2 = (next_logp(m, torch.cat([ids.expand(len(p), -1), first], 1)) for (m, _), ids in zip((a, b), start))
    second = (p2.exp() * (p2 - q2)).sum(-1)
    stop = b[0].generation_config.eos_token_id
    second[stop] = 0
    return (p.exp() * (p - q + second)).sum().item(), 2 - p[stop].exp().item()


def main():
    a, b = ((AutoModelForCausalLM.from_pretrained(TINY / n, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(TINY / n)) for n in (A, B))
    lines = (TINY / "pairs.jsonl").read_text().splitlines()
    each = [of_prompt(a, b, json.loads(line)["prompt"]) for line in lines]
    said = {"a": A, "b": B, "max_new_tokens": 2, "kl": [kl for kl, _ in each], "tokens": [tokens for _, tokens in each], "versions": versions()}
    (TINY / "compare.json").write_text(json.dumps(said, indent=1) + "\n")


main()
