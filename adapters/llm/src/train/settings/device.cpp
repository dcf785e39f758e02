// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/settings.hpp>

namespace kedge::llm {

void declare(settings_list& list, device_settings& s) {
  list.group("Computation");
  list.add("dtype", s.dtype, "type of the computation; auto: bfloat16 where there are matrix units for it, else float32").alias("torch_dtype");
  list.add("device", s.device, "cpu, cuda or cuda:N");
  list.add("threads", s.threads, "of the processor; 0: all cores").at_most(4096).resumes(on_resume::free);
  list.add("micro_batch_tokens", s.micro_batch_tokens, "tokens computed at once; bounds memory").at_least(1);
}

void declare_training(settings_list& list, device_settings& s) {
  declare(list, s);
  list.add("weights_dtype", s.weights_dtype,
           "with --dtype bfloat16: auto multiplies by the float32 master weights where the processor does that as fast, bfloat16 by a copy");
  list.add("gradient_checkpointing", s.gradient_checkpointing,
           "on: keep layers' inputs alone and compute layers again on the way back; auto: where memory would not suffice").bare("on").resumes(on_resume::free);
  list.add("cuda_graphs", s.cuda_graphs, "on: pad batches to few sizes, and record and replay what a GPU does for a size; auto: on a GPU").bare("on");
}

}  // namespace kedge::llm
