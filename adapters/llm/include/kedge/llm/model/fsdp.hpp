// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/names.hpp>
#include <kedge/llm/base/setting.hpp>

namespace kedge::llm {

/// What of a trained model processes divide, beside the optimizer's state: nothing (ZeRO-1), gradients (ZeRO-2), or weights too (ZeRO-3).
enum class division { none, gradients, weights };
constexpr auto names(division) {
  return std::array{named{division::none, "no_shard"}, named{division::gradients, "shard_grad_op"}, named{division::weights, "full_shard"}};
}

/// transformers' --fsdp: one of them, and auto_wrap beside it or not, which is how it is done anyway.
struct fsdp_choice {
  division what = division::none;
  bool operator==(fsdp_choice const&) const = default;

  /// Words of transformers; none: it isn't one of those that are there.
  [[nodiscard]] static std::optional<fsdp_choice> of(std::string_view text);
};

template <>
struct setting_type<fsdp_choice> {
  [[nodiscard]] static std::optional<fsdp_choice> read(std::string_view text, number_range const&) { return fsdp_choice::of(text); }
  [[nodiscard]] static nlohmann::ordered_json write(fsdp_choice value) { return std::string(name_of(value.what)); }
  [[nodiscard]] static bool valid(fsdp_choice, number_range const&) { return true; }
  [[nodiscard]] static std::string form(number_range const&) {
    return "full_shard, shard_grad_op or no_shard, with or without auto_wrap; offload and hybrid_shard aren't there";
  }
};

}  // namespace kedge::llm
