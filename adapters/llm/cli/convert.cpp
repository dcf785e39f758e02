// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <iostream>
#include <optional>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/data/jsonl.hpp>
#include <kedge/llm/data/preferences.hpp>

#include "command.hpp"

namespace kedge::cli {
namespace {

struct convert_settings {
  std::filesystem::path input, output = "-";
  llm::reading how;
  std::optional<llm::data_kind> to;
  bool quiet = false;
};

// Lines to where they go: a file that appears when it is whole, or standard output.
class line_writer {
 public:
  explicit line_writer(std::filesystem::path const& output) {
    if (output != "-") file_.emplace(output);
  }
  void write(nlohmann::ordered_json const& object) {
    block_ += object.dump();
    block_ += '\n';
    if (constexpr std::size_t large = std::size_t{1} << 20U; block_.size() > large) flush();
  }
  void finish() {
    flush();
    if (file_) file_->commit();
  }

 private:
  void flush() {
    if (file_)
      file_->write(block_);
    else if (!std::cout.write(block_.data(), static_cast<std::streamsize>(block_.size())).flush())
      throw llm::error("the lines can't be written; is the disk full?");
    block_.clear();
  }

  std::optional<llm::pending_file> file_;
  std::string block_;
};

int convert(convert_settings const& s) {
  llm::json_line_reader reader(s.input, s.how, s.to);
  line_writer out(s.output);
  std::size_t written = 0;
  while (reader.next([&](llm::json_line line) {
    out.write(line.object);
    ++written;
  })) {
  }
  out.finish();
  if (s.quiet) return exit_done;
  for (std::string const& note : reader.notes()) std::fprintf(stderr, "%s: %s\n", s.input.string().c_str(), note.c_str());
  if (reader.skipped() > 0)
    std::fprintf(stderr, "%s: %zu lines skipped that could not be used\n", s.input.string().c_str(), reader.skipped());
  std::fprintf(stderr, "%s: %zu lines written\n", s.output == "-" ? "standard output" : s.output.string().c_str(), written);
  return exit_done;
}

}  // namespace

int run_convert(arguments const& args) {
  convert_settings s;
  command_line line("kedge convert", "Writes a data set of any format, JSON lines or Parquet, as JSON lines with TRL's keys.");
  line.settings
      .add(
          "dataset", s.input,
          "file of JSON lines, plain or packed by gzip or zstd, or of Parquet; * in its name for several; - for standard input")
      .alias("data")
      .positional()
      .required();
  line.settings.add("output", s.output, "file, which appears when all is written, or - for standard output");
  line.settings.add("dataset_format", s.how.format,
                    "how the lines are written; auto: by the keys of the first, where they leave no choice");
  line.settings.add("to", s.to, "examples to make; none: what the lines are made for");
  line.settings.add("ranked_pairs", s.how.pairs, "which ranked or rated completions of a prompt make pairs");
  line.settings.add("max_samples", s.how.most, "write so many examples, and read no further; 0 or -1: all").also("-1", "0");
  line.settings.add("skip_bad_lines", s.how.skip_bad_lines, "go on after lines that can't be used, and count them");
  line.settings.add("quiet", s.quiet, "nothing on stderr but errors");
  line.parse(args);
  return convert(s);
}

}  // namespace kedge::cli
