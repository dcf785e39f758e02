// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/interrupt.hpp>
#include <kedge/llm/train/chatting.hpp>

#include "../model/token_stream.hpp"
#include "sampling_choice.hpp"
#include "session.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

constexpr std::size_t longest_answer = 2048;  // where neither user nor model says one
constexpr char const* commands =
    "/reset begins anew, /system TEXT does so with another system message, /exit ends; a line that ends with \\ goes on";

// A text as it grows: what of it can be shown already. Its end may still change: a character of several tokens, spaces before a mark.
class growing_text {
 public:
  explicit growing_text(std::function<void(std::string_view)> const& write) : write_(write) {}

  void show(std::string const& text, bool whole) {
    std::size_t end = text.size();
    constexpr std::string_view incomplete = "\xef\xbf\xbd";
    while (!whole && end > 0 && (text[end - 1] == ' ' || text[end - 1] == '\n')) --end;
    if (!whole && std::string_view(text).substr(0, end).ends_with(incomplete)) end -= incomplete.size();
    if (end <= shown_) return;
    write_(std::string_view(text).substr(shown_, end - shown_));
    shown_ = end;
  }

 private:
  std::function<void(std::string_view)> const& write_;
  std::size_t shown_ = 0;
};

class conversation {
 public:
  conversation(chat_settings const& settings, std::function<void(std::string_view)> const& write)
      : settings_(settings),
        write_(write),
        session_(settings.generate.model, settings.generate.compute,
                 settings.generate.quiet ? screen() : settings.generate.tells),
        sampling_(chosen_sampling(session_, settings.generate, longest_answer)),
        special_(special_tokens(session_.source.tokenizer_config)) {
    if (!session_.chat)
      throw error(session_.source.path().string() +
                  ": has no chat template, so that it can't be talked to; kedge generate continues texts");
    model_.emplace(session_.config, session_.compute);
    weights_ = model_->weights_for(session_.load_on_host());
    stream_.emplace(*model_, weights_);
    reset(settings.system);
  }

  void reset(std::string const& system) {
    system_ = system;
    messages_ = json::array();
    if (!system.empty()) messages_.push_back({{"role", "system"}, {"content", system}});
  }
  [[nodiscard]] std::string const& system() const { return system_; }

  /// Asks, and shows the answer. If there is none, the question is taken back.
  void ask(std::string const& question) {
    messages_.push_back({{"role", "user"}, {"content", question}});
    try {
      messages_.push_back({{"role", "assistant"}, {"content", answer()}});
    } catch (error const&) {
      messages_.erase(messages_.size() - 1);
      throw;
    }
    ++turn_;
  }

 private:
  [[nodiscard]] std::string answer() {
    std::vector<std::int32_t> const prompt =
        session_.tokens.encode(session_.chat->render(messages_, /*add_generation_prompt=*/true, special_), false);
    interrupt_guard const interrupt;
    growing_text shown(write_);
    bool finished = false;
    auto const text_of = [&](std::span<std::int32_t const> tokens) { return session_.tokens.decode(tokens, true); };
    auto const& stops = sampling_.stop_tokens;
    auto const on_token = [&](std::span<std::int32_t const> tokens) {
      finished = std::find(stops.begin(), stops.end(), tokens.back()) != stops.end();
      if (!finished) shown.show(text_of(tokens), false);
      return !interrupt.requested();
    };
    std::vector<std::int32_t> tokens = stream_->answer(prompt, sampling_, turn_, on_token);
    if (finished) tokens.pop_back();
    std::string text = text_of(tokens);
    shown.show(text, true);
    write_("\n");
    if (!finished && !settings_.generate.quiet)
      settings_.generate.tells.say(interrupt.requested() ? "(stopped)"
                                                         : "(cut after " + std::to_string(tokens.size()) +
                                                               " tokens; --max_new_tokens allows more)");
    return text;
  }

  chat_settings const& settings_;
  std::function<void(std::string_view)> const& write_;
  session session_;
  sampling_settings sampling_;
  json special_;
  std::optional<causal_lm> model_;
  pack weights_;
  std::optional<token_stream> stream_;
  json messages_;
  std::string system_;
  std::size_t turn_ = 0;
};

// A message: lines up to one that doesn't end with a backslash. False at the end of the input.
bool read_message(chat_settings const& settings, std::istream& in, std::function<void(std::string_view)> const& write,
                  std::string& message) {
  message.clear();
  if (settings.terminal) write("> ");
  for (std::string line; std::getline(in, line);) {
    if (line.ends_with('\r')) line.pop_back();
    message += line;
    if (!line.ends_with('\\')) return true;
    message.back() = '\n';
    if (settings.terminal) write(". ");
  }
  if (settings.terminal) write("\n");
  return !message.empty();
}

// Does what a line says. False if it ends the conversation.
bool take(conversation& talk, screen const& tells, std::string const& line) {
  if (line.find_first_not_of(" \t\n") == std::string::npos) return true;
  if (line.front() != '/' || line.starts_with("//")) {
    talk.ask(line.front() == '/' ? line.substr(1) : line);
    return true;
  }
  std::size_t const blank = line.find_first_of(" \t");
  std::string const word = line.substr(0, blank),
                    rest = blank == std::string::npos ? "" : line.substr(line.find_first_not_of(" \t", blank));
  if (word == "/exit" || word == "/quit") return false;
  if (word == "/reset")
    talk.reset(talk.system());
  else if (word == "/system")
    talk.reset(rest);
  else if (word == "/help")
    tells.say(commands);
  else
    throw error("there is no command " + in_quotes(word) + ": " + commands + "; // begins a message with a slash");
  return true;
}

}  // namespace

void chat(chat_settings const& settings, std::istream& in, std::function<void(std::string_view)> const& write) {
  conversation talk(settings, write);
  screen const& tells = settings.generate.tells;
  if (settings.prompt) return talk.ask(*settings.prompt);
  if (settings.terminal && !settings.generate.quiet) tells.say(commands);
  for (std::string line; read_message(settings, in, write, line);) try {
      if (!take(talk, tells, line)) return;
    } catch (error const& e) {
      if (!settings.terminal) throw;
      tells.say(e.what());
    }
}

}  // namespace kedge::llm
