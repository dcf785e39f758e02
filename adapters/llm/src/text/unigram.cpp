// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // reverse, min
#include <array>      // array
#include <limits>     // numeric_limits
#include <utility>    // pair

#include "flat_tables.hpp"
#include "model.hpp"
#include "unicode.hpp"

namespace kedge::llm::text {
namespace {

constexpr double unknown_penalty = 10.0;
constexpr std::uint32_t nowhere = 0xFFFFFFFF;

/// The best path that ends at a byte.
struct path_end {
  double score = 0;
  std::uint32_t begin = nowhere;
  std::int32_t id = 0;
};

struct unigram_workspace final : model::workspace {
  std::vector<path_end> ends;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> spans;
};

class unigram final : public model {
 public:
  explicit unigram(json const& definition) {
    json const& vocab = required(definition, "vocab", "model Unigram");
    if (!vocab.is_array()) fail("model Unigram: 'vocab' is not an array");
    ids_ = string_table(vocab.size());
    for (json const& entry : vocab) {
      if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
        fail("model Unigram: entry " + std::to_string(scores_.size()) + " of 'vocab' is not a pair of token and score");
      add(entry[0].get<std::string>(), entry[1].get<double>());
    }
    byte_fallback_ = flag_in(definition, "byte_fallback", false, "model Unigram");
    if (member(definition, "unk_id") != nullptr) unknown_ = integer_in(definition, "unk_id", "model Unigram");
    if (unknown_ >= static_cast<std::int64_t>(scores_.size())) fail("model Unigram: 'unk_id' is not in the vocabulary");
    for (unsigned b = 0; b < 256; ++b) {
      constexpr std::string_view digits = "0123456789ABCDEF";
      fallback_[b] = ids_.find(std::string{'<', '0', 'x', digits[b / 16], digits[b % 16], '>'});
    }
  }

  [[nodiscard]] std::unique_ptr<workspace> make_workspace() const override { return std::make_unique<unigram_workspace>(); }
  [[nodiscard]] std::optional<std::int32_t> id_of(std::string_view token) const override {
    std::int32_t const id = ids_.find(token);
    return id == string_table::absent ? std::nullopt : std::optional(id);
  }
  [[nodiscard]] vocabulary const& tokens() const override { return vocabulary_; }

  void encode(std::string_view piece, std::vector<std::int32_t>& out, workspace& work) const override {
    auto& w = static_cast<unigram_workspace&>(work);
    find_best_path(piece, w.ends);
    collect(w.ends, piece.size(), w.spans);
    for (auto const& [begin, end] : w.spans) put(piece.substr(begin, end - begin), out);
  }

 private:
  void add(std::string token, double score) {
    auto const id = static_cast<std::int32_t>(scores_.size());
    lowest_ = std::min(lowest_, score);
    scores_.push_back(score);
    ids_.insert(token, id);
    std::uint32_t at = 0;
    for (char const c : token) {
      std::uint64_t const edge = std::uint64_t{at} * 256 + static_cast<unsigned char>(c);
      if (auto const* const known = edges_.find(edge); known != nullptr) {
        at = known->first;
      } else {
        at = static_cast<std::uint32_t>(leaves_.size());
        edges_.insert(edge, at);
        leaves_.push_back(-1);
      }
    }
    leaves_[at] = id;
    vocabulary_.add(std::move(token), id);
  }

  /// Viterbi over the tokens that start at every character; the first of equal scores stays.
  void find_best_path(std::string_view piece, std::vector<path_end>& ends) const {
    ends.assign(piece.size() + 1, path_end{});
    double const unknown_score = lowest_ - unknown_penalty;
    for (std::size_t begin = 0; begin < piece.size();) {
      double const here = ends[begin].score;
      std::size_t const character = length_of(piece[begin]);
      bool known_character = false;
      auto const offer = [&](std::size_t end, double score, std::int64_t id) {
        path_end& target = ends[end];
        if (target.begin != nowhere && !(score > target.score)) return;
        if (id < 0) throw error("tokenizer: the text has a character without a token, and the model names no unknown token");
        target = {score, static_cast<std::uint32_t>(begin), static_cast<std::int32_t>(id)};
      };
      std::uint32_t at = 0;
      for (std::size_t i = begin; i < piece.size(); ++i) {
        auto const* const next = edges_.find(std::uint64_t{at} * 256 + static_cast<unsigned char>(piece[i]));
        if (next == nullptr) break;
        at = next->first;
        std::int32_t const id = leaves_[at];
        if (id < 0) continue;
        offer(i + 1, scores_[static_cast<std::size_t>(id)] + here, id);
        known_character = known_character || i + 1 - begin == character;
      }
      if (!known_character) offer(begin + character, unknown_score + here, unknown_);
      begin += character;
    }
  }

  /// The spans of the best path; neighbouring unknown ones become one.
  void collect(std::vector<path_end> const& ends, std::size_t size, std::vector<std::pair<std::uint32_t, std::uint32_t>>& spans) const {
    spans.clear();
    bool fusing = false;
    for (auto end = static_cast<std::uint32_t>(size); end > 0;) {
      path_end const& last = ends[end];
      bool const unknown = last.id == unknown_;
      if (unknown && fusing)
        spans.back().first = last.begin;
      else
        spans.emplace_back(last.begin, end);
      fusing = unknown;
      end = last.begin;
    }
    std::reverse(spans.begin(), spans.end());
  }

  void put(std::string_view span, std::vector<std::int32_t>& out) const {
    if (std::int32_t const id = ids_.find(span); id >= 0) return out.push_back(id);
    bool bytes = byte_fallback_;
    for (char const b : span) bytes = bytes && fallback_[static_cast<unsigned char>(b)] >= 0;
    if (!bytes) return out.push_back(static_cast<std::int32_t>(unknown_));
    for (char const b : span) out.push_back(fallback_[static_cast<unsigned char>(b)]);
  }

  vocabulary vocabulary_;
  std::vector<double> scores_;
  string_table ids_;
  number_table edges_;                  // trie: node * 256 + byte -> node
  std::vector<std::int32_t> leaves_{-1};
  std::array<std::int32_t, 256> fallback_{};
  double lowest_ = std::numeric_limits<double>::infinity();
  std::int64_t unknown_ = -1;
  bool byte_fallback_ = false;
};

}  // namespace

std::unique_ptr<model const> make_unigram(json const& definition) { return std::make_unique<unigram const>(definition); }

}  // namespace kedge::llm::text
