# SPDX-License-Identifier: Apache-2.0
"""Every flag of TRL's training scripts, as its own parser has them.

    python tests/golden/make_trl_flags.py

Versions: requirements.txt. The file lands in tests/golden/trl_flags.json:

flags     {name: {"takes": truth | one | many | json, "choices" where there are any, "typical": the words after the flag}}
common    {name: default} of what all scripts share: TrainingArguments, ModelConfig, ScriptArguments, DatasetMixtureConfig
dpo, sft, reward, kto, online_dpo: {name: default} of what a script has besides, or with another default
"""

import enum
import json
import os
import re
from pathlib import Path

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

from transformers import TrainingArguments  # noqa: E402
from trl import DatasetMixtureConfig, DPOConfig, KTOConfig, ModelConfig, RewardConfig, ScriptArguments, SFTConfig  # noqa: E402
from trl.experimental.online_dpo import OnlineDPOConfig  # noqa: E402
from trl.scripts._hf_argparser import HfArgumentParser  # noqa: E402

# What people write, where a flag takes a word of its own kind.
WORDS = {
    "accelerator_config": ["{\"split_batches\": false}"], "activation_checkpointing_kwargs": ["{\"use_reentrant\": false}"], "attn_implementation": ["flash_attention_2"],
    "beta": ["0.1"], "bnb_4bit_quant_storage": ["uint8"], "cache_implementation": ["static"], "chat_template_path": ["template.jinja"], "dataset_config": ["default"],
    "dataset_kwargs": ["{\"skip_prepare_dataset\": true}"], "dataset_name": ["trl-lib/ultrafeedback_binarized"], "dataset_test_split": ["test"], "dataset_train_split": ["train"], "dataset_text_field": ["text"], "debug": ["underflow_overflow"],
    "deepspeed": ["ds_config.json"], "dtype": ["bfloat16"], "eos_token": ["<|im_end|>"], "f_divergence_type": ["reverse_kl"], "fsdp": ["full_shard"],
    "fsdp_config": ["{\"min_num_params\": 0}"], "generation_kwargs": ["{\"top_k\": 5}"], "gradient_checkpointing_kwargs": ["{\"use_reentrant\": false}"],
    "hub_model_id": ["me/model"], "hub_token": ["secret"], "include_for_metrics": ["loss"], "label_names": ["labels"], "liger_kernel_config": ["{\"rope\": true}"],
    "logging_steps": ["0.25"], "lora_modules_to_save": ["lm_head"], "lora_target_modules": ["all-linear"], "lora_target_parameters": ["q_proj.weight"],
    "ld_alpha": ["0.5"], "lora_task_type": ["CAUSAL_LM"], "model_revision": ["main"], "datasets": ["a.jsonl"], "pad_to_multiple_of": ["auto"], "length_column_name": ["length"],
    "loss_type": ["sigmoid"], "loss_weights": ["1"], "lr_scheduler_kwargs": ["{\"num_cycles\": 1}"], "max_steps": ["-1"], "metric_for_best_model": ["loss"],
    "model_init_kwargs": ["{\"use_cache\": false}"], "model_name_or_path": ["model"], "optim_args": ["amsgrad=True"], "optim_target_modules": ["all-linear"],
    "output_dir": ["out"], "pad_token": ["<|pad|>"], "parallelism_config": ["{\"tp_size\": 1}"], "report_to": ["none"], "resume_from_checkpoint": ["True"],
    "reward_model_path": ["rewards"], "reward_weights": ["1"], "run_name": ["run"], "save_steps": ["0.5"], "vllm_structured_outputs_regex": ["a+"], "warmup_steps": ["0.1"],
}


def takes(action, field):
    if action.nargs == "?" or "string_to_bool" in str(action.type):
        return "truth"
    if action.nargs == "+":
        return "many"
    return "json" if "dict" in str(field) and action.type is str else "one"


def plain(value):
    return value.value if isinstance(value, enum.Enum) else value


def parsed(config):
    """{name: (flag, default)}"""
    annotations = {f.name: f.type for f in config.__dataclass_fields__.values()}
    found = {}
    for action in HfArgumentParser(config)._actions:
        if action.dest == "help" or action.dest in found:
            continue
        flag = {"takes": takes(action, annotations[action.dest])}
        if action.choices:
            flag["choices"] = [str(plain(choice)) for choice in action.choices]
        if action.dest in WORDS:
            flag["typical"] = WORDS[action.dest]
        elif flag["takes"] == "truth":
            flag["typical"] = ["true"]
        elif action.choices:
            flag["typical"] = [flag["choices"][0]]
        else:
            flag["typical"] = [re.sub(r"\.0$", "", str(plain(action.default))) if isinstance(plain(action.default), (int, float)) else "2"]
        found[action.dest] = (flag, plain(action.default))
    return found


common, flags, out = {}, {}, {}
for config in (TrainingArguments, ModelConfig, ScriptArguments, DatasetMixtureConfig):
    for name, (flag, default) in parsed(config).items():
        common[name], flags[name] = default, flag
for command, config in {"dpo": DPOConfig, "sft": SFTConfig, "reward": RewardConfig, "kto": KTOConfig, "online_dpo": OnlineDPOConfig}.items():
    out[command] = {}
    for name, (flag, default) in parsed(config).items():
        flags.setdefault(name, flag)
        if name not in common or common[name] != default:
            out[command][name] = default
Path(__file__).with_name("trl_flags.json").write_text(
    "{\n" + ",\n".join(f'"{part}": {{\n' + ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in sorted(rows.items())) + "\n}"
                       for part, rows in {"flags": flags, "common": common, **out}.items()) + "\n}\n")
