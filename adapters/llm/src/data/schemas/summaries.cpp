// SPDX-License-Identifier: Apache-2.0

// Summaries of posts and articles with people's choices (Stiennon et al. 2020), worded as TRL's TL;DR data are.

#include <kedge/llm/base/error.hpp>

#include "schema.hpp"

namespace kedge::llm::schemas {
namespace {

using json = nlohmann::ordered_json;

likeness looks(json const& line) {
  return line.contains("info") && line["info"].is_object() && has_list_of(line, "summaries", {"text"}) &&
                 line.contains("choice")
             ? likeness::sure
             : likeness::none;
}

std::string question(json const& info) {
  if (has_text(info, "article")) return "Article:\n" + text_at(info, "article") + "\n\nTL;DR:";
  std::string text;
  if (has_text(info, "subreddit")) text += "SUBREDDIT: r/" + text_at(info, "subreddit") + "\n\n";
  if (has_text(info, "title")) text += "TITLE: " + text_at(info, "title") + "\n\n";
  return text + "POST: " + text_at(info, "post") + "\n\nTL;DR:";
}

// TRL's scripts strip the blank that a summary begins with.
std::string stripped(std::string const& text) {
  constexpr char const* blank = " \t\r\n\v\f";
  std::size_t const begin = text.find_first_not_of(blank);
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(blank) + 1 - begin);
}

ranked_answers read(json const& line) {
  json const& both = list_at(line, "summaries");
  double const choice = number_at(line, "choice");
  if (both.size() != 2 || (choice != 0 && choice != 1))
    throw error("there are not two summaries, or choice is neither 0 nor 1");
  if (!line.contains("info")) throw error("the key 'info' is missing");
  return {messages("user", question(line["info"])),
          {{messages("assistant", stripped(text_at(both[0], "text"))), 1 - choice},
           {messages("assistant", stripped(text_at(both[1], "text"))), choice}}};
}

}  // namespace

extern schema const summaries{.format = data_format::summaries, .looks = looks, .read = read};

}  // namespace kedge::llm::schemas
