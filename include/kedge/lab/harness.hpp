// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include <kedge/lab/harness/report.hpp>
#include <kedge/momentum.hpp>
#include <kedge/version.hpp>

// A program of experiments: kedge-lab is one, and so is whatever calls kedge_lab_main. It needs exceptions.

namespace kedge::lab {

/// What a program of experiments calls itself.
struct program_text {
  std::string name = "lab";
  std::string title = "Experiments";
  std::string introduction{};  ///< HTML, at the top of the report
};

/// The command line of a list of experiments; what it prints goes to the standard output, complaints in one line to the standard error.
class lab_program {
 public:
  lab_program(program_text text, std::vector<experiment> all) : text_(std::move(text)), all_(std::move(all)) {}

  /// returns 0: all claims hold; 1: one doesn't, or has no premise at the given options, or the run failed; 2: wrong use
  [[nodiscard]] int main(std::vector<std::string> words) const {
    std::string const command = words.empty() ? "" : words[0];
    if (!words.empty()) words.erase(words.begin());
    try {
      return dispatch(command, words);
    } catch (usage_error const& wrong) {
      std::cerr << text_.name << ": " << wrong.what() << "\n";
      return 2;
    } catch (std::exception const& failed) {
      std::cerr << text_.name << ": " << failed.what() << "\n";
      return 1;
    }
  }

 private:
  [[nodiscard]] std::string usage() const {
    return "usage: " + text_.name + " list [--json]                   the experiments, their claims and options\n       " + text_.name +
           " run NAME [--OPTION VALUE …] [--json|--csv]   one experiment; --help shows its options\n       " + text_.name +
           " report --output FILE.html [NAME …]   the named experiments or all, drawn into one page\n       " + text_.name +
           " --version\n"
           "exit code 0: all claims hold; 1: one doesn't, or its premise fails at the given options; 2: wrong use\n";
  }

  int dispatch(std::string const& command, std::vector<std::string> const& words) const {
    if (command == "list") return list(words);
    if (command == "run") return run_one(words);
    if (command == "report") return report_all(words);
    if (command == "--version") return std::printf("%s %s\n", text_.name.c_str(), KEDGE_VERSION_STRING) < 0;
    if (command == "--help" || command == "-h" || command == "help") return std::fputs(usage().c_str(), stdout) < 0;
    if (command.empty()) throw usage_error("name a command\n" + usage());
    throw usage_error("unknown command '" + command + (words.empty() ? "'" : " " + words[0] + " …'") + "; known are list, run, report");
  }

  [[nodiscard]] experiment const& find(std::string const& name) const {
    std::string known;
    for (experiment const& e : all_) {
      if (e.name == name) return e;
      known += (known.empty() ? "" : ", ") + e.name;
    }
    if (name.empty()) throw usage_error("run: name an experiment: " + known);
    throw usage_error("unknown experiment '" + name + "'; known are " + known);
  }

  static std::string described(experiment const& e) {
    std::string out = e.name + "  " + e.title + "\n    " + e.claim + "\n";
    for (option const& o : e.options) out += "    --" + o.name + " " + o.value + "  " + o.help + "\n";
    return out;
  }

  int list(std::vector<std::string> const& words) const {
    if (words.size() > 1 || (words.size() == 1 && words[0] != "--json")) throw usage_error("list: unexpected '" + words[0] + "'; it takes --json");
    if (!words.empty()) return std::fputs(list_json(all_).c_str(), stdout) < 0;
    for (experiment const& e : all_) std::cout << described(e);
    return 0;
  }

  static finished timed(experiment const& e, arguments const& a) {
    auto const start = std::chrono::steady_clock::now();
    outcome result = e.run(a);
    return {&e, a, std::move(result), std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()};
  }

  int run_one(std::vector<std::string> const& words) const {
    experiment const& chosen = find(words.empty() || words[0].starts_with("-") ? "" : words[0]);
    arguments settings(chosen.options);
    std::string format = "text";
    for (std::size_t i = 1; i < words.size(); ++i) {
      if (words[i] == "--json" || words[i] == "--csv") {
        format = words[i].substr(2);
        continue;
      }
      if (words[i] == "--help" || words[i] == "-h") return std::fputs(described(chosen).c_str(), stdout) < 0;
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
      if (auto const warning = theory_warning(constant_momentum{settings.number("alpha")}); !warning.empty())
        std::cerr << text_.name << ": warning: " << warning << "\n";
    finished done = timed(chosen, settings);
    claims* const judged[] = {&done.result};
    judge(judged);
    std::cout << (format == "json"  ? to_json(chosen, settings, done.result)
                  : format == "csv" ? to_csv(done.result)
                                    : to_text(chosen, settings, done.result));
    return done.result.holds() ? 0 : 1;
  }

  // A file that appears whole or not at all; opened at once, so that a place where it can't be is known before the work.
  class pending_file {
   public:
    explicit pending_file(std::string path) : path_(std::move(path)), pending_(path_ + ".part"), file_(pending_, std::ios::binary) {
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

  int report_all(std::vector<std::string> const& words) const {
    std::string output;
    std::vector<experiment const*> chosen;
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (words[i].starts_with("--output="))
        output = words[i].substr(9);
      else if (words[i] == "--output" && i + 1 < words.size())
        output = words[++i];
      else if (words[i].starts_with("-"))
        throw usage_error("report: unexpected '" + words[i] + "'; it takes --output FILE.html and names of experiments");
      else
        chosen.push_back(&find(words[i]));
    }
    if (output.empty()) throw usage_error("report: say where to with --output FILE.html");
    if (chosen.empty())
      for (experiment const& e : all_) chosen.push_back(&e);
    pending_file page(output);
    std::vector<finished> all;
    for (experiment const* e : chosen) all.push_back(timed(*e, arguments(e->options)));
    std::vector<claims*> judged;
    for (finished& f : all) judged.push_back(&f.result);
    judge(judged);
    bool holds = true;
    for (finished const& f : all) {
      holds = holds && f.result.holds();
      std::printf("%-28s %-14s %.1f s\n", f.what->name.c_str(), name_of(f.result.worst()).c_str(), f.seconds);
    }
    page.write(to_html(text_.title, text_.introduction, all));
    std::printf("wrote %s\n", output.c_str());
    return holds ? 0 : 1;
  }

  program_text text_;
  std::vector<experiment> all_;
};

/// The main function of a program of experiments.
///   int main(int count, char** texts) { return kedge::lab::kedge_lab_main({mine()}, count, texts); }
[[nodiscard]] inline int kedge_lab_main(std::vector<experiment> experiments, int count, char const* const* texts, program_text text = {}) {
  return lab_program(std::move(text), std::move(experiments)).main({texts + (count > 0 ? 1 : 0), texts + count});
}

}  // namespace kedge::lab
