// SPDX-License-Identifier: Apache-2.0
#include "adapter.hpp"

#include <algorithm>  // min

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/model_names.hpp>
#include <kedge/llm/soup/vocabulary.hpp>

#include "numbers.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
using std::filesystem::path;

std::string shape_text(safetensors_entry const& tensor) { return json(tensor.shape).dump(); }

std::vector<float> numbers_of(safetensors_entry const& tensor) {
  std::vector<float> out(tensor.bytes.size() / size_of(*tensor.type));
  widen(*tensor.type, tensor.bytes, out);
  if (!all_finite(out)) throw error("the adapter's tensor " + in_quotes(tensor.name) + " holds NaN or infinity");
  return out;
}

}  // namespace

low_rank_update::low_rank_update(low_rank_entry const& from)
    : rank_(static_cast<std::size_t>(from.a.shape[0])),
      in_(static_cast<std::size_t>(from.a.shape[1])),
      a_(numbers_of(from.a)),
      b_(numbers_of(from.b)) {
  for (float& b : b_) b *= static_cast<float>(from.scale);
}

void low_rank_update::add(std::size_t begin, std::span<float> out) const {
  for (std::size_t done = 0, count = 0; done < out.size(); done += count) {
    std::size_t const row = (begin + done) / in_, column = (begin + done) % in_;
    count = std::min(in_ - column, out.size() - done);
    for (std::size_t k = 0; k < rank_; ++k)
      add_scaled(b_[row * rank_ + k], std::span{a_}.subspan(k * in_ + column, count), out.subspan(done, count));
  }
}

lora_adapter::lora_adapter(path const& folder, checkpoint const& base) : adapter_(folder), changes_(adapter_.products()) {
  std::string const weights = in_quotes((folder / "adapter_model.safetensors").string());
  for (auto const& [weight, change] : changes_) {
    if (!base.contains(weight))
      throw error(weights + " changes " + in_quotes(weight) + ", which " + in_quotes(base.path().string()) +
                  " doesn't have; the adapter belongs to another model");
    auto const& shape = base.entry(weight).shape;
    bool const whole = change.a.shape.size() == 2 && change.b.shape.size() == 2;
    if (!whole || shape.size() != 2 || change.a.shape[1] != shape[1] || change.b.shape[0] != shape[0] ||
        change.a.shape[0] != change.b.shape[1] || change.a.shape[0] < 1)
      throw error(weights + ": the factors of " + in_quotes(weight) + " are " + shape_text(change.a) + " and " +
                  shape_text(change.b) + ", the weight is " + json(shape).dump() +
                  "; the adapter is damaged or belongs to another model");
  }
}

low_rank_entry const* lora_adapter::of(std::string_view weight) const {
  auto const found = changes_.find(weight);
  return found == changes_.end() ? nullptr : &found->second;
}

namespace {

[[noreturn]] void refuse_missing(path const& model) {
  throw error("no model at " + in_quotes(model.string()) +
              ": pass a Hugging Face folder, a .gguf file, an adapter's folder, or ORG/NAME of the hub");
}

}  // namespace

model_reference with_adapter(path const& named, path const& named_adapter) {
  std::error_code ignored;
  path const model = local_model(named), adapter = local_model(named_adapter);
  for (path const& part : {model, adapter})
    if (!std::filesystem::exists(part, ignored)) refuse_missing(part);
  if (!is_adapter(adapter))
    throw error(in_quotes(adapter.string()) + " holds no adapter_config.json; what follows '+' is a LoRA adapter's folder");
  return {model, adapter};
}

model_reference find_model(std::string const& text) {
  std::error_code ignored;
  std::size_t const plus = std::filesystem::exists(text, ignored) ? std::string::npos : text.find('+');
  if (plus == std::string::npos) {
    path const model = local_model(text);
    if (!std::filesystem::exists(model, ignored)) refuse_missing(model);
    return is_adapter(model) ? model_reference{base_of_adapter(model).value(), model} : model_reference(model);
  }
  return with_adapter(text.substr(0, plus), text.substr(plus + 1));
}

}  // namespace kedge::llm
