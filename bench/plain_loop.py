# SPDX-License-Identifier: Apache-2.0
"""DPO as a plain hand-written PyTorch loop: the peer that does what kedge does (no padding, a prompt once a pair, the head at
completion tokens, the reference beforehand) by ordinary eager operations and autograd. A side of against_trl.py.
"""

import json
import time
from pathlib import Path

import torch
from torch.nn import functional as F

ROUND = 4  # pairs computed at once


def read_model(folder, dtype):
    """Configuration, fp32 master parameters by name, and what the computation reads."""
    from safetensors.torch import load_file

    config = json.loads(Path(folder, "config.json").read_text())
    masters = {k: v.float() for k, v in load_file(Path(folder, "model.safetensors")).items() if k != "lm_head.weight"}
    weights = {k: v.to(dtype, copy=True).requires_grad_() for k, v in masters.items()}
    return config, masters, weights


def encode(folder, pairs_file, max_length):
    """Token ids of prompt, chosen and rejected of every pair, as TRL's preparation makes them."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = lambda messages, **more: tokenizer.apply_chat_template(messages, return_dict=True, **more)["input_ids"]  # noqa: E731
    pairs = []
    for line in pairs_file.read_text().splitlines():
        pair = json.loads(line)
        prompt = ids(pair["prompt"], add_generation_prompt=True)
        pairs.append((prompt, *(ids(pair["prompt"] + pair[k])[len(prompt) : max_length] for k in ("chosen", "rejected"))))
    return pairs


def norm(x, weight, eps):
    x = x.float()
    return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)).to(weight.dtype) * weight


def rotate(x, cosine, sine):
    left, right = x.chunk(2, -1)
    return x * cosine + torch.cat([-right, left], -1) * sine


def attend(q, k, v, layout):
    """[heads, T, d]: prompt and chosen run on; rejected sees prompt and itself."""
    sdpa, parts = F.scaled_dot_product_attention, []
    for begin, prompt, chosen, rejected in layout:
        first, second = slice(begin, begin + prompt + chosen), slice(begin + prompt + chosen, begin + prompt + chosen + rejected)
        parts.append(sdpa(q[:, first], k[:, first], v[:, first], is_causal=True, enable_gqa=True))
        seen = torch.ones(rejected, prompt + rejected, dtype=torch.bool).tril(prompt)
        with_prompt = [torch.cat([x[:, begin : begin + prompt], x[:, second]], 1) for x in (k, v)]
        parts.append(sdpa(q[:, second], *with_prompt, attn_mask=seen, enable_gqa=True))
    return torch.cat(parts, 1)


def log_probs(config, w, pairs):
    """[2n] chosen and rejected of every pair in turn."""
    tokens, positions, rows, targets, owner, layout = [], [], [], [], [], []
    for i, (prompt, chosen, rejected) in enumerate(pairs):
        begin = len(tokens)
        layout.append((begin, len(prompt), len(chosen), len(rejected)))
        tokens += prompt
        positions += range(len(prompt))
        for which, completion in enumerate((chosen, rejected)):
            rows += [begin + len(prompt) - 1, *range(len(tokens), len(tokens) + len(completion) - 1)]
            targets += completion
            owner += [2 * i + which] * len(completion)
            positions += range(len(prompt), len(prompt) + len(completion))
            tokens += completion
    heads, kv, eps = config["num_attention_heads"], config["num_key_value_heads"], config["rms_norm_eps"]
    d = config.get("head_dim") or config["hidden_size"] // heads
    theta = (config.get("rope_parameters") or config)["rope_theta"]
    angles = torch.outer(torch.tensor(positions).float(), theta ** -(torch.arange(0, d, 2).float() / d))
    x = w["model.embed_tokens.weight"][torch.tensor(tokens)]
    cosine, sine = (torch.cat([f(angles)] * 2, -1).to(x.dtype) for f in (torch.cos, torch.sin))
    split = lambda y, n: y.view(len(tokens), n, d).transpose(0, 1)  # noqa: E731
    for i in range(config["num_hidden_layers"]):
        p = lambda name: w[f"model.layers.{i}.{name}.weight"]  # noqa: B023, E731
        h = norm(x, p("input_layernorm"), eps)
        q, k, v = (split(F.linear(h, p(f"self_attn.{n}_proj")), m) for n, m in (("q", heads), ("k", kv), ("v", kv)))
        mixed = attend(rotate(q, cosine, sine), rotate(k, cosine, sine), v, layout).transpose(0, 1).reshape(len(tokens), -1)
        x = x + F.linear(mixed, p("self_attn.o_proj"))
        h = norm(x, p("post_attention_layernorm"), eps)
        x = x + F.linear(F.silu(F.linear(h, p("mlp.gate_proj"))) * F.linear(h, p("mlp.up_proj")), p("mlp.down_proj"))
    x = norm(x[torch.tensor(rows)], w["model.norm.weight"], eps)
    logits = F.linear(x, w["model.embed_tokens.weight"]).float()
    logp = -F.cross_entropy(logits, torch.tensor(targets), reduction="none")
    return torch.zeros(2 * len(pairs)).index_add(0, torch.tensor(owner), logp)


def run(dtype, folder, pairs_file, threads, settings):
    """Trains one epoch in file order; seconds with the reference pass, and losses."""
    torch.set_num_threads(threads)
    config, masters, weights = read_model(folder, getattr(torch, dtype))
    pairs = encode(folder, pairs_file, settings["max_length"])
    optimizer = torch.optim.AdamW(masters.values(), lr=settings["learning_rate"], weight_decay=0.0, fused=True)
    start, processor, losses = time.perf_counter(), time.process_time(), []
    with torch.no_grad():
        reference = torch.cat([log_probs(config, weights, pairs[i : i + ROUND]) for i in range(0, len(pairs), ROUND)])
    reference_seconds = time.perf_counter() - start
    for first in range(0, len(pairs), settings["batch"]):
        batch, total = pairs[first : first + settings["batch"]], 0.0
        for i in range(0, len(batch), ROUND):
            logp = log_probs(config, weights, batch[i : i + ROUND])
            gain = logp - reference[2 * (first + i) :][: len(logp)]
            loss = -F.logsigmoid(settings["beta"] * (gain[::2] - gain[1::2])).sum() / len(batch)
            loss.backward()
            total += loss.item()
        for name, master in masters.items():
            master.grad = weights[name].grad.float()
            weights[name].grad = None
        torch.nn.utils.clip_grad_norm_(masters.values(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for name, master in masters.items():
                weights[name].copy_(master)
        losses.append(total)
    return {
        "seconds": time.perf_counter() - start,
        "reference_seconds": reference_seconds,
        "processor_seconds": time.process_time() - processor,
        "losses": losses,
    }
