// SPDX-License-Identifier: Apache-2.0
#include "sentencepiece.hpp"

#include <algorithm>      // find_if, min
#include <bit>            // bit_cast
#include <string_view>    // string_view
#include <unordered_map>  // unordered_map
#include <utility>        // move

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/base/mapped_file.hpp>

#include "tokenizer_pipeline.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;

/// Fields of a message of protocol buffers, one after another.
/// throws  kedge::llm::error at a field that does not end within the message
class message {
 public:
  explicit message(std::string_view bytes) : left_(bytes) {}

  /// Steps to the next field; false at the end.
  bool next() {
    if (left_.empty()) return false;
    std::uint64_t const key = varint();
    number_ = key >> 3U;
    value_ = 0;
    bytes_ = {};
    switch (key & 7U) {
      case 0: value_ = varint(); break;
      case 1: value_ = fixed(8); break;
      case 2: bytes_ = take(varint()); break;
      case 5: value_ = fixed(4); break;
      default: throw error("a field of an unknown kind");
    }
    return true;
  }

  std::uint64_t number() const { return number_; }
  std::string_view bytes() const { return bytes_; }
  std::int64_t integer() const { return static_cast<std::int64_t>(value_); }
  float real() const { return std::bit_cast<float>(static_cast<std::uint32_t>(value_)); }

 private:
  std::string_view take(std::uint64_t count) {
    if (count > left_.size()) throw error("a field that goes beyond the end");
    std::string_view const out = left_.substr(0, count);
    left_.remove_prefix(count);
    return out;
  }

  std::uint64_t fixed(std::size_t count) {
    std::uint64_t out = 0;
    std::string_view const from = take(count);
    for (std::size_t i = 0; i < count; ++i) out |= std::uint64_t{static_cast<unsigned char>(from[i])} << (8 * i);
    return out;
  }

  std::uint64_t varint() {
    std::uint64_t out = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      auto const byte = static_cast<unsigned char>(take(1)[0]);
      out |= std::uint64_t{byte & 0x7fU} << shift;
      if (byte < 0x80) return out;
    }
    throw error("a number of more than 64 bits");
  }

  std::string_view left_, bytes_;
  std::uint64_t number_ = 0, value_ = 0;
};

sentencepiece_model::piece read_piece(std::string_view bytes) {
  sentencepiece_model::piece out;
  for (message m(bytes); m.next();) {
    if (m.number() == 1) out.text = m.bytes();
    if (m.number() == 2) out.score = m.real();
    if (m.number() == 3) out.type = static_cast<sentencepiece_model::piece_kind>(m.integer());
  }
  if (!is_utf8(out.text)) throw error("a piece that is not UTF-8");
  return out;
}

void read_trainer(std::string_view bytes, sentencepiece_model& out) {
  for (message m(bytes); m.next();) switch (m.number()) {
      case 3: out.type = static_cast<sentencepiece_model::kind>(m.integer()); break;
      case 35: out.byte_fallback = m.integer() != 0; break;
      case 40: out.unk_id = static_cast<std::int32_t>(m.integer()); break;
      case 41: out.bos_id = static_cast<std::int32_t>(m.integer()); break;
      case 42: out.eos_id = static_cast<std::int32_t>(m.integer()); break;
      case 45: out.unk_piece = m.bytes(); break;
      case 46: out.bos_piece = m.bytes(); break;
      case 47: out.eos_piece = m.bytes(); break;
      default: break;
    }
}

sentencepiece_model read_model(std::string_view bytes) {
  sentencepiece_model out;
  for (message m(bytes); m.next();) {
    if (m.number() == 1) out.pieces.push_back(read_piece(m.bytes()));
    if (m.number() == 2) read_trainer(m.bytes(), out);
    if (m.number() == 3)
      for (message n(m.bytes()); n.next();)
        if (n.number() == 2) out.precompiled_charsmap = n.bytes();
  }
  if (out.pieces.empty()) throw error("no pieces");
  return out;
}

/// A piece is merged of each pair of shorter pieces that it can be cut into: pieces by rank, the pairs of one by the length of the left.
json merges_of(std::vector<sentencepiece_model::piece> const& pieces) {
  std::unordered_map<std::string_view, std::size_t> ranks;
  for (std::size_t i = 0; i < pieces.size(); ++i) ranks[pieces[i].text] = i;
  json out = json::array();
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    std::string_view const whole = pieces[i].text;
    if (ranks.at(whole) != i) continue;
    for (std::size_t cut = 1; cut < whole.size(); ++cut) {
      if ((static_cast<unsigned char>(whole[cut]) & 0xc0U) == 0x80U) continue;  // within a character
      std::string_view const left = whole.substr(0, cut), right = whole.substr(cut);
      if (ranks.contains(left) && ranks.contains(right)) out.push_back({left, right});
    }
  }
  return out;
}

json vocabulary_of(std::vector<sentencepiece_model::piece> const& pieces) {
  std::unordered_map<std::string_view, std::size_t> ranks;
  for (std::size_t i = 0; i < pieces.size(); ++i) ranks[pieces[i].text] = i;
  json out = json::object();
  for (std::size_t i = 0; i < pieces.size(); ++i)
    if (ranks.at(pieces[i].text) == i) append_member(out, pieces[i].text, i);
  return out;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t word = 0;
    std::size_t const count = std::min<std::size_t>(3, bytes.size() - i);
    for (std::size_t k = 0; k < 3; ++k) word = word << 8U | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (std::size_t k = 0; k < 4; ++k) out += k <= count ? digits[word >> (18 - 6 * k) & 63U] : '=';
  }
  return out;
}

json replaced(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

/// A token that the settings list at the id of a piece takes the piece's place, unless there is such a piece.
void rename_pieces(tokenizer_settings const& settings, std::vector<sentencepiece_model::piece>& pieces) {
  for (auto const& [id, token] : settings.listed) {
    if (id < 0 || static_cast<std::size_t>(id) >= pieces.size()) continue;
    auto const same = [&](auto const& piece) { return piece.text == token.content; };
    if (std::find_if(pieces.begin(), pieces.end(), same) == pieces.end()) pieces[static_cast<std::size_t>(id)].text = token.content;
  }
}

/// What transformers builds where the class has no pipeline of its own.
json plain_pipeline(sentencepiece_model model, tokenizer_settings const& settings) {
  constexpr std::string_view mark = "\xe2\x96\x81";
  json out{{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}, {"added_tokens", json::array()}};
  json normalizers = json::array();
  if (!model.precompiled_charsmap.empty())
    normalizers.push_back({{"type", "Precompiled"}, {"precompiled_charsmap", base64(model.precompiled_charsmap)}});
  normalizers.push_back(replaced(" ", mark));
  out["normalizer"] = {{"type", "Sequence"}, {"normalizers", normalizers}};
  out["pre_tokenizer"] = nullptr;
  out["post_processor"] = nullptr;
  json decoders = json::array();
  decoders.push_back(replaced(mark, " "));
  if (model.byte_fallback)
    for (char const* const step : {"ByteFallback", "Fuse"}) decoders.push_back({{"type", step}});
  out["decoder"] = {{"type", "Sequence"}, {"decoders", decoders}};
  json& words = out["model"];
  if (model.type == sentencepiece_model::kind::unigram) {
    json vocab = json::array();
    for (auto const& piece : model.pieces) vocab.push_back(json::array({piece.text, static_cast<double>(piece.score)}));
    words = {{"type", "Unigram"}, {"unk_id", model.unk_id}, {"vocab", std::move(vocab)}, {"byte_fallback", model.byte_fallback}};
  } else {
    words = {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", model.unk_piece}, {"continuing_subword_prefix", nullptr},
             {"end_of_word_suffix", nullptr}, {"fuse_unk", true}, {"byte_fallback", model.byte_fallback}, {"ignore_merges", false}};
    words["merges"] = merges_of(model.pieces);
    rename_pieces(settings, model.pieces);
    words["vocab"] = vocabulary_of(model.pieces);
  }
  return out;
}

/// Control pieces are special, user-defined ones are not; both are found in a text before it is normalised.
json further_tokens(sentencepiece_model const& model) {
  using piece_kind = sentencepiece_model::piece_kind;
  json out = json::array();
  for (auto const& piece : model.pieces)
    if (piece.type == piece_kind::control || piece.type == piece_kind::user_defined)
      out.push_back({{"__type", "AddedToken"},
                     {"content", piece.text},
                     {"lstrip", false},
                     {"normalized", false},
                     {"rstrip", false},
                     {"single_word", false},
                     {"special", piece.type == piece_kind::control}});
  return out;
}

}  // namespace

sentencepiece_model read_sentencepiece(std::filesystem::path const& file) {
  mapped_file const source(file);
  try {
    return read_model(source.text());
  } catch (error const& problem) {
    throw error(in_quotes(file.string()) + " is no SentencePiece model: it holds " + problem.what() + "; save the tokenizer with transformers");
  }
}

json from_sentencepiece(std::filesystem::path const& file, tokenizer_class kind, tokenizer_settings& settings) {
  sentencepiece_model const model = read_sentencepiece(file);
  json& config = settings.config;
  if (!config.contains("extra_special_tokens")) config["extra_special_tokens"] = further_tokens(model);
  if (kind != tokenizer_class::backend) return pipeline_of(kind, config, vocabulary_of(model.pieces), merges_of(model.pieces));
  auto const name = [&](char const* key, std::int64_t id, std::string const& piece) {
    if (id >= 0 && !config.contains(key)) config[key] = piece;
  };
  name("bos_token", model.bos_id, model.bos_piece.empty() ? "<s>" : model.bos_piece);
  name("eos_token", model.eos_id, model.eos_piece.empty() ? "</s>" : model.eos_piece);
  name("unk_token", model.unk_id, model.unk_piece.empty() ? "<unk>" : model.unk_piece);
  return plain_pipeline(model, settings);
}

}  // namespace kedge::llm
