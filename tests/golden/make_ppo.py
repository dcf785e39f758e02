# SPDX-License-Identifier: Apache-2.0
"""One update of PPO on the tiny checkpoint tied/, as TRL's PPOTrainer computes it, recomputed by its formulas.

    python tests/golden/make_ppo.py

Versions: requirements.txt. Everything runs in float64: log-probabilities, values and gradients by transformers and autograd,
one sequence at a time without padding; rewards, advantages and whitening in NumPy, with TRL's masked mean and Bessel-corrected
variance over the tokens of all completions. Where TRL appends the score behind a completion that ended by itself, it stands at
the last token here. Writes tiny/ppo.json: prompts, completions, log-probabilities of policy and reference, values, and, for each
variant, advantages, returns, and losses, gradient norms and ratios of every step of the epochs.
"""

import json
from pathlib import Path

import numpy as np

from model_files import settle, versions

torch = settle()

from transformers import AutoModelForCausalLM  # noqa: E402

TINY = Path(__file__).parent / "tiny"
PROMPTS = [[5, 80, 3, 41], [7, 7, 200], [90, 4]]
COMPLETIONS = [(0, [11, 12, 13, 300, 2], True), (0, [11, 250, 6], False), (1, [9, 8, 7, 6, 5, 4, 2], True), (2, [33, 2], True), (2, [44, 45, 46], False)]
SCORES = [1.5, -0.3, 0.25, 2.0, -1.0]
BETA, GAMMA, LAMBDA, CLIP, CLIP_VALUE, VF = 0.2, 0.97, 0.9, 0.1, 0.05, 0.3
RATE, EPOCHS, PENALTY = 0.003, 3, 0.5
VARIANTS = {
    "shared": {"estimator": "k1", "whiten_rewards": False},
    "separate": {"estimator": "k3", "whiten_rewards": True},
}


def rows(model, prompt, completion):
    """Log-probabilities of the completion's tokens, and the hidden states that predict them."""
    out = model.model(torch.tensor([prompt + completion])).last_hidden_state[0]
    hidden = out[len(prompt) - 1 : -1]
    logp = torch.log_softmax(model.lm_head(hidden), -1)
    return logp[torch.arange(len(completion)), torch.tensor(completion)], hidden


def whiten(values, keep_mean):
    mean, variance = values.mean(), values.var(ddof=1)
    white = (values - mean) / np.sqrt(variance + 1e-8)
    return white + mean if keep_mean else white


def advantages(old, reference, values, variant):
    rewards = []
    for i, (logp, ref) in enumerate(zip(old, reference)):
        ratio = np.array(ref) - np.array(logp)
        kl = -ratio if variant["estimator"] == "k1" else np.exp(ratio) - 1 - ratio
        own = -BETA * kl
        own[-1] += SCORES[i] - (0 if COMPLETIONS[i][2] else PENALTY)
        rewards.append(own)
    if variant["whiten_rewards"]:
        flat = whiten(np.concatenate(rewards), True)
        rewards = np.split(flat, np.cumsum([len(r) for r in rewards])[:-1])
    advantage, returns = [], []
    for reward, value in zip(rewards, values):
        last, own = 0.0, np.zeros(len(reward))
        for t in reversed(range(len(reward))):
            following = value[t + 1] if t + 1 < len(reward) else 0.0
            last = reward[t] + GAMMA * following - value[t] + GAMMA * LAMBDA * last
            own[t] = last
        advantage.append(own)
        returns.append(own + np.array(value))
    flat = whiten(np.concatenate(advantage), False)
    return flat, np.concatenate(returns)


def run(variant, settings, score, noise):
    policy = AutoModelForCausalLM.from_pretrained(TINY / "tied", dtype=torch.float64)
    critic = AutoModelForCausalLM.from_pretrained(TINY / "tied", dtype=torch.float64) if variant == "separate" else None
    head = torch.tensor(score, dtype=torch.float64).requires_grad_()

    def everything():
        logp, values = [], []
        for prompt, completion, _ in COMPLETIONS:
            own, hidden = rows(policy, PROMPTS[prompt], completion)
            if critic is not None:
                hidden = rows(critic, PROMPTS[prompt], completion)[1]
            logp.append(own)
            values.append(hidden @ head)
        return logp, values

    with torch.no_grad():
        logp, values = everything()
    # What was sampled came from slightly other weights, so that ratios differ from 1 from the first step on.
    old = [(own.numpy() + 0.05 * n[: len(own)]).tolist() for own, n in zip(logp, noise)]
    reference = [(own.numpy() - 0.2 * n[::-1][: len(own)]).tolist() for own, n in zip(logp, noise)]
    old_values = [v.numpy() for v in values]
    advantage, returns = advantages(old, reference, old_values, settings)
    parameters = list(policy.parameters()) + [head] + (list(critic.model.parameters()) if critic is not None else [])
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0)
    flat_old, flat_values = torch.tensor(np.concatenate(old)), torch.tensor(np.concatenate(old_values))
    A, R = torch.tensor(advantage), torch.tensor(returns)
    steps = []
    for _ in range(EPOCHS):
        logp, values = everything()
        new, value = torch.cat(logp), torch.cat(values)
        ratio = torch.exp(new - flat_old)
        surrogate = torch.maximum(-A * ratio, -A * torch.clamp(ratio, 1 - CLIP, 1 + CLIP))
        bounded = torch.clamp(value, flat_values - CLIP_VALUE, flat_values + CLIP_VALUE)
        value_loss = 0.5 * torch.maximum((value - R) ** 2, (bounded - R) ** 2)
        loss = surrogate.mean() + VF * value_loss.mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        steps.append({"loss": loss.item(), "loss/policy_avg": surrogate.mean().item(), "loss/value_avg": value_loss.mean().item(),
                      "val/ratio": ratio.mean().item(), "policy/approxkl_avg": (0.5 * ((new - flat_old) ** 2).mean()).item(), "grad_norm": norm.item()})
        optimizer.step()
    return {**settings, "old": old, "reference": reference, "values": [v.tolist() for v in old_values],
            "advantage": advantage.tolist(), "returns": returns.tolist(), "steps": steps}


def main():
    random = np.random.default_rng(7)
    config = json.loads((TINY / "tied" / "config.json").read_text())
    score = (0.3 * random.standard_normal(config["hidden_size"])).round(6).tolist()
    noise = [random.standard_normal(8) for _ in COMPLETIONS]
    golden = {
        "versions": versions(), "prompts": PROMPTS, "scores": SCORES, "score_head": score,
        "completions": [{"prompt": p, "tokens": t, "finished": f} for p, t, f in COMPLETIONS],
        "settings": {"kl_coef": BETA, "gamma": GAMMA, "lam": LAMBDA, "cliprange": CLIP, "cliprange_value": CLIP_VALUE, "vf_coef": VF,
                     "learning_rate": RATE, "epochs": EPOCHS, "missing_eos_penalty": PENALTY},
        "variants": {name: run(name, settings, score, noise) for name, settings in VARIANTS.items()},
    }
    (TINY / "ppo.json").write_text(json.dumps(golden, indent=1) + "\n")


main()
