# SPDX-License-Identifier: Apache-2.0
"""gpu_trl.py MODEL PAIRS.jsonl STEPS: a row of bench/gpu.sh on DPO by TRL with the settings that are fastest where memory allows.

bfloat16 weights, gradient checkpointing off, the reference computed beforehand, fused AdamW; FlashAttention with padding_free where flash_attn is
installed and this TRL still has it, else scaled_dot_product_attention; Liger's kernels where they are installed. If that stops (too little memory, settings
that don't go together) gradient checkpointing is switched on, and the row says so.
"""

import importlib.util
import json
import statistics
import sys
import tempfile
import time
from dataclasses import fields
from pathlib import Path

import torch
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl import DPOConfig, DPOTrainer


def there(name):
    return importlib.util.find_spec(name) is not None


def best_settings():
    known = {f.name for f in fields(DPOConfig)}
    wanted = {"precompute_ref_log_probs": True, "gradient_checkpointing": False, "padding_free": there("flash_attn"), "use_liger_kernel": there("liger_kernel"),
              "dataloader_num_workers": 2}  # fmt: skip
    return {name: value for name, value in wanted.items() if name in known}


class Clock(TrainerCallback):
    def __init__(self):
        self.times, self.losses = [], []

    def on_step_end(self, *_, **__):
        torch.cuda.synchronize()
        self.times.append(time.perf_counter())

    def on_log(self, args, state, control, logs=None, **__):
        if logs and "loss" in logs:
            self.losses.append(logs["loss"])


def train(model_folder, pairs, steps, settings):
    clock = Clock()
    attention = "flash_attention_2" if there("flash_attn") else "sdpa"
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.bfloat16, attn_implementation=attention).cuda()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model_folder)
    torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as output:
        config = DPOConfig(output_dir=output, max_steps=steps, per_device_train_batch_size=8, learning_rate=1e-6, max_length=None, bf16=True,
                           optim="adamw_torch_fused", logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True, **settings)  # fmt: skip
        DPOTrainer(model=model, args=config, train_dataset=Dataset.from_list(pairs), processing_class=tokenizer, callbacks=[clock]).train()
    return clock, attention


def main():
    folder, pairs_file, steps = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    pairs = [json.loads(line) for line in pairs_file.read_text().splitlines()]
    settings = best_settings()
    try:
        clock, attention = train(folder, pairs, steps, settings)
    except (torch.OutOfMemoryError, ValueError, RuntimeError) as stopped:
        print(f"with {settings}: {str(stopped).splitlines()[0]}", file=sys.stderr)
        torch.cuda.empty_cache()
        settings = {"gradient_checkpointing": True, "precompute_ref_log_probs": True}
        clock, attention = train(folder, pairs, steps, settings)
    step = statistics.mean(later - earlier for earlier, later in zip(clock.times[2:], clock.times[3:]))
    # As kedge counts them: a prompt once, and the end token of each completion.
    tokens = statistics.mean(sum(pair[key].count(" ") for key in ("prompt", "chosen", "rejected")) + 2 for pair in pairs)
    print(json.dumps({"shape": Path(folder).name, "lengths": "long", "trl": trl.__version__, "attention": attention, "settings": json.dumps(settings), "step s": step,
                      "tokens/s": tokens * 8 / step, "measured GB": torch.cuda.max_memory_allocated() / 1e9, "first loss": clock.losses[0]}))  # fmt: skip


if __name__ == "__main__":
    main()
