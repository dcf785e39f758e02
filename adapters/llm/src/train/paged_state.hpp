// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>

#include <kedge/llm/train/optimizer.hpp>

namespace kedge::llm {

/// Zeros in a file that is mapped: what memory doesn't hold, the system reads again and has written. The file has no name from the start, so that
/// it is gone with the process, however that ends.
class paged_memory : public std::enable_shared_from_this<paged_memory> {
 public:
  /// folder: made where it is missing
  /// throws  error if the disk has not so much room
  paged_memory(std::filesystem::path const& folder, std::size_t bytes);
  paged_memory(paged_memory const&) = delete;
  paged_memory& operator=(paged_memory const&) = delete;
  ~paged_memory();

  /// The next place of it, in pages of its own. The tensor keeps the file open.
  [[nodiscard]] at::Tensor place(at::IntArrayRef sizes, at::ScalarType type);
  /// Tells the system what becomes of a tensor's pages (MADV_…); nothing where it lies elsewhere.
  void advise(at::Tensor const& t, int advice) const;
  /// What such a tensor takes.
  [[nodiscard]] static std::size_t bytes_of(at::Tensor const& like);

 private:
  std::byte* data_ = nullptr;
  std::size_t size_, used_ = 0;
};

/// Whether what is written to a folder, or will be once it is made, stays in memory.
[[nodiscard]] bool lies_in_memory(std::filesystem::path folder);

/// An optimizer's state before the first step, in a file of that folder.
/// own: on the host, what init is given
[[nodiscard]] optimizer_state paged_state(optimizer const& of, pack const& own, std::filesystem::path const& folder);

}  // namespace kedge::llm
