// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <bit>

#include <unistd.h>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/report/event_file.hpp>

namespace kedge::llm {
namespace {

constexpr std::array<std::uint32_t, 256> crc_table = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ ((c & 1U) != 0 ? 0x82F63B78U : 0U);
    table[i] = c;
  }
  return table;
}();

// A checksum of bytes that hold checksums is weak, so that those of a record are masked: tensorflow/core/lib/hash/crc32c.h.
std::uint32_t masked(std::uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xA282EAD8U; }

template <class T>
std::string little_endian(T value) {
  std::string bytes;
  for (std::size_t i = 0; i < sizeof value; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xFF);
  return bytes;
}

// Protobuf's notation: a field is its number and wire type, then its value.
enum wire : std::uint64_t { varint = 0, eight_bytes = 1, sized = 2, four_bytes = 5 };

std::string number(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7F) | 0x80);
  return bytes + static_cast<char>(value);
}
std::string field(std::uint64_t which, wire how, std::string const& value) { return number(which << 3 | how) + value; }
std::string field(std::uint64_t which, std::string_view value) {
  return field(which, sized, number(value.size()) + std::string(value));
}

// Event { double wall_time = 1; int64 step = 2; one of: string file_version = 3; Summary summary = 5; SessionLog session_log = 7 }
std::string event(double wall_time, std::int64_t step, std::string const& what) {
  return field(1, eight_bytes, little_endian(std::bit_cast<std::uint64_t>(wall_time))) +
         (step == 0 ? "" : field(2, varint, number(static_cast<std::uint64_t>(step)))) + what;  // protobuf leaves out zeros
}

// Summary { repeated Value value = 1 }, Value { string tag = 1; float simple_value = 2; TensorProto tensor = 8; SummaryMetadata metadata = 9 }
std::string summary(std::string_view tag, std::string const& value) { return field(5, field(1, field(1, tag) + value)); }

constexpr std::uint64_t type_of_strings = 7;  // DT_STRING
constexpr std::uint64_t session_starts = 1;   // SessionLog.START

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t c = 0xFFFFFFFFU;
  for (char const byte : bytes) c = crc_table[(c ^ static_cast<unsigned char>(byte)) & 0xFFU] ^ (c >> 8);
  return ~c;
}

std::string tensorboard_tag(std::string_view metric) {
  constexpr std::string_view held_out = "eval_";
  return metric.starts_with(held_out) ? "eval/" + std::string(metric.substr(held_out.size())) : "train/" + std::string(metric);
}

event_file::event_file(std::filesystem::path const& folder, double wall_time, std::optional<std::int64_t> goes_on_after) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  std::string const name =
      "events.out.tfevents." + std::to_string(static_cast<std::int64_t>(wall_time)) + ".kedge." + std::to_string(::getpid());
  for (int i = 0; path_.empty() || std::filesystem::exists(path_, failed); ++i)
    path_ = folder / (name + "." + std::to_string(i));
  file_.open(path_, std::ios::binary);
  add(event(wall_time, 0, field(3, "brain.Event:2")));
  if (goes_on_after) add(event(wall_time, *goes_on_after + 1, field(7, field(1, varint, number(session_starts)))));
  flush();
}

void event_file::add(std::string const& bytes) {
  std::string const length = little_endian(static_cast<std::uint64_t>(bytes.size()));
  file_ << length << little_endian(masked(crc32c(length))) << bytes << little_endian(masked(crc32c(bytes)));
}

void event_file::add_scalar(std::string_view tag, double value, std::int64_t step, double wall_time) {
  add(event(wall_time, step,
            summary(tag, field(2, four_bytes, little_endian(std::bit_cast<std::uint32_t>(static_cast<float>(value)))))));
}

void event_file::add_text(std::string_view tag, std::string_view text, std::int64_t step, double wall_time) {
  // TensorProto { DataType dtype = 1; TensorShapeProto tensor_shape = 2; bytes string_val = 8 }, of one element
  std::string const one = field(2, field(1, varint, number(1)));
  std::string const tensor = field(1, varint, number(type_of_strings)) + field(2, one) + field(8, text);
  add(event(wall_time, step,
            summary(std::string(tag) + "/text_summary", field(8, tensor) + field(9, field(1, field(1, "text"))))));
}

void event_file::flush() {
  file_.flush();
  if (!file_) throw error(path_.string() + ": can't be written; is the disk full? --report_to none writes no event files");
}

}  // namespace kedge::llm
