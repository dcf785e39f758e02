// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>         // array
#include <cstddef>       // size_t
#include <cstdint>       // uint8_t, uint16_t, uint32_t
#include <string>        // string
#include <string_view>   // string_view
#include <vector>        // vector

#include "pattern_parser.hpp"

namespace kedge::llm::text {

/// A compiled regular expression over valid UTF-8, leftmost match, alternatives by priority, as a backtracking engine finds it.
///
/// Every code point belongs to one of a few classes (those the expression can tell apart), so a set is one lookup, and
/// the class of the next character tells which alternatives are worth a try.
/// cost    linear for the expressions that tokenizers use; an expression that backtracks without end is stopped by an error
class pattern {
 public:
  /// What a match needs beside the text; reuse it from call to call.
  struct scratch {
    struct choice {
      std::uint32_t at;         // instruction to go on with
      std::size_t position;     // where in the text
      std::size_t earliest;     // a greedy run may give back down to here
    };
    std::vector<choice> stack;
    std::size_t steps = 0;
  };
  struct span {
    std::size_t begin, end;
  };

  explicit pattern(std::string_view expression);

  /// Finds the first match that starts at or after `from`.
  bool find(std::string_view text, std::size_t from, span& match, scratch& work) const;

  [[nodiscard]] std::string const& source() const { return source_; }

 private:
  enum class operation : std::uint8_t { set, run, split, jump, look, atomic, boundary, match };
  struct instruction {
    operation what;
    bool negative = false;              // look
    bool keep = false;                  // run: gives nothing back
    std::uint8_t where = 0;             // boundary
    std::uint32_t set = 0;              // set, run
    std::uint32_t least = 0, most = 0;  // run
    std::uint32_t x = 0, y = 0;         // split, jump: targets; look, atomic: x follows the body; look-behind: y characters back
  };
  struct first_set {
    std::vector<bool> of;  // classes that can come first
    bool empty = false;    // can match without a character
  };
  class compiler;
  friend class compiler;

  static constexpr std::uint32_t no_limit = 0xFFFFFFFF;

  [[nodiscard]] std::size_t class_at(char const* p, std::uint32_t& length) const noexcept;
  bool run(std::uint32_t at, std::string_view text, std::size_t position, std::size_t& end, scratch& work) const;
  [[nodiscard]] bool holds(instruction const& in, std::string_view text, std::size_t position) const;
  bool take_run(instruction const& in, std::string_view text, std::size_t& position, std::size_t& earliest) const;
  bool looks_right(std::uint32_t at, std::string_view text, std::size_t position, scratch& work) const;
  bool retreat(std::uint32_t& at, std::string_view text, std::size_t& position, std::size_t floor, scratch& work) const;

  std::string source_;
  std::vector<instruction> program_;
  std::array<std::uint8_t, 128> ascii_{};
  std::vector<std::uint16_t> pages_;       // page of 256 code points -> block
  std::vector<std::uint8_t> blocks_;       // block * 256 + low byte -> class
  std::size_t classes_ = 0;
  std::vector<std::uint8_t> members_;      // set * classes_ + class
  std::vector<std::vector<std::uint32_t>> starts_;  // class (the last one: end of text) -> alternatives to try
};

}  // namespace kedge::llm::text
