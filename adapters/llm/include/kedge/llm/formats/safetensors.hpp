// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>      // byte, size_t
#include <cstdint>      // int64_t
#include <filesystem>   // path
#include <functional>   // function
#include <map>          // map
#include <memory>       // unique_ptr
#include <optional>     // optional
#include <span>         // span
#include <string>       // string
#include <string_view>  // string_view
#include <vector>       // vector

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/mapped_file.hpp>
#include <kedge/llm/formats/dtype.hpp>

namespace kedge::llm {

/// One tensor of a safetensors file, as its header describes it.
struct safetensors_entry {
  std::string name;
  std::string stored_type;    ///< "BF16", "F8_E4M3", …
  std::optional<dtype> type;  ///< the same, where kedge has the format
  std::vector<std::int64_t> shape;
  std::span<std::byte const> bytes;  ///< in the mapped file
};

/// A safetensors file, mapped. The header is held to the format's rules: at most 100 MB, JSON without repeated keys, byte
/// ranges that follow each other without hole or overlap, cover the file exactly and agree with type and shape.
/// throws  kedge::llm::error naming file and tensor
class safetensors_file {
 public:
  explicit safetensors_file(std::filesystem::path const& path);

  std::filesystem::path const& path() const noexcept { return file_.path(); }
  std::vector<safetensors_entry> const& tensors() const noexcept { return tensors_; }  ///< in the order of their bytes
  std::map<std::string, std::string> const& metadata() const noexcept { return metadata_; }

 private:
  mapped_file file_;
  std::vector<safetensors_entry> tensors_;
  std::map<std::string, std::string> metadata_;
};

/// A tensor as it will stand in a file.
struct tensor_plan {
  std::string name;
  dtype type = dtype::f32;
  std::vector<std::int64_t> shape;

  /// Elements times their size. throws  kedge::llm::error if that overflows or an extent is negative
  std::size_t bytes() const;
};

/// Gives the bytes of tensor `index` of the plan; they need to stay valid until the next call only.
using tensor_bytes = std::function<std::span<std::byte const>(std::size_t index)>;

/// Writes one safetensors file, tensor by tensor, so that no more than one needs to be in memory.
/// The data are laid out by falling element size, then name, which keeps every tensor aligned; `bytes_of` is called once
/// for each tensor in that order. Atomic: the file appears complete, flushed to disk, under its name, or not at all.
/// throws  kedge::llm::error if a name is repeated or "__metadata__", the number of bytes is not the plan's, or writing fails
void write_safetensors(std::filesystem::path const& path, std::vector<tensor_plan> const& plan, tensor_bytes const& bytes_of,
                       std::map<std::string, std::string> const& metadata);

/// A tensor whose bytes are at hand.
struct tensor_to_write {
  std::string name;
  dtype type = dtype::f32;
  std::vector<std::int64_t> shape;
  std::span<std::byte const> bytes;
};

/// The same for tensors in memory.
void write_safetensors(std::filesystem::path const& path, std::vector<tensor_to_write> const& tensors,
                       std::map<std::string, std::string> const& metadata);

/// Writes model.safetensors into a folder or, where the tensors exceed `shard_bytes`, model-00001-of-0000N.safetensors, …
/// and model.safetensors.index.json, as transformers does (tensors fill shards in the order of the plan; one that is
/// larger than a shard gets its own). Metadata {"format": "pt"}, which transformers asks for.
void write_model_safetensors(std::filesystem::path const& folder, std::vector<tensor_plan> const& plan,
                             tensor_bytes const& bytes_of, std::size_t shard_bytes = 50'000'000'000);

/// A model's tensors on their way to disk, in any order, in pieces and from several threads: model.safetensors or shards
/// of it, named and filled as by write_model_safetensors. Nothing stands under its final name before commit().
/// The folder is one that is flushed as a whole, by pending_directory.
/// throws  kedge::llm::error as write_safetensors does
class model_writer {
 public:
  model_writer(std::filesystem::path const& folder, std::vector<tensor_plan> plan, std::size_t shard_bytes,
               std::map<std::string, std::string> const& metadata);
  ~model_writer();

  /// The plan's indices in the order of the bytes on disk, which is the best one to write in.
  std::vector<std::size_t> const& order() const noexcept { return order_; }
  std::size_t shards() const noexcept { return files_.size(); }

  /// Bytes of tensor `index` from byte `offset` of it on; may run in many threads for parts that don't overlap.
  void write(std::size_t index, std::size_t offset, std::span<std::byte const> bytes);
  /// Says that tensor `index` is complete: the disk may begin with it.
  void finish(std::size_t index) noexcept;
  /// Names every file, and writes the index of shards.
  void commit();

 private:
  struct place {
    std::size_t file = 0;
    std::size_t begin = 0;  ///< of the tensor, in the file
  };

  std::filesystem::path folder_;
  std::vector<tensor_plan> plan_;
  std::vector<place> places_;  ///< as plan_
  std::vector<std::size_t> order_;
  std::vector<std::string> names_;
  std::vector<std::unique_ptr<pending_file>> files_;
};

}  // namespace kedge::llm
