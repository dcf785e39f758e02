# SPDX-License-Identifier: Apache-2.0
"""A GGUF file of a Llama of any size with random weights in Q4_K, and the tokenizer of another GGUF file: for measuring what a run takes.

    pip install gguf==0.19.0 && python bench/make_random_gguf.py smollm2-135m-instruct.gguf llama-7b-q4_k.gguf

Numbers are about normal with a deviation of 0.02. The default shape is Llama 2 7B's with the other file's vocabulary.
"""

import argparse

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFReader, GGUFValueType, GGUFWriter


def q4_k(random, rows, width):
    """Rows of blocks of 144 bytes: two binary16 scales, 12 bytes of scales and minima, 128 of quants."""
    count = rows * width // 256
    blocks = random.integers(0, 256, (count, 144), dtype=np.uint8)
    blocks[:, 4:12], blocks[:, 12:16] = 0xA0, 0  # every group's scale and minimum are 32
    step = 0.02 / 4.61 / 32  # the deviation of 0 … 15 is 4.61
    blocks[:, 0:2] = np.frombuffer(np.float16(step).tobytes(), np.uint8)
    blocks[:, 2:4] = np.frombuffer(np.float16(7.5 * step).tobytes(), np.uint8)
    return blocks.reshape(rows, -1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tokenizer_of")
    parser.add_argument("out")
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--inner", type=int, default=11008)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--key_heads", type=int, default=32)
    s = parser.parse_args()
    writer, random = GGUFWriter(s.out, "llama"), np.random.default_rng(1)
    for name, field in GGUFReader(s.tokenizer_of).fields.items():
        if name.startswith("tokenizer."):
            sub = field.types[1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=sub)
            vocabulary = len(field.data) if name == "tokenizer.ggml.tokens" else locals().get("vocabulary")
    writer.add_block_count(s.layers)
    writer.add_context_length(4096)
    writer.add_embedding_length(s.hidden)
    writer.add_feed_forward_length(s.inner)
    writer.add_head_count(s.heads)
    writer.add_head_count_kv(s.key_heads)
    writer.add_vocab_size(vocabulary)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(s.hidden // s.heads)
    writer.add_rope_freq_base(10000.0)
    keys = s.key_heads * (s.hidden // s.heads)
    shapes = {"token_embd": (vocabulary, s.hidden), "output": (vocabulary, s.hidden)}
    for n in range(s.layers):
        shapes |= {f"blk.{n}.attn_q": (s.hidden, s.hidden), f"blk.{n}.attn_k": (keys, s.hidden), f"blk.{n}.attn_v": (keys, s.hidden),
                   f"blk.{n}.attn_output": (s.hidden, s.hidden), f"blk.{n}.ffn_gate": (s.inner, s.hidden), f"blk.{n}.ffn_up": (s.inner, s.hidden),
                   f"blk.{n}.ffn_down": (s.hidden, s.inner)}
    for name, (rows, width) in shapes.items():
        writer.add_tensor_info(name + ".weight", (rows, width // 256 * 144), np.uint8, rows * width // 256 * 144, Type.Q4_K)
    norms = ["output_norm"] + [f"blk.{n}.{part}_norm" for n in range(s.layers) for part in ("attn", "ffn")]
    for name in norms:
        writer.add_tensor_info(name + ".weight", (s.hidden,), np.float32, 4 * s.hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for rows, width in shapes.values():
        writer.write_tensor_data(q4_k(random, rows, width))
    for _ in norms:
        writer.write_tensor_data(np.ones(s.hidden, np.float32))
    writer.close()


if __name__ == "__main__":
    main()
