// SPDX-License-Identifier: Apache-2.0
#include "byte_source.hpp"

#include <algorithm>  // min
#include <cerrno>     // errno
#include <cstring>    // strerror, memcpy
#include <utility>    // move
#include <vector>     // vector

#include <fcntl.h>
#include <unistd.h>

#include <zlib.h>
#include <zstd.h>

#include <kedge/llm/base/error.hpp>

#include "parquet/parquet_file.hpp"

namespace kedge::llm {
namespace {

/// A descriptor read through a buffer.
class raw_bytes {
 public:
  raw_bytes(int descriptor, std::string name) : descriptor_(descriptor), name_(std::move(name)), buffer_(std::size_t{1} << 16U) {}
  raw_bytes(raw_bytes&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)), name_(std::move(other.name_)), buffer_(std::move(other.buffer_)),
        begin_(other.begin_), end_(other.end_) {}
  raw_bytes& operator=(raw_bytes&&) = delete;
  ~raw_bytes() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  /// What is there, at least `least` bytes of it unless the file ends before; `least` is far below the buffer's size.
  std::string_view peek(std::size_t least = 1) {
    while (end_ - begin_ < least) {
      if (begin_ > 0) std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= std::exchange(begin_, 0);
      ssize_t const count = ::read(descriptor_, buffer_.data() + end_, buffer_.size() - end_);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw error("cannot read " + name_ + ": " + std::strerror(errno));
      if (count == 0) break;
      end_ += static_cast<std::size_t>(count);
    }
    return {buffer_.data() + begin_, end_ - begin_};
  }
  void drop(std::size_t count) { begin_ += count; }

  [[noreturn]] void fail(char const* packed, std::string const& why) const {
    throw error(name_ + " cannot be unpacked: " + why + "; the " + packed + " data are damaged or cut off");
  }

 private:
  int descriptor_;
  std::string name_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0, end_ = 0;
};

constexpr std::string_view gzip_mark = "\x1f\x8b", zstd_mark = "\x28\xb5\x2f\xfd", parquet_mark = "PAR1";

}  // namespace

struct byte_source::unpacker {
  explicit unpacker(raw_bytes&& from) : in(std::move(from)) {}
  unpacker(unpacker const&) = delete;
  unpacker& operator=(unpacker const&) = delete;
  virtual ~unpacker() = default;
  virtual std::size_t read(std::span<char> out) {
    std::string_view const there = in.peek();
    std::size_t const count = std::min(there.size(), out.size());
    std::memcpy(out.data(), there.data(), count);
    in.drop(count);
    return count;
  }
  raw_bytes in;
};

namespace {

/// Members of a gzip file follow each other; zeros behind the last are padding.
struct gzip_unpacker final : byte_source::unpacker {
  explicit gzip_unpacker(raw_bytes&& from) : unpacker(std::move(from)) {
    constexpr int gzip_only = 16 + MAX_WBITS;
    if (inflateInit2(&state_, gzip_only) != Z_OK) in.fail("gzip", "no memory for it");
  }
  ~gzip_unpacker() override { inflateEnd(&state_); }

  std::size_t read(std::span<char> out) override {
    state_.next_out = reinterpret_cast<Bytef*>(out.data());
    state_.avail_out = static_cast<uInt>(std::min(out.size(), std::size_t{1} << 30U));
    uInt const room = state_.avail_out;
    while (state_.avail_out == room) {
      std::string_view const there = in.peek(gzip_mark.size());
      if (between_ && !there.starts_with(gzip_mark)) {
        if (there.find_first_not_of('\0') != std::string_view::npos) in.fail("gzip", "something else follows them");
        if (there.empty()) break;
        in.drop(there.size());
        continue;
      }
      if (there.empty()) in.fail("gzip", "they end too early");
      between_ = false;
      state_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(there.data()));
      state_.avail_in = static_cast<uInt>(there.size());
      int const result = inflate(&state_, Z_NO_FLUSH);
      in.drop(there.size() - state_.avail_in);
      if (result == Z_STREAM_END) {
        between_ = true;
        inflateReset(&state_);
      } else if (result != Z_OK) {
        in.fail("gzip", state_.msg != nullptr ? state_.msg : "they make no sense");
      }
    }
    return room - state_.avail_out;
  }

 private:
  z_stream state_{};
  bool between_ = false;  ///< a member has ended
};

struct zstd_unpacker final : byte_source::unpacker {
  explicit zstd_unpacker(raw_bytes&& from) : unpacker(std::move(from)), state_(ZSTD_createDStream(), &ZSTD_freeDStream) {
    if (!state_) in.fail("zstd", "no memory for it");
  }

  std::size_t read(std::span<char> out) override {
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    while (to.pos == 0) {
      std::string_view const there = in.peek();
      if (there.empty() && complete_) break;
      ZSTD_inBuffer from{there.data(), there.size(), 0};
      std::size_t const result = ZSTD_decompressStream(state_.get(), &to, &from);
      if (ZSTD_isError(result) != 0) in.fail("zstd", ZSTD_getErrorName(result));
      in.drop(from.pos);
      complete_ = result == 0;
      if (there.empty() && to.pos == 0 && !complete_) in.fail("zstd", "they end too early");
    }
    return to.pos;
  }

 private:
  std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> state_;
  bool complete_ = false;  ///< no frame is open
};

/// The rows of a Parquet file, which is read by its name: its table of contents stands at the end.
struct parquet_unpacker final : byte_source::unpacker {
  parquet_unpacker(raw_bytes&& from, std::filesystem::path const& path) : unpacker(std::move(from)), file_(path) {}

  std::size_t read(std::span<char> out) override {
    if (rows_.empty()) rows_ = file_.next();
    std::size_t const count = std::min(rows_.size(), out.size());
    std::memcpy(out.data(), rows_.data(), count);
    rows_.remove_prefix(count);
    return count;
  }

 private:
  parquet_file file_;
  std::string_view rows_;
};

}  // namespace

bool is_packed(std::string_view start) { return start.starts_with(gzip_mark) || start.starts_with(zstd_mark) || start.starts_with(parquet_mark); }

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r\v\f") == std::string_view::npos; }

byte_source::byte_source(std::filesystem::path const& path)
    : name_(path == "-" ? "standard input" : in_quotes(path.string())) {
  int const descriptor = path == "-" ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw error("cannot read " + name_ + ": " + std::strerror(errno));
  raw_bytes in(descriptor, name_);
  std::string_view const start = in.peek(zstd_mark.size());
  std::error_code ignored;
  if (start.starts_with(parquet_mark) && !std::filesystem::is_regular_file(path, ignored))
    throw error(name_ + " is of Parquet, whose table of contents stands at the end; give the file's name instead of a pipe");
  if (start.starts_with(parquet_mark))
    unpacker_ = std::make_unique<parquet_unpacker>(std::move(in), path);
  else if (start.starts_with(gzip_mark))
    unpacker_ = std::make_unique<gzip_unpacker>(std::move(in));
  else if (start.starts_with(zstd_mark))
    unpacker_ = std::make_unique<zstd_unpacker>(std::move(in));
  else
    unpacker_ = std::make_unique<unpacker>(std::move(in));
}

byte_source::~byte_source() = default;

std::size_t byte_source::read(std::span<char> out) { return unpacker_->read(out); }

bool line_source::next(std::string_view& line) {
  constexpr std::size_t piece = std::size_t{1} << 16U, longest = std::size_t{1} << 30U;
  ++lines_;
  for (std::size_t searched = begin_;;) {
    if (std::size_t const end = buffer_.find('\n', searched); end != std::string::npos) {
      line = std::string_view{buffer_}.substr(begin_, end - begin_);
      begin_ = end + 1;
      return true;
    }
    if (at_end_) break;
    buffer_.erase(0, std::exchange(begin_, 0));
    if (buffer_.size() > longest)
      throw error(name() + ':' + std::to_string(lines_) + ": the line is longer than 1 GiB; is it a file of JSON lines?");
    searched = buffer_.size();
    buffer_.resize(searched + piece);
    std::size_t const count = bytes_.read(std::span{buffer_}.subspan(searched));
    buffer_.resize(searched + count);
    at_end_ = count == 0;
  }
  line = std::string_view{buffer_}.substr(begin_);
  begin_ = buffer_.size();
  return !line.empty();
}

}  // namespace kedge::llm
