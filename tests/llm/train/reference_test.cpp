// SPDX-License-Identifier: Apache-2.0

// References that move, are another model or come with the data, and weights of tokens and pairs: against TRL's steps, finite differences,
// and each other.

#include <cmath>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/data/ragged.hpp>
#include <kedge/llm/model/causal_lm.hpp>
#include <kedge/llm/model/lora.hpp>
#include <kedge/llm/train/scoring.hpp>
#include <kedge/llm/train/preference.hpp>

#include "../adapters/llm/src/train/moving_reference.hpp"
#include "../adapters/llm/src/train/pair_input.hpp"
#include "llm/model/plain_model.hpp"
#include "llm/train/given_settings.hpp"
#include "support/catch.hpp"
#include "support/json_lines.hpp"
#include "support/scratch_folder.hpp"
#include "support/tiny_runs.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::lines;
using kedge::testing::read_file;
using kedge::testing::scratch_folder;
using kedge::testing::WithinAbs;
using json = nlohmann::ordered_json;
namespace fs = std::filesystem;

namespace {

fs::path const tiny = fs::path(KEDGE_TESTS_DIR) / "golden/tiny";

training_settings settings_for(fs::path const& output) {
  auto s = kedge::testing::four_steps<training_settings>(output, "tied");
  s.dataset = {tiny / "pairs.jsonl"};
  s.compute.dtype = compute_type::float64;
  s.max_steps = 8;
  return s;
}

void take(training_settings& s, json const& given) {
  settings_list list;
  declare(list, s);
  kedge::testing::take(list, given);
}

std::vector<json> steps_of(training_settings const& s, round_settings const& rounds = {}) {
  train_preferences(s, rounds);
  std::vector<json> steps;
  for (json const& line : lines(s.output_dir / "metrics.jsonl"))
    if (line.contains("grad_norm")) steps.push_back(line);
  return steps;
}

std::string trained(training_settings const& s, round_settings const& rounds = {}) {
  train_preferences(s, rounds);
  return read_file(s.output_dir / (s.use_peft ? "adapter_model.safetensors" : "model.safetensors"));
}

void check_close(std::vector<json> const& ours, std::vector<json> const& theirs, double tolerance) {
  REQUIRE(ours.size() == theirs.size());
  for (std::size_t i = 0; i < ours.size(); ++i)
    for (auto const& [name, value] : theirs[i].items()) {
      INFO(name << " of step " << i + 1);
      double const number = value.get<double>();
      CHECK_THAT(ours[i].at(name).get<double>(), WithinAbs(number, tolerance * std::max(1.0, std::abs(number))));
    }
}

// The pairs with their reference by `model`, as `kedge score --ref_logps` writes them.
fs::path with_reference(fs::path const& data, fs::path const& model, fs::path const& output) {
  std::ostringstream scores;
  score_preferences({.model = model,
                     .dataset = data,
                     .compute = {.dtype = compute_type::float64, .threads = 1},
                     .max_length = 1024,
                     .ref_logps = output,
                     .quiet = true},
                    scores);
  return output;
}

std::string refusal(training_settings const& s, round_settings const& rounds = {}) {
  try {
    train_preferences(s, rounds);
  } catch (std::exception const& problem) {
    CHECK(std::string(problem.what()).find('\n') == std::string::npos);
    return problem.what();
  }
  return {};
}

std::vector<std::size_t> all_of(std::vector<preference_pair> const& pairs) {
  std::vector<std::size_t> all(pairs.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  return all;
}

}  // namespace

TEST_CASE("moving references, references of their own and weights follow TRL at every step", "[golden][reference]") {
  json const golden = kedge::testing::read_json(tiny / "trl_reference.json");
  for (auto const& [name, run] : golden.at("runs").items()) {
    INFO(name);
    scratch_folder const folder;
    training_settings s = settings_for(folder / "out");
    take(s, run.at("settings"));
    if (!run.at("reference").is_null()) s.ref_model = tiny / run.at("reference").get<std::string>();
    check_close(steps_of(s), run.at("steps").get<std::vector<json>>(), 1e-5);
  }
}

TEST_CASE("a batch whose tails count less has the gradient that finite differences have", "[reference]") {
  transformer_config const config = plain::tiny_config(true);
  pack theta = plain::random_parameters(config, at::kDouble, 9);
  auto const pairs = plain::random_pairs(3, config.vocabulary, 10);
  for (bool const shares : {false, true}) {
    causal_lm const model(config, {.type = at::kDouble});
    ragged_batch batch = pack_pairs(pairs, all_of(pairs), read_at::every_token, shares);
    weigh_tails(batch, 0.3);
    std::vector<double> cotangent(batch.sequences);
    for (std::size_t i = 0; i < cotangent.size(); ++i) cotangent[i] = std::sin(1.0 + static_cast<double>(i));
    auto const value = [&] {
      std::vector<double> const logp = model.log_probs(theta, batch);
      return std::inner_product(logp.begin(), logp.end(), cotangent.begin(), 0.0);
    };
    pack gradient = plain::zeros_like(theta, at::kDouble);
    model.forward(theta, batch).pullback(cotangent, gradient);
    for (std::size_t i = 0; i < theta.size(); ++i) {
      std::int64_t const place = theta[i].numel() / 2;
      double* const x = theta[i].data_ptr<double>() + place;
      double const before = *x, h = 1e-6;
      *x = before + h;
      double const above = value();
      *x = before - h;
      double const below = value();
      *x = before;
      CHECK_THAT(gradient[i].flatten()[place].item<double>(), WithinAbs((above - below) / (2 * h), 1e-6));
    }
  }
}

TEST_CASE("tails are what stands beyond the shorter completion of a pair", "[reference]") {
  preference_pair const pair{.prompt = {1}, .chosen = {2, 3, 4, 5}, .rejected = {6, 7}, .odd = {}};
  ragged_batch batch = pack_pairs(std::vector{pair}, std::vector<std::size_t>{0});
  weigh_tails(batch, 0.25);
  CHECK(batch.weights == std::vector<double>{1, 1, 0.25, 0.25, 1, 1});
  CHECK(sums_by_sequence(std::vector<double>{1, 2, 4, 8, 16, 32}, batch) == std::vector<double>{6, 48});
  CHECK_THROWS_WITH(weigh_tails(batch, 1.5), contains("ld_alpha"));
  preference_pair const unprompted{.prompt = {}, .chosen = {2, 3, 4}, .rejected = {6, 7}, .odd = {}};  // nothing predicts a first token
  ragged_batch other = pack_pairs(std::vector{unprompted}, std::vector<std::size_t>{0});
  weigh_tails(other, 0.5);
  CHECK(other.weights == std::vector<double>{1, 0.5, 1});
}

TEST_CASE("log sums of squared probabilities are those of the softmax on every path, and WPO's weights are made of them",
          "[reference]") {
  transformer_config config = plain::tiny_config(false);
  auto const pairs = plain::random_pairs(3, config.vocabulary, 12);
  for (double const cap : {0.0, 5.0})
    for (at::ScalarType const type : {at::kDouble, at::kFloat}) {
      INFO(at::toString(type) << ", capped at " << cap);
      config.logit_soft_cap = cap;
      causal_lm const model(config, {.type = type, .head_rows = 4});
      pack const theta = plain::random_parameters(config, type, 11);
      ragged_batch const batch = pack_pairs(pairs, all_of(pairs));
      row_outputs const rows = model.forward_rows(theta, batch, {.log_squares = true}).out;
      REQUIRE(rows.log_squares.size() == batch.rows.size());
      CHECK(rows.entropy.empty());
      std::vector<double> squares(rows.logp.size());
      ragged_batch every = batch;  // the same rows for each token of the vocabulary
      for (std::int64_t v = 0; v < config.vocabulary; ++v) {
        every.targets.assign(batch.targets.size(), v);
        std::vector<double> const logp = model.rows(theta, every).logp;
        for (std::size_t r = 0; r < squares.size(); ++r) squares[r] += std::exp(2 * logp[r]);
      }
      double const allowed = type == at::kDouble ? 1e-12 : 1e-5;
      for (std::size_t r = 0; r < squares.size(); ++r)
        CHECK_THAT(rows.log_squares[r], WithinAbs(std::log(squares[r]), allowed));
      std::vector<double> const weights = weights_by_policy(rows, batch);
      REQUIRE(weights.size() == pairs.size());
      double mean = 0;
      std::size_t const chosen = pairs[0].chosen.size(), rejected = pairs[0].rejected.size();
      for (std::size_t r = 0; r < chosen + rejected; ++r)
        mean += (rows.logp[r] - rows.log_squares[r]) / static_cast<double>(r < chosen ? chosen : rejected);
      CHECK_THAT(weights[0], WithinAbs(std::exp(mean), 1e-12));
    }
}

TEST_CASE("a reference that is replaced whole gives margins of exactly 0 and a loss of ln 2 at the next step", "[reference]") {
  scratch_folder const folder;
  for (bool const adapter : {false, true})
    for (compute_type const type : {compute_type::float32, compute_type::bfloat16}) {
      std::string const dtype(name_of(type));
      INFO(dtype << (adapter ? " adapter" : ""));
      training_settings s = settings_for(folder / (dtype + (adapter ? "-adapter" : "")));
      s.compute.dtype = type;
      s.use_peft = adapter;
      s.learning_rate = 1e-2;
      s.sync_ref_model = true;
      s.ref_model_sync_steps = 3;
      s.ref_model_mixup_alpha = 1;
      std::vector<json> const steps = steps_of(s);
      for (std::size_t const i : {0u, 3u, 6u}) CHECK(steps[i].at("rewards/margins") == 0.0);
      for (std::size_t const i : {1u, 2u, 4u, 5u, 7u}) CHECK(steps[i].at("rewards/margins") != 0.0);
      CHECK_THAT(steps[6].at("loss").get<double>(), WithinAbs(std::log(2.0), 1e-12));
    }
}

TEST_CASE("a run whose reference moves stops after any step and goes on to the same bits", "[reference]") {
  scratch_folder const folder;
  for (bool const adapter : {false, true}) {
    round_settings const rounds{.method = round_method::apo, .chunks = 2, .momentum = momentum_choice::constant, .alpha = {0.5}};
    training_settings s = settings_for(folder / (adapter ? "adapter" : "whole"));
    s.compute.dtype = compute_type::float32;
    s.use_peft = adapter;
    s.shuffle = true;
    s.max_steps = 5;
    s.save_steps = 1;
    s.sync_ref_model = true;
    s.ref_model_sync_steps = 2;
    std::string const expected = trained(s, rounds), metrics = read_file(s.output_dir / "metrics.jsonl");
    for (int step = 1; step <= 10; ++step) {
      INFO((adapter ? "adapter, step " : "step ") << step);
      training_settings again = s;
      again.resume_from_checkpoint = (s.output_dir / "checkpoints" / ("step-" + std::to_string(step))).string();
      CHECK(trained(again, rounds) == expected);
      CHECK(read_file(s.output_dir / "metrics.jsonl") == metrics);
    }
  }
}

TEST_CASE("an adapter that moves is the mixture of products, also where their ranks exceed the map's", "[reference][lora]") {
  transformer_config const config = plain::tiny_config(false);
  pack const base = plain::random_parameters(config, at::kDouble, 31);
  lora_settings const lora{.rank = 9, .alpha = 8, .target_modules = {"all-linear"}};
  causal_lm const model(config, {.type = at::kDouble}, lora, base);
  at::manual_seed(4);
  auto const random = [&] {
    pack adapter;
    for (parameter const& p : model.parameters()) adapter.push_back(at::randn(p.shape, at::kDouble).mul_(0.2));
    return adapter;
  };
  auto const merged = [&](pack const& adapter) {
    pack theta = kedge::deep_copy(base);
    merge_adapter(model, theta, adapter);
    return theta;
  };
  auto const pairs = plain::random_pairs(4, config.vocabulary, 8);
  ragged_batch const batch = pack_pairs(pairs, all_of(pairs));
  causal_lm const whole(config, {.type = at::kDouble});
  pack const anchor = random();
  pack expected = merged(anchor);
  moving_reference reference(model, 0.6, 2);
  reference.begin(anchor, 0);
  CHECK_FALSE(reference.moved());
  for (std::size_t steps = 0; steps <= 12; ++steps) {
    pack const theta = random();
    reference.follow([&]() -> pack const& { return theta; }, steps);
    if (steps > 0 && steps % 2 == 0) kedge::axpby(0.6, merged(theta), 0.4, expected);
    CHECK(reference.moved() == (steps >= 2));
    if (!reference.moved()) continue;
    std::vector<double> const ours = reference.log_probs(batch), theirs = whole.log_probs(expected, batch);
    for (std::size_t i = 0; i < ours.size(); ++i) CHECK_THAT(ours[i], WithinAbs(theirs[i], 1e-9));
  }
  CHECK_THROWS_WITH(reference.begin(anchor, 0), contains("sync_ref_model"));
}

TEST_CASE("a reference that comes with the data or from a copy of the model is the one that is scored", "[reference]") {
  scratch_folder const folder;
  fs::path const data = with_reference(tiny / "pairs.jsonl", tiny / "tied", folder / "pairs.jsonl");
  struct kind {
    char const* name;
    round_settings rounds;
  };
  for (kind const& k :
       {kind{"dpo", {}}, kind{"sdpo", {.method = round_method::sdpo, .chunks = 3, .order = chunk_order::random}},
        kind{"apo", {.method = round_method::apo, .chunks = 3, .momentum = momentum_choice::constant, .alpha = {0.5}, .extrapolate = extrapolated::log_probs}}}) {
    INFO(k.name);
    auto const run = [&](std::string const& name, auto const& change) {
      training_settings s = settings_for(folder / (k.name + name));
      s.shuffle = true;
      s.max_steps = 3;
      s.max_train_samples = 13;
      s.eval_dataset = tiny / "pairs.jsonl";
      change(s);
      return steps_of(s, k.rounds);
    };
    std::vector<json> const scored = run("-scored", [](training_settings&) {});
    check_close(run("-columns", [&](training_settings& s) { s.dataset = {data}; }), scored, 1e-9);
    check_close(run("-model", [](training_settings& s) { s.ref_model = tiny / "tied"; }), scored, 1e-9);
  }
}

TEST_CASE("the lines that a reference is added to keep their other keys and their order", "[reference]") {
  scratch_folder const folder;
  fs::path const data = folder / "data.jsonl";
  std::ofstream(data)
      << R"({"id": 7, "prompt": "The anchor is", "chosen": " ahead.", "rejected": " behind.", "score_chosen": 2.5, "score_rejected": 1})"
         "\n"
      << "no JSON\n"
      << R"({"rejected": "It lay still.", "source": {"page": 3}, "ref_rejected_logps": -1, "ref_chosen_logps": -2, "chosen": "It went on."})"
         "\n";
  std::ostringstream scores;
  score_preferences({.model = tiny / "tied",
                     .dataset = data,
                     .compute = {.dtype = compute_type::float64, .threads = 1},
                     .ref_logps = folder / "out.jsonl",
                     .skip_bad_lines = true,
                     .quiet = true},
                    scores);
  std::istringstream text(scores.str());
  std::vector<json> const out = lines(folder / "out.jsonl"), scored = lines(text);
  REQUIRE(out.size() == 2);
  CHECK(out[0].at("id") == 7);
  CHECK(out[0].at("chosen") == " ahead.");
  CHECK(out[0].at("score_chosen") == 2.5);
  CHECK(out[1].at("source").at("page") == 3);
  CHECK(out[1].at("chosen") == "It went on.");
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(out[i].at("ref_chosen_logps") == scored[i].at("logp_chosen"));
    CHECK(out[i].at("ref_rejected_logps") == scored[i].at("logp_rejected"));
  }
}

TEST_CASE("references that can't be used are refused in one line", "[reference]") {
  scratch_folder const folder;
  auto const settings = [&](std::string const& line = {}) {
    training_settings s = settings_for(folder / "out");
    if (line.empty()) return s;
    std::ofstream(folder / "data.jsonl") << line;
    s.dataset = {folder / "data.jsonl"};
    return s;
  };
  std::string const pair = R"({"prompt": "a", "chosen": "b", "rejected": "c")",
                    both = R"(, "ref_chosen_logps": -1, "ref_rejected_logps": -2})"
                           "\n";
  CHECK_THAT(refusal(settings(pair + R"(, "ref_chosen_logps": -1})")), contains("both or neither"));
  CHECK_THAT(refusal(settings(pair + R"(, "ref_chosen_logps": "x", "ref_rejected_logps": 1})")),
             contains("not a finite number"));
  CHECK_THAT(refusal(settings(pair + both + pair + "}\n")), contains("line 2 has no"));
  CHECK_THAT(refusal(settings(pair +
                              R"(, "ref_chosen_logps": null})"
                              "\n" +
                              pair + both)),
             contains("line 2 has ref"));
  training_settings s = settings(pair + both);
  s.sync_ref_model = true;
  CHECK_THAT(refusal(s), contains("--sync_ref_model can't move"));
  s = settings(pair + both);
  s.ref_model = tiny / "tied";
  CHECK_THAT(refusal(s), contains("already"));
  s = settings();
  s.ref_model = fs::path(KEDGE_TESTS_DIR) / "golden/gguf/qwen3.gguf";
  CHECK_THAT(refusal(s), contains("other tokens"));
  s.ref_model = tiny / "untied";
  s.sync_ref_model = true;
  CHECK_THAT(refusal(s), contains("another shape"));
  s = settings();
  s.sync_ref_model = true;
  CHECK_THAT(refusal(s, {.method = round_method::apo, .chunks = 2, .momentum = momentum_choice::constant, .extrapolate = extrapolated::log_probs}),
             contains("log-probs"));
  s = settings();
  s.ld_alpha = 0.5;
  s.loss.loss_type = {"sigmoid", "sft"};
  CHECK_THAT(refusal(s), contains("--ld_alpha"));
  s = settings();
  s.use_weighting = true;
  s.loss.loss_type = {"aot"};
  CHECK_THAT(refusal(s), contains("--use_weighting"));
  CHECK_FALSE(fs::exists(folder / "out" / "metrics.jsonl"));
}
