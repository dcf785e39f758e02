// SPDX-License-Identifier: Apache-2.0

// A tiny world for experiments with many seeds: a language of 59 words, a reward that is known exactly, and a model that learns
// the language in a minute.
//
//   prompt      "a word about the boats :"                     24 nouns x 4 openings
//   completion  "they are very warm and they are not grim ."    1 to 4 clauses: it is | they are, a degree or none, an adjective
//
// Reward of a completion that is a sentence of the grammar, with as many clauses n as it likes:
//   sum over clauses of degree x feeling, repeated adjectives counting once, minus (n - 1)^2 / 4
// where feeling is 1, 0 or -1 and the degree is 1 (none), 3/2 (very), 1/2 (rather) or -1 (not). What is no sentence, and what says
// "it is" of boats, gets -3. The best sentences have four clauses and 3.75; those of the data get -0.498 on average. So there are
// words to learn, agreement to keep, a length that pays and one that doesn't, and "not grim" to discover.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <numbers>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <kedge/llm/base/atomic.hpp>

namespace {

using json = nlohmann::ordered_json;

struct weighted_word {
  std::string_view word;
  double value;        // sentiment, or factor
  double probability;  // in the data
};

constexpr std::array openings{"a word about", "tell me of", "what of", "now describe"};
constexpr std::array nouns{"boat", "harbour", "storm", "captain", "anchor", "island", "gull", "rope", "tide", "sail", "lamp", "song"};
constexpr std::array<weighted_word, 16> adjectives{{{"bright", 1, 1. / 16}, {"warm", 1, 1. / 16}, {"kind", 1, 1. / 16}, {"calm", 1, 1. / 16},
                                                    {"lovely", 1, 1. / 16}, {"grim", -1, 1. / 16}, {"cold", -1, 1. / 16}, {"rude", -1, 1. / 16},
                                                    {"dull", -1, 1. / 16}, {"broken", -1, 1. / 16}, {"small", 0, 1. / 16}, {"old", 0, 1. / 16},
                                                    {"round", 0, 1. / 16}, {"red", 0, 1. / 16}, {"tall", 0, 1. / 16}, {"near", 0, 1. / 16}}};
constexpr std::array<weighted_word, 4> degrees{{{"", 1, 0.4}, {"very", 1.5, 0.2}, {"rather", 0.5, 0.2}, {"not", -1, 0.2}}};
constexpr std::array joints{"and", "but"};
constexpr std::array clause_probability{0.4, 0.3, 0.2, 0.1};
constexpr double not_a_sentence = -3;

struct clause {
  std::size_t degree, adjective;
};

std::string prompt_text(std::size_t opening, std::size_t noun, bool many) {
  return std::string(openings.at(opening)) + " the " + nouns.at(noun) + (many ? "s :" : " :");
}

// --- the reward ----------------------------------------------------------------------------------------------------------------

double reward(std::vector<clause> const& clauses) {
  std::uint32_t said = 0;  // a bit an adjective
  double sum = 0;
  for (clause const& c : clauses) {
    if ((said >> c.adjective & 1U) == 0) sum += degrees.at(c.degree).value * adjectives.at(c.adjective).value;
    said |= 1U << c.adjective;
  }
  double const further = static_cast<double>(clauses.size()) - 1;
  return sum - further * further / 4;
}

// As the tokenizer cuts them: at spaces, marks on their own.
std::vector<std::string> words_of(std::string const& text) {
  std::vector<std::string> words(1);
  for (char const c : text) {
    if (c == ' ' || c == '.' || c == ':') words.emplace_back(c == ' ' ? "" : std::string(1, c));
    if (c == '.' || c == ':') words.emplace_back();
    if (c != ' ' && c != '.' && c != ':') words.back() += c;
  }
  std::erase(words, "");
  return words;
}

template <class Table>
std::size_t index_of(Table const& table, std::string_view word) {
  return static_cast<std::size_t>(std::find_if(table.begin(), table.end(), [&](weighted_word const& w) { return w.word == word; }) - table.begin());
}

// The reward of a text after a prompt.
double reward(std::string const& prompt, std::string const& completion) {
  std::vector<std::string> const asked = words_of(prompt);
  if (asked.size() < 2 || asked.back() != ":") throw std::runtime_error("a prompt of this world ends with a noun and ':', not \"" + prompt + '"');
  bool const many = asked[asked.size() - 2].ends_with('s');
  std::vector<std::string> const words = words_of(completion);
  std::vector<clause> clauses;
  for (std::size_t at = 0;; ++at) {
    auto const word = [&](std::size_t i) { return i < words.size() ? std::string_view(words[i]) : std::string_view(); };
    if (word(at) != (many ? "they" : "it") || word(at + 1) != (many ? "are" : "is")) return not_a_sentence;
    at += 2;
    std::size_t degree = word(at).empty() ? 0 : index_of(degrees, word(at));
    if (degree == degrees.size()) degree = 0;
    if (degree > 0) ++at;
    std::size_t const adjective = index_of(adjectives, word(at));
    if (adjective == adjectives.size()) return not_a_sentence;
    clauses.push_back({degree, adjective});
    ++at;
    if (word(at) == ".") return at + 1 == words.size() ? reward(clauses) : not_a_sentence;
    if (std::find(joints.begin(), joints.end(), word(at)) == joints.end()) return not_a_sentence;
  }
}

// --- the data ------------------------------------------------------------------------------------------------------------------

class speaker {
 public:
  explicit speaker(std::uint64_t seed) : random_(seed) {}

  std::size_t below(std::size_t n) { return static_cast<std::size_t>(uniform() * static_cast<double>(n)); }

  std::string prompt() {
    std::size_t const opening = below(openings.size()), noun = below(nouns.size());
    many_ = below(2) == 1;
    return prompt_text(opening, noun, many_);
  }

  // Box and Muller's.
  double normal() {
    double const length = std::sqrt(-2 * std::log(1 - uniform()));
    return length * std::cos(2 * std::numbers::pi * uniform());
  }

  // A completion of the last prompt.
  std::string completion() {
    std::size_t const count = 1 + pick(clause_probability.size(), [](std::size_t i) { return clause_probability.at(i); });
    std::string text;
    for (std::size_t i = 0; i < count; ++i) {
      if (i > 0) text += std::string(" ") + joints.at(below(joints.size()));
      std::size_t const degree = pick(degrees.size(), [](std::size_t j) { return degrees.at(j).probability; });
      std::size_t const adjective = pick(adjectives.size(), [](std::size_t j) { return adjectives.at(j).probability; });
      text += many_ ? " they are" : " it is";
      if (degree > 0) text += " " + std::string(degrees.at(degree).word);
      text += " " + std::string(adjectives.at(adjective).word);
    }
    return text + " .";
  }

 private:
  double uniform() { return static_cast<double>(random_() >> 11U) * 0x1p-53; }  // the same with every standard library

  template <class Probability>
  std::size_t pick(std::size_t n, Probability&& probability) {
    double left = uniform();
    for (std::size_t i = 0; i + 1 < n; ++i)
      if ((left -= probability(i)) < 0) return i;
    return n - 1;
  }

  std::mt19937_64 random_;
  bool many_ = false;
};

void print_line(json const& line) { std::puts(line.dump().c_str()); }

void print_sentences(std::size_t count, std::uint64_t seed) {
  speaker says(seed);
  for (std::size_t i = 0; i < count; ++i) {
    std::string const prompt = says.prompt(), completion = says.completion();
    print_line({{"prompt", prompt}, {"completion", completion}, {"score", reward(prompt, completion)}});
  }
}

// Who compares two sentences: sees each reward with an error of this standard deviation, and keeps pairs whose scores differ by so much.
struct annotator {
  double noise = 0, least_gap = 0, most_gap = 1e9;
};

void print_pairs(std::size_t count, std::uint64_t seed, annotator const& who) {
  speaker says(seed);
  for (std::size_t i = 0; i < count;) {
    std::string const prompt = says.prompt();
    std::string a = says.completion(), b = says.completion();
    double score_a = reward(prompt, a) + who.noise * says.normal(), score_b = reward(prompt, b) + who.noise * says.normal();
    double const gap = std::abs(score_a - score_b);
    if (score_a == score_b || gap < who.least_gap || gap > who.most_gap) continue;
    if (score_a < score_b) std::swap(a, b), std::swap(score_a, score_b);
    print_line({{"prompt", prompt}, {"chosen", a}, {"rejected", b}, {"score_chosen", score_a}, {"score_rejected", score_b}});
    ++i;
  }
}

void print_prompts() {
  for (std::size_t opening = 0; opening < openings.size(); ++opening)
    for (std::size_t noun = 0; noun < nouns.size(); ++noun)
      for (bool const many : {false, true}) print_line({{"prompt", prompt_text(opening, noun, many)}});
}

void judge() {
  for (std::string line; std::getline(std::cin, line);) {
    json const question = json::parse(line);
    std::cout << json{{"score", reward(question.at("prompt").get<std::string>(), question.at("completion").get<std::string>())}} << std::endl;
  }
}

// --- exact answers -------------------------------------------------------------------------------------------------------------

// Calls use(probability, reward) for every choice of degrees and adjectives in one to four clauses; joints and prompts change neither.
template <class Use>
void for_each_sentence(Use&& use) {
  std::vector<clause> clauses;
  auto const extend = [&](auto const& self, std::size_t left, double probability) -> void {
    if (left == 0) return use(probability, reward(clauses));
    for (std::size_t d = 0; d < degrees.size(); ++d)
      for (std::size_t a = 0; a < adjectives.size(); ++a) {
        clauses.push_back({d, a});
        self(self, left - 1, probability * degrees.at(d).probability * adjectives.at(a).probability);
        clauses.pop_back();
      }
  };
  for (std::size_t n = 0; n < clause_probability.size(); ++n) extend(extend, n + 1, clause_probability.at(n));
}

// The policy that maximises E[reward] - beta KL(policy | data): proportional to data exp(reward / beta). One line a beta.
void print_frontier(std::vector<double> const& betas) {
  std::vector<double> z(betas.size()), sum(betas.size());
  double best = not_a_sentence;
  for_each_sentence([&](double probability, double value) {
    best = std::max(best, value);
    for (std::size_t i = 0; i < betas.size(); ++i) {
      double const weight = probability * std::exp(value / betas[i]);
      z[i] += weight;
      sum[i] += weight * value;
    }
  });
  for (std::size_t i = 0; i < betas.size(); ++i)
    print_line({{"beta", betas[i]}, {"reward", sum[i] / z[i]}, {"kl", sum[i] / z[i] / betas[i] - std::log(z[i])}, {"best", best}});
}

// --- the model -----------------------------------------------------------------------------------------------------------------

json tokenizer() {
  json vocabulary, special = json::array();
  auto const add = [&](std::string_view word) {
    if (!vocabulary.contains(word)) vocabulary[std::string(word)] = vocabulary.size();
  };
  for (std::string const name : {"<pad>", "<s>", "</s>", "<unk>"}) {
    special.push_back({{"id", vocabulary.size()}, {"content", name}, {"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", false}, {"special", true}});
    add(name);
  }
  for (char const* phrase : openings)
    for (std::string const& word : words_of(phrase)) add(word);
  for (std::string const noun : nouns) add(noun), add(noun + "s");
  for (char const* word : {"the", ":", ".", "it", "is", "they", "are"}) add(word);
  for (char const* word : joints) add(word);
  for (auto const& [word, value, probability] : degrees)
    if (!word.empty()) add(word);
  for (auto const& [word, value, probability] : adjectives) add(word);
  json const start = {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}, text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  return {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}, {"added_tokens", special}, {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "Whitespace"}}},
          {"post_processor", {{"type", "TemplateProcessing"}, {"single", {start, text}}, {"pair", {start, text, start, {{"Sequence", {{"id", "B"}, {"type_id", 0}}}}}},
                              {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {vocabulary["<s>"]}}, {"tokens", {"<s>"}}}}}}}},
          {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", false}}},
          // Whole words are looked up first, and there is nothing to merge: a word-level model.
          {"model", {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", "<unk>"}, {"continuing_subword_prefix", nullptr}, {"end_of_word_suffix", nullptr},
                     {"fuse_unk", true}, {"byte_fallback", false}, {"ignore_merges", true}, {"vocab", vocabulary}, {"merges", json::array()}}}};
}

json config(std::size_t vocabulary, std::size_t hidden, std::size_t layers) {
  return {{"architectures", {"LlamaForCausalLM"}}, {"model_type", "llama"}, {"vocab_size", vocabulary}, {"hidden_size", hidden},
          {"intermediate_size", hidden * 8 / 3 / 8 * 8}, {"num_hidden_layers", layers}, {"num_attention_heads", 4}, {"num_key_value_heads", 4},
          {"hidden_act", "silu"}, {"max_position_embeddings", 128}, {"initializer_range", 0.05}, {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0}, {"tie_word_embeddings", false}, {"attention_bias", false}, {"mlp_bias", false},
          {"bos_token_id", 1}, {"eos_token_id", 2}, {"pad_token_id", 0}, {"use_cache", true}};
}

void write_model(std::filesystem::path const& folder, std::size_t hidden, std::size_t layers) {
  std::filesystem::create_directories(folder);
  auto const write = [&](char const* name, json const& content) { kedge::llm::write_file_atomically(folder / name, content.dump(1) + "\n"); };
  json const words = tokenizer();
  write("tokenizer.json", words);
  write("tokenizer_config.json", {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"bos_token", "<s>"}, {"eos_token", "</s>"}, {"pad_token", "<pad>"},
                                  {"unk_token", "<unk>"}, {"clean_up_tokenization_spaces", false}, {"model_max_length", 128}});
  write("config.json", config(words["model"]["vocab"].size(), hidden, layers));
}

}  // namespace

int main(int argc, char** argv) try {
  CLI::App app("A tiny language with a reward that is known exactly, for experiments with many seeds.", "kedge-grammar");
  app.require_subcommand(1);
  std::size_t count = 10000, hidden = 96, layers = 3;
  std::uint64_t seed = 1;
  std::string folder;
  std::vector<double> betas{4, 2, 1, 0.5, 0.25};
  auto* const sentences = app.add_subcommand("sentences", "examples to learn the language from: prompt, completion, score");
  auto* const pairs = app.add_subcommand("pairs", "two sentences about one thing, the better first: prompt, chosen, rejected, scores");
  for (auto* const command : {sentences, pairs}) {
    command->add_option("--count", count)->capture_default_str();
    command->add_option("--seed", seed)->capture_default_str();
  }
  annotator who;
  pairs->add_option("--noise", who.noise, "standard deviation of the error with which each reward is seen")->capture_default_str()->check(CLI::NonNegativeNumber);
  pairs->add_option("--min_gap", who.least_gap, "only pairs whose scores differ by at least so much")->capture_default_str()->check(CLI::NonNegativeNumber);
  pairs->add_option("--max_gap", who.most_gap, "only pairs whose scores differ by at most so much")->check(CLI::PositiveNumber);
  auto* const prompts = app.add_subcommand("prompts", "all 96 prompts");
  auto* const judging = app.add_subcommand("judge", "the exact reward, as a judge");
  auto* const frontier = app.add_subcommand("frontier", "exact reward and KL of the policies that are optimal against the data, one a beta");
  frontier->add_option("--beta", betas)->capture_default_str();
  auto* const model = app.add_subcommand("model", "config and tokenizer of a small Llama without weights, for kedge sft --config_name");
  model->add_option("--output_dir", folder)->required();
  model->add_option("--hidden_size", hidden, "a multiple of 8")->capture_default_str()->check(CLI::IsMember({64, 96, 128, 160, 192, 224, 256}));
  model->add_option("--layers", layers)->capture_default_str()->check(CLI::Range(1, 8));
  try {
    app.parse(argc, argv);
  } catch (CLI::ParseError const& problem) {
    return app.exit(problem) == 0 ? 0 : 2;
  }
  if (sentences->parsed()) print_sentences(count, seed);
  if (pairs->parsed()) print_pairs(count, seed, who);
  if (prompts->parsed()) print_prompts();
  if (judging->parsed()) judge();
  if (frontier->parsed()) print_frontier(betas);
  if (model->parsed()) write_model(folder, hidden, layers);
  return 0;
} catch (std::exception const& problem) {
  std::fprintf(stderr, "kedge-grammar: %s\n", problem.what());
  return 1;
}
