// SPDX-License-Identifier: Apache-2.0

// A folder: one JSON object of files by name, a text as it is and anything else as JSON, of which its text side, its settings of generation
// and its index are taken apart. tokenizer.model stands in base 16.
#include <filesystem>
#include <fstream>
#include <string>

#include <unistd.h>

#include <kedge/llm/base/json.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/model/sampling_settings.hpp>

#include "target.hpp"

using namespace kedge::testing;
using namespace kedge::llm;

namespace {

using json = nlohmann::ordered_json;

/// A folder of its own for each input, gone afterwards.
class input_folder {
 public:
  input_folder() : path_(std::filesystem::temp_directory_path() / ("kedge-fuzz-" + std::to_string(::getpid()))) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_ / "additional_chat_templates");
  }
  input_folder(input_folder const&) = delete;
  input_folder& operator=(input_folder const&) = delete;
  ~input_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  void write(std::string const& name, std::string const& content) const { std::ofstream(path_ / name, std::ios::binary) << content; }
  std::filesystem::path const& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::string bytes_of(std::string const& digits) {
  std::string out;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) out += static_cast<char>(std::strtol(digits.substr(i, 2).c_str(), nullptr, 16));
  return out;
}

void read_text(std::filesystem::path const& folder) {
  checkpoint const model = checkpoint::open_text(folder);
  may_refuse([&] { expect(special_tokens(model.tokenizer_config).is_object(), "special tokens that are no object"); });
  may_refuse([&] { static_cast<void>(read_generation_config(model.generation_config, "input")); });
  may_refuse([&] { static_cast<void>(stop_tokens_of(model.config, model.generation_config, "input")); });
  may_refuse([&] {
    if (auto const chat = open_chat_template(model)) static_cast<void>(chat->render(json::array({{{"role", "user"}, {"content", "x"}}}), true, special_tokens(model.tokenizer_config)));
  });
  may_refuse([&] {
    tokenizer const words = open_tokenizer(model);
    static_cast<void>(words.decode(words.encode("a </s>  <tool>\xc3\xa9", true), true));
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  may_refuse([&] {
    json const files = parse_json(std::string_view(reinterpret_cast<char const*>(data), size), "input");
    if (!files.is_object()) return;
    input_folder const folder;
    for (auto const& [name, content] : files.items()) {
      bool const known = name.find('/') == name.rfind('/') && !name.empty() && name.front() != '.' && name.find("..") == std::string::npos;
      if (!known) continue;
      std::string const text = content.is_string() ? content.get<std::string>() : content.dump(-1, ' ', false, json::error_handler_t::replace);
      folder.write(name, name == "tokenizer.model" ? bytes_of(text) : text);
    }
    may_refuse([&] { static_cast<void>(base_of_adapter(folder.path())); });
    read_text(folder.path());
    may_refuse([&] { static_cast<void>(checkpoint::open(folder.path())); });
  });
  return 0;
}
