// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>       // int32_t
#include <memory>        // unique_ptr
#include <optional>      // optional
#include <string>        // string
#include <string_view>   // string_view
#include <vector>        // vector

#include "json_fields.hpp"

namespace kedge::llm::text {

/// Token strings by id; ids may have gaps.
struct vocabulary {
  std::vector<std::string> tokens;
  std::vector<bool> present;
  std::size_t count = 0;

  void add(std::string token, std::int64_t id);
  [[nodiscard]] bool contains(std::int32_t id) const {
    return id >= 0 && static_cast<std::size_t>(id) < present.size() && present[static_cast<std::size_t>(id)];
  }
};

/// What turns one piece of text into ids. Const use is thread-safe; what changes lives in `workspace`.
class model {
 public:
  struct workspace {
    virtual ~workspace() = default;
  };

  model() = default;
  model(model const&) = delete;
  model& operator=(model const&) = delete;
  virtual ~model() = default;

  [[nodiscard]] virtual std::unique_ptr<workspace> make_workspace() const = 0;
  /// Appends the ids of a piece that is not empty.
  virtual void encode(std::string_view piece, std::vector<std::int32_t>& out, workspace& work) const = 0;
  [[nodiscard]] virtual std::optional<std::int32_t> id_of(std::string_view token) const = 0;
  [[nodiscard]] virtual vocabulary const& tokens() const = 0;
};

/// How the pieces that reach the model are spelled: as text, or as the raw bytes that the stand-ins of a byte-level vocabulary mean.
enum class spelling { text, bytes };

std::unique_ptr<model const> make_bpe(json const& definition, spelling wanted);
std::unique_ptr<model const> make_unigram(json const& definition);

/// True if a byte-level BPE can work on raw bytes: no affixes, and no byte that is unknown in a way that shows.
bool can_use_bytes(json const& definition);

}  // namespace kedge::llm::text
