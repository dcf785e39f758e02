// SPDX-License-Identifier: Apache-2.0
#include "pattern.hpp"

#include <algorithm>  // sort, unique, upper_bound
#include <map>        // map
#include <utility>    // move

#include "kedge/llm/base/error.hpp"
#include "unicode.hpp"

namespace kedge::llm::text {
namespace {

using node = pattern_node;
using kind = pattern_node::kind;

constexpr std::size_t largest_program = 20'000;
constexpr std::size_t most_classes = 250;

}  // namespace

class pattern::compiler {
 public:
  explicit compiler(pattern& out) : out_(out) {}

  void compile(node const& tree) {
    collect(tree);
    partition();
    std::vector<node> const whole = tree.what == kind::alternatives ? tree.children : std::vector<node>{tree};
    out_.starts_.resize(out_.classes_ + 1);
    for (node const& alternative : whole) {
      auto const start = here();
      emit(alternative);
      add({.what = operation::match});
      first_set const first = first_of(alternative);
      for (std::size_t c = 0; c < out_.classes_; ++c)
        if (first.empty || first.of[c]) out_.starts_[c].push_back(start);
      if (first.empty) out_.starts_[out_.classes_].push_back(start);
    }
  }

 private:
  [[nodiscard]] std::uint32_t here() const { return static_cast<std::uint32_t>(out_.program_.size()); }

  std::uint32_t add(instruction in) {
    if (out_.program_.size() >= largest_program)
      throw error("regular expression " + in_quotes(out_.source_) + " is too large once its counted repeats are written out");
    out_.program_.push_back(in);
    return here() - 1;
  }

  void collect(node const& n) {
    if (n.what == kind::set) index_.emplace(n.set.ranges(), index_.size());
    for (node const& child : n.children) collect(child);
  }

  /// Splits the code points into classes that no set tells apart, and notes which class is in which set.
  void partition() {
    std::vector<char32_t> cuts{0, 0x110000};
    for (auto const& [ranges, number] : index_)
      for (std::size_t i = 0; i < ranges.size(); ++i) cuts.push_back(ranges[i] + (i % 2));
    std::sort(cuts.begin(), cuts.end());
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());

    std::vector<std::vector<bool>> in(cuts.size(), std::vector<bool>(index_.size()));
    for (auto const& [ranges, number] : index_) {
      for (std::size_t i = 0; i < ranges.size(); i += 2) {
        auto const low = std::lower_bound(cuts.begin(), cuts.end(), ranges[i]) - cuts.begin();
        auto const high = std::lower_bound(cuts.begin(), cuts.end(), ranges[i + 1] + 1) - cuts.begin();
        for (auto k = low; k < high; ++k) in[static_cast<std::size_t>(k)][number] = true;
      }
    }
    std::map<std::vector<bool>, std::uint8_t> signature;
    std::vector<std::uint8_t> of_code_point(0x110000);
    for (std::size_t k = 0; k + 1 < cuts.size(); ++k) {
      auto const [found, fresh] = signature.emplace(in[k], static_cast<std::uint8_t>(signature.size()));
      if (fresh && signature.size() > most_classes)
        throw error("regular expression " + in_quotes(out_.source_) + " tells too many kinds of characters apart");
      std::fill(of_code_point.begin() + cuts[k], of_code_point.begin() + cuts[k + 1], found->second);
    }
    out_.classes_ = signature.size();
    out_.members_.assign(index_.size() * out_.classes_, 0);
    for (auto const& [bits, c] : signature)
      for (std::size_t s = 0; s < bits.size(); ++s) out_.members_[s * out_.classes_ + c] = bits[s];
    fold(of_code_point);
  }

  /// Stores equal pages once.
  void fold(std::vector<std::uint8_t> const& of_code_point) {
    std::map<std::vector<std::uint8_t>, std::uint16_t> known;
    for (std::size_t page = 0; page < of_code_point.size(); page += 256) {
      std::vector<std::uint8_t> block(of_code_point.begin() + static_cast<std::ptrdiff_t>(page),
                                      of_code_point.begin() + static_cast<std::ptrdiff_t>(page + 256));
      auto const [found, fresh] = known.emplace(block, static_cast<std::uint16_t>(known.size()));
      if (fresh) out_.blocks_.insert(out_.blocks_.end(), block.begin(), block.end());
      out_.pages_.push_back(found->second);
    }
    std::copy_n(of_code_point.begin(), out_.ascii_.size(), out_.ascii_.begin());
  }

  [[nodiscard]] std::uint32_t set_of(node const& n) const { return static_cast<std::uint32_t>(index_.at(n.set.ranges())); }

  first_set first_of(node const& n) const {
    first_set out{std::vector<bool>(out_.classes_), false};
    switch (n.what) {
      case kind::set:
        for (std::size_t c = 0; c < out_.classes_; ++c) out.of[c] = out_.members_[set_of(n) * out_.classes_ + c] != 0;
        break;
      case kind::sequence:
        out.empty = true;
        for (node const& child : n.children) {
          if (!out.empty) break;
          join(out, first_of(child));
        }
        break;
      case kind::alternatives:
        for (node const& child : n.children) {
          bool const empty = out.empty;
          join(out, first_of(child));
          out.empty = out.empty || empty;
        }
        break;
      case kind::repeat:
        out = first_of(n.children[0]);
        out.empty = out.empty || n.least == 0;
        break;
      case kind::empty:
      case kind::look:
      case kind::boundary: out.empty = true; break;
    }
    return out;
  }

  static void join(first_set& out, first_set const& more) {
    for (std::size_t c = 0; c < out.of.size(); ++c) out.of[c] = out.of[c] || more.of[c];
    out.empty = more.empty;
  }

  void emit(node const& n) {
    switch (n.what) {
      case kind::empty: break;
      case kind::set: add({.what = operation::set, .set = set_of(n)}); break;
      case kind::sequence: emit_sequence(n); break;
      case kind::alternatives: emit_alternatives(n); break;
      case kind::repeat: emit_repeat(n); break;
      case kind::look: emit_look(n); break;
      case kind::boundary: add({.what = operation::boundary, .where = static_cast<std::uint8_t>(n.where)}); break;
    }
  }

  /// A greedy run whose characters can't start what follows never gains from giving some back.
  void emit_sequence(node const& n) {
    for (std::size_t i = 0; i < n.children.size(); ++i) {
      emit(n.children[i]);
      instruction& last = out_.program_.back();
      if (n.children[i].what != kind::repeat || last.what != operation::run || i + 1 == n.children.size()) continue;
      first_set const next = first_of(n.children[i + 1]);
      bool apart = !next.empty && last.most == no_limit;
      for (std::size_t c = 0; c < out_.classes_ && apart; ++c)
        apart = !(next.of[c] && out_.members_[last.set * out_.classes_ + c] != 0);
      last.keep = last.keep || apart;
    }
  }

  void emit_alternatives(node const& n) {
    std::vector<std::uint32_t> exits;
    for (std::size_t i = 0; i < n.children.size(); ++i) {
      bool const last = i + 1 == n.children.size();
      std::uint32_t const fork = last ? 0 : add({.what = operation::split});
      emit(n.children[i]);
      if (last) break;
      exits.push_back(add({.what = operation::jump}));
      out_.program_[fork].x = fork + 1;
      out_.program_[fork].y = here();
    }
    for (std::uint32_t const exit : exits) out_.program_[exit].x = here();
  }

  void emit_repeat(node const& n) {
    node const& body = n.children[0];
    bool const lazy = n.mode == node::repetition::lazy;
    bool const possessive = n.mode == node::repetition::possessive;
    if (body.what == kind::set && !lazy) {
      auto const limit = [](std::size_t value) { return value == node::unlimited ? no_limit : static_cast<std::uint32_t>(value); };
      add({.what = operation::run,
           .keep = possessive,
           .set = set_of(body),
           .least = limit(n.least),
           .most = limit(n.most)});
      return;
    }
    std::uint32_t const guard = possessive ? add({.what = operation::atomic}) : 0;
    for (std::size_t i = 0; i < n.least; ++i) emit(body);
    if (n.most == node::unlimited) {
      if (first_of(body).empty)
        throw error("regular expression " + in_quotes(out_.source_) + " repeats without limit something that can be empty");
      std::uint32_t const loop = add({.what = operation::split});
      emit(body);
      add({.what = operation::jump, .x = loop});
      aim(loop, lazy, here());
    } else {
      std::vector<std::uint32_t> forks;
      for (std::size_t i = n.least; i < n.most; ++i) {
        forks.push_back(add({.what = operation::split}));
        emit(body);
      }
      for (std::uint32_t const fork : forks) aim(fork, lazy, here());
    }
    if (possessive) {
      add({.what = operation::match});
      out_.program_[guard].x = here();
    }
  }

  void aim(std::uint32_t fork, bool lazy, std::uint32_t exit) {
    out_.program_[fork].x = lazy ? exit : fork + 1;
    out_.program_[fork].y = lazy ? fork + 1 : exit;
  }

  void emit_look(node const& n) {
    std::uint32_t const start = add({.what = operation::look, .negative = n.negative});
    if (!n.ahead) out_.program_[start].y = characters(n.children[0]);
    emit(n.children[0]);
    add({.what = operation::match});
    out_.program_[start].x = here();
  }

  /// How many characters a look-behind steps back.
  std::uint32_t characters(node const& n) const {
    std::uint32_t count = 0;
    switch (n.what) {
      case kind::set: return 1;
      case kind::sequence:
        for (node const& child : n.children) count += characters(child);
        return count;
      case kind::alternatives:
        count = characters(n.children[0]);
        for (node const& child : n.children)
          if (characters(child) != count) break;
        else if (&child == &n.children.back())
          return count;
        break;
      case kind::repeat:
        if (n.least == n.most) return static_cast<std::uint32_t>(n.least) * characters(n.children[0]);
        break;
      case kind::empty:
      case kind::look:
      case kind::boundary: return 0;
    }
    throw error("regular expression " + in_quotes(out_.source_) + ": a look-behind of varying length is not supported");
  }

  pattern& out_;
  std::map<std::vector<char32_t>, std::size_t> index_;  // set -> number
};

pattern::pattern(std::string_view expression) : source_(expression) { compiler(*this).compile(parse_pattern(expression)); }

inline std::size_t pattern::class_at(char const* p, std::uint32_t& length) const noexcept {
  auto const byte = static_cast<unsigned char>(*p);
  if (byte < 0x80) {
    length = 1;
    return ascii_[byte];
  }
  auto const [value, bytes] = decode(p);
  length = bytes;
  return blocks_[std::size_t{pages_[value >> 8U]} * 256 + (value & 0xFFU)];
}

bool pattern::holds(instruction const& in, std::string_view text, std::size_t position) const {
  auto const word_at = [&](std::size_t i) { return i < text.size() && is_word(decode(text.data() + i).value); };
  bool const at_start = position == 0;
  bool const at_end = position == text.size();
  switch (static_cast<node::position>(in.where)) {
    case node::position::text_start: return at_start;
    case node::position::text_end: return at_end;
    case node::position::line_start: return at_start || (text[position - 1] == '\n' && !at_end);
    case node::position::line_end: return at_end || text[position] == '\n';
    case node::position::text_end_or_newline: return at_end || (position + 1 == text.size() && text[position] == '\n');
    case node::position::word:
    case node::position::not_word: {
      bool const left = !at_start && word_at(before(text, position));
      return (left != word_at(position)) == (static_cast<node::position>(in.where) == node::position::word);
    }
  }
  return false;
}

/// Moves `position` over the longest run; `earliest` is the end of the shortest one allowed. False if it is too short.
inline bool pattern::take_run(instruction const& in, std::string_view text, std::size_t& position, std::size_t& earliest) const {
  std::uint8_t const* const member = members_.data() + std::size_t{in.set} * classes_;
  std::uint32_t count = 0;
  earliest = position;
  while (count < in.most && position < text.size()) {
    std::uint32_t length = 0;
    if (member[class_at(text.data() + position, length)] == 0) break;
    position += length;
    if (++count == in.least) earliest = position;
  }
  return count >= in.least;
}

/// Looks at what is ahead of, or `y` characters behind, `position`.
bool pattern::looks_right(std::uint32_t at, std::string_view text, std::size_t position, scratch& work) const {
  instruction const& in = program_[at];
  bool found = true;
  for (std::uint32_t i = 0; i < in.y && found; ++i) {
    found = position > 0;
    if (found) position = before(text, position);
  }
  std::size_t ignored = 0;
  return (found && run(at + 1, text, position, ignored, work)) != in.negative;
}

/// Takes back the last choice. False if none is left above `floor`.
bool pattern::retreat(std::uint32_t& at, std::string_view text, std::size_t& position, std::size_t floor, scratch& work) const {
  if (work.stack.size() == floor) return false;
  if (++work.steps > 1000 * (text.size() + 1000))
    throw error("regular expression " + in_quotes(source_) + " takes too many steps on a text of " +
                std::to_string(text.size()) + " bytes");
  scratch::choice& top = work.stack.back();
  if (top.position > top.earliest) top.position = before(text, top.position);  // a greedy run gives one character back
  at = top.at;
  position = top.position;
  if (top.position <= top.earliest) work.stack.pop_back();
  return true;
}

bool pattern::run(std::uint32_t at, std::string_view text, std::size_t position, std::size_t& end, scratch& work) const {
  std::size_t const floor = work.stack.size();
  for (;;) {
    instruction const& in = program_[at++];
    bool good = true;
    switch (in.what) {
      case operation::match: work.stack.resize(floor); end = position; return true;
      case operation::set: {
        std::uint32_t length = 0;
        good = position < text.size() && members_[in.set * classes_ + class_at(text.data() + position, length)] != 0;
        position += length;
        break;
      }
      case operation::run: {
        std::size_t const start = position;
        std::size_t earliest = 0;
        good = take_run(in, text, position, earliest);
        work.steps += (position - start) / 16;
        if (good && !in.keep && position > earliest && program_[at].what != operation::match)
          work.stack.push_back({at, position, earliest});
        break;
      }
      case operation::split:
        work.stack.push_back({in.y, position, position});
        at = in.x;
        break;
      case operation::jump: at = in.x; break;
      case operation::boundary: good = holds(in, text, position); break;
      case operation::look:
        good = looks_right(at - 1, text, position, work);
        at = in.x;
        break;
      case operation::atomic:
        good = run(at, text, position, position, work);
        at = in.x;
        break;
    }
    if (!good && !retreat(at, text, position, floor, work)) return false;
  }
}

bool pattern::find(std::string_view text, std::size_t from, span& match, scratch& work) const {
  if (from == 0) work.steps = 0;
  for (std::size_t position = from;;) {
    std::uint32_t length = 1;
    std::size_t const c = position < text.size() ? class_at(text.data() + position, length) : classes_;
    for (std::uint32_t const start : starts_[c]) {
      if (!run(start, text, position, match.end, work)) continue;
      match.begin = position;
      return true;
    }
    if (position >= text.size()) return false;
    position += length;
  }
}

}  // namespace kedge::llm::text
