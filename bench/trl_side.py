# SPDX-License-Identifier: Apache-2.0
"""DPO by TRL on the CPU: the sides trl, trl-tuned and trl-0.28 of against_trl.py."""

import json
import os
import tempfile
import time

# What distinguishes the sides: TRL's defaults; the settings that make it fastest where memory allows; and the last version that
# packs a batch into one sequence, with the same settings (together with use_logits_to_keep it stops with a mismatch of shapes).
SIDES = {
    "trl": {},
    "trl-tuned": {"gradient_checkpointing": False, "precompute_ref_log_probs": True},
    "trl-0.28": {"gradient_checkpointing": False, "precompute_ref_log_probs": True, "padding_free": True},
}


def run(side, dtype, folder, pairs_file, threads, settings):
    """One run in this process; returns seconds, with the reference pass, and losses."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    from model_files import settle

    torch = settle()
    torch.set_num_threads(threads)
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    losses, reference_seconds, processor_seconds = [], 0.0, 0.0

    class Keep(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            if "loss" in logs:
                losses.append(logs["loss"])

    class InFileOrder(DPOTrainer):
        def _get_train_sampler(self, *_):
            return torch.utils.data.SequentialSampler(self.train_dataset)

        def _precompute_ref_logps(self, *given):  # runs before train()
            nonlocal reference_seconds, processor_seconds
            start, processor = time.perf_counter(), time.process_time()
            result = super()._precompute_ref_logps(*given)
            reference_seconds += time.perf_counter() - start
            processor_seconds += time.process_time() - processor
            return result

    pairs = [json.loads(line) for line in pairs_file.read_text().splitlines()]
    with tempfile.TemporaryDirectory() as output:
        config = DPOConfig(
            output_dir=output, max_steps=len(pairs) // settings["batch"], per_device_train_batch_size=settings["batch"],
            learning_rate=settings["learning_rate"], lr_scheduler_type="constant", weight_decay=0.0, max_grad_norm=1.0, beta=settings["beta"],
            max_length=settings["max_length"], bf16=dtype == "bfloat16", use_cpu=True, logging_steps=1, save_strategy="no", report_to="none",
            disable_tqdm=True, **SIDES[side],
        )  # fmt: skip
        data = Dataset.from_list([{k: pair[k] for k in ("prompt", "chosen", "rejected")} for pair in pairs])
        trainer = InFileOrder(
            model=str(folder), args=config, train_dataset=data, processing_class=PreTrainedTokenizerFast.from_pretrained(folder), callbacks=[Keep()]
        )
        start, processor = time.perf_counter(), time.process_time()
        trainer.train()
        seconds = time.perf_counter() - start + reference_seconds
        processor_seconds += time.process_time() - processor
    return {"seconds": seconds, "processor_seconds": processor_seconds, "losses": losses}
