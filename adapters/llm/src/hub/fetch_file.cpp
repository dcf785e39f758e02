// SPDX-License-Identifier: Apache-2.0
#include "fetch_file.hpp"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <kedge/llm/base/error.hpp>

#include "digest.hpp"
#include "layout.hpp"
#include "patience.hpp"

namespace kedge::llm {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void cannot_write(fs::path const& file, int reason) {
  std::string text = "cannot write " + in_quotes(file.string()) + ": " + std::strerror(reason);
  if (reason == ENOSPC || reason == EDQUOT)
    text += "; free some space, or set HF_HOME to a larger place; what was fetched is kept";
  if (reason == EACCES || reason == EPERM || reason == EROFS) text += "; set HF_HOME to a place that you may write to";
  throw error(text);
}

void make_folder(fs::path const& folder) {
  std::error_code problem;
  fs::create_directories(folder, problem);
  if (problem) cannot_write(folder, problem.value());
}

// flock on the file that huggingface_hub locks too.
class file_lock {
 public:
  file_lock(fs::path const& file, hub_settings const& settings) {
    make_folder(file.parent_path());
    descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) cannot_write(file, errno);
    while (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      bool const taken = errno == EWOULDBLOCK || errno == EINTR;
      if (!taken) break;  // a file system without locks: files have names by content, and are checked before they get them
      if (settings.stop && settings.stop()) {
        ::close(descriptor_);
        throw hub_interrupted();
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
  ~file_lock() { ::close(descriptor_); }
  file_lock(file_lock const&) = delete;
  file_lock& operator=(file_lock const&) = delete;

 private:
  int descriptor_;
};

// A file that grows at its end.
class growing_file {
 public:
  explicit growing_file(fs::path file)
      : file_(std::move(file)), descriptor_(::open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
    if (descriptor_ < 0) cannot_write(file_, errno);
    size_ = fs::file_size(file_);
  }
  ~growing_file() { ::close(descriptor_); }
  growing_file(growing_file const&) = delete;
  growing_file& operator=(growing_file const&) = delete;

  [[nodiscard]] std::uint64_t size() const { return size_; }
  void append(std::string_view bytes) {
    while (!bytes.empty()) {
      ssize_t const n = ::write(descriptor_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) cannot_write(file_, errno);
      size_ += static_cast<std::uint64_t>(n);
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  void clear() {
    if (::ftruncate(descriptor_, 0) != 0) cannot_write(file_, errno);
    size_ = 0;
  }
  void flush() {
    if (::fsync(descriptor_) != 0 && errno != EINVAL && errno != ENOTSUP) cannot_write(file_, errno);
  }

 private:
  fs::path file_;
  int descriptor_;
  std::uint64_t size_ = 0;
};

class blob_fetch {
 public:
  blob_fetch(http_client& client, hub_name const& name, std::string url, remote_file const& file, fs::path blob,
             hub_settings const& settings, fetch_progress& progress)
      : client_(client),
        name_(name),
        url_(std::move(url)),
        file_(file),
        blob_(std::move(blob)),
        settings_(settings),
        progress_(progress) {}

  void run() {
    fs::path const partial = blob_.string() + ".incomplete";
    growing_file out(partial);
    if (file_.size && out.size() > *file_.size) out.clear();
    require_space(out.size());
    count(out.size());
    fill(out);
    if (!check(partial)) {  // what an earlier fetch left may be damaged: once more, from the beginning
      progress_.there -= out.size();
      out.clear();
      fill(out);
      if (!check(partial)) {
        fs::remove(partial);
        throw error(in_quotes(file_.path) + " of " + in_quotes(name_.repository) + ": what came isn't what the hub promised (" +
                    difference_ + "); a proxy may have changed it; try again");
      }
    }
    out.flush();
    if (::rename(partial.c_str(), blob_.c_str()) != 0) cannot_write(blob_, errno);
    ++progress_.fetched;
  }

 private:
  void count(std::uint64_t bytes) { progress_.there += bytes; }

  void require_space(std::uint64_t there) const {
    std::error_code unknown;
    fs::space_info const space = fs::space(blob_.parent_path(), unknown);
    if (unknown || !file_.size || *file_.size - there <= space.available) return;
    throw error(in_quotes(file_.path) + " needs " + std::to_string(*file_.size - there) + " bytes, and " +
                in_quotes(blob_.parent_path().string()) + " has " + std::to_string(space.available) +
                " left; free some space, or set HF_HOME to a larger place");
  }

  // Asks for what is missing until it is all there.
  void fill(growing_file& out) {
    patience patient(settings_);
    while (!file_.size || out.size() < *file_.size) {
      std::uint64_t const before = out.size();
      std::string why;
      std::optional<double> seconds;
      try {
        http_answer const answer = client_.send(request(out));
        if (answer.status == 416) {  // what is there is no beginning of this content
          progress_.there -= out.size();
          out.clear();
        } else if (!is_for_later(answer.status)) {
          require_success(answer, name_, file_.path, settings_);
          if (!file_.size) return;
        }
        why = in_quotes(file_.path) + " of " + in_quotes(name_.repository) + " ends after " + std::to_string(out.size()) +
              " bytes (status " + std::to_string(answer.status) + ")";
        seconds = asked_to_wait(answer);
      } catch (broken_connection const& e) {
        why = in_quotes(file_.path) + " of " + in_quotes(name_.repository) + ": " + e.what();
      }
      if (out.size() > before) patient.reset();
      if (!file_.size || out.size() < *file_.size) patient.wait(why, seconds);
    }
  }

  [[nodiscard]] http_request request(growing_file& out) {
    http_request r{.url = url_, .from = out.size()};
    r.begin = [&out, this](int status) {
      if (status != 200) return;
      progress_.there -= out.size();  // the server sends it from the beginning, whatever it was asked for
      out.clear();
    };
    r.take = [&out, this](std::string_view piece) {
      if (file_.size && out.size() + piece.size() > *file_.size)
        throw error(in_quotes(file_.path) + " of " + in_quotes(name_.repository) + ": more came than the " +
                    std::to_string(*file_.size) + " bytes that the hub promised; a proxy may have changed it");
      out.append(piece);
      count(piece.size());
      progress_.came += piece.size();
    };
    return r;
  }

  [[nodiscard]] bool check(fs::path const& partial) {
    std::uint64_t const size = fs::file_size(partial);
    if (file_.size && size != *file_.size) {
      difference_ = std::to_string(size) + " bytes, not " + std::to_string(*file_.size);
      return false;
    }
    bool const large = is_hexadecimal(file_.etag, sha256_digits), small = is_hexadecimal(file_.etag, commit_digits);
    if (!large && !small) {
      progress_.unchecked = true;
      return true;
    }
    std::string const digest = digest_of(partial, large ? digest_kind::sha256 : digest_kind::git_blob, settings_.stop);
    difference_ = std::string(large ? "SHA-256 " : "Git's SHA-1 ") + digest + ", not " + file_.etag;
    return digest == file_.etag;
  }

  http_client& client_;
  hub_name const& name_;
  std::string url_;
  remote_file const& file_;
  fs::path blob_;
  hub_settings const& settings_;
  fetch_progress& progress_;
  std::string difference_;
};

// The file of a snapshot: a link to the blob, as huggingface_hub makes it, else a copy where there are no links.
void place(fs::path const& blob, fs::path const& file) {
  std::error_code problem;
  if (fs::exists(file, problem)) return;
  fs::remove(file, problem);  // a link to a blob that was removed
  make_folder(file.parent_path());
  fs::create_symlink(blob.lexically_relative(file.parent_path()), file, problem);
  if (!problem || fs::exists(file)) return;
  fs::copy_file(blob, file, problem);
  if (problem) cannot_write(file, problem.value());
}

}  // namespace

void fetch_file(http_client& client, hub_name const& name, std::string const& commit, std::string const& path,
                fs::path const& repository, hub_settings const& settings, fetch_progress& progress) {
  fs::path const target = repository / snapshots_folder / commit / path;
  std::error_code absent;
  if (fs::is_regular_file(target, absent)) return;
  remote_file const file = describe_file(client, name, commit, path, settings);
  fs::path const blob = repository / blobs_folder / file.etag;
  make_folder(blob.parent_path());
  progress.expected += file.size.value_or(0);
  file_lock const lock(repository.parent_path() / locks_folder / repository.filename() / (file.etag + ".lock"), settings);
  if (fs::is_regular_file(blob, absent))
    progress.there += file.size.value_or(0);
  else
    blob_fetch(client, name, file_url(name, commit, path, settings), file, blob, settings, progress).run();
  place(blob, target);
}

}  // namespace kedge::llm
