// SPDX-License-Identifier: Apache-2.0
#include <array>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/base/mapped_file.hpp>
#include <kedge/llm/formats/gguf.hpp>
#include <kedge/llm/hub/hub_name.hpp>
#include <kedge/llm/report/model_card.hpp>

#include "../base/yaml_value.hpp"

namespace kedge::llm {
namespace {

namespace fs = std::filesystem;

// ORG/NAME as the hub takes it, and no folder of that name here.
bool is_hub_id(std::string const& text) {
  std::error_code none;
  auto const name = parse_hub_name(text);
  return name && name->path.empty() && name->repository == text && text.find('/') != std::string::npos && !fs::exists(text, none);
}

void read_license(fs::path const& card, base_card& base) try {
  yaml_value const facts = parse_front_matter(std::string{mapped_file(card).text()}, card).root;
  yaml_value const& license = facts["license"];
  base.license = license.kind == yaml_kind::list && !license.items.empty() ? license.items.front().text : license.text;
  base.license_name = facts["license_name"].text;
  base.license_link = facts["license_link"].text;
} catch (error const&) {
}

std::string text_in(fs::path const& file, char const* key) try {
  nlohmann::ordered_json const all = read_json_file(file);
  return all.is_object() && all.contains(key) && all[key].is_string() ? all[key].get<std::string>() : "";
} catch (error const&) {
  return "";
}

void read_gguf(fs::path const& file, base_card& base) try {
  gguf_file const source(file);
  auto const text = [&](char const* key) { return std::string(source.string(key).value_or("")); };
  base.license = text("general.license");
  base.license_name = text("general.license.name");
  base.license_link = text("general.license.link");
  constexpr std::string_view hub = "https://huggingface.co/";
  for (char const* const key : {"general.repo_url", "general.source.repo_url", "general.base_model.0.repo_url"})
    if (std::string const link = text(key); base.id.empty() && link.starts_with(hub) && is_hub_id(link.substr(hub.size())))
      base.id = link.substr(hub.size());
} catch (error const&) {
}

}  // namespace

base_card read_base_card(fs::path const& model) {
  base_card base;
  std::error_code none;
  if (fs::is_regular_file(model, none)) {
    read_gguf(model, base);
  } else {
    read_license(model / "README.md", base);
    for (auto const& [file, key] :
         {std::pair{"adapter_config.json", "base_model_name_or_path"}, std::pair{"config.json", "_name_or_path"}})
      if (std::string const name = text_in(model / file, key); base.id.empty() && is_hub_id(name)) base.id = name;
  }
  if (auto const cached = hub_name_of(model)) base.id = cached->repository;
  return base;
}

}  // namespace kedge::llm
