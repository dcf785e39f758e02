// SPDX-License-Identifier: Apache-2.0
#include "hub_environment.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <string>

#include <kedge/llm/base/interrupt.hpp>

namespace kedge::cli {
namespace {

namespace fs = std::filesystem;

// The first of these variables that is set to something.
std::string variable(std::initializer_list<char const*> names, std::string otherwise = {}) {
  for (char const* const name : names)
    if (char const* const value = std::getenv(name); value != nullptr && *value != '\0') return value;
  return otherwise;
}

// huggingface_hub's idea of true.
bool is_true(std::string value) {
  std::transform(value.begin(), value.end(), value.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

fs::path expanded(std::string const& path) {
  return path == "~" || path.starts_with("~/")
             ? fs::path(variable({"HOME"}, "/")) / path.substr(std::min<std::size_t>(2, path.size()))
             : fs::path(path);
}

fs::path home() {
  fs::path const caches = expanded(variable({"XDG_CACHE_HOME"}, "~/.cache"));
  return expanded(variable({"HF_HOME"}, (caches / "huggingface").string()));
}

std::string trimmed(std::string const& text) {
  std::size_t const begin = text.find_first_not_of(" \t\r\n"), end = text.find_last_not_of(" \t\r\n");
  return begin == std::string::npos ? std::string() : text.substr(begin, end - begin + 1);
}

// The variable, else the file that `hf auth login` writes.
std::string token() {
  if (std::string const given = trimmed(variable({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"})); !given.empty()) return given;
  if (is_true(variable({"HF_HUB_DISABLE_IMPLICIT_TOKEN"}))) return {};
  std::string line;
  std::ifstream file(expanded(variable({"HF_TOKEN_PATH"}, (home() / "token").string())));
  std::getline(file, line);
  return trimmed(line);
}

}  // namespace

llm::hub_settings hub_of_environment() {
  llm::hub_settings settings;
  settings.endpoint = variable({"HF_ENDPOINT"}, settings.endpoint);
  while (settings.endpoint.ends_with('/')) settings.endpoint.pop_back();
  settings.cache = expanded(variable({"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}, (home() / "hub").string()));
  settings.token = token();
  settings.offline = is_true(variable({"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}));
  settings.ca_file = expanded(variable({"CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"}));
  if (variable({"RANK"}, "0") == "0") settings.tells = llm::screen(stderr);
  return settings;
}

llm::model_finder hub_models() {
  return [](std::string const& text) -> fs::path {
    auto const name = llm::parse_hub_name(text);
    if (!name) return {};
    llm::hub_settings settings = hub_of_environment();
    bool const one_word = name->repository.find('/') == std::string::npos;  // more likely a folder that isn't there
    if (one_word && !llm::cached_snapshot(*name, settings.cache)) return {};
    llm::interrupt_guard const interrupt;
    settings.stop = [&] { return interrupt.requested(); };
    return llm::find_hub_model(*name, settings);
  };
}

std::vector<fs::path> hub_dataset(llm::hub_name const& name, llm::dataset_part const& part) {
  llm::hub_settings settings = hub_of_environment();
  llm::interrupt_guard const interrupt;
  settings.stop = [&] { return interrupt.requested(); };
  return llm::find_hub_dataset(name, part, settings);
}

}  // namespace kedge::cli
