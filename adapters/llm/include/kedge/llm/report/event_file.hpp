// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

namespace kedge::llm {

/// A file of TensorBoard's events: TFRecords (length, masked CRC-32C of it, bytes, masked CRC-32C of them) of Event messages in protobuf's
/// notation. What was added is on disk after each flush().
/// source  tensorboard/compat/proto/event.proto and summary.proto; tensorflow/core/lib/io/record_writer.h
class event_file {
 public:
  /// A new file in `folder`, which is made.
  /// goes_on_after: what other files of the folder hold beyond this step is void, as after a resume from a checkpoint
  /// throws  error naming the file if it can't be written
  event_file(std::filesystem::path const& folder, double wall_time, std::optional<std::int64_t> goes_on_after = {});

  void add_scalar(std::string_view tag, double value, std::int64_t step, double wall_time);
  /// Text in Markdown, as SummaryWriter.add_text of PyTorch writes it.
  void add_text(std::string_view tag, std::string_view text, std::int64_t step, double wall_time);
  /// throws  error naming the file if it can't be written
  void flush();

  [[nodiscard]] std::filesystem::path const& path() const { return path_; }

 private:
  void add(std::string const& event);

  std::filesystem::path path_;
  std::ofstream file_;
};

/// The CRC-32C (Castagnoli) of bytes.                                                                     RFC 3720, B.4
[[nodiscard]] std::uint32_t crc32c(std::string_view bytes);

/// What transformers' TensorBoardCallback calls a figure: "eval_loss" is "eval/loss", "loss" is "train/loss".
[[nodiscard]] std::string tensorboard_tag(std::string_view metric);

}  // namespace kedge::llm
