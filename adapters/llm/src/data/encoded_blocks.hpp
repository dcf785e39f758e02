// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>   // min, max
#include <array>       // array
#include <cstddef>     // size_t
#include <filesystem>  // path
#include <string>      // string
#include <utility>     // move
#include <vector>      // vector

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/jsonl.hpp>
#include <kedge/llm/data/parallel.hpp>
#include <kedge/llm/data/reading.hpp>

namespace kedge::llm {

/// Counts what is odd, and where it was seen first.
class oddity_counts {
 public:
  explicit oddity_counts(std::filesystem::path const& path) : one_file_(in_quotes(path.string()) + ":") {}

  void add(oddities odd, std::string const& place) {
    if (!odd.any()) return;
    for (auto const& row : names(oddity{}))
      if (odd.has(row.value) && ++counts_[at(row.value)] == 1)
        first_[at(row.value)] = place.starts_with(one_file_) ? "line " + place.substr(one_file_.size()) : place;
  }
  [[nodiscard]] std::vector<std::string> notes() const {
    std::vector<std::string> all;
    for (auto const& row : names(oddity{}))
      if (std::size_t const count = counts_[at(row.value)]; count > 0)
        all.push_back(std::to_string(count) + " example" + (count == 1 ? "" : "s") + ", first at " + first_[at(row.value)] +
                      ": " + std::string(row.help));
    return all;
  }

 private:
  std::string one_file_;
  static constexpr std::size_t kinds = names(oddity{}).size();
  static std::size_t at(oddity one) { return static_cast<std::size_t>(one); }
  std::array<std::size_t, kinds> counts_{};
  std::array<std::string, kinds> first_;
};

/// Reads the examples of a file and encodes them on several threads, order kept, a block at a time, until there are how.most.
/// parse(json_line) -> example, with members `place` and `odd`; encode(example&) -> its ids; finish(example&&, ids&&) -> what is kept of them,
/// which may have a member `odd`; keep(kept) -> bool. look(json_line) is shown every object before it is parsed.
/// throws  kedge::llm::error of the first example that won't do; with skip_bad_lines they are counted in *report
template <class Parse, class Encode, class Finish, class Keep, class Look>
auto read_in_blocks(std::filesystem::path const& path, reading const& how, data_kind kind, reading_report* report,
                    Parse const& parse, Encode const& encode, Finish const& finish, Keep const& keep, Look const& look) {
  using example = decltype(parse(json_line{}));
  using encoded = decltype(encode(std::declval<example&>()));
  struct attempt {
    encoded ids;
    std::string problem;
  };
  constexpr std::size_t block = 4096;
  reading all = how;
  all.most = 0;
  json_line_reader reader(path, all, kind);
  std::vector<decltype(finish(std::declval<example&&>(), std::declval<encoded&&>()))> out;
  oddity_counts odd(path);
  std::size_t unencoded = 0, none = 0;
  for (bool more = true; more && (how.most == 0 || out.size() < how.most);) {
    std::vector<example> examples;
    std::size_t const room = how.most == 0 ? block : std::min(block, how.most - out.size());
    while (examples.size() < room && (more = reader.next([&](json_line line) {
             look(line);
             examples.push_back(parse(std::move(line)));
           }))) {
    }
    auto attempts = parallel_map(examples.size(), how.threads, false, none, [&](std::size_t i) {
      try {
        return attempt{encode(examples[i]), {}};
      } catch (error const& problem) {
        return attempt{{}, problem.what()};
      }
    });
    for (std::size_t i = 0; i < examples.size(); ++i) {
      if (!attempts[i].problem.empty() && !how.skip_bad_lines) throw error(attempts[i].problem);
      if (!attempts[i].problem.empty()) {
        ++unencoded;
        continue;
      }
      std::string const place = examples[i].place;
      auto made = finish(std::move(examples[i]), std::move(attempts[i].ids));
      if constexpr (requires { made.odd; }) odd.add(made.odd, place);
      if (keep(made)) out.push_back(std::move(made));
    }
  }
  if (report == nullptr) return out;
  report->skipped = reader.skipped() + unencoded;
  report->notes = reader.notes();
  for (std::string& note : odd.notes()) report->notes.push_back(std::move(note));
  return out;
}

}  // namespace kedge::llm
