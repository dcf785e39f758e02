// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <fstream>
#include <iterator>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/content_hash.hpp>
#include <kedge/llm/hub/hub_name.hpp>
#include <kedge/llm/report/model_card.hpp>
#include <kedge/version.hpp>

#include "../base/yaml_value.hpp"
#include "markup.hpp"
#include "method_words.hpp"
#include "panels.hpp"
#include "sections.hpp"

namespace kedge::llm {
namespace {

using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

// A text as YAML: bare where that reads as the same text, else quoted as JSON is, which YAML takes.
std::string yaml_text(std::string const& text) {
  bool plain = !text.empty() && plain_scalar(text).kind == yaml_kind::text && text.front() != '-';
  for (char const c : text)
    plain = plain && (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.' || c == '/');
  return plain ? text : json(text).dump(-1, ' ', true, json::error_handler_t::replace);
}

// Text in Markdown: nothing in it is markup.
std::string markdown(std::string const& text) {
  std::string out;
  for (char const c : escaped(text)) {
    if (c == '\n') {
      out += ' ';
      continue;
    }
    if (std::string_view("\\`*_[]|#~").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

class card_writer {
 public:
  card_writer(run_folder const& run, base_card const& base)
      : run_(run), base_(base), words_(words_of(run.text("/about/method"))) {}

  [[nodiscard]] std::string write() { return header() + body(); }

 private:
  [[nodiscard]] bool adapter() const { return run_.fact("/about/model/adapter") == true; }
  [[nodiscard]] bool rewards() const { return words_.name == "reward"; }

  void key(std::string const& name, std::string const& value) {
    if (!value.empty()) yaml_ += name + ": " + yaml_text(value) + "\n";
  }

  void list(std::string const& name, std::vector<std::string> const& values) {
    if (values.empty()) return;
    yaml_ += name + ":\n";
    for (std::string const& value : values) yaml_ += "- " + yaml_text(value) + "\n";
  }

  [[nodiscard]] std::vector<std::string> tags() const {
    std::vector<std::string> all{"generated_from_trainer", "kedge"};
    for (std::string_view const tag : words_.tags) all.emplace_back(tag);
    if (adapter()) all.emplace_back("lora");
    return all;
  }

  [[nodiscard]] std::vector<std::string> datasets() const {
    std::vector<std::string> ids;
    json const files = run_.fact("/settings/dataset");
    for (json const& file : files.is_array() ? files : json::array({files}))
      if (file.is_string())
        if (auto const name = hub_name_of(file.get<std::string>());
            name && std::find(ids.begin(), ids.end(), name->repository) == ids.end())
          ids.push_back(name->repository);
    return ids;
  }

  // What held-out data gave, in the hub's form.
  void results() {
    std::string metrics;
    for (std::string const& name : headline_figures())
      if (std::pair<double, double> ends; ends_of(run_, name, ends))
        metrics += "    - type: " + yaml_text(kind_of(name)) + "\n      name: " + yaml_text(title_of(name)) +
                   "\n      value: " + exact_figure(ends.second) + "\n";
    std::string const data = held_out_data();
    if (metrics.empty() || data.empty()) return;
    yaml_ += "model-index:\n- name: " + yaml_text(run_.name) + "\n  results:\n  - task:\n      type: " + task() +
             "\n    dataset:\n      name: " + yaml_text(data) + "\n      type: " + yaml_text(data) + "\n    metrics:\n" +
             metrics;
  }

  // The hub's name of a metric, where it has one.
  static std::string kind_of(std::string const& figure) {
    if (figure.ends_with("accuracies") || figure.ends_with("accuracy")) return "accuracy";
    return figure.substr(5);
  }

  [[nodiscard]] std::string held_out_data() const {
    for (char const* place : {"/settings/eval_dataset", "/settings/eval_prompts"})
      if (std::string const file = run_.text(place); !file.empty()) {
        auto const name = hub_name_of(file);
        return name ? name->repository : fs::path(file).filename().string();
      }
    return "";
  }

  [[nodiscard]] std::string task() const { return rewards() ? "text-classification" : "text-generation"; }

  std::string header() {
    key("base_model", base_.id);
    if (!base_.id.empty()) key("base_model_relation", adapter() ? "adapter" : "finetune");
    list("datasets", datasets());
    key("library_name", adapter() ? "peft" : "transformers");
    key("license", base_.license);
    key("license_name", base_.license_name);
    key("license_link", base_.license_link);
    key("model_name", run_.name);
    key("pipeline_tag", task());
    list("tags", tags());
    results();
    return "---\n" + yaml_ + "---\n\n";
  }

  [[nodiscard]] std::string base_name() const {
    return base_.id.empty() ? markdown(run_.text("/about/model/name"))
                            : "[" + base_.id + "](https://huggingface.co/" + base_.id + ")";
  }

  [[nodiscard]] std::string quick_start() const {
    std::string const name = json(run_.name).dump(-1, ' ', true, json::error_handler_t::replace);
    if (adapter())
      return "from peft import AutoPeftModelForCausalLM\n\nmodel = AutoPeftModelForCausalLM.from_pretrained(" + name + ")\n";
    if (rewards())
      return "from transformers import pipeline\n\nscore = pipeline(\"text-classification\", model=" + name +
             ", function_to_apply=\"none\")\nprint(score(\"Is it good?\"))\n";
    return "from transformers import pipeline\n\ngenerator = pipeline(\"text-generation\", model=" + name +
           ")\nprint(generator([{\"role\": \"user\", \"content\": \"Who are you?\"}], max_new_tokens=128, "
           "return_full_text=False)[0][\"generated_text\"])\n";
  }

  [[nodiscard]] std::string figures() const {
    std::string rows;
    for (std::string const& name : headline_figures())
      if (std::pair<double, double> ends; ends_of(run_, name, ends))
        rows += "| " + title_of(name) + " | " + short_figure(ends.first) + " | " + short_figure(ends.second) + " |\n";
    if (std::pair<double, double> ends; ends_of(run_, "loss", ends))
      rows += "| Training loss | " + short_figure(ends.first) + " | " + short_figure(ends.second) + " |\n";
    return rows.empty() ? "" : "## Figures\n\n| | first | last |\n|---|---|---|\n" + rows + "\n";
  }

  // A card is read by others: of paths it has the names alone.
  [[nodiscard]] std::string settings() const {
    json const defaults = run_.fact("/defaults"), all = run_.fact("/settings");
    std::string rows;
    if (!defaults.is_object()) return "";
    for (auto const& [name, usual] : defaults.items()) {
      if (name == "output_dir" || name == "overwrite_output_dir" || name == "quiet" || name == "resume_from_checkpoint")
        continue;
      rows += "| `" + name + "` | " + markdown(without_folders(all.value(name, json()))) + " |\n";
    }
    return rows.empty()
               ? ""
               : "## Settings\n\nThose that differ from their defaults:\n\n| setting | value |\n|---|---|\n" + rows + "\n";
  }

  static std::string without_folders(json const& value) {
    if (value.is_array()) {
      std::string text;
      for (json const& one : value) text += (text.empty() ? "" : ", ") + without_folders(one);
      return text;
    }
    std::string const text = setting_text(value);
    auto const slash = text.find_last_of('/');
    return slash == std::string::npos || slash + 1 == text.size() || text.find(' ') != std::string::npos
               ? text
               : text.substr(slash + 1);
  }

  std::string body() {
    std::string const data = data_of(run_), steps = short_figure(run_.last_step());
    std::string out = "# " + markdown(run_.name) + "\n\nThis model is " +
                      (adapter() ? "a LoRA adapter of " : "a fine-tuned version of ") + base_name() + ", trained by " +
                      std::string(words_.title);
    if (!words_.paper.empty())
      out += " ([" + std::string(words_.paper_title) + "](https://arxiv.org/abs/" + std::string(words_.paper) + "))";
    if (!data.empty()) out += " on " + markdown(data);
    out += ", in " + steps + " steps. It was trained with kedge.\n\n## Quick start\n\n```python\n" + quick_start() + "```\n\n" +
           figures() + settings();
    out += "## Made with\n\n- kedge " + markdown(run_.text("/kedge")) + "\n- LibTorch " + markdown(run_.text("/libtorch")) +
           "\n- " + markdown(run_.text("/dtype")) + " on " + markdown(run_.text("/device"));
    if (std::string const processor = run_.text("/processor"); !processor.empty()) out += ", " + markdown(processor);
    out += "\n\n";
    if (base_.license.empty())
      out += "The licence of the base model is not known here: say it as `license:` above before you share this model.\n\n";
    return out + "`report.html` shows the run, `run.json` has all its settings, and the hashes of its data and models.\n";
  }

  run_folder const& run_;
  base_card const& base_;
  method_words words_;
  std::string yaml_;
};

std::string const seal_begin = "<!-- kedge wrote this card: ", seal_end = " -->\n";

std::string seal(std::string const& card) {
  content_hash hash;
  hash.add(card);
  return seal_begin + hash.text() + seal_end;
}

// A card as kedge left it: the hash that it ends with is that of what stands before.
bool is_untouched(fs::path const& file) {
  std::ifstream in(file, std::ios::binary);
  std::string const text{std::istreambuf_iterator<char>(in), {}};
  auto const at = text.rfind(seal_begin);
  return at != std::string::npos && text.substr(at) == seal(text.substr(0, at));
}

}  // namespace

std::string model_card(run_folder const& run, base_card const& base) { return card_writer(run, base).write(); }

fs::path write_model_card(fs::path const& folder, std::string const& card) {
  fs::path file = folder / "README.md";
  if (fs::exists(file) && !is_untouched(file)) file = folder / "README.kedge.md";
  write_file_atomically(file, card + seal(card));
  return file;
}

}  // namespace kedge::llm
