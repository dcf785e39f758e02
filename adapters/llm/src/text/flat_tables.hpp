// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>           // bit_ceil
#include <cstddef>       // size_t
#include <cstdint>       // int32_t, uint32_t, uint64_t
#include <cstring>       // memcpy
#include <string>        // string
#include <string_view>   // string_view
#include <vector>        // vector

namespace kedge::llm::text {

inline std::uint64_t mix(std::uint64_t x) noexcept {
  x *= 0x9E3779B97F4A7C15ULL;
  return x ^ (x >> 29U);
}

inline std::uint64_t hash_of(std::string_view text) noexcept {
  std::uint64_t h = text.size();
  char const* p = text.data();
  std::size_t left = text.size();
  for (; left >= 8; left -= 8, p += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, p, 8);
    h = mix(h ^ word);
  }
  std::uint64_t tail = 0;
  std::memcpy(&tail, p, left);
  return mix(mix(h ^ tail));
}

/// string -> id, open addressing, all characters in one buffer.
class string_table {
 public:
  static constexpr std::int32_t absent = -1;

  explicit string_table(std::size_t expected = 0) : slots_(std::bit_ceil(2 * expected + 2)) {}

  /// Replaces the id of a key that is already there.
  void insert(std::string_view key, std::int32_t id) {
    if (2 * (count_ + 1) > slots_.size()) grow();
    slot& s = slots_[place(key)];
    if (s.id == absent) {
      s.offset = static_cast<std::uint32_t>(characters_.size());
      s.length = static_cast<std::uint32_t>(key.size());
      characters_ += key;
      ++count_;
    }
    s.id = id;
  }

  [[nodiscard]] std::int32_t find(std::string_view key) const noexcept { return slots_[place(key)].id; }
  [[nodiscard]] std::size_t size() const noexcept { return count_; }

 private:
  struct slot {
    std::uint32_t offset = 0, length = 0;
    std::int32_t id = absent;
  };

  [[nodiscard]] std::size_t place(std::string_view key) const noexcept {
    std::size_t const mask = slots_.size() - 1;
    std::size_t i = hash_of(key) & mask;
    while (slots_[i].id != absent && std::string_view(characters_).substr(slots_[i].offset, slots_[i].length) != key) i = (i + 1) & mask;
    return i;
  }

  void grow() {
    std::vector<slot> old(2 * slots_.size());
    old.swap(slots_);
    for (slot const& s : old)
      if (s.id != absent) slots_[place(std::string_view(characters_).substr(s.offset, s.length))] = s;
  }

  std::vector<slot> slots_;
  std::string characters_;
  std::size_t count_ = 0;
};

/// 64-bit key -> two 32-bit values, open addressing. The key ~0 is reserved.
class number_table {
 public:
  struct entry {
    std::uint64_t key = nobody;
    std::uint32_t first = 0, second = 0;
  };
  static constexpr std::uint64_t nobody = ~std::uint64_t{0};

  explicit number_table(std::size_t expected = 0) : slots_(std::bit_ceil(2 * expected + 2)) {}

  /// Replaces the values of a key that is already there.
  void insert(std::uint64_t key, std::uint32_t first, std::uint32_t second = 0) {
    if (2 * (count_ + 1) > slots_.size()) {
      std::vector<entry> old(2 * slots_.size());
      old.swap(slots_);
      for (entry const& e : old)
        if (e.key != nobody) slots_[place(e.key)] = e;
    }
    entry& e = slots_[place(key)];
    count_ += e.key == nobody ? 1 : 0;
    e = {key, first, second};
  }

  /// Null if absent.
  [[nodiscard]] entry const* find(std::uint64_t key) const noexcept {
    entry const& e = slots_[place(key)];
    return e.key == nobody ? nullptr : &e;
  }

 private:
  [[nodiscard]] std::size_t place(std::uint64_t key) const noexcept {
    std::size_t const mask = slots_.size() - 1;
    std::size_t i = mix(key) & mask;
    while (slots_[i].key != nobody && slots_[i].key != key) i = (i + 1) & mask;
    return i;
  }

  std::vector<entry> slots_;
  std::size_t count_ = 0;
};

}  // namespace kedge::llm::text
