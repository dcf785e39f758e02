// SPDX-License-Identifier: Apache-2.0
#include "kedge/llm/text/tokenizer.hpp"

#include <mutex>    // mutex, lock_guard
#include <utility>  // move

#include <nlohmann/json.hpp>

#include "added_tokens.hpp"
#include "decoder.hpp"
#include "model.hpp"
#include "normalizer.hpp"
#include "post_processor.hpp"
#include "pre_tokenizer.hpp"
#include "unicode.hpp"

namespace kedge::llm {

using text::json;

class tokenizer::implementation {
 public:
  implementation(json const& definition, tokenizer_use use) : use_(use) {
    if (!definition.is_object()) text::fail("not an object");
    json const nothing;
    auto const part = [&](char const* key) -> json const& {
      json const* const value = text::member(definition, key);
      return value == nullptr ? nothing : *value;
    };
    json const& model_definition = text::required(definition, "model", "the top level");
    normalizer_ = text::make_normalizer(part("normalizer"));
    make_model(model_definition, part("pre_tokenizer"));
    added_ = std::make_unique<text::added_tokens const>(part("added_tokens"), *model_, normalizer_.get());
    frame_ = text::make_frame(part("post_processor"));
    decoder_ = text::make_decoder(part("decoder"));
  }

  [[nodiscard]] std::vector<std::int32_t> encode(std::string_view utf8, bool add_special_tokens) const {
    if (std::size_t const bad = text::find_invalid(utf8); bad != std::string_view::npos)
      throw error("tokenizer: the text is not valid UTF-8 at byte " + std::to_string(bad) + ": " + in_quotes(utf8.substr(bad, 40)));
    if (utf8.size() > 0xF0000000U) throw error("tokenizer: a text of " + std::to_string(utf8.size()) + " bytes; split it");
    std::unique_ptr<workspace> work = borrow();
    std::vector<std::int32_t> out;
    out.reserve(utf8.size() / 3 + 16);
    if (add_special_tokens) out = frame_.before;
    work->sections.clear();
    added_->cut(utf8, false, use_.split_special_tokens, work->sections);
    for (auto const& section : work->sections) {
      if (section.token >= 0)
        out.push_back(section.token);
      else
        encode_section(utf8.substr(section.begin, section.end - section.begin), section.begin == 0, *work, out);
    }
    if (add_special_tokens) out.insert(out.end(), frame_.after.begin(), frame_.after.end());
    give_back(std::move(work));
    if (use_.rows > 0) check_rows(out);
    return out;
  }

  [[nodiscard]] std::string decode(std::span<std::int32_t const> ids, bool skip_special_tokens) const {
    std::vector<std::string> tokens;
    tokens.reserve(ids.size());
    for (std::int32_t const id : ids) {
      if (text::added_token const* const added = added_->find(id); added != nullptr) {
        std::string const& form = added_->decoded_form(*added);
        if (!skip_special_tokens || !added_->is_special(form)) tokens.push_back(form);
      } else if (model_->tokens().contains(id)) {
        std::string const& token = model_->tokens().tokens[static_cast<std::size_t>(id)];
        if (!skip_special_tokens || !added_->is_special(token)) tokens.push_back(token);
      }
    }
    if (decoder_ != nullptr) decoder_->apply(tokens);
    std::string out;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (decoder_ == nullptr && i > 0) out += ' ';
      out += tokens[i];
    }
    if (use_.clean_up_spaces && !is_bpe_) text::clean_up_spaces(out);
    return out;
  }

  [[nodiscard]] std::optional<std::int32_t> id_of(std::string_view token) const {
    if (auto const* const added = added_->find(token); added != nullptr) return added->id;
    return model_->id_of(token);
  }

  [[nodiscard]] std::string token_of(std::int32_t id) const {
    if (auto const* const added = added_->find(id); added != nullptr) return added->content;
    if (!model_->tokens().contains(id)) throw error("tokenizer: no token has the id " + std::to_string(id));
    return model_->tokens().tokens[static_cast<std::size_t>(id)];
  }

  [[nodiscard]] bool is_special(std::int32_t id) const {
    auto const* const added = added_->find(id);
    return added != nullptr && added->special;
  }

  [[nodiscard]] std::size_t size() const {
    std::size_t count = model_->tokens().count;
    for (auto const& token : added_->all())
      if (added_->find(token.id) == &token && !model_->tokens().contains(token.id)) ++count;
    return count;
  }

  [[nodiscard]] std::optional<std::int32_t> first_beyond(std::int64_t rows) const {
    std::optional<std::int32_t> least;
    auto const look = [&](std::int32_t id) {
      if (id >= rows && (!least || id < *least)) least = id;
    };
    auto const& tokens = model_->tokens();
    for (std::size_t id = rows < 0 ? 0 : static_cast<std::size_t>(rows); id < tokens.present.size() && !least; ++id)
      if (tokens.present[id]) look(static_cast<std::int32_t>(id));
    for (auto const& token : added_->all()) look(token.id);
    return least;
  }

 private:
  void check_rows(std::vector<std::int32_t> const& ids) const {
    for (std::int32_t const id : ids)
      if (id >= use_.rows)
        throw error("the text needs token " + std::to_string(id) + ", " + in_quotes(token_of(id)) + ", but the model's embedding has " +
                    std::to_string(use_.rows) + " rows; the tokenizer belongs to another model, or its new tokens were never given rows");
  }

  /// Buffers of one running call.
  struct workspace {
    std::unique_ptr<text::model::workspace> of_model;
    std::vector<text::added_tokens::section> sections, inner;
    std::string normal;
    text::split_text split;
  };

  void make_model(json const& definition, json const& splitting) {
    std::string type = text::member(definition, "type") == nullptr ? "" : text::type_of(definition, "model");
    if (type.empty()) type = text::member(definition, "merges") != nullptr ? "BPE" : "of no type";
    bool raw_bytes = false;
    is_bpe_ = type == "BPE";
    if (is_bpe_) {
      raw_bytes = text::can_use_bytes(definition) && text::make_pre_tokenizer(splitting, false).ends_with_bytes;
      model_ = text::make_bpe(definition, raw_bytes ? text::spelling::bytes : text::spelling::text);
    } else if (type == "Unigram") {
      model_ = text::make_unigram(definition);
    } else {
      text::fail("the model " + in_quotes(type) + " is not supported");
    }
    pre_tokenizer_ = text::make_pre_tokenizer(splitting, raw_bytes);
  }

  /// Text without tokens that are matched before normalisation.
  void encode_section(std::string_view section, bool at_origin, workspace& work, std::vector<std::int32_t>& out) const {
    bool front_lost = false;
    if (normalizer_ != nullptr) {
      work.normal.assign(section);
      normalizer_->apply(work.normal, front_lost);
      section = work.normal;
    }
    work.inner.clear();
    added_->cut(section, true, use_.split_special_tokens, work.inner);
    for (auto const& inner : work.inner) {
      if (inner.token >= 0)
        out.push_back(inner.token);
      else
        encode_text(section.substr(inner.begin, inner.end - inner.begin), at_origin && !front_lost && inner.begin == 0, work, out);
    }
  }

  /// Text without any added token.
  void encode_text(std::string_view plain, bool at_origin, workspace& work, std::vector<std::int32_t>& out) const {
    text::split_text& split = work.split;
    split.text.assign(plain);
    split.pieces.assign(1, {0, static_cast<std::uint32_t>(plain.size()), at_origin});
    for (auto const& stage : pre_tokenizer_.stages) stage->apply(split);
    for (auto const& piece : split.pieces) model_->encode(split.view(piece), out, *work.of_model);
  }

  [[nodiscard]] std::unique_ptr<workspace> borrow() const {
    {
      std::lock_guard const lock(mutex_);
      if (!idle_.empty()) {
        auto work = std::move(idle_.back());
        idle_.pop_back();
        return work;
      }
    }
    auto work = std::make_unique<workspace>();
    work->of_model = model_->make_workspace();
    return work;
  }

  void give_back(std::unique_ptr<workspace> work) const {
    std::lock_guard const lock(mutex_);
    idle_.push_back(std::move(work));
  }

  tokenizer_use use_;
  std::unique_ptr<text::normalizer const> normalizer_;
  text::pre_tokenizer pre_tokenizer_;
  std::unique_ptr<text::model const> model_;
  bool is_bpe_ = false;
  std::unique_ptr<text::added_tokens const> added_;
  text::frame frame_;
  std::unique_ptr<text::decoder const> decoder_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<workspace>> idle_;
};

tokenizer tokenizer::from_json(nlohmann::ordered_json const& tokenizer_json, tokenizer_use use) {
  return tokenizer(std::make_shared<implementation const>(tokenizer_json, use));
}

std::vector<std::int32_t> tokenizer::encode(std::string_view utf8, bool add_special_tokens) const {
  return shared_->encode(utf8, add_special_tokens);
}
std::string tokenizer::decode(std::span<std::int32_t const> ids, bool skip_special_tokens) const {
  return shared_->decode(ids, skip_special_tokens);
}
std::optional<std::int32_t> tokenizer::id_of(std::string_view token) const { return shared_->id_of(token); }
std::string tokenizer::token_of(std::int32_t id) const { return shared_->token_of(id); }
bool tokenizer::is_special(std::int32_t id) const { return shared_->is_special(id); }
std::size_t tokenizer::size() const { return shared_->size(); }
std::optional<std::int32_t> tokenizer::first_beyond(std::int64_t rows) const { return shared_->first_beyond(rows); }

}  // namespace kedge::llm
