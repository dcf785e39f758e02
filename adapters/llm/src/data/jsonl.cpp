// SPDX-License-Identifier: Apache-2.0
#include <cerrno>    // errno
#include <cstring>   // strerror
#include <fstream>   // ifstream
#include <iterator>  // istreambuf_iterator
#include <optional>  // optional
#include <utility>   // move
#include <vector>    // vector

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kedge/llm/data/jsonl.hpp>
#include <kedge/llm/files/error.hpp>
#include <kedge/llm/files/json.hpp>
#include <kedge/llm/files/mapped_file.hpp>

namespace kedge::llm {
namespace {

/// What a child process writes to its standard output.
/// throws  kedge::llm::error if the program is missing, or fails
std::string output_of(char const* program, std::filesystem::path const& path) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw error("cannot start " + std::string{program} + ": " + std::strerror(errno));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);  // one line is ours to say
  std::string const absolute = std::filesystem::absolute(path).string();                // never taken for an option
  char const* const arguments[] = {program, "-dc", absolute.c_str(), nullptr};
  pid_t child = 0;
  int const problem = ::posix_spawnp(&child, program, &actions, nullptr, const_cast<char* const*>(arguments), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  std::string out;
  std::vector<char> buffer(std::size_t{1} << 16U);
  for (ssize_t count = 1; problem == 0 && count > 0;) {
    count = ::read(ends[0], buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR)
      count = 1;
    else if (count > 0)
      out.append(buffer.data(), static_cast<std::size_t>(count));
  }
  ::close(ends[0]);
  if (problem != 0)
    throw error(in_quotes(path.string()) + " is compressed, and the program " + program +
                " that unpacks it cannot be started: " + std::strerror(problem) + "; install it or unpack the file");
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) throw error(in_quotes(path.string()) + " cannot be unpacked by " + program + "; the file is damaged");
  return out;
}

/// A file's text: mapped where it is a plain regular file, else read to the end or unpacked.
class text_of {
 public:
  explicit text_of(std::filesystem::path const& path) {
    std::error_code ignored;
    auto const status = std::filesystem::status(path, ignored);
    if (std::filesystem::is_fifo(status) || std::filesystem::is_character_file(status)) {
      std::ifstream stream(path, std::ios::binary);
      if (!stream) throw error("cannot read " + in_quotes(path.string()));
      owned_.assign(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
      return;
    }
    mapped_.emplace(path);
    char const* const program = mapped_->text().starts_with("\x1f\x8b")           ? "gzip"
                                : mapped_->text().starts_with("\x28\xb5\x2f\xfd") ? "zstd"
                                                                                  : nullptr;
    if (program == nullptr) return;
    mapped_.reset();
    owned_ = output_of(program, path);
  }
  std::string_view text() const { return mapped_ ? mapped_->text() : std::string_view{owned_}; }

 private:
  std::optional<mapped_file> mapped_;
  std::string owned_;
};

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r\v\f") == std::string_view::npos; }

/// The reason alone, without the empty name that parse_json puts in front.
nlohmann::ordered_json parse_line(std::string_view line) {
  try {
    return parse_json(line, "");
  } catch (error const& problem) {
    std::string_view const message = problem.what();
    throw error(std::string{message.substr(message.find_first_not_of(": "))});
  }
}

}  // namespace

std::size_t read_json_lines(std::filesystem::path const& path, bool skip_bad_lines,
                            std::function<void(json_line)> const& take) {
  text_of const file(path);
  std::string_view rest = file.text();
  if (rest.starts_with("\xef\xbb\xbf")) rest.remove_prefix(3);
  std::size_t skipped = 0;
  std::size_t taken = 0;
  for (std::size_t number = 1; !rest.empty(); ++number) {
    std::size_t const end = rest.find('\n');
    std::string_view const line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (is_blank(line)) continue;
    std::string place = in_quotes(path.string()) + ':' + std::to_string(number);
    try {
      auto object = parse_line(line);
      if (!object.is_object()) throw error("the line is not a JSON object");
      take({std::move(object), number, place});
      ++taken;
    } catch (error const& problem) {
      if (!skip_bad_lines) throw error(place + ": " + problem.what());
      ++skipped;
    }
  }
  if (taken == 0)
    throw error(in_quotes(path.string()) +
                (skipped > 0 ? " has no usable line: all " + std::to_string(skipped) + " are bad" : " has no lines") +
                "; pass a file with one JSON object a line");
  return skipped;
}

}  // namespace kedge::llm
