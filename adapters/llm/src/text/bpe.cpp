// SPDX-License-Identifier: Apache-2.0
#include <algorithm>   // push_heap, pop_heap, make_heap
#include <array>       // array
#include <functional>  // greater
#include <utility>     // move

#include "byte_alphabet.hpp"
#include "flat_tables.hpp"
#include "model.hpp"

namespace kedge::llm::text {
namespace {

constexpr std::uint32_t never = 0xFFFFFFFF;
constexpr std::size_t short_piece = 48;          // symbols: below, scanning for the best pair beats a heap
constexpr std::size_t longest_cached = 64;       // bytes
constexpr std::size_t cache_entries = 1U << 15U;
constexpr std::string_view space_mark = "\xe2\x96\x81";  // U+2581, a space in SentencePiece's vocabularies

/// Pieces seen and their ids. When it is full it starts afresh.
class piece_cache {
 public:
  struct ids {
    std::int32_t const* first = nullptr;
    std::uint32_t count = 0;
  };

  [[nodiscard]] ids find(std::string_view piece, std::uint64_t hash) const noexcept {
    std::size_t i = hash & mask;
    for (; slots_[i].count != 0; i = (i + 1) & mask) {
      slot const& s = slots_[i];
      if (s.tag == static_cast<std::uint32_t>(hash >> 32U) && s.length == piece.size() &&
          std::memcmp(keys_.data() + s.key, piece.data(), piece.size()) == 0)
        return {values_.data() + s.value, s.count};
    }
    return {};
  }

  void insert(std::string_view piece, std::uint64_t hash, std::int32_t const* first, std::size_t count) {
    if (count == 0) return;
    if (2 * used_ >= slots_.size()) {
      std::fill(slots_.begin(), slots_.end(), slot{});
      keys_.clear();
      values_.clear();
      used_ = 0;
    }
    std::size_t i = hash & mask;
    while (slots_[i].count != 0) i = (i + 1) & mask;
    slots_[i] = {static_cast<std::uint32_t>(hash >> 32U), static_cast<std::uint32_t>(keys_.size()),
                 static_cast<std::uint32_t>(values_.size()), static_cast<std::uint16_t>(piece.size()), static_cast<std::uint16_t>(count)};
    keys_ += piece;
    values_.insert(values_.end(), first, first + count);
    ++used_;
  }

 private:
  struct slot {
    std::uint32_t tag = 0, key = 0, value = 0;
    std::uint16_t length = 0, count = 0;
  };
  static constexpr std::size_t mask = 2 * cache_entries - 1;
  std::vector<slot> slots_ = std::vector<slot>(2 * cache_entries);
  std::string keys_;
  std::vector<std::int32_t> values_;
  std::size_t used_ = 0;
};

struct symbol {
  std::int32_t id;               // `merged_away` if the symbol before has taken it in
  std::uint32_t previous, next;  // `never` at the ends
};
constexpr std::int32_t merged_away = -1;

struct candidate {
  std::uint32_t rank, position, id;
  /// Orders by rank, then from left to right.
  [[nodiscard]] std::uint64_t key() const noexcept { return (static_cast<std::uint64_t>(rank) << 32U) | position; }
};

struct bpe_workspace final : model::workspace {
  piece_cache cache;
  std::vector<std::int32_t> initial;
  std::vector<symbol> symbols;
  std::vector<std::uint64_t> queue;  // keys of candidates
};

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32U) | static_cast<std::uint32_t>(right);
}

class bpe final : public model {
 public:
  bpe(json const& definition, spelling wanted) : spelling_(wanted) {
    read_options(definition);
    read_vocabulary(required(definition, "vocab", "model BPE"));
    read_merges(required(definition, "merges", "model BPE"));
    prepare_symbols();
    cuts_at_spaces_ = spelling_ == spelling::text && prefix_.empty() && suffix_.empty() && !ignore_merges_ &&
                      characters_.find(decode(space_mark.data()).value) != nullptr && !merges_into_space_;
  }

  [[nodiscard]] std::unique_ptr<workspace> make_workspace() const override { return std::make_unique<bpe_workspace>(); }
  [[nodiscard]] std::optional<std::int32_t> id_of(std::string_view token) const override {
    std::int32_t const id = ids_.find(token);
    return id == string_table::absent ? std::nullopt : std::optional(id);
  }
  [[nodiscard]] vocabulary const& tokens() const override { return vocabulary_; }

  void encode(std::string_view piece, std::vector<std::int32_t>& out, workspace& work) const override {
    auto& w = static_cast<bpe_workspace&>(work);
    if (!cuts_at_spaces_) return encode_word(piece, out, w);
    for (std::size_t length = 0; !piece.empty(); piece.remove_prefix(length)) {
      length = word_length(piece);
      encode_word(piece.substr(0, length), out, w);
    }
  }

 private:
  /// Up to where a run of space marks follows something else: no merge reaches over such a place, so that what stands on its two
  /// sides can be merged apart, and words come back to the cache.
  static std::size_t word_length(std::string_view piece) {
    for (std::size_t at = 0, run_end = 0;; run_end = at += space_mark.size()) {
      at = piece.find(space_mark, at);
      if (at == std::string_view::npos) return piece.size();
      if (at > run_end) return at;
    }
  }

  void encode_word(std::string_view piece, std::vector<std::int32_t>& out, bpe_workspace& w) const {
    bool const remember = piece.size() <= longest_cached;
    std::uint64_t const hash = remember ? hash_of(piece) : 0;
    if (remember) {
      if (auto const known = w.cache.find(piece, hash); known.count != 0) {
        out.insert(out.end(), known.first, known.first + known.count);
        return;
      }
    }
    std::size_t const start = out.size();
    encode_afresh(piece, out, w);
    if (remember) w.cache.insert(piece, hash, out.data() + start, out.size() - start);
  }

  void read_options(json const& definition) {
    constexpr std::string_view where = "model BPE";
    if (json const* const dropout = member(definition, "dropout"); dropout != nullptr && *dropout != 0)
      fail("model BPE: dropout draws merges at random and is not supported; set it to null");
    unknown_token_ = optional_string(definition, "unk_token", where);
    prefix_ = optional_string(definition, "continuing_subword_prefix", where).value_or("");
    suffix_ = optional_string(definition, "end_of_word_suffix", where).value_or("");
    fuse_unknown_ = flag_in(definition, "fuse_unk", false, where);
    byte_fallback_ = flag_in(definition, "byte_fallback", false, where);
    ignore_merges_ = flag_in(definition, "ignore_merges", false, where);
  }

  void read_vocabulary(json const& vocab) {
    if (!vocab.is_object()) fail("model BPE: 'vocab' is not an object");
    ids_ = string_table(vocab.size());
    for (auto const& [token, id] : vocab.items()) {
      if (!id.is_number_integer()) fail("model BPE: the id of " + in_quotes(token) + " is not an integer");
      vocabulary_.add(token, id.get<std::int64_t>());
      ids_.insert(token, id.get<std::int32_t>());
    }
  }

  void read_merges(json const& merges) {
    if (!merges.is_array()) fail("model BPE: 'merges' is not an array");
    merges_ = number_table(merges.size());
    std::uint32_t rank = 0;
    for (json const& merge : merges) {
      auto const [left, right] = split_merge(merge, rank);
      std::string const whole = left + (right.size() >= prefix_.size() ? right.substr(prefix_.size()) : "");
      std::int32_t const a = ids_.find(left);
      std::int32_t const b = ids_.find(right);
      std::int32_t const c = ids_.find(whole);
      if (a < 0 || b < 0 || c < 0)
        fail("model BPE: merge " + std::to_string(rank) + " needs " + in_quotes(a < 0 ? left : b < 0 ? right : whole) +
             ", which is not in the vocabulary");
      merges_.insert(pair_key(a, b), rank++, static_cast<std::uint32_t>(c));
      bool const stands_for_others = left == unknown_token_ || (left.size() == 6 && left.starts_with("<0x"));
      if (right.starts_with(space_mark) && (stands_for_others || !left.ends_with(space_mark))) merges_into_space_ = true;
    }
  }

  static std::pair<std::string, std::string> split_merge(json const& merge, std::uint32_t rank) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
      return {merge[0].get<std::string>(), merge[1].get<std::string>()};
    if (merge.is_string()) {
      auto const& text = merge.get_ref<std::string const&>();
      std::size_t const space = text.find(' ');
      if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos)
        return {text.substr(0, space), text.substr(space + 1)};
    }
    fail("model BPE: merge " + std::to_string(rank) + " is not a pair of tokens");
  }

  /// Where a piece starts from: the id of every byte or character, and the ids of "<0x00>" … "<0xFF>".
  void prepare_symbols() {
    if (unknown_token_) unknown_ = ids_.find(*unknown_token_);
    for (unsigned b = 0; b < 256; ++b) {
      constexpr std::string_view digits = "0123456789ABCDEF";
      std::string const name{'<', '0', 'x', digits[b / 16], digits[b % 16], '>'};
      fallback_[b] = byte_fallback_ ? ids_.find(name) : string_table::absent;
      std::string stand_in;
      append(stand_in, byte_alphabet()[b]);
      bytes_[b] = ids_.find(stand_in);
    }
    pieces_ = string_table(spelling_ == spelling::bytes ? vocabulary_.count : 0);
    for (std::size_t id = 0; id < vocabulary_.tokens.size(); ++id) {
      if (!vocabulary_.present[id]) continue;
      std::string const& token = vocabulary_.tokens[id];
      if (spelling_ == spelling::bytes) {
        if (auto const raw = from_stand_ins(token)) pieces_.insert(*raw, static_cast<std::int32_t>(id));
      } else if (!token.empty() && length_of(token[0]) == token.size()) {
        characters_.insert(decode(token.data()).value, static_cast<std::uint32_t>(id));
      }
    }
  }

  void encode_afresh(std::string_view piece, std::vector<std::int32_t>& out, bpe_workspace& w) const {
    if (ignore_merges_) {
      std::int32_t const whole = (spelling_ == spelling::bytes ? pieces_ : ids_).find(piece);
      if (whole >= 0) return out.push_back(whole);
    }
    w.initial.clear();
    if (spelling_ == spelling::bytes) {
      for (char const b : piece)
        if (std::int32_t const id = bytes_[static_cast<unsigned char>(b)]; id >= 0) w.initial.push_back(id);
    } else {
      spell(piece, w.initial);
    }
    if (w.initial.size() <= short_piece)
      merge_short(w.initial, out);
    else
      merge_long(w, out);
  }

  /// The ids of the characters of `piece`. What is unknown becomes its bytes if all of them have tokens, else the unknown
  /// token, which waits for the next known character (bytes overtake it, as in the reference).
  void spell(std::string_view piece, std::vector<std::int32_t>& out) const {
    bool waiting = false;
    std::string affixed;
    for (std::size_t i = 0; i < piece.size();) {
      auto const [value, length] = decode(piece.data() + i);
      std::string_view character = piece.substr(i, length);
      bool const first = i == 0;
      i += length;
      bool const last = i == piece.size();
      std::int32_t id = string_table::absent;
      if ((!first && !prefix_.empty()) || (last && !suffix_.empty())) {
        affixed = (first ? "" : prefix_) + std::string(character) + (last ? suffix_ : "");
        character = affixed;
        id = ids_.find(character);
      } else if (auto const* const known = characters_.find(value); known != nullptr) {
        id = static_cast<std::int32_t>(known->first);
      }
      if (id >= 0) {
        if (waiting) out.push_back(unknown_);
        waiting = false;
        out.push_back(id);
      } else if (!spell_bytes(character, out) && unknown_token_) {
        if (unknown_ < 0) throw error("tokenizer: the unknown token " + in_quotes(*unknown_token_) + " is not in the vocabulary");
        if (waiting && !fuse_unknown_) out.push_back(unknown_);
        waiting = true;
      }
    }
    if (waiting) out.push_back(unknown_);
  }

  bool spell_bytes(std::string_view character, std::vector<std::int32_t>& out) const {
    if (!byte_fallback_) return false;
    for (char const b : character)
      if (fallback_[static_cast<unsigned char>(b)] < 0) return false;
    for (char const b : character) out.push_back(fallback_[static_cast<unsigned char>(b)]);
    return true;
  }

  [[nodiscard]] candidate best(std::int32_t left, std::int32_t right, std::size_t position) const {
    auto const* const merge = merges_.find(pair_key(left, right));
    if (merge == nullptr) return {never, 0, 0};
    return {merge->first, static_cast<std::uint32_t>(position), merge->second};
  }

  /// Lowest rank first, leftmost among equals; quadratic, for few symbols.
  void merge_short(std::vector<std::int32_t>& ids, std::vector<std::int32_t>& out) const {
    std::array<candidate, short_piece> pairs;
    std::size_t n = ids.size();
    for (std::size_t i = 0; i + 1 < n; ++i) pairs[i] = best(ids[i], ids[i + 1], i);
    while (n > 1) {
      std::size_t at = 0;
      for (std::size_t i = 1; i + 1 < n; ++i)
        if (pairs[i].rank < pairs[at].rank) at = i;
      if (pairs[at].rank == never) break;
      ids[at] = static_cast<std::int32_t>(pairs[at].id);
      std::copy(ids.begin() + static_cast<std::ptrdiff_t>(at) + 2, ids.begin() + static_cast<std::ptrdiff_t>(n),
                ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
      --n;
      std::copy(pairs.begin() + at + 1, pairs.begin() + n, pairs.begin() + at);
      if (at + 1 < n) pairs[at] = best(ids[at], ids[at + 1], at);
      if (at > 0) pairs[at - 1] = best(ids[at - 1], ids[at], at - 1);
    }
    out.insert(out.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n));
  }

  /// The same order by a heap over a linked list: O(n log n), also for a word of a megabyte.
  void merge_long(bpe_workspace& w, std::vector<std::int32_t>& out) const {
    auto& symbols = w.symbols;
    auto& queue = w.queue;
    auto const n = static_cast<std::uint32_t>(w.initial.size());
    symbols.clear();
    queue.clear();
    for (std::uint32_t i = 0; i < n; ++i) symbols.push_back({w.initial[i], i == 0 ? never : i - 1, i + 1 == n ? never : i + 1});
    for (std::uint32_t i = 0; i + 1 < n; ++i)
      if (candidate const c = best(symbols[i].id, symbols[i + 1].id, i); c.rank != never) queue.push_back(c.key());
    constexpr std::greater<> lowest_first;
    std::make_heap(queue.begin(), queue.end(), lowest_first);
    auto const propose = [&](std::uint32_t at) {
      candidate const c = best(symbols[at].id, symbols[symbols[at].next].id, at);
      if (c.rank == never) return;
      queue.push_back(c.key());
      std::push_heap(queue.begin(), queue.end(), lowest_first);
    };
    while (!queue.empty()) {
      std::pop_heap(queue.begin(), queue.end(), lowest_first);
      std::uint64_t const top = queue.back();
      queue.pop_back();
      auto const at = static_cast<std::uint32_t>(top);
      symbol& left = symbols[at];
      if (left.id == merged_away || left.next == never) continue;
      symbol& right = symbols[left.next];
      candidate const now = best(left.id, right.id, at);
      if (now.key() != top) continue;  // made before a neighbour changed
      left.id = static_cast<std::int32_t>(now.id);
      left.next = right.next;
      right.id = merged_away;
      if (left.next != never) symbols[left.next].previous = at;
      if (left.previous != never) propose(left.previous);
      if (left.next != never) propose(at);
    }
    for (symbol const& s : symbols)
      if (s.id != merged_away) out.push_back(s.id);
  }

  spelling spelling_;
  std::optional<std::string> unknown_token_;
  std::string prefix_, suffix_;
  bool fuse_unknown_ = false, byte_fallback_ = false, ignore_merges_ = false;
  bool merges_into_space_ = false;  // some merge joins what ends in another character to what begins with a space mark
  bool cuts_at_spaces_ = false;
  vocabulary vocabulary_;
  string_table ids_;        // token -> id
  string_table pieces_;     // raw bytes -> id, when pieces are bytes
  number_table characters_; // code point -> id, when pieces are text
  number_table merges_;     // (left, right) -> (rank, merged)
  std::array<std::int32_t, 256> bytes_{}, fallback_{};
  std::int32_t unknown_ = -1;
};

}  // namespace

void vocabulary::add(std::string token, std::int64_t id) {
  constexpr std::int64_t largest_id = 1 << 26;
  if (id < 0 || id > largest_id) fail("the id " + std::to_string(id) + " of token " + in_quotes(token) + " is out of range");
  auto const at = static_cast<std::size_t>(id);
  if (at >= tokens.size()) {
    tokens.resize(at + 1);
    present.resize(at + 1);
  }
  tokens[at] = std::move(token);
  present[at] = true;
  ++count;
}

bool can_use_bytes(json const& definition) {
  if (!optional_string(definition, "continuing_subword_prefix", "model BPE").value_or("").empty()) return false;
  if (!optional_string(definition, "end_of_word_suffix", "model BPE").value_or("").empty()) return false;
  bool const shows_unknown = member(definition, "unk_token") != nullptr || flag_in(definition, "byte_fallback", false, "model BPE");
  if (!shows_unknown) return true;
  json const& vocab = required(definition, "vocab", "model BPE");
  if (!vocab.is_object()) return false;
  std::size_t found = 0;
  for (auto const& [token, id] : vocab.items())
    if (auto const raw = from_stand_ins(token); raw && raw->size() == 1) ++found;
  return found == 256;
}

std::unique_ptr<model const> make_bpe(json const& definition, spelling wanted) { return std::make_unique<bpe const>(definition, wanted); }

}  // namespace kedge::llm::text
