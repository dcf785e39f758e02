// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <fstream>
#include <iostream>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/parallel.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/hub/model_setting.hpp>
#include <kedge/llm/text/chat_template.hpp>
#include <kedge/llm/text/tokenizer.hpp>

#include "command.hpp"

namespace kedge::cli {
namespace {

struct tokenize_settings {
  std::filesystem::path model;
  std::string input = "-", output = "-";
  bool json = false, json_lines = false, chat = false, add_generation_prompt = false, show_text = false;
  bool add_special_tokens = true;
};

class line_tokenizer {
 public:
  explicit line_tokenizer(tokenize_settings const& settings)
      : settings_(settings), source_(llm::checkpoint::open_text(settings.model)), words_(llm::open_tokenizer(source_)) {
    for (std::string const& note : source_.notes) std::fprintf(stderr, "%s: %s\n", settings.model.string().c_str(), note.c_str());
    if (!settings.chat) return;
    chat_ = llm::open_chat_template(source_);
    if (!chat_) throw llm::error(settings.model.string() + ": has no chat template; leave out --chat");
  }

  /// One line of input to one line of output. A chat is framed by its template alone.
  [[nodiscard]] std::string operator()(std::string const& line) const {
    std::string text = line;
    if (chat_)
      text = chat_->render(parsed(line), settings_.add_generation_prompt, llm::special_tokens(source_.tokenizer_config));
    else if (settings_.json_lines)
      text = parsed(line).get<std::string>();
    if (settings_.show_text) return nlohmann::json(text).dump();
    std::vector<std::int32_t> const ids = words_.encode(text, settings_.add_special_tokens && !chat_);
    if (settings_.json) return nlohmann::json(ids).dump();
    std::string row;
    for (std::int32_t const id : ids) row += (row.empty() ? "" : " ") + std::to_string(id);
    return row;
  }

 private:
  [[nodiscard]] nlohmann::ordered_json parsed(std::string const& line) const {
    auto value = nlohmann::ordered_json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (value.is_discarded()) throw llm::error("is not JSON");
    if (!chat_ && !value.is_string()) throw llm::error("is not a JSON string");
    if (chat_ && !value.is_array()) throw llm::error("is not a JSON list of messages");
    return value;
  }

  tokenize_settings const& settings_;
  llm::checkpoint source_;
  llm::tokenizer words_;
  std::optional<llm::chat_template> chat_;
};

// Lines of a file are converted on all cores, a block at a time; those of standard input one by one, as they come.
void tokenize(tokenize_settings const& settings, std::istream& in, std::ostream& out) {
  line_tokenizer const convert(settings);
  bool const piped = settings.input == "-";
  std::size_t const block = piped ? 1 : 4096;
  std::size_t before = 0, skipped = 0;
  for (std::vector<std::string> lines; in; before += lines.size()) {
    lines.clear();
    for (std::string line; lines.size() < block && std::getline(in, line);) lines.push_back(std::move(line));
    auto const rows = llm::parallel_map(lines.size(), 0, /*skip=*/false, skipped, [&](std::size_t i) {
      try {
        return convert(lines[i]);
      } catch (llm::error const& e) {
        throw llm::error((piped ? "standard input" : settings.input) + ":" + std::to_string(before + i + 1) + ": " + e.what());
      }
    });
    for (std::string const& row : rows) out << row << '\n';
  }
}

}  // namespace

int run_tokenize(arguments const& args) {
  tokenize_settings settings;
  command_line line("kedge tokenize", "Token ids, one line of output for each line of input.");
  line.settings.add(llm::model_setting("model_name_or_path", settings.model, "Hugging Face folder, adapter's folder or GGUF file")).required();
  line.settings.add("input", settings.input, "file, or - for standard input");
  line.settings.add("output", settings.output, "file, or - for standard output");
  line.settings.add("json", settings.json, "print one JSON array a line");
  line.settings.add("json_lines", settings.json_lines, "input lines are JSON strings");
  line.settings.add("chat", settings.chat, "input lines are JSON lists of messages; the chat template frames them");
  line.settings.add("add_generation_prompt", settings.add_generation_prompt, "end where the assistant would begin").needs("chat");
  line.settings.add("add_special_tokens", settings.add_special_tokens, "frame each text as the tokenizer does");
  line.settings.add("show_text", settings.show_text, "print the text that would be tokenized, as a JSON string");
  line.parse(args);
  std::ifstream file;
  if (settings.input != "-") {
    file.open(settings.input);
    if (!file) throw llm::error(settings.input + ": can't be read");
  }
  std::istream& in = settings.input == "-" ? std::cin : file;
  if (settings.output == "-") {
    tokenize(settings, in, std::cout);
    return exit_done;
  }
  std::ostringstream text;
  tokenize(settings, in, text);
  llm::write_file_atomically(settings.output, text.str());
  return exit_done;
}

}  // namespace kedge::cli
