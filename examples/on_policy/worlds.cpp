// SPDX-License-Identifier: Apache-2.0
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include <CLI/CLI.hpp>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/kernels/instruction_set.hpp>

#include "experiment.hpp"

namespace kedge_on_policy {
namespace {

using namespace kedge::llm;

std::string quoted(fs::path const& path) {
  std::string out = "'";
  for (char const c : path.string()) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

// kedge-grammar lies beside this program.
std::string grammar() { return quoted(fs::read_symlink("/proc/self/exe").parent_path() / "kedge-grammar"); }

std::string output_of(std::string const& command) {
  std::FILE* const pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) throw error("can't start " + command);
  std::string all;
  std::array<char, 1 << 16> part{};
  while (std::size_t const n = std::fread(part.data(), 1, part.size(), pipe)) all.append(part.data(), n);
  if (int const status = ::pclose(pipe); status != 0) throw error(command + ": failed; build the target kedge_programs");
  return all;
}

json describe(run_settings const& s) {
  return {{"model", s.model.string()}, {"learning_rate", s.learning_rate}, {"lr_scheduler_type", name_of(s.lr_scheduler_type)}, {"warmup_ratio", s.warmup_ratio},
          {"num_train_epochs", s.num_train_epochs}, {"batch", s.batch()}, {"max_train_samples", s.max_train_samples}, {"seed", s.seed}};
}

world make_tiny(options const& given) {
  world w{.given = given, .name = "tiny", .description = "", .prompts = given.output / "prompts.jsonl", .eval_prompts = {}, .judge = grammar() + " judge",
          .frontier = given.output / "frontier.jsonl", .seeds = given.seeds > 0 ? given.seeds : 5, .at_once = 0, .threads = 1};
  w.eval_prompts = w.prompts;
  w.description = "A Llama of 344 thousand parameters, trained from random numbers on " + std::string(given.quick ? "2,000" : "4,000") + " sentences of a small grammar whose reward is known "
                  "exactly. All 96 prompts are trained and evaluated on; each seed has a base model, data, samples and orders of its own.";
  write_file_atomically(w.prompts, grammar_output("prompts"));
  write_file_atomically(w.frontier, grammar_output("frontier --beta 8 4 3 2 1.5 1.2 1 0.8 0.6 0.5 0.4 0.3"));
  static_cast<void>(grammar_output("model --output_dir " + quoted(given.output / "shape")));
  std::vector<job> bases;
  for (std::uint64_t seed = 1; seed <= w.seeds; ++seed) {
    fs::path const sentences = given.output / ("sentences-" + std::to_string(seed) + ".jsonl");
    write_sentences(sentences, given.quick ? 2000 : 4000, seed);
    sft_settings s;
    s.config_name = given.output / "shape";
    s.dataset = sentences;
    w.common(s, w.base(seed), seed);
    s.learning_rate = 2e-3;
    s.per_device_train_batch_size = 32;
    s.lr_scheduler_type = kedge::llm::lr_scheduler::cosine;
    s.warmup_ratio = 0.05;
    s.num_train_epochs = 2;
    bases.push_back(fine_tuning(s));
  }
  std::size_t const cores = std::max(1U, std::thread::hardware_concurrency());
  w.at_once = given.at_once > 0 ? given.at_once : cores;
  w.threads = given.threads > 0 ? given.threads : 1;
  run_jobs(bases, "base models", w.at_once, given.fresh);
  return w;
}

world make_real(options const& given) {
  if (given.model.empty() || given.data.empty() || given.judge.empty())
    throw CLI::ValidationError("--model, --data and --judge", "are required without --tiny; ./dev gives them");
  world w{.given = given, .name = "SmolLM2", .description = "", .prompts = given.data / "prompts-train.jsonl", .eval_prompts = given.data / "prompts-test.jsonl",
          .judge = given.judge.extension() == ".py" ? "python3 " + quoted(given.judge) : given.judge.string(), .frontier = {},
          .seeds = given.seeds > 0 ? given.seeds : 1, .at_once = given.at_once > 0 ? given.at_once : 1, .threads = given.threads};
  w.description = "SmolLM2-135M-Instruct, rewarded by VADER's sentiment of what it writes; evaluated on the 44 held-out prompts of examples/data.";
  return w;
}

}  // namespace

fs::path world::base(std::uint64_t seed) const { return name == "tiny" ? folder("base", seed) : given.model; }

fs::path world::folder(std::string const& run, std::uint64_t seed) const { return given.output / "runs" / (run + "-seed-" + std::to_string(seed)); }

void world::common(run_settings& s, fs::path const& output, std::uint64_t seed) const {
  s.output_dir = output;
  s.overwrite_output_dir = true;
  s.save_steps = 0;
  s.tells = kedge::llm::screen(stderr);
  s.logging_steps = 1;
  s.seed = seed;
  s.compute.threads = threads;
  s.compute.dtype = compute_type::float32;
}

void world::sampling(on_policy_settings& s) const {
  s.prompts = prompts;
  s.eval_prompts = eval_prompts;
  s.judge = judge;
  s.eval_samples = given.quick ? 1 : name == "tiny" ? 4 : 2;
  s.max_new_tokens = name == "tiny" ? 40 : 32;
  s.generation_batch_size = name == "tiny" ? 96 : 48;
}

world prepare(options const& given) {
  fs::create_directories(given.output);
  return given.tiny ? make_tiny(given) : make_real(given);
}

job fine_tuning(sft_settings const& settings) {
  json described = describe(settings);
  described["dataset"] = settings.dataset.string();
  return {settings.output_dir, described, [settings] { return train_sft(settings).interrupted ? json() : json::object(); }};
}

std::string grammar_output(std::string const& arguments) { return output_of(grammar() + " " + arguments); }

void write_sentences(fs::path const& file, std::size_t count, std::uint64_t seed) {
  write_file_atomically(file, grammar_output("sentences --count " + std::to_string(count) + " --seed " + std::to_string(seed)));
}

// --- main ----------------------------------------------------------------------------------------------------------------------

options parse(int argc, char** argv, char const* name, char const* what, more_flags more) {
  CLI::App app(what, name);
  options o;
  app.add_flag("--tiny", o.tiny, "a tiny model on a language with a known reward, several seeds; else SmolLM2 under a judge");
  app.add_option("--seeds", o.seeds, "how many; 5 for --tiny, else 1")->check(CLI::Range(1, 1000));
  app.add_option("--output_dir", o.output, "where all runs, report.html and summary.json go")->required();
  app.add_option("--model", o.model, "the language model; not for --tiny");
  app.add_option("--data", o.data, "folder with prompts-train.jsonl, prompts-test.jsonl and sentiment-train.jsonl; not for --tiny");
  app.add_option("--judge", o.judge, "a Python script that judges, or a command; not for --tiny");
  app.add_option("--at_once", o.at_once, "runs at a time, each a process; as many as cores for --tiny, else 1");
  app.add_option("--threads", o.threads, "of a run; 1 for --tiny, else all cores");
  app.add_flag("--quick", o.quick, "few rounds and methods: to see that it works, not what holds");
  app.add_flag("--fresh", o.fresh, "do finished runs again");
  if (more != nullptr) more(app);
  try {
    app.parse(argc, argv);
  } catch (CLI::CallForHelp const&) {
    std::fputs(app.help().c_str(), stdout);
    throw;
  }
  return o;
}

int guarded(int argc, char** argv, char const* name, char const* what, void (*work)(options const&), more_flags more) {
  try {
    if (char const* const named = std::getenv("KEDGE_ISA"); named != nullptr && *named != '\0') kedge::llm::use_instruction_set(named);
    work(parse(argc, argv, name, what, more));
    return 0;
  } catch (CLI::CallForHelp const&) {
    return 0;  // parse() has printed it
  } catch (CLI::ParseError const& wrong) {
    std::fprintf(stderr, "%s: %s; see %s --help\n", name, wrong.what(), name);
    return 2;
  } catch (interrupted const&) {
    std::fprintf(stderr, "\n%s: interrupted; finished runs are kept, the same command goes on\n", name);
    return 130;
  } catch (std::exception const& problem) {
    std::fprintf(stderr, "%s: %s\n", name, problem.what());
    return 1;
  }
}

}  // namespace kedge_on_policy
