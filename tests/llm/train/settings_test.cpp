// SPDX-License-Identifier: Apache-2.0

// The declarations of settings, all of them: ranges, names, and what a resumed run does with each.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include <nlohmann/json.hpp>

#include <kedge/llm/train/kto.hpp>
#include <kedge/llm/train/ppo.hpp>
#include <kedge/llm/train/reward.hpp>
#include <kedge/llm/train/preference.hpp>
#include <kedge/llm/train/sft.hpp>

#include "llm/train/counting_judge.hpp"
#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::judge_command;
using kedge::testing::scratch_folder;
namespace fs = std::filesystem;

namespace {

fs::path const tiny = fs::path(KEDGE_TESTS_DIR) / "golden/tiny";

bool takes_numbers(setting const& one) { return one.form().find("number") != std::string::npos || one.form().find("integer") != std::string::npos; }

// What reading the text ends with: "" if it was taken.
std::string refusal(setting& one, std::vector<std::string> const& texts) {
  try {
    one.read(texts);
    return "";
  } catch (usage_error const& e) {
    return e.what();
  }
}

// Another value than the one at hand, which the setting takes; none if there is no way to tell one.
std::vector<std::string> another(setting const& one) {
  if (one.is_switch()) return {one.value() == true ? "false" : "true"};
  for (std::string const& choice : one.choices())
    if (one.value() != choice) return {choice};
  if (one.form().find("number") == std::string::npos && one.form().find("integer") == std::string::npos) return {};
  nlohmann::ordered_json const now = one.value().is_array() ? (one.value().empty() ? nlohmann::ordered_json() : one.value().front()) : one.value();
  for (char const* const candidate : {"3", "2", "1", "0.5", "0.25", "0"})
    if (nlohmann::ordered_json const value = nlohmann::ordered_json::parse(candidate); one.range().contains(value.get<double>()) && value != now)
      if (one.form().find("integer") == std::string::npos || value.is_number_integer()) return {candidate};
  return {};
}

void prepare(run_settings& s, fs::path const& output) {
  s.model = tiny / "tied";
  s.output_dir = output;
  s.compute.dtype = compute_type::float32;
  s.compute.threads = 1;
  s.learning_rate = 1e-3;
  s.per_device_train_batch_size = 4;
  s.max_steps = 4;
  s.save_steps = 2;
  s.logging_steps = 1;
  s.quiet = true;
}

void prepare(training_settings& s, fs::path const& output) {
  prepare(static_cast<run_settings&>(s), output);
  s.dataset = {tiny / "pairs.jsonl"};
  s.max_steps = 2;  // of each of two rounds
}

fs::path prompts_in(fs::path const& folder) {
  std::ofstream(folder / "prompts.jsonl") << "{\"prompt\": \"The anchor\"}\n{\"prompt\": \"We hauled\"}\n{\"prompt\": \"A rope\"}\n{\"prompt\": \"The sea\"}\n";
  return folder / "prompts.jsonl";
}

std::string weights_of(fs::path const& run) { return kedge::testing::read_file(run / "model.safetensors"); }

// Every setting changed alone, on a run that goes on in the middle: refused in a line that names it, or the weights of the undisturbed run.
// `fresh` gives new settings for an output folder, bound to a list, and the run.
template <class Fresh>
void change_each(fs::path const& folder, Fresh const& fresh, std::set<std::string> const& fixed_elsewhere) {
  auto [undisturbed, run] = fresh(folder / "whole");
  run();
  std::string const expected = weights_of(folder / "whole");
  std::map<std::string, std::string> const texts{{"optim", "adamw_bf16"}, {"loss_type", "ipo"}, {"device", "cpu:0"}, {"lora_target_modules", "o_proj"}, {"judge", "true"}, {"eval_judge", "true"},
                                                 {"lora_exclude_modules", "q_proj"}, {"lora_target_parameters", "mlp.experts.down_proj"}, {"lora_modules_to_save", "norm"},
                                                 {"lora_rank_pattern", "{\"q_proj\": 4}"}, {"lora_alpha_pattern", "{\"q_proj\": 4}"},
                                                 {"lr_scheduler_kwargs", "{\"num_cycles\": 1}"}, {"report_to", "none"}, {"metric_for_best_model", "loss"}, {"eos_token", "<|im_start|>"}, {"profile_trace", (folder / "trace.json").string()},
                                                 {"fsdp", "full_shard"}, {"paged_dir", folder.string()}};
  std::vector<std::string> names;
  for (auto const& one : *undisturbed)
    if (!fixed_elsewhere.contains(one->name())) names.push_back(one->name());
  auto const resumed = [&](std::function<void(settings_list&)> const& change) {
    fs::remove_all(folder / "again");
    fs::copy(folder / "whole", folder / "again", fs::copy_options::recursive);
    auto [list, go_on] = fresh(folder / "again");
    change(*list);
    list->at("resume_from_checkpoint").read({(folder / "again" / "checkpoints" / "step-2").string()});
    try {
      go_on();
      return std::string();
    } catch (error const& e) {
      return std::string(e.what());
    }
  };
  CHECK(resumed([](settings_list&) {}).empty());
  CHECK(weights_of(folder / "again") == expected);
  std::size_t refused = 0, kept = 0;
  std::string alone;  // that have one value
  for (std::string const& name : names) {
    INFO(name);
    bool changed = true;
    std::string const message = resumed([&](settings_list& list) {
      setting& one = list.at(name);
      auto const text = texts.find(name);
      changed = text != texts.end() && refusal(one, {text->second}).empty();
      if (changed) return;
      std::vector<std::string> const value = another(one);
      changed = !value.empty() && refusal(one, value).empty();
    });
    if (!changed) {
      alone += name + ' ';
      continue;
    }
    if (message.empty()) {
      ++kept;
      CHECK(weights_of(folder / "again") == expected);
      continue;
    }
    ++refused;
    INFO(message);
    CHECK(message.find('\n') == std::string::npos);
  }
  CHECK(refused > 20);
  CHECK(kept > 5);
  INFO(alone);
  CHECK((alone.empty() || alone == "lora_dropout "));
}

template <class Settings>
auto one_round_run(void (*prepare_it)(Settings&, fs::path const&), one_round_result (*train)(Settings const&)) {
  return [=](fs::path const& output) {
    auto const settings = std::make_shared<Settings>();
    prepare_it(*settings, output);
    auto const list = std::make_shared<settings_list>();
    declare(*list, *settings);
    return std::pair{list, std::function<void()>([settings, train] { train(*settings); })};
  };
}

// Settings whose value is a place, or the content of a place: other tests change what lies there.
std::set<std::string> const places{"model_name_or_path", "output_dir", "dataset", "eval_dataset", "config_name", "prompts", "eval_prompts", "reward_model",
                                   "reference", "ref_model_name_or_path", "value_model", "resume_from_checkpoint"};

}  // namespace

TEST_CASE("no number passes where it has no meaning", "[settings]") {
  training_settings training;
  round_settings rounds;
  sft_settings sft;
  reward_settings reward;
  ppo_settings ppo;
  kto_settings kto;
  settings_list lists[5];
  declare(lists[0], training);
  declare_rounds(lists[0], rounds);
  declare(lists[1], sft);
  declare(lists[2], reward);
  declare(lists[3], ppo);
  declare(lists[4], kto);
  std::size_t numbers = 0;
  for (settings_list const& list : lists)
    for (auto const& one : list) {
      if (!takes_numbers(*one)) continue;
      ++numbers;
      INFO(one->name() << ": " << one->form());
      for (char const* const text : {"nan", "NaN", "inf", "-inf", "1e300", "-1e300", "much", "", "1x", "0x10"}) {
        INFO(text);
        CHECK_THAT(refusal(*one, {text}), contains("--" + one->name()));
      }
      bool const has_meaning = one->range().contains(-1) || std::any_of(one->synonyms().begin(), one->synonyms().end(), [](auto const& s) { return s.first == "-1"; });
      CHECK(refusal(*one, {"-1"}).empty() == has_meaning);
      if (has_meaning && !one->range().contains(-1)) CHECK_THAT(one->help(), contains("-1"));
    }
  CHECK(numbers > 160);
}

TEST_CASE("every setting has a name of its own and a help and takes back the value it shows", "[settings]") {
  training_settings training;
  round_settings rounds;
  settings_list list;
  declare(list, training);
  declare_rounds(list, rounds);
  std::set<std::string> seen;
  for (auto const& one : list) {
    INFO(one->name());
    CHECK(seen.insert(one->name()).second);
    for (std::string const& alias : one->aliases()) CHECK(seen.insert(alias).second);
    CHECK(one->help().size() > 4);
    nlohmann::ordered_json const before = one->value();
    if (before.is_null() || (before.is_array() && before.empty())) continue;
    std::vector<std::string> texts;
    for (auto const& value : before.is_array() ? before : nlohmann::ordered_json::array({before})) texts.push_back(value.is_string() ? value.get<std::string>() : value.dump());
    one->read(texts);
    CHECK(one->value() == before);
  }
  CHECK_THROWS_WITH(list.known("learning_rat", "--"), contains("did you mean learning_rate?"));
}

TEST_CASE("dpo resumed with a setting changed alone is refused or ends with the same bits", "[settings]") {
  scratch_folder const folder;
  change_each(
      folder.path(),
      [](fs::path const& output) {
        struct both {
          training_settings training;
          round_settings rounds{.method = round_method::apo, .chunks = 2, .momentum = momentum_choice::constant};
        };
        auto const s = std::make_shared<both>();
        prepare(s->training, output);
        auto const list = std::make_shared<settings_list>(settings_of(s->training, s->rounds));
        return std::pair{list, std::function<void()>([s] { train_preferences(s->training, s->rounds); })};
      },
      places);
}

TEST_CASE("sft resumed with a setting changed alone is refused or ends with the same bits", "[settings]") {
  scratch_folder const folder;
  static fs::path data;
  data = folder / "demonstrations.jsonl";
  std::ofstream(data) << "{\"prompt\": \"The anchor\", \"completion\": \" went ahead.\"}\n{\"prompt\": \"We\", \"completion\": \" hauled.\"}\n";
  change_each(folder.path(), one_round_run<sft_settings>([](sft_settings& s, fs::path const& output) {
                prepare(s, output);
                s.dataset = data;
              }, train_sft), places);
}

TEST_CASE("reward resumed with a setting changed alone is refused or ends with the same bits", "[settings]") {
  scratch_folder const folder;
  change_each(folder.path(), one_round_run<reward_settings>([](reward_settings& s, fs::path const& output) {
                prepare(s, output);
                s.dataset = tiny / "pairs.jsonl";
              }, train_reward), places);
}

TEST_CASE("kto resumed with a setting changed alone is refused or ends with the same bits", "[settings]") {
  scratch_folder const folder;
  change_each(folder.path(), one_round_run<kto_settings>([](kto_settings& s, fs::path const& output) {
                prepare(s, output);
                s.dataset = tiny / "pairs.jsonl";
              }, train_kto), places);
}

TEST_CASE("ppo resumed with a setting changed alone is refused or ends with the same bits", "[settings]") {
  scratch_folder const folder;
  fs::path const prompts = prompts_in(folder.path());
  change_each(
      folder.path(),
      [&](fs::path const& output) {
        auto const s = std::make_shared<ppo_settings>();
        prepare(*s, output);
        s->max_steps = 0;
        s->num_train_epochs = 1;
        s->sampling.prompts = prompts;
        s->sampling.judge = judge_command;
        s->sampling.max_new_tokens = 5;
        s->total_episodes = 16;
        s->value_model = "shared";
        auto const list = std::make_shared<settings_list>();
        declare(*list, *s);
        return std::pair{list, std::function<void()>([s] { train_ppo(*s); })};
      },
      places);
}

TEST_CASE("a run resumed on other data or from another model is refused in a line that names both", "[settings]") {
  scratch_folder const folder;
  fs::path const data = folder / "pairs.jsonl", model = folder / "model";
  std::vector<std::string> pairs;
  std::ifstream source(tiny / "pairs.jsonl");
  for (std::string line; std::getline(source, line);) pairs.push_back(line);
  auto const write = [&](std::vector<std::string> const& lines) {
    std::ofstream file(data);
    for (std::string const& line : lines) file << line << '\n';
  };
  write(pairs);
  fs::copy(tiny / "tied", model, fs::copy_options::recursive);
  training_settings s;
  prepare(s, folder / "run");
  s.model = model;
  s.dataset = {data};
  s.max_steps = 4;
  train_preferences(s, {});
  std::string const expected = weights_of(s.output_dir);
  s.resume_from_checkpoint = (s.output_dir / "checkpoints/step-2").string();

  std::vector<std::string> other = pairs;
  std::swap(other.front(), other.back());
  write(other);
  CHECK_THROWS_WITH(train_preferences(s, {}), contains("training data = \"" + std::to_string(pairs.size()) + " pairs, hash "));
  other = pairs;
  other.push_back(pairs.front());
  write(other);
  CHECK_THROWS_WITH(train_preferences(s, {}), contains("this run has \"" + std::to_string(pairs.size() + 1) + " pairs"));
  other = pairs;
  other.back() = pairs.front();
  write(other);
  CHECK_THROWS_WITH(train_preferences(s, {}), contains("training data"));
  write(pairs);
  s.max_train_samples = 3;
  CHECK_THROWS_WITH(train_preferences(s, {}), contains("max_train_samples = 0, this run has 3"));
  s.max_train_samples = 0;
  s.eval_dataset = data;
  CHECK_THROWS_WITH(train_preferences(s, {}), contains("held-out pairs"));
  s.eval_dataset.clear();

  fs::rename(data, folder / "renamed.jsonl");  // the same content under another name goes on
  s.dataset = {folder / "renamed.jsonl"};
  train_preferences(s, {});
  CHECK(weights_of(s.output_dir) == expected);

  fs::copy(tiny / "untied", model, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  CHECK_THROWS_AS(train_preferences(s, {}), error);
  fs::copy(tiny / "tied", model, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  std::fstream weights(model / "model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  weights.seekp(-3, std::ios::end);
  weights.put('\x11');
  weights.close();
  CHECK_THROWS_WITH(train_preferences(s, {}), contains("model = "));
}
