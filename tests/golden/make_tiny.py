# SPDX-License-Identifier: Apache-2.0
"""Tiny random Llama checkpoints, and what transformers and TRL make of them.

    python tests/golden/make_tiny.py

Versions: requirements.txt. Everything runs in float32 on the CPU. The files land in tests/golden/tiny:

tied/      float32, one file, tied embeddings, config as transformers 5 spells it, template in chat_template.jinja
untied/    bfloat16, three shards with an index, wide heads, Llama-3 rope, config and template as transformers 4 spelt them
linear/    float16, one file, linear rope scaling in the oldest spelling
           each folder holds golden.json: logits, gradient, greedy continuation and the settings that gave them
pairs.jsonl, pairs-text.jsonl      preference pairs, conversational and plain
score.jsonl, score-text.jsonl      their log-probabilities under tied/, as `kedge score` prints them
trl.json   runs of TRL's DPOTrainer on pairs.jsonl from tied/ and untied/: settings, metrics of every step, and the scores of
           all pairs under the trained model
"""

import json
import shutil
import tempfile
from pathlib import Path

from model_files import settle, versions

torch = settle()

from datasets import Dataset  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    TrainerCallback,
)
from trl import DPOConfig, DPOTrainer  # noqa: E402

from make_model import KEPT, LOSSES, completion_logp, encode, read_pairs  # noqa: E402

TINY = Path(__file__).parent / "tiny"
VOCABULARY = 320
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CORPUS = [
    "The boat lay still while the anchor went ahead. We hauled until the chain was short, and carried it on again.",
    "Which of the two answers is better? The first answer is kind and clear, the second is not.",
    "A small model learns from pairs: one text was chosen, the other was rejected. It was the best of them.",
    "Water, wind and weather. The harbour wall, the lighthouse and the long way home. I like it, and I would say so.",
]
DIALOGUES = [
    ("Say something about the sea.", "The sea is calm and bright today.", "The sea is grey."),
    ("Is the harbour far?", "Not at all: ten minutes along the wall.", "Yes."),
    ("How was the meal?", "Warm, simple and better than I had hoped. Thank you!", "It was food, I suppose, and it was late."),
    ("Name a colour.", "Blue.", "I would rather not name any colour before I know what it is for."),
    ("What does an anchor do?", "It holds a boat in its place.", "It is heavy, and rusty, and wet."),
    ("Greet me in French.", "Bonjour, ça va? Très bien, j'espère 🙂", "Hello."),
    ("Count to five.", "1, 2, 3, 4, 5", "12345678"),
    ("Tell me the weather.", "Clear, with a light wind from the west.", "Bad weather, as always in this town."),
    ("Finish this: the boat …", "… came home before the rain.", "… sank."),
    ("Recommend a walk.", "Take the path to the lighthouse; the view is wide.", "No."),
    ("Describe the room.", "Two windows, one table, flowers.", "It is a room with things in it, some of them broken."),
    ("Any news?", "Good news: the bridge is open again!", "None."),
]
LONGER = [
    {
        "prompt": [
            {"role": "system", "content": "You answer in one line."},
            {"role": "user", "content": "Where is the boat?"},
        ],
        "chosen": [{"role": "assistant", "content": "At the quay, next to the crane."}],
        "rejected": [{"role": "assistant", "content": "Somewhere else."}],
    },
    {
        "prompt": [
            {"role": "user", "content": "Hello."},
            {"role": "assistant", "content": "Hello! How can I help?"},
            {"role": "user", "content": "Sing."},
        ],
        "chosen": [{"role": "assistant", "content": "La la la, the wind is kind."}],
        "rejected": [{"role": "assistant", "content": "La."}],
    },
    {
        "prompt": [{"role": "user", "content": "  Spaces   and\ttabs\n\nand lines  "}],
        "chosen": [{"role": "assistant", "content": "  kept,  all of them \n"}],
        "rejected": [{"role": "assistant", "content": ""}],
    },
    {
        "prompt": [{"role": "user", "content": "日本語はどうですか"}],
        "chosen": [{"role": "assistant", "content": "はい、大丈夫です。"}],
        "rejected": [{"role": "assistant", "content": "いいえ"}],
    },
]
PLAIN = [
    {"prompt": "The anchor went", "chosen": " ahead of the boat.", "rejected": " to sleep."},
    {"prompt": "One, two,", "chosen": " three.", "rejected": " 2, 1"},
    {"prompt": "A kind answer: ", "chosen": "I would be glad to.", "rejected": "Why should I?"},
    {"prompt": "Ends with the end", "chosen": ".<|im_end|>", "rejected": "!"},
]


def make_tokenizer(template_in_config):
    """Byte-level BPE with exactly VOCABULARY entries, trained on CORPUS."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    assert tokenizer.get_vocab_size() == VOCABULARY
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token="<|endoftext|>"
    )
    if not template_in_config:
        fast.chat_template = TEMPLATE
    return fast


def make_model(seed, **shape):
    """Weights large enough that attention, rope and norms all leave their mark on the logits."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY, num_attention_heads=4, num_key_value_heads=2, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        initializer_range=0.15, **shape,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    return model


def respell(folder, rope, edit):
    """Rewrite config.json with rope settings and dtype as older releases wrote them."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config.pop("rope_parameters")
    config["torch_dtype"] = config.pop("dtype")
    config |= rope
    path.write_text(json.dumps(config, indent=2) + "\n")
    if edit:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": TEMPLATE}, indent=2) + "\n")


def golden(folder, made):
    """Logits of one sequence, the gradient of its mean next-token loss, and a greedy continuation."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "The anchor, 42!"}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    batch = torch.tensor([ids])
    logits = model(batch).logits[0]
    same = LlamaForCausalLM(made.config).float()
    same.load_state_dict(made.state_dict())
    assert torch.equal(logits, same(batch).logits[0]), f"{folder}: the config on disk means another model"
    loss = torch.nn.functional.cross_entropy(logits[:-1], batch[0, 1:])
    loss.backward()
    greedy = model.generate(batch, max_new_tokens=12, do_sample=False, attention_mask=torch.ones_like(batch))[0, len(ids) :]
    gradients = {
        name: {"norm": p.grad.norm().item(), "sum": p.grad.sum().item(), "first": p.grad.flatten()[:4].tolist()}
        for name, p in model.named_parameters()
    }
    return {
        "ids": ids,
        "loss": loss.item(),
        "logits_rows": [0, 1, len(ids) - 1],
        "logits": [short(logits[row]) for row in (0, 1, len(ids) - 1)],
        "logsumexp": short(logits.logsumexp(-1)),
        "logp_next": short(logits[:-1].log_softmax(-1).gather(-1, batch[0, 1:, None])[:, 0]),
        "greedy": greedy.tolist(),
        "gradients": gradients,
    }


def short(values):
    """float32 values with the digits they have."""
    return [float(f"{v:.9g}") for v in values.tolist()]


def scores(model, tokenizer, pairs, encoder):
    for pair in pairs:
        ids = encoder(tokenizer, pair)
        yield {
            "logp_chosen": completion_logp(model, ids["prompt"], ids["chosen"]),
            "logp_rejected": completion_logp(model, ids["prompt"], ids["rejected"]),
            "tokens_chosen": len(ids["chosen"]),
            "tokens_rejected": len(ids["rejected"]),
            "tokens_prompt": len(ids["prompt"]),
        }


def encode_plain(tokenizer, pair):
    """Plain text as TRL 1.16 splits it: end-of-sequence appended where it is missing, cut at the common prefix."""
    whole = {k: tokenizer(pair["prompt"] + with_end(tokenizer, pair[k]))["input_ids"] for k in ("chosen", "rejected")}
    prompt = tokenizer(pair["prompt"])["input_ids"]
    n = min(next((i for i, (x, y) in enumerate(zip(prompt, ids)) if x != y), len(prompt)) for ids in whole.values())
    return {"prompt": prompt[:n], "chosen": whole["chosen"][n:], "rejected": whole["rejected"][n:]}


def with_end(tokenizer, text):
    return text if text.endswith(tokenizer.eos_token) else text + tokenizer.eos_token


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def train(folder, settings):
    """One TRL run: metrics of every step, then the log-probabilities of all pairs under the trained model."""
    rows = []

    class Keep(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            if "loss" in logs:
                rows.append({k: v for k, v in {**logs, "step": state.global_step}.items() if k in KEPT})

    settings = dict(settings)
    dataset = settings.pop("dataset", "pairs.jsonl")
    pairs = read_pairs(TINY / dataset, None)
    encoder = encode_plain if "text" in dataset else encode
    given = {"per_device_train_batch_size": 4, "learning_rate": 1e-3, "lr_scheduler_type": "constant", "max_steps": 4} | settings
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with tempfile.TemporaryDirectory() as output:
        config = DPOConfig(
            output_dir=output, train_sampling_strategy="sequential", bf16=False, use_cpu=True, logging_steps=1,
            save_strategy="no", report_to="none", disable_tqdm=True, gradient_checkpointing=False, **given,
        )  # fmt: skip
        trainer = DPOTrainer(
            model=str(folder), args=config, train_dataset=Dataset.from_list(pairs), processing_class=tokenizer, callbacks=[Keep()]
        )
        seen = [{k: row[f"{k}_ids"] for k in ("prompt", "chosen", "rejected")} for row in trainer.train_dataset]
        assert all(row in seen for row in (encoder(tokenizer, p) for p in pairs)) or "max_length" in given
        trainer.train()
    model = trainer.model.eval()
    after = [[row["logp_chosen"], row["logp_rejected"]] for row in scores(model, tokenizer, pairs, encoder)]
    return {"model": folder.name, "dataset": dataset, "settings": given, "steps": rows, "scores_after": after}


def runs():
    """What is run with TRL: one plain run a checkpoint, then one departure at a time, then every loss type."""
    yield "plain", "tied", {}
    yield "plain untied", "untied", {}
    yield "two epochs", "tied", {"max_steps": 8}
    yield "ragged last batch", "tied", {"per_device_train_batch_size": 3, "max_steps": 6}
    yield "accumulation", "tied", {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    yield "linear with warm-up", "tied", {"lr_scheduler_type": "linear", "warmup_steps": 2, "max_steps": 8}
    yield "cosine with warm-up", "tied", {"lr_scheduler_type": "cosine", "warmup_steps": 0.25, "max_steps": 8}
    yield "weight decay", "tied", {"weight_decay": 0.1}
    yield "tight clipping", "tied", {"max_grad_norm": 0.05}
    yield "no clipping", "tied", {"max_grad_norm": 0.0}
    yield "large beta", "tied", {"beta": 2.0}
    yield "truncated", "tied", {"max_length": 48}
    yield "plain text", "tied", {"dataset": "pairs-text.jsonl", "per_device_train_batch_size": 2}
    yield "moving reference", "tied", {"sync_ref_model": True, "ref_model_sync_steps": 2, "ref_model_mixup_alpha": 0.6}
    yield "mixed losses", "tied", {"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]}
    yield "length desensitised", "tied", {"ld_alpha": 0.5}
    yield "weighted pairs", "tied", {"use_weighting": True}
    for divergence in ("forward_kl", "js_divergence", "alpha_divergence"):
        yield divergence, "tied", {"f_divergence_type": divergence}
    for loss, extra in LOSSES.items():
        yield loss, "tied", {"loss_type": [loss]} | extra


def main():
    shutil.rmtree(TINY, ignore_errors=True)
    TINY.mkdir()

    tied = make_model(1, hidden_size=32, intermediate_size=64, num_hidden_layers=2, tie_word_embeddings=True)
    tied.save_pretrained(TINY / "tied")
    make_tokenizer(False).save_pretrained(TINY / "tied")

    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    untied = make_model(
        2, hidden_size=48, intermediate_size=96, num_hidden_layers=3, head_dim=16, tie_word_embeddings=False, rms_norm_eps=1e-5,
        max_position_embeddings=128, rope_parameters=llama3 | {"rope_theta": 500000.0},
    )  # fmt: skip
    untied.to(torch.bfloat16).save_pretrained(TINY / "untied", max_shard_size="70KB")
    make_tokenizer(True).save_pretrained(TINY / "untied")
    respell(TINY / "untied", {"rope_theta": 500000.0, "rope_scaling": llama3}, True)

    linear = make_model(
        3, hidden_size=32, intermediate_size=48, num_hidden_layers=2, tie_word_embeddings=False,
        rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0},
    )  # fmt: skip
    linear.to(torch.float16).save_pretrained(TINY / "linear")
    make_tokenizer(True).save_pretrained(TINY / "linear")
    respell(TINY / "linear", {"rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 2.0}}, True)

    for folder, made in (("tied", tied), ("untied", untied), ("linear", linear)):
        (TINY / folder / "golden.json").write_text(json.dumps(golden(TINY / folder, made), indent=1) + "\n")
    for path in TINY.rglob("*.safetensors"):
        path.chmod(0o644)

    dialogues = [
        {
            "prompt": [{"role": "user", "content": question}],
            "chosen": [{"role": "assistant", "content": better}],
            "rejected": [{"role": "assistant", "content": worse}],
        }
        for question, better, worse in DIALOGUES
    ] + LONGER
    write_lines(TINY / "pairs.jsonl", dialogues)
    write_lines(TINY / "pairs-text.jsonl", PLAIN)
    tokenizer = AutoTokenizer.from_pretrained(TINY / "tied")
    model = AutoModelForCausalLM.from_pretrained(TINY / "tied", dtype=torch.float32).eval()
    write_lines(TINY / "score.jsonl", scores(model, tokenizer, dialogues, encode))
    write_lines(TINY / "score-text.jsonl", scores(model, tokenizer, PLAIN, encode_plain))

    made = {name: train(TINY / folder, settings) for name, folder, settings in runs()}
    (TINY / "trl.json").write_text(json.dumps({"versions": versions(), "runs": made}, indent=1) + "\n")


if __name__ == "__main__":
    main()
