// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/safetensors.hpp>
#include <kedge/llm/model/lora.hpp>
#include <kedge/llm/model/weights.hpp>
#include <kedge/llm/train/extracting.hpp>

#include "../model/tensor_bytes.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

std::string module_of(std::string const& parameter) { return parameter.substr(0, parameter.rfind('.')); }
std::string last_word(std::string const& module) { return module.substr(module.rfind('.') + 1); }

bool is_map(parameter const& p) { return p.shape.size() == 2 && p.name.starts_with("model.layers.") && !p.name.ends_with("bias"); }

struct named_tensor {
  std::string name;
  at::Tensor value;
};

// What goes into the adapter, and what its config says of it.
class adapter_parts {
 public:
  /// targets, saved: the last words of the modules whose maps are factored, and of those held whole
  adapter_parts(std::int64_t rank, std::set<std::string> targets, std::set<std::string> saved)
      : rank_(rank), targets_(std::move(targets)), saved_(std::move(saved)) {}

  // D ≈ B A, the singular values shared evenly between the two.
  void add_map(std::string const& module, at::Tensor const& difference) {
    std::int64_t const kept = std::min({rank_, difference.size(0), difference.size(1)});
    auto const [u, s, vt] = at::linalg_svd(difference.to(at::kDouble), /*full_matrices=*/false);
    at::Tensor const root = s.narrow(0, 0, kept).sqrt(), squares = s.square();
    at::Tensor a = at::zeros({rank_, difference.size(1)}, at::kDouble), b = at::zeros({difference.size(0), rank_}, at::kDouble);
    a.narrow(0, 0, kept).copy_(vt.narrow(0, 0, kept) * root.unsqueeze(-1));
    b.narrow(1, 0, kept).copy_(u.narrow(1, 0, kept) * root);
    tensors_.push_back({"base_model.model." + module + ".lora_A.weight", a});
    tensors_.push_back({"base_model.model." + module + ".lora_B.weight", b});
    left_ += squares.narrow(0, kept, squares.size(0) - kept).sum().item<double>();
    all_ += squares.sum().item<double>();
    ++found_.maps;
  }

  void add_whole(parameter const& p, at::Tensor const& value) {
    std::string const module = module_of(p.name);
    bool const bias = p.name.ends_with(".bias");
    biases_ = biases_ || bias;
    tensors_.push_back(
        {"base_model.model." + (bias && targets_.contains(last_word(module)) ? module + ".base_layer.bias" : p.name), value});
    ++found_.whole;
  }

  [[nodiscard]] std::vector<named_tensor> const& tensors() const { return tensors_; }

  [[nodiscard]] json config(std::filesystem::path const& base) const {
    return {{"base_model_name_or_path", std::filesystem::absolute(base).lexically_normal().string()},
            {"bias", biases_ ? "all" : "none"},
            {"fan_in_fan_out", false},
            {"inference_mode", true},
            {"init_lora_weights", true},
            {"lora_alpha", rank_},
            {"lora_dropout", 0.0},
            {"modules_to_save", saved_.empty() ? json(nullptr) : json(saved_)},
            {"peft_type", "LORA"},
            {"r", rank_},
            {"target_modules", targets_},
            {"task_type", "CAUSAL_LM"},
            {"use_dora", false},
            {"use_rslora", false}};
  }

  [[nodiscard]] extracted result() const {
    extracted out = found_;
    out.relative_error = all_ > 0 ? std::sqrt(left_ / all_) : 0;
    return out;
  }

 private:
  std::int64_t rank_;
  std::set<std::string> targets_, saved_;
  std::vector<named_tensor> tensors_;
  bool biases_ = false;
  double left_ = 0, all_ = 0;
  extracted found_;
};

void require_same_model(checkpoint const& base, transformer_config const& a, checkpoint const& tuned,
                        transformer_config const& b) {
  if (parameters_of(a) != parameters_of(b))
    throw error(tuned.path().string() + " has other tensors than " + base.path().string() +
                "; an adapter is the difference of two models of one shape");
  if (a.scalar_head) throw error(base.path().string() + " is a reward model; adapters are extracted of language models");
}

void write(extract_settings const& s, checkpoint const& tuned, adapter_parts const& parts) {
  dtype const type = stored(s.save_dtype);
  std::vector<named_tensor> const& all = parts.tensors();
  std::vector<tensor_plan> plan;
  for (named_tensor const& t : all) plan.push_back({t.name, type, t.value.sizes().vec()});
  std::filesystem::create_directories(s.output_dir);
  at::Tensor converted;
  write_safetensors(s.output_dir / "adapter_model.safetensors", plan,
                    [&](std::size_t i) {
                      converted = all[i].value.to(scalar_type_of(type)).contiguous();
                      return std::span<std::byte const>(bytes_of(converted));
                    },
                    {{"format", "pt"}});
  write_tokenizer(s.output_dir, tuned);
  write_file_atomically(s.output_dir / "adapter_config.json", parts.config(s.base).dump(2) + "\n");
}

}  // namespace

extracted extract(extract_settings const& s) {
  if (s.rank < 1) throw error("--lora_r " + std::to_string(s.rank) + ": the rank must be at least 1");
  if (std::filesystem::exists(s.output_dir / "adapter_config.json") || std::filesystem::exists(s.output_dir / "config.json"))
    throw error(s.output_dir.string() + ": already holds a model or an adapter; choose another --output_dir");
  at::NoGradGuard const no_grad;
  checkpoint const base = open_model(s.base), tuned = open_model(s.tuned);
  transformer_config const config = read_config(base);
  require_same_model(base, config, tuned, read_config(tuned));
  pack const before = load_model(s.base, base, config), after = load_model(s.tuned, tuned, config);
  std::vector<parameter> const names = parameters_of(config);
  // Where one map of a name differs, all of that name get factors, as PEFT expects; biases and norms likewise.
  std::set<std::string> targets, saved, biases;
  auto const kind_of = [&](parameter const& p) -> std::set<std::string>& {
    return is_map(p) ? targets : p.name.ends_with(".bias") ? biases : saved;
  };
  for (std::size_t i = 0; i < names.size(); ++i)
    if (!at::equal(before[i], after[i])) kind_of(names[i]).insert(last_word(module_of(names[i].name)));
  if (targets.empty())
    throw error(s.tuned.string() + ": no linear map differs from " + s.base.string() + ", so that there is nothing to factor");
  adapter_parts parts(s.rank, targets, saved);
  for (std::size_t i = 0; i < names.size(); ++i) {
    s.tells.draw("extracting " + std::to_string(i + 1) + " of " + std::to_string(names.size()));
    std::string const module = module_of(names[i].name);
    if (!kind_of(names[i]).contains(last_word(module))) continue;
    if (is_map(names[i]))
      parts.add_map(module, after[i] - before[i]);
    else
      parts.add_whole(names[i], after[i]);
  }
  s.tells.wipe();
  write(s, tuned, parts);
  return parts.result();
}

}  // namespace kedge::llm
