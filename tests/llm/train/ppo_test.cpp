// SPDX-License-Identifier: Apache-2.0

// PPO, SALSA and online rounds on a tiny checkpoint: one update against an independent one, and whole runs against each other.

#include "../adapters/llm/src/train/ppo_problem.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/safetensors.hpp>
#include <kedge/llm/train/reward.hpp>
#include <kedge/llm/train/reward_plane.hpp>

#include "../adapters/llm/src/train/online_pairs.hpp"
#include "llm/train/counting_judge.hpp"
#include "support/catch.hpp"
#include "support/json_lines.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::judge_command;
using kedge::testing::lines;
using kedge::testing::scratch_folder;
using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

namespace {

fs::path const tiny = fs::path(KEDGE_TESTS_DIR) / "golden/tiny";

json golden() {
  std::ifstream file(tiny / "ppo.json");
  return json::parse(file);
}

ppo_settings settings_of(json const& all, json const& variant) {
  ppo_settings s;
  json const& g = all.at("settings");
  s.kl_coef = g.at("kl_coef").get<double>();
  s.gamma = g.at("gamma").get<double>();
  s.lam = g.at("lam").get<double>();
  s.cliprange = g.at("cliprange").get<double>();
  s.cliprange_value = g.at("cliprange_value").get<double>();
  s.vf_coef = g.at("vf_coef").get<double>();
  s.learning_rate = g.at("learning_rate").get<double>();
  s.num_train_epochs = g.at("epochs").get<double>();
  s.missing_eos_penalty = g.at("missing_eos_penalty").get<double>();
  s.kl_estimator = from_name<kl_estimator_kind>(variant.at("estimator").get<std::string>()).value();
  s.whiten_rewards = variant.at("whiten_rewards").get<bool>();
  s.lr_scheduler_type = kedge::llm::lr_scheduler::constant;
  s.per_device_train_batch_size = s.total_episodes = all.at("completions").size();
  s.compute.dtype = compute_type::float64;
  return s;
}

std::vector<rollout> rollouts_of(json const& all, json const& variant) {
  std::vector<rollout> rollouts;
  for (std::size_t i = 0; i < all.at("completions").size(); ++i) {
    json const& c = all["completions"][i];
    rollouts.push_back({c.at("prompt").get<std::size_t>(), c.at("tokens").get<std::vector<std::int32_t>>(),
                        variant.at("old")[i].get<std::vector<double>>(), c.at("finished").get<bool>(), all.at("scores")[i].get<double>(), ""});
  }
  return rollouts;
}

template <class T>
std::vector<T> flat(json const& lists) {
  std::vector<T> all;
  for (json const& list : lists)
    for (json const& value : list) all.push_back(value.get<T>());
  return all;
}

}  // namespace

TEST_CASE("an update of PPO has the advantages and losses and gradient norms of the reference", "[ppo]") {
  json const all = golden();
  for (std::string const variant : {"shared", "separate"}) {
    json const& g = all.at("variants").at(variant);
    ppo_settings settings = settings_of(all, g);
    session const tied(tiny / "tied", settings.compute);
    actor_critic const models(tied.config, tied.compute, advantage_rule::gae, variant);
    encoded_prompts prompts;
    for (json const& ids : all.at("prompts")) prompts.ids.push_back(ids.get<std::vector<std::int32_t>>());
    prompts.examples.resize(prompts.ids.size());
    scorer nobody;
    rollout_source source(tied, models.policy, settings.sampling, std::move(prompts), nobody, 1);
    pack theta = tied.load();
    auto const score = all.at("score_head").get<std::vector<double>>();
    at::Tensor const head = at::tensor(score, at::kDouble).unsqueeze(0);
    if (models.critic)
      for (at::Tensor const& t : kedge::deep_copy(tied.load())) theta.push_back(t);
    theta.push_back(head);
    ppo_problem problem(models, settings, source);
    auto const rollouts = rollouts_of(all, g);
    auto const reference = flat<double>(g.at("reference"));
    auto const targets = problem.targets(rollouts, reference, flat<double>(g.at("values")));
    auto const advantage = g.at("advantage").get<std::vector<double>>(), returns = g.at("returns").get<std::vector<double>>();
    for (std::size_t t = 0; t < advantage.size(); ++t) {
      CHECK(std::abs(targets.advantage[t] - advantage[t]) < 1e-10);
      CHECK(std::abs(targets.returns[t] - returns[t]) < 1e-10);
    }
    REQUIRE(problem.solve(theta, rollouts, reference, 0) == kedge::status::done);
    for (auto const& [name, value] : g.at("steps")[0].items()) {
      double mean = 0;
      for (json const& step : g.at("steps")) mean += step.at(name).get<double>() / static_cast<double>(g.at("steps").size());
      double const measured = name == "loss" ? problem.report.loss : name == "grad_norm" ? problem.report.grad_norm : problem.report.metric_or_nan(name);
      INFO(variant << ' ' << name << ": " << measured << ", expected " << mean);
      CHECK(std::abs(measured - mean) < 1e-5 * (1 + std::abs(mean)));
    }
  }
}

TEST_CASE("the pairs of a round are the best and the worst or all that differ in score", "[ppo]") {
  std::vector<rollout> rollouts(6);
  double const scores[] = {1, 3, 2, 5, 5, 5};
  for (std::size_t i = 0; i < 6; ++i) rollouts[i].score = scores[i];
  auto const best = pair_up(rollouts, 3, pairing_rule::best_worst, 0);
  REQUIRE(best.size() == 1);  // the second prompt's are all equal
  CHECK((best[0].better == 1 && best[0].worse == 0));
  CHECK(pair_up(rollouts, 3, pairing_rule::all, 0).size() == 3);
  CHECK(pair_up(rollouts, 3, pairing_rule::all, 1.5).size() == 1);
}

namespace {

fs::path prompts_in(fs::path const& folder) {
  fs::path const file = folder / "prompts.jsonl";
  std::ofstream out(file);
  for (char const* text : {"The anchor went", "One, two,", "A kind answer: ", "Warm and"}) out << json{{"prompt", text}}.dump() << '\n';
  return file;
}

ppo_settings small_run(fs::path const& folder, std::string const& name) {
  ppo_settings s;
  s.model = tiny / "tied";
  s.output_dir = folder / name;
  s.sampling.prompts = prompts_in(folder);
  s.sampling.judge = judge_command;
  s.sampling.max_new_tokens = 6;
  s.compute.dtype = compute_type::float32;
  s.compute.threads = 1;
  s.learning_rate = 1e-3;
  s.num_train_epochs = 2;
  s.per_device_train_batch_size = 4;
  s.num_mini_batches = 2;
  s.total_episodes = 24;
  s.value_model = "shared";
  s.kl_coef = 0.1;
  s.quiet = true;
  s.save_steps = 1;
  return s;
}

std::string weights_after(ppo_settings const& settings) {
  train_ppo(settings);
  return kedge::testing::read_file(settings.output_dir / "model.safetensors");
}

// The tiny model with other weights, as a folder.
fs::path other_model(fs::path const& folder) {
  training_settings s;
  s.model = tiny / "tied";
  s.output_dir = folder / "other";
  s.dataset = {tiny / "pairs.jsonl"};
  s.compute.dtype = compute_type::float32;
  s.learning_rate = 1e-2;
  s.max_steps = 4;
  s.save_steps = 0;
  s.quiet = true;
  train_preferences(s, {});
  return s.output_dir;
}

}  // namespace

TEST_CASE("a soup of equal models and a soup with weight 0 of the other are ppo bit for bit and a real soup is not", "[ppo]") {
  scratch_folder const folder;
  std::string const ppo = weights_after(small_run(folder.path(), "ppo")), same = (tiny / "tied").string(), other = other_model(folder.path()).string();
  auto salsa = [&](std::string const& name, std::string const& reference) {
    ppo_settings s = small_run(folder.path(), name);
    s.reference = parse_reference(reference);
    return weights_after(s);
  };
  CHECK(salsa("equal", "soup:" + same + "," + same) == ppo);
  CHECK(salsa("zero", "soup:" + same + "," + other + "@1,0") == ppo);
  CHECK(salsa("half", "soup:" + same + "," + other) != ppo);
  CHECK(salsa("mkl", "mkl:" + same + "," + same) == ppo);
}

TEST_CASE("KL before the first step is 0 against the start and above 0 against a soup", "[ppo]") {
  scratch_folder const folder;
  ppo_settings s = small_run(folder.path(), "plain");
  s.total_episodes = 8;
  CHECK(std::abs(train_ppo(s).kl_at_start) < 1e-4);
  s = small_run(folder.path(), "soup");
  s.total_episodes = 8;
  s.reference = parse_reference("soup:" + s.model.string() + "," + other_model(folder.path()).string());
  CHECK(train_ppo(s).kl_at_start > 1e-3);
}

TEST_CASE("the reward plane begins with the first model alone and measures every soup of the grid", "[ppo]") {
  scratch_folder const folder;
  ppo_settings s = small_run(folder.path(), "plane");
  std::string const same = s.model.string(), other = other_model(folder.path()).string();
  s.reference = parse_reference("soup:" + same + "," + other);
  auto const line = measure_reward_plane(s, 2);
  REQUIRE(line.size() == 3);
  CHECK(line[0].weights == std::vector<double>{1, 0});
  CHECK(line[0].evaluation.kl == 0);
  CHECK(line[0].evaluation.win_rate == 0.5);
  CHECK(line[2].evaluation.kl > line[1].evaluation.kl);
  CHECK(fs::exists(s.output_dir / "reward_plane.svg"));
  s.reference = parse_reference("soup:" + same + "," + other + "," + same);
  auto const plane = measure_reward_plane(s, 2);
  REQUIRE(plane.size() == 6);
  CHECK(plane[1].weights == std::vector<double>{0.5, 0, 0.5});
  CHECK(plane[1].evaluation.kl == 0);  // the first and the third model are one
  CHECK(plane[4].weights == std::vector<double>{0, 0.5, 0.5});
  CHECK(plane[4].evaluation.reward == line[1].evaluation.reward);
  s.reference = parse_reference("soup:" + same);
  CHECK_THROWS_WITH(measure_reward_plane(s, 2), contains("two or three models"));
}

TEST_CASE("the picture of a reward plane has a mark for each soup and the models' names", "[ppo]") {
  auto const at = [](std::vector<double> weights, double reward) {
    plane_point p{std::move(weights), {}};
    p.evaluation.reward = reward;
    p.evaluation.reward_stderr = 0.125;
    return p;
  };
  auto const count = [](std::string const& text, std::string const& part) {
    std::size_t found = 0;
    for (std::size_t i = text.find(part); i != std::string::npos; i = text.find(part, i + 1)) ++found;
    return found;
  };
  std::string const triangle = reward_plane_picture({at({1, 0, 0}, -1.5), at({0, 0, 1}, 0.25), at({0, 1, 0}, 2)}, {"a<b", "second", "third"});
  CHECK(count(triangle, "<polygon") == 3);
  CHECK(count(triangle, "a&lt;b alone") == 1);
  CHECK(count(triangle, "a&lt;b 0.000, second 0.000, third 1.000: 0.2 ± 0.125") == 1);
  CHECK(count(triangle, "standard error of a soup: 0.125 on average") == 1);
  std::string const line = reward_plane_picture({at({1, 0}, 3), at({0.5, 0.5}, 3), at({0, 1}, 3)}, {"a", "b"});
  CHECK(count(line, "<circle") == 3);
  CHECK(count(line, "weight of b; that of a is the rest") == 1);
  for (std::string const& picture : {triangle, line}) CHECK(count(picture, "nan") + count(picture, "inf") == 0);
}

TEST_CASE("an update is logged under TRL's names and held-out prompts are measured against the start", "[ppo]") {
  scratch_folder const folder;
  ppo_settings s = small_run(folder.path(), "logged");
  s.logging_steps = 1;
  s.log_entropy = true;
  s.sampling.eval_prompts = prompts_in(folder.path());
  s.sampling.eval_samples = 2;
  ppo_result const result = train_ppo(s);
  REQUIRE(result.evaluations.size() == 2);
  CHECK(result.evaluations[0].kl == 0);
  CHECK(result.evaluations[0].win_rate == 0.5);
  CHECK(result.evaluations[1].kl > 0);
  std::ifstream file(s.output_dir / "metrics.jsonl");
  std::string line;
  std::getline(file, line);
  CHECK(json::parse(line).contains("eval_reward"));
  std::getline(file, line);
  json const first = json::parse(line);
  for (char const* name : {"objective/kl", "objective/entropy", "objective/non_score_reward", "objective/rlhf_reward", "objective/scores",
                           "policy/approxkl_avg", "policy/clipfrac_avg", "policy/entropy_avg", "loss/policy_avg", "loss/value_avg",
                           "val/clipfrac_avg", "val/ratio", "val/ratio_var", "val/num_eos_tokens", "episode"})
    CHECK(first.contains(name));
  CHECK(first.at("episode") == 8.0);
  CHECK(std::abs(first.at("objective/kl").get<double>()) < 1e-4);
  CHECK(fs::exists(s.output_dir / "samples" / "round-3.jsonl"));
}

TEST_CASE("ppo in bf16 samples and rewards and sees its first step by the numbers of fp32 where products read the masters", "[ppo]") {
  if (!fast_fp32_products()) return;
  scratch_folder const folder;
  auto first_update = [&](std::string const& values, std::string const& dtype, std::string const& weights) {
    ppo_settings s = small_run(folder.path(), values + dtype + weights);
    s.value_model = values;
    s.compute.dtype = from_name<compute_type>(dtype).value();
    s.compute.weights_dtype = from_name<weights_type>(weights).value();
    s.total_episodes = 4;
    s.num_mini_batches = 1;
    s.num_train_epochs = 1;
    s.logging_steps = 1;
    train_ppo(s);
    return lines(s.output_dir / "metrics.jsonl").front();
  };
  for (std::string const values : {"shared", "separate"}) {
    INFO(values);
    json const exact = first_update(values, "float32", "auto"), mixed = first_update(values, "bfloat16", "auto"), copied = first_update(values, "bfloat16", "bfloat16");
    for (char const* name : {"objective/kl", "objective/entropy", "objective/scores", "val/ratio", "loss", "loss/value_avg"}) {
      INFO(name);
      CHECK(mixed.at(name) == exact.at(name));
    }
    CHECK(copied.at("objective/entropy") != exact.at("objective/entropy"));
    double const ratio = mixed.at("grad_norm").get<double>() / exact.at("grad_norm").get<double>();
    CHECK(std::abs(ratio - 1) < 0.02);
    CHECK(ratio != 1);  // what is kept for the backward pass is bf16
  }
}

TEST_CASE("a reference that moves with the policy is none that stays, and goes on to the same bits", "[ppo]") {
  scratch_folder const folder;
  auto settings = [&](std::string const& name, std::string const& reference) {
    ppo_settings s = small_run(folder.path(), name);
    s.reference = parse_reference(reference);
    s.logging_steps = 1;
    return s;
  };
  std::string const stays = weights_after(settings("stays", "start"));
  CHECK(weights_after(settings("still", "ema:tau=0")) == stays);
  CHECK(weights_after(settings("late", "ema:tau=1,every=100")) == stays);
  ppo_settings const moves = settings("moves", "ema:tau=1");
  std::string const moved = weights_after(moves);
  CHECK(moved != stays);
  // The policy itself, as it samples: no KL at any update.
  for (json const& update : lines(moves.output_dir / "metrics.jsonl"))
    if (update.contains("objective/kl")) CHECK(std::abs(update.at("objective/kl").get<double>()) < 1e-4);
  ppo_settings half = settings("half", "ema:tau=0.5");
  std::string const whole = weights_after(half);
  for (int const step : {1, 2}) {
    ppo_settings again = half;
    again.resume_from_checkpoint = (half.output_dir / "checkpoints" / ("step-" + std::to_string(step))).string();
    CHECK(weights_after(again) == whole);
  }
}

TEST_CASE("held-out prompts have a judge of their own where one is named", "[ppo]") {
  scratch_folder const folder;
  ppo_settings s = small_run(folder.path(), "one");
  s.total_episodes = 8;
  s.sampling.eval_prompts = prompts_in(folder.path());
  ppo_result const same = train_ppo(s);
  s.output_dir = folder / "two";
  s.sampling.eval_judge = "while read -r line; do echo '{\"score\": 7}'; done";
  ppo_result const other = train_ppo(s);
  CHECK(kedge::testing::read_file(folder / "one" / "model.safetensors") == kedge::testing::read_file(folder / "two" / "model.safetensors"));
  for (policy_evaluation const& e : other.evaluations) CHECK(e.reward == 7);
  CHECK(same.evaluations.back().reward != 7);
}

TEST_CASE("held-out prompts are sampled whatever pairs are trained on, and change no bit", "[ppo]") {
  scratch_folder const folder;
  training_settings s;
  s.model = tiny / "tied";
  s.dataset = {tiny / "pairs.jsonl"};
  s.compute.dtype = compute_type::float32;
  s.max_steps = 2;
  s.save_steps = 0;
  s.quiet = true;
  s.output_dir = folder / "plain";
  round_settings rounds{.method = round_method::apo, .chunks = 2, .momentum = momentum_choice::constant};
  CHECK(train_preferences(s, rounds).policy_evaluations.empty());
  s.output_dir = folder / "measured";
  rounds.sampling = small_run(folder.path(), "").sampling;
  rounds.sampling.eval_prompts = std::exchange(rounds.sampling.prompts, "");
  training_result const result = train_preferences(s, rounds);
  REQUIRE(result.policy_evaluations.size() == 3);
  CHECK(result.policy_evaluations.front().kl == 0);
  CHECK(result.policy_evaluations.back().kl > 0);
  CHECK(kedge::testing::read_file(folder / "plain" / "model.safetensors") == kedge::testing::read_file(folder / "measured" / "model.safetensors"));
}

TEST_CASE("ppo resumed from any update ends with the same bits", "[ppo]") {
  scratch_folder const folder;
  for (advantage_rule const advantage : {advantage_rule::gae, advantage_rule::rloo, advantage_rule::grpo}) {
    auto settings = [&](std::string const& name) {
      ppo_settings s = small_run(folder.path(), std::string(name_of(advantage)) + name);
      s.advantage = advantage;
      s.adap_kl_ctrl = true;
      if (advantage != advantage_rule::gae) s.num_generations = 2;
      return s;
    };
    ppo_settings whole = settings("-whole");
    std::string const weights = weights_after(whole);
    for (int const step : {1, 2}) {
      ppo_settings again = settings("-again");
      again.output_dir = whole.output_dir;
      again.resume_from_checkpoint = (whole.output_dir / "checkpoints" / ("step-" + std::to_string(step))).string();
      CHECK(weights_after(again) == weights);
    }
  }
}

TEST_CASE("ppo of adapters starts at KL 0 and trains nothing but adapters and heads and ends with the same bits when resumed", "[ppo][lora]") {
  scratch_folder const folder;
  reward_settings reward;
  static_cast<run_settings&>(reward) = small_run(folder.path(), "reward");
  reward.dataset = tiny / "pairs.jsonl";
  reward.num_train_epochs = 1;
  train_reward(reward);
  std::size_t const factors = 2 * 7 * 2;  // A and B of seven maps of two layers
  for (auto const& [values, tensors] : {std::pair{std::string("shared"), factors + 1}, std::pair{std::string("separate"), 2 * factors + 1},
                                        std::pair{reward.output_dir.string(), 2 * factors + 1}}) {
    ppo_settings s = small_run(folder.path(), "ppo-" + fs::path(values).filename().string());
    s.value_model = values;
    s.use_peft = true;
    s.lora = {.rank = 2, .alpha = 4, .target_modules = {"all-linear"}};
    CHECK(std::abs(train_ppo(s).kl_at_start) < 1e-4);
    fs::path const adapter = s.output_dir / "adapter_model.safetensors";
    std::string const weights = kedge::testing::read_file(adapter);
    CHECK(safetensors_file(s.output_dir / "checkpoints" / "step-2" / "first-moment.safetensors").tensors().size() == tensors);
    safetensors_file const written(adapter);
    CHECK(written.tensors().size() == factors);
    CHECK(std::all_of(written.tensors().begin(), written.tensors().end(), [](auto const& t) {  // B began as zero
      return std::any_of(t.bytes.begin(), t.bytes.end(), [](std::byte b) { return b != std::byte{0}; });
    }));
    s.resume_from_checkpoint = (s.output_dir / "checkpoints" / "step-1").string();
    train_ppo(s);
    CHECK(kedge::testing::read_file(adapter) == weights);
  }
}

TEST_CASE("salsa of adapters takes a soup of adapters of its base for its reference, and starts at the adapter that it goes on with", "[ppo][lora]") {
  scratch_folder const folder;
  std::vector<std::string> adapters;
  for (std::uint64_t const seed : {1U, 2U}) {
    ppo_settings s = small_run(folder.path(), "one-" + std::to_string(seed));
    s.use_peft = true;
    s.learning_rate = 1e-2;
    s.seed = seed;
    s.lora = {.rank = static_cast<std::int64_t>(1 + seed), .alpha = 4, .target_modules = {"all-linear"}, .rslora = seed == 2};
    train_ppo(s);
    adapters.push_back(s.output_dir.string());
  }
  // A soup of one, the start: nothing between them. Of both: something. Of the start with itself: nothing again, whatever the rank.
  auto const kl_to = [&](std::string const& reference, std::string const& name) {
    ppo_settings s = small_run(folder.path(), name);
    s.model = adapters.front();
    s.use_peft = true;
    s.reference = parse_reference(reference);
    return std::abs(train_ppo(s).kl_at_start);
  };
  CHECK(kl_to(adapters[0], "itself") < 1e-4);
  CHECK(kl_to("soup:" + adapters[0] + "," + adapters[0], "twice") < 1e-4);
  CHECK(kl_to("soup:" + adapters[0] + "," + adapters[1], "both") > 1e-4);
  CHECK(kl_to("soup:" + adapters[0] + "," + (tiny / "tied").string() + "@1,0", "base") < 1e-4);
  CHECK(kl_to("mkl:" + adapters[0] + "," + adapters[1] + "@1,0", "mkl") < 1e-4);
  ppo_settings refused = small_run(folder.path(), "refused");
  refused.use_peft = true;
  refused.reference = parse_reference((tiny / "untied").string());
  CHECK_THROWS_WITH(train_ppo(refused), contains("not an adapter of"));
  refused.lora = {.target_modules = {"q_proj"}};
  refused.reference = parse_reference(adapters[0]);
  CHECK_THROWS_WITH(train_ppo(refused), contains("it adapts other modules"));
}

TEST_CASE("a run whose judge fails is saved and goes on to the bits of one whose judge did not", "[ppo]") {
  scratch_folder const folder;
  std::string const expected = weights_after(small_run(folder.path(), "whole"));
  ppo_settings s = small_run(folder.path(), "failing");
  s.save_steps = 0;
  std::string const repaired = (folder / "repaired").string();
  s.sampling.judge = "if [ -e " + repaired + " ]; then " + judge_command + "; else head -n 8 | (" + judge_command + "); fi";  // one update's answers
  CHECK_THROWS_WITH(train_ppo(s), contains("The run is saved"));
  CHECK(fs::exists(s.output_dir / "checkpoints" / "step-1" / "state.json"));
  std::ofstream(repaired) << "the command is the same, and works now\n";
  s.resume_from_checkpoint = "latest";
  CHECK(weights_after(s) == expected);
}

TEST_CASE("online apo resumed inside a round and between rounds ends with the same bits", "[ppo]") {
  scratch_folder const folder;
  for (extrapolated const what : {extrapolated::weights, extrapolated::log_probs}) {
    training_settings s;
    s.model = tiny / "tied";
    s.output_dir = folder.path() / name_of(what);
    s.compute.dtype = compute_type::float32;
    s.compute.threads = 1;
    s.learning_rate = 1e-3;
    s.num_train_epochs = 2;
    s.per_device_train_batch_size = 2;
    s.save_steps = 1;
    s.quiet = true;
    round_settings r{.method = round_method::apo, .rounds = 3, .momentum = momentum_choice::constant, .alpha = {0.5, 0.2}, .beta = {0.2, 0.1}, .extrapolate = what};
    r.sampling.prompts = prompts_in(folder.path());
    r.sampling.judge = judge_command;
    r.sampling.max_new_tokens = 8;
    r.num_samples = 5;
    r.sample_from = what == extrapolated::weights ? sampled_policy::weights : sampled_policy::mixture;
    training_result const result = train_preferences(s, r);
    CHECK(result.sample_seconds > 0);
    std::string const weights = kedge::testing::read_file(s.output_dir / "model.safetensors");
    REQUIRE(result.steps > 3);
    for (std::size_t step = 1; step < result.steps; ++step) {
      s.resume_from_checkpoint = (s.output_dir / "checkpoints" / ("step-" + std::to_string(step))).string();
      train_preferences(s, r);
      CHECK(kedge::testing::read_file(s.output_dir / "model.safetensors") == weights);
    }
  }
}

TEST_CASE("references that can't be averaged and prompts without room and settings that make no sense are refused", "[ppo]") {
  scratch_folder const folder;
  CHECK_THROWS_WITH(parse_reference("soup:a,b@0.5,0.6"), contains("sum to 1.1"));
  CHECK_THROWS_WITH(parse_reference("soup:a,b@0.5"), contains("1 weights for 2 models"));
  CHECK_THROWS_WITH(parse_reference("soup:a,b@x,1"), contains("'x' is not a number"));
  CHECK_THROWS_WITH(parse_reference("soup:"), contains("no models"));
  ppo_settings s = small_run(folder.path(), "refused");
  s.reference = parse_reference("soup:" + (tiny / "tied").string() + "," + (tiny / "untied").string());
  CHECK_THROWS_WITH(train_ppo(s), contains("can be averaged"));
  s.reference = {};
  s.sampling.max_new_tokens = 100000;
  CHECK_THROWS_WITH(train_ppo(s), contains("leaves no room"));
  s.sampling.max_new_tokens = 6;
  s.advantage = advantage_rule::rloo;
  CHECK_THROWS_WITH(train_ppo(s), contains("--num_generations 2 or more"));
  s.advantage = advantage_rule::gae;
  s.sampling.judge = "echo nonsense";
  CHECK_THROWS_WITH(train_ppo(s), contains("nonsense"));
}
