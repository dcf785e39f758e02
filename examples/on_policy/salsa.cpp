// SPDX-License-Identifier: Apache-2.0

// SALSA against PPO at equal budget: two fine-tuned models of one base, their soup as the reference of the KL penalty, and training
// from the first of them. Beside it the mean of two penalties (MKL), the other model alone, and other weights of the soup.

#include <chrono>
#include <fstream>

#include <kedge/llm/base/atomic.hpp>

#include "planes.hpp"

namespace {

using namespace kedge_on_policy;
using kedge::llm::ppo_settings;
using kedge::llm::reference_choice;
using kedge::llm::saved_type;
using kedge::llm::sft_settings;

std::string const other_model = "weight 1, the other model";

struct variant {
  std::string name, kind;  // kind: ppo, salsa, mkl
  double weight = 0.5;     // of the second model, where there are two
  std::size_t models = 2;  // in the soup
  double kl_coef = 0;
  bool kl_baseline = false, drawn = true;
};

fs::path tuned(world const& w, std::size_t k, std::uint64_t seed) { return w.folder("sft" + std::to_string(k), seed); }

// --- fine-tuned models ---------------------------------------------------------------------------------------------------------

// Half k of the example data's chosen completions, as demonstrations.
void write_half(world const& w, std::size_t k, fs::path const& file) {
  std::ifstream in(w.given.data / "sentiment-train.jsonl");
  std::string lines;
  std::size_t i = 0;
  for (std::string text; std::getline(in, text); ++i) {
    if (i % 2 != k - 1) continue;
    json const pair = json::parse(text);
    lines += json{{"prompt", pair.at("prompt")}, {"completion", pair.at("chosen")}}.dump() + "\n";
  }
  kedge::llm::write_file_atomically(file, lines);
}

job tuning(world const& w, std::size_t k, std::uint64_t seed) {
  bool const tiny = w.name == "tiny";
  sft_settings s;
  w.common(s, tuned(w, k, seed), 100 * seed + k);
  s.model = w.base(seed);
  s.dataset = w.given.output / ("half-" + std::to_string(k) + "-" + std::to_string(seed) + ".jsonl");
  if (tiny)
    write_sentences(s.dataset, 300, 1000 * seed + k);
  else
    write_half(w, k, s.dataset);
  s.learning_rate = tiny ? 2e-3 : 5e-5;
  s.lr_scheduler_type = kedge::llm::lr_scheduler::cosine;
  s.num_train_epochs = tiny ? (w.given.quick ? 2 : 10) : 1;
  s.per_device_train_batch_size = tiny ? 16 : 4;
  s.max_train_samples = tiny ? 0 : 64;
  return fine_tuning(s);
}

void fine_tune(world const& w, std::size_t models) {
  std::vector<job> jobs;
  for (std::uint64_t seed = 1; seed <= w.seeds; ++seed)
    for (std::size_t k = 1; k <= models; ++k) jobs.push_back(tuning(w, k, seed));
  run_jobs(jobs, "fine-tuned models", w.at_once, w.given.fresh);
}

// --- soups before training -----------------------------------------------------------------------------------------------------

// Three models for the tiny world: the averages of all three and of two are among the points, and the line of two is one side.
std::size_t models_of(world const& w) { return w.name == "tiny" ? 3 : 2; }

planes measure_soups(world const& w) {
  std::vector<job> jobs;
  for (std::uint64_t seed = 1; seed <= w.seeds; ++seed) {
    std::vector<fs::path> models;
    for (std::size_t k = 1; k <= models_of(w); ++k) models.push_back(tuned(w, k, seed));
    jobs.push_back(soups_before(w, models, w.name == "tiny" && !w.given.quick ? 6 : 2, seed));
  }
  return planes_of(run_jobs(jobs, "soups before training", w.at_once, w.given.fresh));
}

// --- PPO and SALSA -------------------------------------------------------------------------------------------------------------

job job_of(world const& w, variant const& v, std::uint64_t seed) {
  bool const tiny = w.name == "tiny";
  ppo_settings s;
  w.common(s, w.folder(v.name, seed), seed);
  w.sampling(s.sampling);
  s.model = tuned(w, 1, seed);
  if (v.kind != "ppo") {
    s.reference.what = v.kind == "mkl" ? reference_choice::kind::mkl : reference_choice::kind::soup;
    for (std::size_t k = 1; k <= v.models; ++k) s.reference.models.push_back(tuned(w, k, seed));
    if (v.models == 2) s.reference.weights = {1 - v.weight, v.weight};  // else equal ones
  }
  s.per_device_train_batch_size = tiny ? 32 : 8;
  s.num_mini_batches = tiny ? 4 : 3;
  s.num_train_epochs = tiny ? 2 : 1;
  std::size_t const updates = w.given.quick ? 8 : tiny ? 20 : 10;
  s.total_episodes = updates * s.episodes_per_update();
  if (!w.given.quick) {
    s.eval_strategy = kedge::llm::interval::steps;
    s.eval_steps = tiny ? 10 : 5;
  }
  s.learning_rate = !tiny ? 3e-5 : w.given.quick ? 5e-4 : 3e-4;
  s.lr_scheduler_type = kedge::llm::lr_scheduler::constant;
  s.kl_coef = v.kl_coef;
  s.kl_baseline = v.kl_baseline;
  s.value_model = "shared";
  if (!tiny) s.save_dtype = saved_type::bfloat16;
  json const described = {{"kind", v.kind}, {"weight", v.weight}, {"models", v.models}, {"kl_coef", v.kl_coef}, {"kl_baseline", v.kl_baseline}, {"updates", updates},
                          {"completions", s.episodes_per_update()}, {"num_mini_batches", s.num_mini_batches}, {"epochs", s.num_train_epochs},
                          {"learning_rate", s.learning_rate}, {"judge", s.sampling.judge}, {"eval_samples", s.sampling.eval_samples}, {"eval_steps", s.eval_steps.value},
                          {"max_new_tokens", s.sampling.max_new_tokens}, {"seed", seed}};
  return {s.output_dir, described, [s] {
            auto const result = kedge::llm::train_ppo(s);
            return result.interrupted ? json() : json{{"kl_at_start", result.kl_at_start}, {"evaluations", figures_of(result.evaluations)}};
          }};
}

std::string named(std::string const& what, double kl_coef) { return what + " " + kedge_drawing::text(kl_coef); }

double middle(world const& w) { return w.name == "tiny" ? 0.3 : 0.02; }

std::vector<double> grid(world const& w) {
  if (w.name == "tiny" && !w.given.quick) return {0.1, 0.3, 0.6};
  return {middle(w)};
}

std::vector<variant> variants(world const& w) {
  std::vector<variant> all;
  for (std::string const kind : {"PPO", "SALSA"})
    for (double const kl_coef : grid(w))
      all.push_back({.name = named(kind, kl_coef), .kind = kind == "PPO" ? "ppo" : "salsa", .kl_coef = kl_coef, .drawn = kl_coef == middle(w)});
  if (w.name != "tiny" || w.given.quick) return all;
  double const kl_coef = middle(w);
  all.push_back({.name = named("MKL", kl_coef), .kind = "mkl", .kl_coef = kl_coef});
  all.push_back({.name = "SALSA of three models", .kind = "salsa", .models = 3, .kl_coef = kl_coef});
  all.push_back({.name = "weight 0.25", .kind = "salsa", .weight = 0.25, .kl_coef = kl_coef, .drawn = false});
  all.push_back({.name = "weight 0.75", .kind = "salsa", .weight = 0.75, .kl_coef = kl_coef, .drawn = false});
  all.push_back({.name = other_model, .kind = "salsa", .weight = 1, .kl_coef = kl_coef});
  all.push_back({.name = "SALSA with kl_baseline", .kind = "salsa", .kl_coef = kl_coef, .kl_baseline = true});
  return all;
}

std::vector<method> measure(world const& w) {
  std::vector<variant> const all = variants(w);
  std::vector<job> jobs;
  for (std::uint64_t seed = 1; seed <= w.seeds; ++seed)
    for (variant const& v : all) jobs.push_back(job_of(w, v, seed));
  std::vector<json> const figures = run_jobs(jobs, "runs", w.at_once, w.given.fresh);
  std::vector<method> methods;
  for (variant const& v : all) methods.push_back({.name = v.name, .runs = {}, .effective_beta = 0, .drawn = v.drawn});
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    trace t = trace_of(figures[i].at("evaluations"), jobs[i].folder);
    t.kl_at_start = figures[i].at("kl_at_start").get<double>();
    methods[i % all.size()].runs.push_back(std::move(t));
  }
  return methods;
}

// --- claims --------------------------------------------------------------------------------------------------------------------

double final_reward(trace const& t) { return t.reward.back(); }
double final_kl(trace const& t) { return t.kl.back(); }
double final_length(trace const& t) { return t.length.back(); }

std::vector<claim> claims_of(world const& w, std::vector<method> const& methods, planes const& before) {
  auto const find = [&](std::string const& name) -> method const& {
    for (method const& m : methods)
      if (m.name == name) return m;
    throw std::logic_error("no method " + name);
  };
  auto const best = [&](std::string const& kind) -> method const& {
    method const* found = nullptr;
    for (double const kl_coef : grid(w)) {
      method const& m = find(named(kind, kl_coef));
      if (found == nullptr || m.mean(final_reward) > found->mean(final_reward)) found = &m;
    }
    return *found;
  };
  std::vector<claim> claims{all_rise(methods)};
  for (double const kl_coef : grid(w)) {
    method const &ppo = find(named("PPO", kl_coef)), &salsa = find(named("SALSA", kl_coef));
    std::string const at = " at kl_coef " + kedge_drawing::text(kl_coef);
    claims.push_back(above("SALSA ends at a higher reward than PPO" + at, reward_difference(salsa, ppo)));
    claims.push_back(above("SALSA ends farther from the start than PPO" + at, difference(salsa, ppo, final_kl), " nats"));
    claims.push_back(above("SALSA has more reward than PPO at equal KL to the start" + at, difference_at_equal_kl(salsa, ppo)));
  }
  method const &middle_salsa = find(named("SALSA", middle(w))), &middle_ppo = find(named("PPO", middle(w)));
  if (grid(w).size() > 1)
    claims.push_back(above("The best of SALSA (" + best("SALSA").name + ") ends at a higher reward than the best of PPO (" + best("PPO").name + ")",
                           reward_difference(best("SALSA"), best("PPO"))));
  claims.push_back(above("SALSA's KL to its reference is above 0 before the first step", middle_salsa.of([](trace const& t) { return t.kl_at_start; }), " nats"));
  claims.push_back(above("SALSA pays a tax on length: its completions are shorter than PPO's", difference(middle_ppo, middle_salsa, final_length), " tokens"));
  if (w.name != "tiny" || w.given.quick) return claims;
  method const &mkl = find(named("MKL", middle(w))), &other = find(other_model), &based = find("SALSA with kl_baseline");
  claims.push_back(above("MKL does no better than PPO: PPO ends higher", reward_difference(middle_ppo, mkl)));
  claims.push_back(above("SALSA ends at a higher reward than MKL", reward_difference(middle_salsa, mkl)));
  claims.push_back(above("SALSA of three models ends at a higher reward than SALSA of two", reward_difference(find("SALSA of three models"), middle_salsa)));
  for (std::string const name : {"PPO", "SALSA"})
    claims.push_back(above("The other model alone is the worst reference: " + name + " ends higher", reward_difference(find(named(name, middle(w))), other)));
  claims.push_back(above("kl_baseline lifts the tax on length: completions are longer with it", difference(based, middle_salsa, final_length), " tokens"));
  claims.push_back(above("kl_baseline raises SALSA's reward", reward_difference(based, middle_salsa)));
  claims.push_back(above("Before training, averages of two models have more reward than single models", difference_of_averages(before, 2, 1)));
  claims.push_back(above("Before training, the average of three models has more reward than single models", difference_of_averages(before, 3, 1)));
  claims.push_back(above("Before training, the average of three models has more reward than averages of two", difference_of_averages(before, 3, 2)));
  return claims;
}

// Reward after training over the weight of the second model in the soup; 0 is PPO.
kedge_drawing::plot sweep_plot(world const& w, std::vector<method> const& methods) {
  kedge_drawing::plot p{.title = "Reward after training, at kl_coef " + kedge_drawing::text(middle(w)), .x_label = "weight of the second model in the reference",
                        .y_label = "reward", .log_x = false, .log_y = false};
  std::vector<kedge_drawing::curve> runs(w.seeds, {"", {}, kedge_drawing::line::thin, {}});
  kedge_drawing::curve mean{"mean over seeds; 0 is PPO, 1 the other model alone", {}, kedge_drawing::line::measured, {0, 0.25, 0.5, 0.75, 1}};
  for (std::string const& name : {named("PPO", middle(w)), std::string("weight 0.25"), named("SALSA", middle(w)), std::string("weight 0.75"), other_model})
    for (method const& m : methods) {
      if (m.name != name) continue;
      mean.y.push_back(m.mean(final_reward));
      for (std::size_t i = 0; i < runs.size(); ++i) runs[i].y.push_back(final_reward(m.runs[i]));
    }
  p.curves.push_back(mean);
  for (auto& own : runs) {
    own.x = mean.x;
    p.curves.push_back(own);
  }
  return p;
}

std::vector<section> sections_of(world const& w, std::vector<method> const& methods, planes const& before) {
  section soups{"Soups before training", "Mean rewards of averages of the fine-tuned models' weights, sampled with the same random streams.", {to_svg(line_plot(before))}};
  if (models_of(w) == 3) {
    soups.text += w.seeds > 1 ? " In the triangle each hexagon is a soup, its number the mean over seeds; standard errors are those of the mean over seeds."
                              : " In the triangle each hexagon is a soup; standard errors are over prompts.";
    soups.pictures.push_back(kedge::llm::reward_plane_picture(mean_plane(before), {"model 1", "model 2", "model 3"}));
  }
  if (w.name != "tiny" || w.given.quick) return {soups};
  return {soups, {"The soup's weight", "The same training around soups from the first model alone to the second model alone.", {to_svg(sweep_plot(w, methods))}}};
}

void work(options const& given) {
  auto const begin = std::chrono::steady_clock::now();
  world const w = prepare(given);
  bool const tiny = w.name == "tiny";
  fine_tune(w, models_of(w));
  planes const before = measure_soups(w);
  findings f{.title = "SALSA",
             .introduction = "PPO whose KL penalty is measured against a soup (the average of weights) of two fine-tuned models of one base, and training from the first of "
                             "them. PPO is the same with the first model as reference; MKL pays the mean of two penalties. All methods have the same updates, completions "
                             "and gradient steps; every kl_coef that was tried is shown.",
             .how_chosen = tiny ? "Settings: fine-tuning on 300 sentences each, 10 epochs at 2e-3; PPO: 20 updates of 128 completions, 4 mini-batches, 2 epochs, 3e-4 constant, "
                                  "shared value head. kl_coef 0.1, 0.3 and 0.6 for both; the variants at 0.3, the middle one."
                                : "Settings: fine-tuning on 64 chosen completions each, 1 epoch at 5e-5; PPO: 10 updates of 24 completions of at most 32 tokens, 3 mini-batches, "
                                  "1 epoch, 3e-5 constant, shared value head, kl_coef 0.02; nothing was tuned.",
             .where = &w, .methods = measure(w), .claims = {}, .horizontal = "update"};
  f.claims = claims_of(w, f.methods, before);
  f.sections = sections_of(w, f.methods, before);
  if (given.quick) f.how_chosen = "A quick run, to see that it works: few rounds, few samples, few methods.";
  f.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  write_report(f);
}

}  // namespace

int main(int argc, char** argv) {
  return guarded(argc, argv, "kedge-salsa", "PPO with a soup as reference, against PPO and its relatives at equal budget.", work);
}
