// SPDX-License-Identifier: Apache-2.0

// kedge's side of compare_tokenizers.py and of bench/against_tokenizers.py:
//
//   tokenize_lines TOKENIZER ids|framed|decoded    JSON strings on standard input, one a line; a line of JSON for each on
//                                                  standard output: ids, ids with special tokens, or the texts of the ids
//   tokenize_lines TOKENIZER time FILE REPEATS     the JSON strings of FILE on one thread: bytes, tokens, processor seconds a repeat
//
// TOKENIZER is a tokenizer.json, or a GGUF file.
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include <kedge/llm/base/json.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/text/tokenizer.hpp>

namespace {

using kedge::llm::tokenizer;

tokenizer open(std::string const& path) {
  if (path.ends_with(".gguf")) return tokenizer::from_json(kedge::llm::checkpoint::open(path).tokenizer);
  return tokenizer::from_json(kedge::llm::read_json_file(path));
}

std::string answer(tokenizer const& words, std::string const& text, std::string const& what) {
  std::vector<std::int32_t> const ids = words.encode(text, what == "framed");
  if (what != "decoded") return nlohmann::json(ids).dump();
  return nlohmann::json{words.decode(ids, false), words.decode(ids, true)}.dump();
}

void measure(tokenizer const& words, char const* file, int repeats) {
  std::vector<std::string> lines;
  std::size_t bytes = 0;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) bytes += lines.emplace_back(nlohmann::json::parse(line).get<std::string>()).size();
  for (int r = 0; r < repeats; ++r) {
    std::size_t tokens = 0;
    std::clock_t const start = std::clock();
    for (std::string const& line : lines) tokens += words.encode(line, false).size();
    double const seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    std::cout << nlohmann::ordered_json{{"bytes", bytes}, {"tokens", tokens}, {"seconds", seconds}}.dump() << std::endl;
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3) return 2;
  tokenizer const words = open(argv[1]);
  std::string const what = argv[2];
  if (what == "time" && argc == 5) {
    measure(words, argv[3], std::atoi(argv[4]));
    return 0;
  }
  for (std::string line; std::getline(std::cin, line);) std::cout << answer(words, nlohmann::json::parse(line).get<std::string>(), what) << '\n';
  return 0;
} catch (std::exception const& problem) {
  std::fprintf(stderr, "tokenize_lines: %s\n", problem.what());
  return 1;
}
