#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares kedge with transformers and PEFT on the tiny models of tests/golden/families, in float32.

    compare_families.py [NAME...]

Prints a row a family of largest relative errors, and exits 1 where one exceeds its bound:

logits     of every token after the first t = 1, 2, … of 18, against the largest distance of a logit from its row's mean   (1e-4)
gradients  ‖kedge − transformers‖ / ‖transformers‖ of the tensor where it is largest, of the mean loss                     (1e-3)
written    log-probabilities of completions under the model that `kedge dpo` wrote, as transformers opens it               (1e-4)
rewards    of the reward model that `kedge reward` wrote, as transformers opens it                                         (1e-4)
steps      loss and gradient norm of its next step, against automatic differentiation                                      (1e-3)
adapter    rewards under the adapter that `kedge reward --use_peft` wrote, as PEFT opens it                                (1e-4)

KEDGE_PROGRAM is kedge, KEDGE_NUMBERS the program family_numbers.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import peft  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForSequenceClassification, logging  # noqa: E402
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "golden"))

from make_families import gradients_of  # noqa: E402

FAMILIES = pathlib.Path(__file__).resolve().parents[1] / "golden" / "families"
BOUNDS = {"logits": 1e-4, "gradients": 1e-3, "written": 1e-4, "rewards": 1e-4, "steps": 1e-3, "adapter": 1e-4}
CHARACTERS = "abcdefghijklmnopqrstuvwxyz ,.;:!?-+*/=()[]<>#"
EOS, OF = 2, {c: 3 + i for i, c in enumerate(CHARACTERS)}
EXACT = {"dtype": torch.float32, "attn_implementation": "eager"}
PAIRS = 6


def opened(model):
    config = json.loads((model / "config.json").read_text())
    kind = AutoModelForImageTextToText if "text_config" in config else AutoModelForCausalLM
    return kind.from_pretrained(model, **EXACT).eval()


def kedge(command, model, out, *more):
    words = [os.environ["KEDGE_PROGRAM"], command, "--model_name_or_path", model, "--dtype", "float32", "--threads", "1", *more]
    if out:
        words += ["--output_dir", out, "--save_steps", "0", "--logging_steps", "1", "--learning_rate", "1e-2", "--no_shuffle", "--quiet",
                  "--per_device_train_batch_size", str(PAIRS)]
    return subprocess.run([str(w) for w in words], check=True, stdout=subprocess.PIPE, text=True).stdout


def with_tokenizer(folder, scratch):
    """A copy of the model with a tokenizer of single characters, and pairs of texts within what dynamic rotary embeddings leave alone."""
    model = scratch / "model"
    shutil.copytree(folder, model)
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": EOS} | OF
    special = [dict(id=EOS, content="</s>", single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)]
    (model / "tokenizer.json").write_text(json.dumps(dict(
        version="1.0", truncation=None, padding=None, added_tokens=special, normalizer=None, pre_tokenizer=None, post_processor=None,
        decoder=None, model=dict(type="BPE", dropout=None, unk_token="<unk>", continuing_subword_prefix=None, end_of_word_suffix=None,
                                 fuse_unk=False, byte_fallback=False, ignore_merges=False, vocab=vocabulary, merges=[]))))
    (model / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"}))
    draw = random.Random(folder.name)
    text = lambda least, most: "".join(draw.choices(CHARACTERS, k=draw.randint(least, most)))
    pairs = [{"prompt": text(2, 5), "chosen": "a" + text(1, 4), "rejected": "b" + text(1, 4)} for _ in range(PAIRS)]
    (scratch / "pairs.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs))
    return model, scratch / "pairs.jsonl", pairs


def ids(*texts):
    return [OF[c] for text in texts for c in text] + [EOS]


def relative(ours, theirs):
    ours, theirs = torch.as_tensor(ours, dtype=torch.float64), torch.as_tensor(theirs, dtype=torch.float64)
    return float((ours - theirs).abs().max() / theirs.abs().max())


def numbers(model, scratch):
    tokens = json.loads((model / "golden.json").read_text())["ids"]
    out = scratch / "numbers.safetensors"
    subprocess.run([os.environ["KEDGE_NUMBERS"], model, json.dumps(tokens), out], check=True)
    ours = load_file(out)
    peer = opened(model)
    sequence = torch.tensor([tokens])
    with torch.no_grad():  # what depends on a sequence's length sees t + 1 tokens, as kedge does
        theirs = torch.stack([opened(model)(sequence[:, : t + 1]).logits[0, t - 1]
                              for t in range(1, len(tokens))])
    logits = (ours["logits"] - theirs.log_softmax(-1)).abs().max() / (theirs - theirs.mean(-1, keepdim=True)).abs().max()
    peer(sequence, labels=sequence).loss.backward()
    # An expert that no token chose has no gradient to compare, and the bias of keys that don't turn moves all scores of a query alike: rounding.
    all_of_peer = list(gradients_of(peer))
    least = 1e-7 * max(float(g.norm()) for _, g in all_of_peer)
    gradients = {name: float((ours[name] - g).norm() / g.norm()) for name, g in all_of_peer if g.norm() > least}
    return float(logits), max(gradients.values())


def written(model, file, pairs, scratch):
    out = scratch / "dpo"
    kedge("dpo", model, out, "--dataset", file, "--max_steps", "2")
    lines = [json.loads(line) for line in kedge("score", out, None, "--dataset", file).splitlines()]
    peer = opened(out)

    def logp(prompt, completion):
        sequence = torch.tensor([ids(prompt, completion)])
        with torch.no_grad():
            logp = peer(sequence).logits[0, :-1].log_softmax(-1).gather(1, sequence[0, 1:, None])
        return float(logp[len(prompt) - 1:].sum())

    ours = [line[f"logp_{side}"] for line in lines for side in ("chosen", "rejected")]
    return relative(ours, [logp(p["prompt"], p[side]) for p in pairs for side in ("chosen", "rejected")])


def rewards_of(peer, pairs):
    score = lambda side: torch.stack([peer(torch.tensor([ids(p["prompt"], p[side])])).logits[0, 0] for p in pairs])
    return score("chosen"), score("rejected")


FIGURES = {"eval_min_reward": lambda c, r: torch.cat([c, r]).min(), "eval_max_reward": lambda c, r: torch.cat([c, r]).max(),
           "eval_mean_reward": lambda c, r: torch.cat([c, r]).mean(), "eval_margin": lambda c, r: (c - r).mean()}


def rewards(model, file, pairs, scratch, name, peer_of, *flags):
    """Trains a reward model or adapter, and goes on from it by one step. returns errors of its rewards, and of that step"""
    first, second = scratch / f"{name}-1", scratch / f"{name}-2"
    kedge("reward", model, first, "--dataset", file, "--max_steps", "2", *flags)
    kedge("reward", first, second, "--dataset", file, "--eval_dataset", file, "--max_steps", "1")
    lines = [json.loads(line) for line in (second / "metrics.jsonl").read_text().splitlines()]
    start, step = next(x for x in lines if "eval_loss" in x), next(x for x in lines if "grad_norm" in x)
    peer = peer_of(first).eval()
    chosen, rejected = rewards_of(peer, pairs)
    loss = -torch.nn.functional.logsigmoid(chosen - rejected).mean()
    figures = relative([start[f] for f in FIGURES], [float(of(chosen, rejected).detach()) for of in FIGURES.values()])
    if name == "adapter":
        return figures, relative([step["loss"]], [float(loss.detach())])
    loss.backward()
    norm = torch.stack([p.grad.norm() for p in peer.parameters() if p.grad is not None]).norm()
    return figures, max(relative([step["loss"]], [float(loss.detach())]), relative([step["grad_norm"]], [float(norm)]))


def compare(folder):
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        model, file, pairs = with_tokenizer(folder, scratch)
        out = dict(zip(("logits", "gradients"), numbers(model, scratch)))
        out["written"] = written(model, file, pairs, scratch)
        if json.loads((folder / "config.json").read_text())["model_type"] not in CLASSIFIERS or folder.name.endswith("_multimodal"):
            return out  # transformers has no reward model of it, or a wider one than its text model
        classifier = lambda path: AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, **EXACT)
        out["rewards"], out["steps"] = rewards(model, file, pairs, scratch, "reward", classifier)

        if folder.name == "qwen3_moe_dense":
            return out  # PEFT takes gate_proj, up_proj and down_proj for the experts' too, and adapts these anew as it opens an adapter

        def adapted(path):
            base = classifier(model)
            base.config.pad_token_id = EOS  # as kedge and TRL choose it for this tokenizer; a reward model of kedge's says it itself
            return peft.PeftModel.from_pretrained(base, path)

        out["adapter"], _ = rewards(model, file, pairs, scratch, "adapter", adapted, "--use_peft", "--lora_r", "2", "--lora_target_modules", "all-linear")
    return out


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("names", nargs="*")
    names = options.parse_args().names
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"| family | {' | '.join(BOUNDS)} |\n|---|{'---|' * len(BOUNDS)}")
    worst = dict.fromkeys(BOUNDS, 0.0)
    for folder in sorted(FAMILIES.iterdir()):
        if names and folder.name not in names:
            continue
        errors = compare(folder)
        print(f"| `{folder.name}` | {' | '.join(f'{errors[k]:.1e}' if k in errors else '–' for k in BOUNDS)} |", flush=True)
        worst = {k: max(worst[k], errors.get(k, 0)) for k in BOUNDS}
    sys.exit(1 if any(not worst[k] <= BOUNDS[k] for k in BOUNDS) else 0)


if __name__ == "__main__":
    main()
