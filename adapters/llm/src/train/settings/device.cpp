// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/train/device_settings.hpp>

namespace kedge::llm {
namespace {

// Truth values as Python's tools write them.
setting& truths(setting& one) {
  for (char const* const yes : {"True", "TRUE", "t", "1", "yes", "y"}) one.also(yes, "on");
  for (char const* const no : {"False", "FALSE", "f", "0", "no", "n"}) one.also(no, "off");
  return one.bare("on");
}

}  // namespace

std::optional<tokens_at_once> setting_type<tokens_at_once>::read(std::string_view text, number_range const& range) {
  if (text == "auto") return tokens_at_once();
  std::optional<std::size_t> const number = setting_type<std::size_t>::read(text, range);
  return number ? std::optional<tokens_at_once>(*number) : std::nullopt;
}

nlohmann::ordered_json setting_type<tokens_at_once>::write(tokens_at_once value) {
  return value.automatic() ? nlohmann::ordered_json("auto") : nlohmann::ordered_json(std::size_t{value});
}

void declare(settings_list& list, device_settings& s) {
  list.group("Computation");
  list.add("dtype", s.dtype, "type of the computation; auto: bfloat16 where there are matrix units for it, else float32").alias("torch_dtype");
  list.add("device", s.device, "cpu, cuda or cuda:N");
  list.add("threads", s.threads, "of the processor; 0: all cores").at_most(4096).resumes(on_resume::free);
  list.add("micro_batch_tokens", s.micro_batch_tokens, "tokens computed at once; auto: 512, and on a GPU as many as its memory has room for").at_least(1).resumes(on_resume::free);
  truths(list.add("tf32", s.tf32, "products of float32 on a GPU with 10 bits of mantissa, many times as fast; auto: with --dtype float32")).also("none", "auto").resumes(on_resume::free);
}

void declare_training(settings_list& list, device_settings& s) {
  declare(list, s);
  list.add("weights_dtype", s.weights_dtype,
           "with --dtype bfloat16: auto multiplies by the float32 master weights where the processor does that as fast, bfloat16 by a copy");
  truths(list.add("gradient_checkpointing", s.gradient_checkpointing,
                  "on: keep layers' inputs alone and compute layers again on the way back; auto: where memory would not suffice")).also("none", "auto").resumes(on_resume::free);
  truths(list.add("cuda_graphs", s.cuda_graphs, "on: pad batches to few sizes, and record and replay what a GPU does for a size; auto: on a GPU, for models below half a billion parameters")).resumes(on_resume::free);  // what these become is compared
  list.add("fp8", s.fp8, "on a GPU with --dtype bfloat16: products of the layers' linear maps in 8 bits");
}

}  // namespace kedge::llm
