// SPDX-License-Identifier: Apache-2.0
#include <algorithm>  // stable_sort
#include <iterator>   // size
#include <memory>     // make_unique
#include <utility>    // pair

#include "flat_tables.hpp"
#include "unicode.hpp"

namespace kedge::llm::text {
namespace {

#include "normalization_tables.inc"

constexpr char32_t hangul_first = 0xAC00, lead_first = 0x1100, vowel_first = 0x1161, trail_first = 0x11A7;
constexpr char32_t leads = 19, vowels = 21, trails = 28, syllables = leads * vowels * trails;

struct tables {
  number_table canonical{std::size(canonical_index) / 2};
  number_table compatibility{std::size(compatibility_index) / 2};
  number_table pairs{std::size(composition_pairs) / 3};
  std::vector<std::uint8_t> combining = std::vector<std::uint8_t>(0x20000);  // no mark lies above
  std::vector<bool> stays_in_nfc = std::vector<bool>(0x110000, true);        // class 0, its own NFC, never the second of a pair

  tables() {
    for (std::size_t i = 0; i < std::size(canonical_index); i += 2) canonical.insert(canonical_index[i], canonical_index[i + 1]);
    for (std::size_t i = 0; i < std::size(compatibility_index); i += 2)
      compatibility.insert(compatibility_index[i], compatibility_index[i + 1]);
    for (std::size_t i = 0; i < std::size(canonical_index); i += 2) stays_in_nfc[canonical_index[i]] = false;
    for (std::size_t i = 0; i < std::size(composition_pairs); i += 3) {
      std::uint32_t const* const p = composition_pairs + i;
      pairs.insert((std::uint64_t{p[0]} << 32U) | p[1], p[2]);
      stays_in_nfc[p[2]] = true;
    }
    for (std::size_t i = 0; i < std::size(composition_pairs); i += 3) stays_in_nfc[composition_pairs[i + 1]] = false;
    std::size_t const n = std::size(combining_runs);
    for (std::size_t i = 0; i < n; ++i) {
      std::uint32_t const last = i + 1 < n ? combining_runs[i + 1] / 256 : combining_runs[i] / 256 + 1;
      for (std::uint32_t c = combining_runs[i] / 256; c < last; ++c) {
        combining[c] = static_cast<std::uint8_t>(combining_runs[i] % 256);
        if (combining[c] != 0) stays_in_nfc[c] = false;
      }
    }
    for (char32_t c = vowel_first; c < vowel_first + vowels; ++c) stays_in_nfc[c] = false;
    for (char32_t c = trail_first; c < trail_first + trails; ++c) stays_in_nfc[c] = false;
  }
  [[nodiscard]] std::uint8_t class_of(char32_t c) const { return c < combining.size() ? combining[c] : 0; }
};

tables const& data() {
  static std::unique_ptr<tables const> const instance = std::make_unique<tables const>();
  return *instance;
}

void decompose(std::u32string& out, char32_t c, bool compatibility) {
  if (c < 0x80) return out.push_back(c);
  if (c - hangul_first < syllables) {
    char32_t const index = c - hangul_first;
    out.push_back(lead_first + index / (vowels * trails));
    out.push_back(vowel_first + index % (vowels * trails) / trails);
    if (index % trails != 0) out.push_back(trail_first + index % trails);
    return;
  }
  number_table::entry const* entry = compatibility ? data().compatibility.find(c) : nullptr;
  if (entry == nullptr) entry = data().canonical.find(c);
  if (entry == nullptr) return out.push_back(c);
  std::uint32_t const* const first = decomposition_pool + entry->first / 32;
  out.append(first, first + entry->first % 32);
}

/// Canonical order: marks between two starters by class, equal classes as they stand.
void order(std::u32string& text) {
  tables const& t = data();
  for (std::size_t i = 0; i < text.size();) {
    if (t.class_of(text[i]) == 0) {
      ++i;
      continue;
    }
    std::size_t end = i;
    while (end < text.size() && t.class_of(text[end]) != 0) ++end;
    std::stable_sort(text.begin() + static_cast<std::ptrdiff_t>(i), text.begin() + static_cast<std::ptrdiff_t>(end),
                     [&t](char32_t a, char32_t b) { return t.class_of(a) < t.class_of(b); });
    i = end;
  }
}

/// The character that `first` followed by `second` becomes, 0 if none.
char32_t composed(char32_t first, char32_t second) {
  if (first - lead_first < leads && second - vowel_first < vowels)
    return hangul_first + ((first - lead_first) * vowels + (second - vowel_first)) * trails;
  if (first - hangul_first < syllables && (first - hangul_first) % trails == 0 && second - trail_first - 1 < trails - 1)
    return first + (second - trail_first);
  auto const* const entry = data().pairs.find((std::uint64_t{first} << 32U) | second);
  return entry == nullptr ? 0 : entry->first;
}

void compose(std::u32string& text) {
  constexpr std::size_t nowhere = ~std::size_t{0};
  std::size_t starter = nowhere;
  std::size_t size = 0;
  unsigned last_class = 0;
  for (char32_t const c : text) {
    unsigned const k = data().class_of(c);
    bool const adjacent = starter != nowhere && starter + 1 == size;
    if (starter != nowhere && (adjacent || last_class < k)) {
      if (char32_t const whole = composed(text[starter], c); whole != 0) {
        text[starter] = whole;
        continue;
      }
    }
    if (k == 0) starter = size;
    last_class = k;
    text[size++] = c;
  }
  text.resize(size);
}

bool is_unchanged(std::string_view utf8, normal_form form) {
  bool const nfc = form == normal_form::nfc;
  tables const& t = data();
  for (std::size_t i = 0; i < utf8.size();) {
    auto const [c, length] = decode(utf8.data() + i);
    if (c >= 0x80 && !(nfc && (c < 0x300 || t.stays_in_nfc[c]))) return false;
    i += length;
  }
  return true;
}

}  // namespace

bool is_combining_mark(char32_t value) noexcept {
  for (std::size_t i = 0; i < std::size(mark_ranges); i += 2)
    if (value <= mark_ranges[i + 1]) return value >= mark_ranges[i];
  return false;
}

std::string normalize(std::string_view utf8, normal_form form) {
  if (is_unchanged(utf8, form)) return std::string(utf8);
  bool const compatibility = form == normal_form::nfkc || form == normal_form::nfkd;
  std::u32string out;
  out.reserve(utf8.size());
  for (std::size_t i = 0; i < utf8.size(); i += length_of(utf8[i])) decompose(out, decode(utf8.data() + i).value, compatibility);
  order(out);
  if (form == normal_form::nfc || form == normal_form::nfkc) compose(out);
  return to_utf8(out);
}

}  // namespace kedge::llm::text
