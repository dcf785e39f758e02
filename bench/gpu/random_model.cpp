// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cmath>
#include <fstream>
#include <functional>
#include <numeric>
#include <random>
#include <span>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/formats/safetensors.hpp>

#include "kit.hpp"

namespace kedge::gpu_kit {
namespace {

constexpr int letters = 4;

std::uint16_t bf16_of(double x) { return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(static_cast<float>(x)) >> 16U); }

// Random numbers for all tensors: each takes a stretch of its own beginning, so that a model of any size costs the largest tensor.
class random_bytes {
 public:
  explicit random_bytes(std::size_t longest) : numbers_(longest + stretch) {
    std::vector<std::uint16_t> normal(std::size_t{1} << 16U);
    std::mt19937_64 engine(0);
    std::normal_distribution<double> of(0, 0.02);
    for (auto& x : normal) x = bf16_of(of(engine));
    for (std::size_t i = 0; i < numbers_.size(); i += 4) {
      std::uint64_t const four = engine();
      for (std::size_t k = 0; k < std::min<std::size_t>(4, numbers_.size() - i); ++k) numbers_[i + k] = normal[four >> (16 * k) & 0xFFFFU];
    }
  }
  std::span<std::byte const> of(std::size_t which, std::size_t count) const {
    return std::as_bytes(std::span(numbers_).subspan(which * 7919 % stretch, count));
  }

 private:
  static constexpr std::size_t stretch = std::size_t{1} << 20U;
  std::vector<std::uint16_t> numbers_;
};

void write_weights(llm::transformer_config const& config, std::filesystem::path const& folder) {
  std::vector<llm::tensor_plan> plan;
  std::size_t longest = 0;
  for (llm::parameter const& p : llm::parameters_of(config)) {
    plan.push_back({p.name, llm::dtype::bf16, p.shape});
    longest = std::max(longest, plan.back().bytes() / 2);
  }
  random_bytes const random(longest);
  std::vector<std::uint16_t> const ones(longest, bf16_of(1));
  llm::write_model_safetensors(folder, plan, [&](std::size_t i) {
    std::size_t const count = plan[i].bytes() / 2;
    bool const norm = plan[i].shape.size() == 1 && plan[i].name.ends_with(".weight");
    return norm ? std::as_bytes(std::span(ones).first(count)) : random.of(i, count);
  });
}

// GPT-2's alphabet of bytes: those that print stand for themselves, the others for U+0100 and on.
std::string letter_of(int byte) {
  auto const utf8 = [](int code) {
    return code < 0x80 ? std::string(1, static_cast<char>(code))
                       : std::string{static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
  };
  auto const prints = [](int b) { return (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF); };
  if (prints(byte)) return utf8(byte);
  int others = 0;
  for (int b = 0; b < byte; ++b) others += prints(b) ? 0 : 1;
  return utf8(0x100 + others);
}

void write_tokenizer(std::int64_t vocabulary, std::filesystem::path const& folder) {
  json vocab = json::object();
  for (int byte = 0; byte < 256; ++byte) llm::append_member(vocab, letter_of(byte), byte + 1);
  for (std::int64_t id = first_word; id < vocabulary; ++id) llm::append_member(vocab, letter_of(' ') + word_of(id).substr(1), id);
  json const end{{"id", 0},         {"content", "<|end|>"}, {"single_word", false}, {"lstrip", false},
                 {"rstrip", false}, {"normalized", false},  {"special", true}};
  json const bytes{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  json const tokenizer{{"version", "1.0"},
                       {"truncation", nullptr},
                       {"padding", nullptr},
                       {"added_tokens", {end}},
                       {"normalizer", nullptr},
                       {"pre_tokenizer", bytes},
                       {"post_processor", nullptr},
                       {"decoder", bytes},
                       {"model",
                        {{"type", "BPE"},
                         {"dropout", nullptr},
                         {"unk_token", nullptr},
                         {"continuing_subword_prefix", nullptr},
                         {"end_of_word_suffix", nullptr},
                         {"fuse_unk", false},
                         {"byte_fallback", false},
                         {"ignore_merges", true},
                         {"vocab", std::move(vocab)},
                         {"merges", json::array()}}}};
  llm::write_file_atomically(folder / "tokenizer.json", tokenizer.dump());
  llm::write_file_atomically(folder / "tokenizer_config.json",
                             json{{"tokenizer_class", "PreTrainedTokenizerFast"}, {"eos_token", "<|end|>"}, {"pad_token", "<|end|>"}}.dump());
}

}  // namespace

std::string word_of(std::int64_t id) {
  std::string word(letters + 1, ' ');
  for (int i = letters; i > 0; --i, id /= 26) word[static_cast<std::size_t>(i)] = static_cast<char>('a' + id % 26);
  return word;
}

void write_model(std::filesystem::path const& config, std::filesystem::path const& folder) {
  json said = llm::read_json_file(config);
  said["bos_token_id"] = said["eos_token_id"] = said["pad_token_id"] = 0;
  llm::transformer_config const read = llm::read_config(said, config.string());
  if (read.vocabulary <= first_word) throw llm::error(config.string() + ": a vocabulary of more than 257 tokens is needed for words of their own");
  llm::pending_directory out(folder, llm::if_taken::replace);
  llm::write_file_atomically(out.path() / "config.json", said.dump(2));
  write_tokenizer(read.vocabulary, out.path());
  write_weights(read, out.path());
  out.commit();
}

}  // namespace kedge::gpu_kit
