// SPDX-License-Identifier: Apache-2.0
#include "dealt_samples.hpp"

#include <numeric>
#include <string>

#include <kedge/llm/data/ragged.hpp>

namespace kedge::llm {
namespace {

// In how many equal parts the samples of a prompt are cut, so that every process has one to draw.
std::size_t parts_of_prompt(std::size_t prompts, std::size_t samples, std::size_t processes) {
  std::size_t parts = 1;
  while (parts < samples && (prompts * parts < processes || samples % parts != 0)) ++parts;
  return parts;
}

}  // namespace

dealt_samples deal(process_group const& group, std::span<std::vector<std::int32_t> const> prompts, std::size_t samples, std::size_t longest, std::size_t first) {
  std::size_t const parts = parts_of_prompt(prompts.size(), samples, static_cast<std::size_t>(group.size()));
  std::vector<std::size_t> all(prompts.size() * parts);
  std::iota(all.begin(), all.end(), std::size_t{0});
  dealt_samples mine{.prompts = {}, .numbers = {}, .samples = samples / parts, .of_prompt = samples};
  auto const tokens = [&](std::size_t i) { return prompts[i / parts].size() + mine.samples * longest; };
  for (std::size_t const i : balanced_share(all, group.rank(), group.size(), tokens)) {
    mine.prompts.push_back(prompts[i / parts]);
    mine.numbers.push_back({first + i / parts, i % parts * mine.samples});
  }
  return mine;
}

std::vector<nlohmann::json> gather(process_group const& group, nlohmann::json const& mine) {
  if (group.alone()) return {mine};
  std::vector<std::uint8_t> const bytes = nlohmann::json::to_cbor(mine);
  std::vector<nlohmann::json> all;
  for (std::string const& text : group.gather(std::string(bytes.begin(), bytes.end()))) all.push_back(nlohmann::json::from_cbor(text));
  return all;
}

}  // namespace kedge::llm
