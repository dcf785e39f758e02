// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <numbers>
#include <optional>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/formats/gguf.hpp>
#include <kedge/llm/formats/peft_adapter.hpp>
#include <kedge/llm/model/config.hpp>
#include <kedge/llm/model/gguf_export.hpp>
#include <kedge/llm/text/tokenizer.hpp>

#include "../base/thread_pool.hpp"
#include "../formats/gguf_to_hf.hpp"
#include "../formats/gguf_vocabulary.hpp"
#include "../formats/gguf_writer.hpp"

namespace kedge::llm {
namespace {

namespace fs = std::filesystem;

/// A tensor of the file whose numbers come from a tensor of the model, or are given.
struct planned_tensor {
  std::string source;
  gguf_place place;
  gguf_storage type = gguf_storage::f32;
  std::vector<float> numbers;
};

/// general.file_type of llama.cpp: what most matrices are.
std::int64_t file_type(gguf_storage type) {
  switch (type) {
    case gguf_storage::f32:
      return 0;
    case gguf_storage::f16:
      return 1;
    case gguf_storage::bf16:
      return 32;
    case gguf_storage::q8_0:
      return 7;
    case gguf_storage::q4_0:
      return 2;
    case gguf_storage::q4_k:
      return 14;
  }
  return 0;
}

/// Llama 3's scaling: what each frequency is divided by, [d/2].
std::vector<float> llama3_divisors(rope_settings const& rope, std::int64_t coordinates) {
  std::vector<float> out;
  auto const original = static_cast<double>(rope.original_length);
  for (std::int64_t i = 0; i < coordinates; i += 2) {
    double const wave = 2 * std::numbers::pi * std::pow(rope.theta, static_cast<double>(i) / static_cast<double>(coordinates));
    double const smooth = std::clamp(
        (original / wave - rope.low_frequency_factor) / (rope.high_frequency_factor - rope.low_frequency_factor), 0.0, 1.0);
    out.push_back(static_cast<float>(1 / ((1 - smooth) / rope.factor + smooth)));
  }
  return out;
}

fs::path const& whole(fs::path const& model) {
  if (is_adapter(model) && !fs::exists(model / "config.json")) throw error(model.string() + ": an adapter, and GGUF holds whole models; merge it first (kedge merge), then export the result");
  return model;
}

class exporter {
 public:
  explicit exporter(gguf_export_settings const& settings)
      : settings_(settings),
        source_(checkpoint::open(whole(settings.model))),
        where_(source_.path().string() + ": "),
        config_(read_config(source_.config, source_.path().string())),
        family_(family_of(source_.config, source_.path().string()).type),
        architecture_(architecture_of(family_)) {
    if (config_.scalar_head) throw error(where_ + "a model that scores texts can't be written to GGUF");
  }

  gguf_export_result run() {
    result_.notes = source_.notes;
    put_metadata();
    put_vocabulary(source_, config_.vocabulary, header_, result_.notes);
    plan_tensors();
    std::string const start = header_.bytes();
    read_back(start);
    if (!settings_.quiet)
      for (auto const& note : result_.notes) settings_.tells.say("note: " + note);
    pending_file file(settings_.output);
    file.write_at(0, std::as_bytes(std::span(start)));
    thread_pool workers(settings_.threads);
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      if (settings_.stop()) throw gguf_export_interrupted{};
      if (!settings_.quiet)
        settings_.tells.draw(std::to_string(i + 1) + "/" + std::to_string(tensors_.size()) + " tensors  " +
                             header_.tensors()[i].name);
      write(i, file, workers);
    }
    if (!settings_.quiet) settings_.tells.wipe();
    static constexpr std::byte nothing{};  // the file ends at a whole alignment
    if (auto const& last = header_.tensors().back(); last.offset + last.bytes < header_.size())
      file.write_at(header_.size() - 1, {&nothing, 1});
    file.commit();
    result_.tensors = tensors_.size();
    result_.bytes = header_.size();
    return std::move(result_);
  }

 private:
  void put(std::string_view key, std::int64_t value) {
    header_.put(std::string(architecture_.name) + "." + std::string(key), value);
  }
  void put_real(std::string_view key, double value) {
    header_.put(std::string(architecture_.name) + "." + std::string(key), value);
  }

  void put_metadata() {
    auto const& c = config_;
    header_.put("general.architecture", architecture_.name);
    header_.put("general.type", "model");
    fs::path const settled = fs::absolute(settings_.model).lexically_normal();
    header_.put("general.name", (settled.has_filename() ? settled : settled.parent_path()).filename().string());
    header_.put("general.file_type", file_type(settings_.type));
    header_.put("general.quantization_version", std::int64_t{2});
    put("context_length", c.max_positions);
    put("embedding_length", c.hidden);
    put("block_count", c.layers);
    put("feed_forward_length", c.intermediate);
    put("attention.head_count", c.heads);
    put("attention.head_count_kv", c.kv_heads);
    put("attention.key_length", c.head_dim);
    put("attention.value_length", c.head_dim);
    put_real("attention.layer_norm_rms_epsilon", c.rms_norm_eps);
    put("vocab_size", c.vocabulary);
    if (c.attention_soft_cap > 0) put_real("attn_logit_softcapping", c.attention_soft_cap);
    if (c.logit_soft_cap > 0) put_real("final_logit_softcapping", c.logit_soft_cap);
    if (architecture_.multipliers) {
      put_real("embedding_scale", c.embedding_scale);
      put_real("residual_scale", c.residual_scale);
      put_real("attention.scale", c.score_scale());
      put_real("logit_scale", 1 / c.logit_scale);  // llama.cpp divides by it, as config.json's logits_scaling
    }
    if (c.rope.query_growth > 0) put_real("attention.temperature_scale", c.rope.query_growth);
    std::int64_t window = 0;
    for (auto const& layer : c.attention) window = std::max(window, layer.window);
    if (architecture_.windows) put("attention.sliding_window", window);
    put_rope();
  }

  void put_rope() {
    rope_settings const& rope = config_.rope;
    std::int64_t const coordinates = std::lround(rope.share * static_cast<double>(config_.head_dim));
    put("rope.dimension_count", coordinates);
    put_real("rope.freq_base", rope.theta);
    bool const local =
        std::any_of(config_.attention.begin(), config_.attention.end(), [](auto const& l) { return l.rope == rotary::local; });
    if (local) put_real("rope.freq_base_swa", config_.local_rope.theta);
    std::string const scaling = std::string(architecture_.name) + ".rope.scaling.";
    switch (rope.type) {
      case rope_type::plain:
        break;
      case rope_type::linear:
      case rope_type::yarn:
        header_.put(scaling + "type", name_of(rope.type));
        put_real("rope.scaling.factor", rope.factor);
        if (rope.type == rope_type::linear) break;
        put("rope.scaling.original_context_length", rope.original_length);
        put_real("rope.scaling.yarn_beta_fast", rope.beta_fast);
        put_real("rope.scaling.yarn_beta_slow", rope.beta_slow);
        if (auto const& own = source_.config.value("rope_parameters", nlohmann::ordered_json());
            own.is_object() && own.contains("mscale_all_dim"))
          put_real("rope.scaling.yarn_log_multiplier", own["mscale_all_dim"].get<double>());
        break;
      case rope_type::llama3:
        given("rope_freqs.weight", llama3_divisors(rope, coordinates));
        break;
      case rope_type::longrope:
        put("rope.scaling.original_context_length", rope.original_length);
        put_real("rope.scaling.attn_factor", rope.attention_factor);
        given("rope_factors_long.weight", {rope.long_factors.begin(), rope.long_factors.end()});
        given("rope_factors_short.weight", {rope.short_factors.begin(), rope.short_factors.end()});
        break;
      case rope_type::dynamic:
        throw error(where_ + "GGUF has no word for rotary scaling of the type dynamic");
    }
  }

  void given(std::string name, std::vector<float> numbers) {
    header_.add(name, {static_cast<std::int64_t>(numbers.size())}, static_cast<std::uint32_t>(gguf_storage::f32));
    tensors_.push_back({{}, {std::move(name)}, gguf_storage::f32, std::move(numbers)});
  }

  /// Vectors stay float32. Of types with four bits embedding and head are Q8_0, and rows that are no whole blocks are Q8_0 or F16.
  gguf_storage storage_of(tensor_entry const& entry) {
    using enum gguf_storage;
    if (entry.shape.size() < 2) return f32;
    bool const edge = entry.name == "model.embed_tokens.weight" || entry.name == "lm_head.weight";
    gguf_storage const type = edge && (settings_.type == q4_0 || settings_.type == q4_k) ? q8_0 : settings_.type;
    auto const fits = [&](gguf_storage stored) {
      return entry.shape.back() % static_cast<std::int64_t>(gguf_block_of(static_cast<std::uint32_t>(stored))->elements) == 0;
    };
    if (fits(type)) return type;
    ++without_blocks_;
    return fits(q8_0) ? q8_0 : f16;
  }

  void plan_tensors() {
    for (tensor_entry const& entry : source_.tensors()) {
      if (entry.name == "lm_head.weight" && config_.tied_embeddings) continue;
      planned_tensor tensor{entry.name, place_of(family_, entry.name), storage_of(entry), {}};
      header_.add(tensor.place.name, entry.shape, static_cast<std::uint32_t>(tensor.type));
      tensors_.push_back(std::move(tensor));
    }
    for (parameter const& p : parameters_of(config_))
      if (!source_.contains(p.name)) throw error(where_ + "tensor " + p.name + " is missing");
    if (without_blocks_ > 0)
      result_.notes.push_back(std::to_string(without_blocks_) +
                              " matrices are stored as Q8_0, or as F16: their rows are no whole blocks of " +
                              std::string(name_of(settings_.type)));
  }

  /// Reads the description and the vocabulary that `start` holds, from a file without numbers.
  void read_back(std::string const& start) {
    fs::path probe = settings_.output;
    probe += ".check";
    struct removal {
      fs::path const& path;
      ~removal() {
        std::error_code ignored;
        fs::remove(path, ignored);
      }
    } const clean{probe};
    {
      std::ofstream out(probe, std::ios::binary);
      out.write(start.data(), static_cast<std::streamsize>(start.size()));
      for (std::size_t i = 0; i < tensors_.size(); ++i) {
        if (tensors_[i].numbers.empty()) continue;
        out.seekp(static_cast<std::streamoff>(header_.tensors()[i].offset));
        out.write(reinterpret_cast<char const*>(tensors_[i].numbers.data()),
                  static_cast<std::streamsize>(header_.tensors()[i].bytes));
      }
      if (!out) throw error("cannot write " + in_quotes(probe.string()) + "; is the disk full?");
    }
    fs::resize_file(probe, header_.size());
    checkpoint const again = checkpoint::open(probe);
    compare(read_config(again.config, again.path().string()));
    compare(again);
  }

  void compare(transformer_config read) {
    transformer_config const& c = config_;
    auto const near = [](double a, double b) { return std::abs(a - b) <= 1e-5 * std::max(std::abs(a), std::abs(b)); };
    auto const refuse = [&](std::string const& what) {
      throw error(where_ + "GGUF has no word for " + what + " of this model; it can't be written");
    };
    if (!near(read.score_scale(), c.score_scale())) refuse("the scale of attention's scores (query_pre_attn_scalar)");
    if (!near(read.rope.theta, c.rope.theta) || read.rope.type != c.rope.type || !near(read.rope.factor, c.rope.factor) ||
        !near(read.rope.attention_factor, c.rope.attention_factor) || read.rope.truncate != c.rope.truncate)
      if (c.rope.type != rope_type::llama3) refuse("the scaling of rotary positions");
    if (read.act != c.act) refuse("the activation");
    for (std::int64_t i = 0; i < c.layers; ++i) {
      if (read.layer(i).rope != c.layer(i).rope) refuse("which layers have which rotary embedding");
      if (read.layer(i).window == c.layer(i).window) continue;
      if (architecture_.windows) refuse("which layers see a window of keys");
      result_.notes.push_back("layers see a window of " + std::to_string(c.layer(i).window) +
                              " keys; GGUF has no word for it in this family, and llama.cpp will see all");
      break;
    }
    bool const same = read.hidden == c.hidden && read.intermediate == c.intermediate && read.layers == c.layers &&
                      read.heads == c.heads && read.kv_heads == c.kv_heads && read.head_dim == c.head_dim &&
                      read.vocabulary == c.vocabulary && near(read.rms_norm_eps, c.rms_norm_eps) &&
                      read.tied_embeddings == c.tied_embeddings && read.qkv_bias == c.qkv_bias && read.mlp_bias == c.mlp_bias &&
                      read.qk_norms == c.qk_norms && read.norms == c.norms && read.fused_qkv == c.fused_qkv &&
                      read.fused_gate_up == c.fused_gate_up && near(read.rope.share, c.rope.share) &&
                      near(read.attention_soft_cap, c.attention_soft_cap) && near(read.logit_soft_cap, c.logit_soft_cap) &&
                      near(read.embedding_scale, c.embedding_scale) && near(read.residual_scale, c.residual_scale) &&
                      near(read.logit_scale, c.logit_scale) && near(read.rope.query_growth, c.rope.query_growth) &&
                      read.o_bias == c.o_bias && read.gated == c.gated && read.norm == c.norm && read.parallel == c.parallel &&
                      read.rope.interleaved == c.rope.interleaved;
    if (!same) refuse("some setting");
  }

  void compare(checkpoint const& again) {
    static constexpr char const* texts[] = {"Hello, World's 12345 test_case we'LL go  on",
                                            "  leading\t\ttabs\r\n\r\nnew\n\n line   ",
                                            "日本語のテキスト、中文123。 한국어 12",
                                            "it's DON'T they'Ve 1,000.50 $9 +3=12",
                                            "café (naïve) – “quoted” … 3½ e\xcc\x81",
                                            "camelCaseWord HTTPServer iPhone9",
                                            "<a href='x'>1</a>!!??\n",
                                            "🙂 слово 42 ещё ٣٤٥٦"};
    tokenizer const ours = tokenizer::from_json(source_.tokenizer), theirs = tokenizer::from_json(again.tokenizer);
    std::size_t differ = 0;
    std::string first;
    for (char const* const text : texts)
      if (ours.encode(text, true) != theirs.encode(text, true) && ++differ == 1) first = text;
    std::string frames;
    for (auto const& added : source_.tokenizer.value("added_tokens", nlohmann::ordered_json::array()))
      frames += added.value("content", "") + "a";
    if (ours.encode(frames, true) != theirs.encode(frames, true) && ++differ == 1) first = "its special tokens";
    if (differ > 0)
      throw error(where_ + "as GGUF its tokenizer would give other ids, of " + in_quotes(first) +
                  " for one; it can't be written");
  }

  void write(std::size_t index, pending_file& file, thread_pool& workers) {
    planned_tensor const& tensor = tensors_[index];
    auto const& place = header_.tensors()[index];
    if (!tensor.numbers.empty()) return file.write_at(place.offset, std::as_bytes(std::span(tensor.numbers)));
    tensor_entry const& entry = source_.entry(tensor.source);
    std::size_t const rows = entry.shape.size() < 2 ? 1 : static_cast<std::size_t>(entry.shape.front()),
                      width = entry.elements() / rows;
    std::vector<float> numbers(entry.elements());
    source_.read(entry.name, dtype::f32, std::as_writable_bytes(std::span(numbers)));
    if (tensor.place.query || tensor.place.key)
      pair_rows(numbers, static_cast<std::size_t>(tensor.place.query ? config_.heads : config_.kv_heads), entry);
    if (tensor.place.shift != 0)
      for (float& x : numbers) x += tensor.place.shift;
    if (tensor.type == gguf_storage::f16) check_range(numbers, entry.name);
    std::vector<std::byte> out(place.bytes);
    std::size_t const row_bytes = place.bytes / rows;
    workers.run(rows, [&](std::size_t r, std::size_t) {
      quantise(tensor.type, std::span(numbers).subspan(r * width, width), std::span(out).subspan(r * row_bytes, row_bytes));
    });
    file.write_at(place.offset, out);
    file.begin_flush(place.offset, out.size());
  }

  /// Rows of each head go from (half, pair) to (pair, half).
  static void pair_rows(std::vector<float>& numbers, std::size_t heads, tensor_entry const& entry) {
    std::size_t const rows = static_cast<std::size_t>(entry.shape.front()), width = entry.elements() / rows;
    std::vector<float> stored(numbers.size());
    for (std::size_t r = 0; r < rows; ++r)
      std::copy_n(numbers.begin() + static_cast<std::ptrdiff_t>(r * width), width,
                  stored.begin() + static_cast<std::ptrdiff_t>(stored_row(r, rows, heads) * width));
    numbers = std::move(stored);
  }

  void check_range(std::vector<float> const& numbers, std::string const& name) const {
    constexpr float largest = 65504;
    if (std::any_of(numbers.begin(), numbers.end(), [](float x) { return std::abs(x) > largest; }))
      throw error(where_ + "tensor " + name + " has numbers beyond the range of F16; use --type BF16");
  }

  gguf_export_settings const& settings_;
  checkpoint source_;
  std::string where_;
  transformer_config config_;
  std::string family_;
  gguf_architecture architecture_;
  gguf_header header_;
  std::vector<planned_tensor> tensors_;
  std::size_t without_blocks_ = 0;
  gguf_export_result result_;
};

}  // namespace

gguf_export_result export_gguf(gguf_export_settings const& settings) {
  if (fs::is_directory(settings.output))
    throw error(settings.output.string() + " is a folder; name the file to write, MODEL.gguf");
  if (fs::exists(settings.output) && !settings.overwrite)
    throw error(settings.output.string() + " is there already; --overwrite replaces it");
  check_output_folder(settings.output.string() + ".check");
  return exporter(settings).run();
}

}  // namespace kedge::llm
