// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <utility>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/model/lora.hpp>

#include "../base/thread_pool.hpp"
#include "../kernels/kernels.hpp"
#include "base_plan.hpp"
#include "model_tensors.hpp"
#include "side_by_side.hpp"
#include "tensor_bytes.hpp"

namespace kedge::llm {
namespace {

dtype dtype_of(at::ScalarType type) { return type == at::kDouble ? dtype::f64 : type == at::kBFloat16 ? dtype::bf16 : dtype::f32; }

void require_finite(bool finite, checkpoint const& source, base_entry const& e) {
  if (!finite) throw error(source.path().string() + ": tensor " + e.tensor + " holds NaN or infinity; the checkpoint is damaged");
}

bool finite(quantised_matrix const& m) {
  std::atomic<bool> all = true;
  auto const rows = static_cast<std::size_t>(m.out()), in = static_cast<std::size_t>(m.in());
  shared_pool().divide(rows, std::max<std::size_t>(1, 65536 / std::max<std::size_t>(1, in)), [&](std::size_t begin, std::size_t end) {
    std::vector<float> row(in);
    for (std::size_t r = begin; r < end && all; ++r) {
      kernels().quantised.dequantise(m.rows(), r, 0, in, row.data());
      float sum = 0;  // NaN where a number is none, or infinite
      for (float const x : row) sum += x * 0.0F;
      if (!(sum == 0)) all = false;
    }
  });
  return all;
}

void check_shape(checkpoint const& source, base_entry const& e) {
  bool const missing = e.tensor.empty() && !e.of.name.ends_with(".bias");
  if (missing || (!e.tensor.empty() && source.entry(e.tensor).shape != e.of.shape))
    throw error(source.path().string() + ": tensor " + e.of.name + (missing ? " is missing" : " has another shape than the config says") +
                "; an adapter that brings an embedding of another size is merged first (kedge merge)");
}

at::Tensor read(checkpoint const& source, base_entry const& e, at::ScalarType type) {
  if (e.tensor.empty()) return at::zeros(e.of.shape, type);
  at::Tensor t = at::empty(e.of.shape, type);
  source.read(e.tensor, dtype_of(type), bytes_of(t));
  return t;
}

// Numbers of the mapped file, which the checkpoint's files keep where they are.
at::Tensor mapped(checkpoint const& source, base_entry const& e, at::ScalarType type) {
  auto const bytes = source.view(e.tensor, dtype_of(type)).value();
  auto const files = source.files();
  return at::from_blob(const_cast<std::byte*>(bytes.data()), e.of.shape, [files](void*) {}, at::TensorOptions(type));
}

std::string told_of(std::vector<base_entry> const& plan, stored_matrices const& stored) {
  std::size_t matrices = 0;
  std::int64_t numbers = 0, bytes = 0, others = 0;
  for (quantised_matrix const& m : stored.all) {
    if (!m.defined()) continue;
    ++matrices;
    numbers += m.out() * m.in();
    bytes += m.bytes();
  }
  for (base_entry const& e : plan)
    if (e.as == held::dense || e.as == held::mapped) others += e.bytes;
  char text[200];
  std::snprintf(text, sizeof text, "the frozen model keeps %zu matrices quantised, %.0f MB at %.2f bits a weight; the rest takes %.0f MB", matrices,
                static_cast<double>(bytes) / 1e6, 8 * static_cast<double>(bytes) / static_cast<double>(std::max<std::int64_t>(1, numbers)),
                static_cast<double>(others) / 1e6);
  return text;
}

}  // namespace

base_weights load_frozen(checkpoint const& source, transformer_config const& config, compute_settings const& compute, lora_settings const& lora,
                         base_settings const& given, std::vector<std::string>* told) {
  base_settings const how = settled(given, source, compute.device.is_cpu());
  std::vector<base_entry> const plan = plan_base(source, config, lora, how, static_cast<std::int64_t>(at::elementSize(compute.type)));
  bool const stays = std::any_of(plan.begin(), plan.end(), [](base_entry const& e) { return e.as == held::blocks || e.as == held::quantised; });
  if (stays && !compute.device.is_cpu())
    throw error("a quantised base is the processor's: on a GPU use --base_weights dequantized, without --load_in_4bit and --load_in_8bit");
  base_weights base;
  auto stored = std::make_shared<stored_matrices>();
  stored->all.resize(plan.size());
  std::vector<std::vector<std::size_t>> groups = kin_of(parameters_of(adapter_layout(config, lora).config()));
  for (std::size_t i = 0; i < plan.size(); ++i) {
    base_entry const& e = plan[i];
    check_shape(source, e);
    at::Tensor& t = base.tensors.emplace_back();
    if (e.as == held::blocks) {
      stored->all[i] = quantised_matrix(source.blocks(e.tensor).value(), e.of.shape[0], e.of.shape[1], compute.type);
      require_finite(finite(stored->all[i]), source, e);
      continue;
    }
    t = e.as == held::mapped ? mapped(source, e, compute.type) : read(source, e, e.trained || e.as == held::quantised ? at::kFloat : compute.type);
    require_finite(std::isfinite(t.sum().item<double>()) || at::isfinite(t).all().item<bool>(), source, e);
    if (e.as == held::quantised) stored->all[i] = quantised_matrix(std::exchange(t, at::Tensor()), how, compute.type);
  }
  for (std::vector<std::size_t>& group : groups)
    std::erase_if(group, [&](std::size_t i) { return i >= plan.size() || plan[i].trained || !base.tensors[i].defined(); });
  std::erase_if(groups, [](auto const& group) { return group.empty(); });
  convert_side_by_side(base.tensors, groups, compute.device, compute.type);
  if (!stays) return base;
  if (told) told->push_back(told_of(plan, *stored));
  base.stored = std::move(stored);
  return base;
}

}  // namespace kedge::llm
