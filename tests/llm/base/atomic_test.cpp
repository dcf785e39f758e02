// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <filesystem>
#include <string>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>

#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using namespace kedge::testing;

namespace {

/// Files of this process cannot grow beyond `bytes` for a while: how a disk fills up without a disk.
class small_disk {
 public:
  explicit small_disk(rlim_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    rlimit const now{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  ~small_disk() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int);
};

}  // namespace

TEST_CASE("a file appears whole under its name or the old one stays", "[atomic]") {
  scratch_folder const folder;
  write_file_atomically(folder / "a.txt", "first");
  CHECK(read_file(folder / "a.txt") == "first");
  {
    pending_file unfinished(folder / "a.txt");
    unfinished.write("second");
    CHECK(read_file(folder / "a.txt") == "first");
  }
  CHECK(read_file(folder / "a.txt") == "first");
  CHECK(names_in(folder.path()) == "a.txt");
  write_file_atomically(folder / "a.txt", "third");
  CHECK(read_file(folder / "a.txt") == "third");
  CHECK(names_in(folder.path()) == "a.txt");
}

TEST_CASE("a write that fails half-way says so in one line and leaves nothing behind", "[atomic]") {
  scratch_folder const folder;
  std::string const large(100000, 'x');
  {
    small_disk const disk(4096);
    CHECK_THROWS_WITH(write_file_atomically(folder / "big.bin", large),
                      contains("cannot write '") && contains("big.bin': File too large"));
  }
  CHECK(names_in(folder.path()).empty());
}

TEST_CASE("a place that cannot be written to is named", "[atomic]") {
  scratch_folder const folder;
  write_file(folder / "file", "x");
  CHECK_THROWS_WITH(write_file_atomically(folder / "absent/a.txt", "x"), contains("absent/a.txt': No such file or directory"));
  CHECK_THROWS_WITH(write_file_atomically(folder / "file/a.txt", "x"), contains("Not a directory"));
  CHECK_THROWS_AS(write_file_atomically("", "x"), error);
  CHECK_THROWS_AS(pending_directory(folder / "file/out"), error);
}

TEST_CASE("a folder appears with all its files or not at all", "[atomic]") {
  scratch_folder const folder;
  auto const target = folder.path() / "deep" / "er" / "model";
  {
    pending_directory unfinished(target);
    write_file(unfinished.path() / "config.json", "{}");
    CHECK_FALSE(std::filesystem::exists(target));
  }
  CHECK(names_in(folder.path()).empty());
  {
    pending_directory model(target / "");  // a trailing slash changes nothing
    write_file(model.path() / "config.json", "{}");
    std::filesystem::create_directory(model.path() / "sub");
    write_file(model.path() / "sub" / "x", "1");
    model.commit();
  }
  CHECK(names_in(target) == "config.json sub");
  CHECK(names_in(target.parent_path()) == "model");
}

TEST_CASE("a folder that holds something is refused unless it is to be replaced", "[atomic]") {
  scratch_folder const folder;
  std::filesystem::create_directory(folder / "model");
  pending_directory(folder / "model").commit();  // empty: as good as absent
  write_file(folder / "model/old", "x");
  CHECK_THROWS_WITH(pending_directory(folder / "model"), contains("model' already exists and is not empty"));
  CHECK_THROWS_WITH(check_output_folder(folder / "model"), contains("already exists and is not empty"));
  CHECK_NOTHROW(check_output_folder(folder / "model", if_taken::replace));
  CHECK_NOTHROW(check_output_folder(folder / "new/er"));
  CHECK_THROWS_AS(check_output_folder(folder / "model/old/new"), error);
  CHECK(names_in(folder / "model") == "old");

  pending_directory fresh(folder / "model", if_taken::replace);
  write_file(fresh.path() / "new", "y");
  fresh.commit();
  CHECK(names_in(folder / "model") == "new");
  CHECK(names_in(folder.path()) == "model");
}

TEST_CASE("a folder that someone else fills in the meantime is not overwritten", "[atomic]") {
  scratch_folder const folder;
  pending_directory mine(folder / "model");
  std::filesystem::create_directory(folder / "model");
  write_file(folder / "model/theirs", "x");
  CHECK_THROWS_WITH(mine.commit(), contains("already exists"));
  CHECK(names_in(folder / "model") == "theirs");
}

TEST_CASE("a pipe is written to and stays a pipe", "[atomic]") {
  scratch_folder const folder;
  auto const pipe = folder / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  int const reader = ::open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  REQUIRE(reader >= 0);
  write_file_atomically(pipe, "three");
  char text[8] = "";
  CHECK(::read(reader, text, sizeof text) == 5);
  CHECK(std::string(text) == "three");
  ::close(reader);
  CHECK(std::filesystem::is_fifo(pipe));
  CHECK(names_in(folder.path()) == "pipe");
}
