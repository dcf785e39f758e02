// SPDX-License-Identifier: Apache-2.0
// kedge-lab: preference optimization against its exact answers.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "experiment.hpp"

namespace kedge_lab {

std::vector<experiment> const& experiments() {
  static std::vector<experiment> const all = [] {
    std::vector<experiment> found;
    for (auto const& family :
         {bandit_experiments(), game_experiments(), fit_experiments(), sdpo_experiments(), salsa_experiments()})
      found.insert(found.end(), family.begin(), family.end());
    return found;
  }();
  return all;
}

namespace {

char const* const usage =
    "usage: kedge-lab list                             the experiments, their claims and options\n"
    "       kedge-lab run NAME [--OPTION VALUE …] [--json]   one experiment; exit code 1 where a claim does not hold\n"
    "       kedge-lab report --output FILE.html        all experiments, drawn into one page\n"
    "       kedge-lab --version\n";

std::string names() {
  std::string all;
  for (experiment const& e : experiments()) all += (all.empty() ? "" : ", ") + e.name;
  return all;
}

finished timed(experiment const& e, arguments const& a) {
  auto const start = std::chrono::steady_clock::now();
  outcome result = e.run(a);
  return {&e, a, std::move(result), std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
}

int list() {
  for (experiment const& e : experiments()) {
    std::cout << e.name << "  " << e.title << "\n    " << e.claim << "\n";
    for (option const& o : e.options) std::cout << "    --" << o.name << " " << o.value << "  " << o.help << "\n";
  }
  return 0;
}

int run_one(std::vector<std::string> const& words) {
  if (words.empty() || words[0].starts_with("-")) throw usage_error("run: name an experiment: " + names());
  experiment const* chosen = nullptr;
  for (experiment const& e : experiments())
    if (e.name == words[0]) chosen = &e;
  if (!chosen) throw usage_error("unknown experiment '" + words[0] + "'; known are " + names());
  arguments settings(chosen->options);
  bool json = false;
  for (std::size_t i = 1; i < words.size(); ++i) {
    if (words[i] == "--json") {
      json = true;
      continue;
    }
    if (!words[i].starts_with("--")) throw usage_error("unexpected '" + words[i] + "'; options begin with --");
    std::string name = words[i].substr(2), value;
    if (auto const equals = name.find('='); equals != std::string::npos) {
      value = name.substr(equals + 1);
      name.resize(equals);
    } else {
      if (i + 1 == words.size()) throw usage_error("option --" + name + " needs a value");
      value = words[++i];
    }
    for (char& c : name) c = c == '_' ? '-' : c;
    settings.set(name, value);
  }
  if (settings.all().contains("alpha"))
    if (auto const warning = kedge::theory_warning(kedge::constant_momentum{settings.number("alpha")}); !warning.empty())
      std::cerr << "kedge-lab: warning: " << warning << "\n";
  finished const done = timed(*chosen, settings);
  std::cout << (json ? to_json(*chosen, settings, done.result) : to_text(*chosen, settings, done.result));
  return done.result.holds() ? 0 : 1;
}

/// A file that appears whole or not at all; opened at once, so that a place where it cannot be is known before the work.
class pending_file {
 public:
  explicit pending_file(std::string path)
      : path_(std::move(path)), pending_(path_ + ".part"), file_(pending_, std::ios::binary) {
    if (!file_) refuse();
  }
  pending_file(pending_file const&) = delete;
  ~pending_file() {
    std::error_code ignored;
    std::filesystem::remove(pending_, ignored);
  }
  void write(std::string const& content) {
    file_ << content;
    file_.close();
    std::error_code error;
    if (file_) std::filesystem::rename(pending_, path_, error);
    if (!file_ || error) refuse();
  }

 private:
  [[noreturn]] void refuse() const {
    throw std::runtime_error("cannot write " + path_ + "; choose a file in a folder that exists and has room");
  }
  std::string path_, pending_;
  std::ofstream file_;
};

int report(std::vector<std::string> const& words) {
  std::string output;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i].starts_with("--output="))
      output = words[i].substr(9);
    else if (words[i] == "--output" && i + 1 < words.size())
      output = words[++i];
    else
      throw usage_error("report: unexpected '" + words[i] + "'; it takes --output FILE.html");
  }
  if (output.empty()) throw usage_error("report: say where to with --output FILE.html");
  pending_file page(output);
  std::vector<finished> all;
  bool holds = true;
  for (experiment const& e : experiments()) {
    all.push_back(timed(e, arguments(e.options)));
    holds = holds && all.back().result.holds();
    std::printf("%-20s %s  %.1f s\n", e.name.c_str(), all.back().result.holds() ? "holds" : "FAILS", all.back().seconds);
    std::fflush(stdout);
  }
  page.write(to_html(all));
  std::printf("wrote %s\n", output.c_str());
  return holds ? 0 : 1;
}

}  // namespace
}  // namespace kedge_lab

int main(int count, char** texts) {
  using namespace kedge_lab;
  std::vector<std::string> words(texts + 1, texts + count);
  std::string const command = words.empty() ? "" : words[0];
  if (!words.empty()) words.erase(words.begin());
  try {
    if (command == "list" && words.empty()) return list();
    if (command == "run") return run_one(words);
    if (command == "report") return report(words);
    if (command == "--version") return std::puts("kedge-lab " KEDGE_VERSION_STRING) < 0;
    if (command == "--help" || command == "-h" || command == "help") return std::fputs(usage, stdout) < 0;
    if (command.empty()) throw usage_error(std::string("name a command\n") + usage);
    throw usage_error("unknown command '" + command + (words.empty() ? "'" : " " + words[0] + " …'") +
                      "; known are list, run, report");
  } catch (usage_error const& wrong) {
    std::cerr << "kedge-lab: " << wrong.what() << "\n";
    return 2;
  } catch (std::exception const& failed) {
    std::cerr << "kedge-lab: " << failed.what() << "\n";
    return 1;
  }
}
