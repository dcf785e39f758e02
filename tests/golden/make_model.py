# SPDX-License-Identifier: Apache-2.0
"""Golden files of the real model: log-probabilities by transformers, training steps by TRL.

    python tests/golden/make_model.py score  --gguf SmolLM2-135M-Instruct.Q4_1.gguf --data examples/data
    python tests/golden/make_model.py dpo    --gguf … --data …
    python tests/golden/make_model.py losses --gguf … --data …

Versions: requirements.txt. Everything runs in float32 on the CPU with two threads. The files land in tests/golden/model:

score.jsonl            the first 50 pairs of sentiment-test.jsonl, one line a pair, as `kedge score` prints them
pairs.jsonl            the token ids of the same pairs: prompt, chosen, rejected
trl_dpo_4_steps.json   four steps of TRL's DPOTrainer on the first 32 pairs of sentiment-train.jsonl
trl_losses_2_steps.json  two steps with each other loss type on the first 16 pairs
"""

import argparse
import json
import tempfile
from itertools import islice
from pathlib import Path

from model_files import settle, unpack, versions

torch = settle()

HERE = Path(__file__).parent
# Loss types of TRL beside `sigmoid`, with the arguments that each one asks for.
LOSSES = {
    "ipo": {},
    "hinge": {},
    "robust": {"label_smoothing": 0.1},
    "sppo_hard": {},
    "exo_pair": {"label_smoothing": 1e-3},
    "nca_pair": {},
    "bco_pair": {},
    "apo_zero": {},
    "apo_down": {},
    "aot": {},
    "aot_unpaired": {},
    "discopop": {},
    "sigmoid_norm": {},
}
KEPT = (
    "loss", "grad_norm", "learning_rate", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies",
    "logps/chosen", "logps/rejected", "num_tokens", "step",
)  # fmt: skip


def read_pairs(path, count):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in islice(lines, count)]


def encode(tokenizer, pair):
    """Token ids of prompt, chosen and rejected, as TRL 1.16 splits a conversational pair."""

    def ids(messages, **options):
        return tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)["input_ids"]

    def shared(a, b):
        return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))

    prompt = ids(pair["prompt"], add_generation_prompt=True)
    chosen = ids(pair["prompt"] + pair["chosen"])
    rejected = ids(pair["prompt"] + pair["rejected"])
    n = min(shared(prompt, chosen), shared(prompt, rejected))
    return {"prompt": prompt[:n], "chosen": chosen[n:], "rejected": rejected[n:]}


@torch.no_grad()
def completion_logp(model, prompt, completion):
    """Sum of log-probabilities of the completion's tokens, one sequence at a time: no padding, no mask."""
    ids = torch.tensor([prompt + completion])
    logits = model(ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    logp = torch.log_softmax(logits.double(), dim=-1).gather(-1, ids[0, len(prompt) :, None])
    return logp.sum().item()


def score(folder, data, count):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    scores, pairs = [], []
    for pair in read_pairs(data / "sentiment-test.jsonl", count):
        ids = encode(tokenizer, pair)
        pairs.append(ids)
        scores.append(
            {
                "logp_chosen": completion_logp(model, ids["prompt"], ids["chosen"]),
                "logp_rejected": completion_logp(model, ids["prompt"], ids["rejected"]),
                "tokens_chosen": len(ids["chosen"]),
                "tokens_rejected": len(ids["rejected"]),
                "tokens_prompt": len(ids["prompt"]),
            }
        )
    for name, rows in (("score.jsonl", scores), ("pairs.jsonl", pairs)):
        lines = (json.dumps(row, separators=(",", ":")) for row in rows)
        (HERE / "model" / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def train(folder, data, steps, **settings):
    """Metrics of `steps` steps of TRL's DPOTrainer, unrounded: 8 pairs a step, in data order."""
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    rows = []

    class Keep(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            if "loss" in logs:
                rows.append({k: v for k, v in {**logs, "step": state.global_step}.items() if k in KEPT})

    pairs = [{k: p[k] for k in ("prompt", "chosen", "rejected")} for p in read_pairs(data, 8 * steps)]
    with tempfile.TemporaryDirectory() as output:
        config = DPOConfig(
            output_dir=output, max_steps=steps, per_device_train_batch_size=8, train_sampling_strategy="sequential",
            learning_rate=1e-6, lr_scheduler_type="constant", warmup_steps=0, weight_decay=0.0, max_grad_norm=1.0,
            beta=0.1, max_length=1024, bf16=False, use_cpu=True, logging_steps=1, save_strategy="no", report_to="none",
            disable_tqdm=True, **settings,
        )  # fmt: skip
        tokenizer = AutoTokenizer.from_pretrained(folder)
        trainer = DPOTrainer(
            model=str(folder), args=config, train_dataset=Dataset.from_list(pairs), processing_class=tokenizer, callbacks=[Keep()]
        )
        seen = [{k: row[f"{k}_ids"] for k in ("prompt", "chosen", "rejected")} for row in trainer.train_dataset]
        assert seen == [encode(tokenizer, p) for p in pairs]
        trainer.train()
    assert [r["step"] for r in rows] == list(range(1, steps + 1))
    return rows


def write(name, golden):
    (HERE / "model" / name).write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("score", "dpo", "losses"))
    parser.add_argument("--gguf", required=True, help="SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "examples" / "data")
    parser.add_argument("--folder", default=Path(tempfile.gettempdir()) / "smollm2-float32", help="unpacked model")
    parser.add_argument("--pairs", type=int, default=50, help="pairs to score")
    given = parser.parse_args()
    folder = unpack(given.gguf, given.folder)
    (HERE / "model").mkdir(exist_ok=True)
    training_data = given.data / "sentiment-train.jsonl"
    common = {"batch": 8, "beta": 0.1, "learning_rate": 1e-6, "max_grad_norm": 1.0, "dtype": "float32"}
    if given.what == "score":
        score(folder, given.data, given.pairs)
    elif given.what == "dpo":
        rows = train(folder, training_data, 4)
        write("trl_dpo_4_steps.json", {"versions": versions(), "settings": common, "steps": rows})
    else:
        # Checkpointing only trades time for memory, so it is off here.
        runs = {
            name: {"settings": extra, "steps": train(folder, training_data, 2, loss_type=[name], gradient_checkpointing=False, **extra)}
            for name, extra in LOSSES.items()
        }
        write("trl_losses_2_steps.json", {"versions": versions(), "settings": common, "losses": runs})


if __name__ == "__main__":
    main()
