#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes generation/logit_rules.json: scores of a next token after transformers' logits processors, for settings of generation_config.json.

    pip install -r requirements.txt && python make_logit_rules.py

Each case has the settings, a prompt, what is written so far, the most new tokens, the model's end tokens, scores (rounded to halves, so that sums
are exact), what the processors that generate() builds of the settings make of the scores (null: ruled out), and, where the settings sample, which
tokens can be drawn and with which probability.
"""
import json
import pathlib
import random

import torch
import transformers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

HERE = pathlib.Path(__file__).parent
VOCABULARY = 12
SETTINGS = [
    {"repetition_penalty": 1.5}, {"repetition_penalty": 0.5}, {"encoder_repetition_penalty": 2.0}, {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2}, {"no_repeat_ngram_size": 3}, {"encoder_no_repeat_ngram_size": 2}, {"bad_words_ids": [[3], [1, 4], [2]]},
    {"sequence_bias": [[[3], 2.5], [[1, 4], -1.5]]}, {"min_length": 5}, {"min_new_tokens": 3}, {"min_new_tokens": 1, "min_length": 9},
    {"forced_bos_token_id": 5}, {"forced_eos_token_id": 2}, {"forced_eos_token_id": [2, 7]}, {"exponential_decay_length_penalty": [1, 1.5]},
    {"suppress_tokens": [0, 3, 11]}, {"begin_suppress_tokens": [1, 2]}, {"forced_bos_token_id": 5, "begin_suppress_tokens": [1, 2]},
    {"repetition_penalty": 1.25, "no_repeat_ngram_size": 2, "bad_words_ids": [[6]], "min_new_tokens": 2, "suppress_tokens": [9]},
    {"remove_invalid_values": True}, {"renormalize_logits": False}, {},
]
SAMPLING = [
    {"typical_p": 0.2}, {"typical_p": 0.7}, {"typical_p": 0.95, "top_k": 5}, {"epsilon_cutoff": 0.05}, {"epsilon_cutoff": 0.5}, {"eta_cutoff": 0.1},
    {"eta_cutoff": 0.002}, {"top_h": 0.4}, {"top_h": 0.9, "top_p": 0.8}, {"top_p": 0.0}, {"top_p": 0.6, "temperature": 0.5}, {"min_p": 0.2, "temperature": 2.0},
    {"top_k": 3, "top_p": 0.7, "min_p": 0.1, "typical_p": 0.8, "epsilon_cutoff": 0.01}, {"repetition_penalty": 2.0, "top_k": 4},
]


def main():
    torch.manual_seed(1)
    r = random.Random(1)
    transformers.logging.set_verbosity_error()
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1,
                                         num_key_value_heads=1))
    cases = []
    for settings in SETTINGS + SAMPLING:
        for _ in range(3):
            prompt = [r.choice((1, 3, 4, 6)) for _ in range(r.choice((1, 2, 4)))]
            written = [r.choice((1, 3, 4, 6, 9)) for _ in range(r.choice((0, 0, 1, 3, 4)))]
            most = len(written) + r.choice((1, 3))
            eos = r.choice(([2], [2, 7]))
            sampled = settings in SAMPLING
            # Cuts among equal scores fall where torch's unstable sort puts them: those that are drawn from differ.
            scores = [s / 2 for s in (r.sample(range(-12, 12), VOCABULARY) if sampled else r.choices(range(-12, 12), k=VOCABULARY))]
            config = GenerationConfig(**{**GenerationConfig._get_default_generation_params(), "top_k": None, "do_sample": sampled, "eos_token_id": eos,
                                         "pad_token_id": 0, "max_new_tokens": most, **settings})
            if config.min_new_tokens is not None:
                config.min_length = config.min_new_tokens + len(prompt)
            config.max_length = most + len(prompt)
            model._prepare_special_tokens(config, True, device="cpu")
            inputs = torch.tensor([prompt])
            processors = model._get_logits_processor(config, len(prompt), encoder_input_ids=inputs, device="cpu",
                                                     model_kwargs={"attention_mask": torch.ones_like(inputs)})
            out = processors(torch.tensor([prompt + written]), torch.tensor([scores]))[0]
            case = {"settings": {**settings, "do_sample": sampled}, "prompt": prompt, "written": written, "most": most, "eos": eos, "scores": scores}
            if sampled:
                case["probabilities"] = [round(p, 6) for p in out.softmax(-1).tolist()]
            else:
                case["ruled"] = [None if x == float("-inf") else x for x in out.tolist()]
            cases.append(case)
    (HERE / "generation" / "logit_rules.json").write_text("[\n " + ",\n ".join(json.dumps(c) for c in cases) + "\n]\n")
    print(len(cases))


if __name__ == "__main__":
    main()
