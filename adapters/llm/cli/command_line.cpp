// SPDX-License-Identifier: Apache-2.0
#include "command_line.hpp"

#include <algorithm>
#include <cstdio>

#include <CLI/CLI.hpp>

#include <kedge/detail/check.hpp>

#include "config_file.hpp"

namespace kedge::cli {
namespace {

using llm::setting;
using llm::usage_error;

bool is_flag(std::string const& arg) { return arg.size() > 2 && arg.compare(0, 2, "--") == 0; }

std::string flag_name(std::string const& arg) {
  std::string name = arg.substr(2, arg.find('=') - 2);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

// The value as people write it; "none" where there is none.
std::string value_text(nlohmann::ordered_json const& value) {
  if (value.is_null() || (value.is_array() && value.empty())) return "none";
  if (value.is_number_float()) return kedge::detail::text(value.get<double>());
  if (!value.is_array()) return value.is_string() ? value.get<std::string>() : value.dump();
  std::string text;
  for (auto const& one : value) text += (text.empty() ? "" : " ") + value_text(one);
  return text;
}

bool is_truth(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text == "true" || text == "false";
}

std::string all_flags(setting const& one) {
  std::string text = "--" + one.name();
  for (std::string const& alias : one.aliases()) text += ",--" + alias;
  return (one.is_positional() ? one.name() + "," : "") + text;
}

std::string default_text(setting const& one) { return one.default_text().empty() ? value_text(one.value()) : one.default_text(); }

// All names of a flag, each between these.
std::string names_of(setting const& one, char const* before, char const* after) {
  std::string text = before + one.name() + after;
  for (std::string const& alias : one.aliases()) text += ", " + (before + alias) + after;
  return text;
}

// Groups in the order in which they first appear, and their settings.
std::vector<std::pair<std::string, std::vector<setting const*>>> by_group(llm::settings_list const& settings) {
  std::vector<std::pair<std::string, std::vector<setting const*>>> groups;
  for (auto const& one : settings) {
    std::string const name = one->group().empty() ? "Options" : one->group();
    auto const found = std::find_if(groups.begin(), groups.end(), [&](auto const& group) { return group.first == name; });
    (found == groups.end() ? groups.emplace_back(name, std::vector<setting const*>()) : *found).second.push_back(one.get());
  }
  return groups;
}

// The arguments with each flag and its value in one: a switch takes "true" or "false" after it and no other word, and what takes one
// value takes what follows, be it a negative number, unless that is a flag.
arguments joined(llm::settings_list const& settings, arguments const& args) {
  arguments all;
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (!is_flag(args[i])) {
      all.push_back(args[i]);
      continue;
    }
    std::string const name = flag_name(args[i]);
    setting const* one = settings.find(name);
    bool const negated = one == nullptr && name.compare(0, 3, "no_") == 0 && (one = settings.find(name.substr(3))) != nullptr && one->is_switch();
    if (negated) {
      all.push_back("--" + one->name() + "=false");
      continue;
    }
    one = &settings.known(name, "--");
    std::size_t const equals = args[i].find('=');
    bool const next_is_value = i + 1 < args.size() && !is_flag(args[i + 1]);
    if (equals != std::string::npos)
      all.push_back("--" + one->name() + args[i].substr(equals));
    else if (one->takes_many())
      all.push_back("--" + one->name());
    else if (one->is_switch() && !(next_is_value && is_truth(args[i + 1])))
      all.push_back("--" + one->name() + "=true");
    else if (next_is_value)
      all.push_back("--" + one->name() + "=" + args[++i]);
    else if (!one->bare_value().empty())
      all.push_back("--" + one->name() + "=" + one->bare_value());
    else
      throw usage_error("--" + one->name() + ": a value is missing; it takes " + one->form());
  }
  return all;
}

}  // namespace

command_line::command_line(std::string program, std::string about) : program_(std::move(program)), about_(std::move(about)) {
  settings.group("");
  settings.add("config", config_, "file with the same keys as the flags: TOML, YAML or JSON; flags win").resumes(llm::on_resume::free);
}

void command_line::parse(arguments const& args) {
  for (std::string const& arg : args) {
    if (arg == "--help" || arg == "-h") {
      print_help();
      throw help_printed{};
    }
    if (arg == "--help=markdown") {
      print_table();
      throw help_printed{};
    }
  }
  read_flags(args);
  read_config();
  settings.check_given();
  settings.check_ranges();
}

void command_line::read_flags(arguments const& args) {
  CLI::App app(about_, program_);
  app.set_help_flag();
  std::vector<std::pair<setting*, CLI::Option*>> options;
  std::vector<std::vector<std::string>> texts(static_cast<std::size_t>(std::distance(settings.begin(), settings.end())));
  for (auto const& one : settings) {
    CLI::Option* const option = app.add_option(all_flags(*one), texts[options.size()]);
    option->expected(one->takes_many() ? 0 : 1, one->takes_many() ? CLI::detail::expected_max_vector_size : 1)->allow_extra_args(one->takes_many());
    options.emplace_back(one.get(), option);
  }
  arguments reversed = joined(settings, args);  // what CLI11 asks for
  std::reverse(reversed.begin(), reversed.end());
  try {
    app.parse(reversed);
  } catch (CLI::ParseError const& e) {
    std::string const text = e.what();
    throw usage_error(text.substr(0, text.find('\n')));
  }
  for (auto const& [one, option] : options)
    if (option->count() > 0) one->read(option->results());
}

void command_line::read_config() {
  if (config_.empty()) return;
  std::vector<setting const*> by_flag;
  for (auto const& one : settings)
    if (one->given()) by_flag.push_back(one.get());
  for (config_entry const& entry : read_config_file(config_)) {
    setting& one = settings.known(entry.key, "--config " + config_.string() + ": ");
    if (std::find(by_flag.begin(), by_flag.end(), &one) != by_flag.end()) continue;
    try {
      one.read(entry.values);
    } catch (usage_error const& e) {
      throw usage_error("--config " + config_.string() + ": " + e.what());
    }
  }
}

void command_line::print_help() const {
  std::printf("%s\n\nusage: %s [--flags]\n", about_.c_str(), program_.c_str());
  for (auto const& [name, members] : by_group(settings)) {
    std::printf("\n%s:\n", name.c_str());
    for (setting const* const one : members) {
      std::string const given = one->is_required() ? "required" : "default: " + default_text(*one);
      std::printf("  %s\n      %s\n      (%s; %s)\n", names_of(*one, "--", "").c_str(), one->help().c_str(), one->form().c_str(), given.c_str());
    }
  }
}

void command_line::print_table() const {
  for (auto const& [name, members] : by_group(settings)) {
    std::printf("**%s**\n\n| flag | takes | default | meaning |\n|---|---|---|---|\n", name.c_str());
    for (setting const* const one : members) {
      std::string const standard = one->is_required() ? "required" : default_text(*one);
      std::printf("| %s | %s | %s | %s |\n", names_of(*one, "`--", "`").c_str(), one->form().c_str(), standard.c_str(), one->help().c_str());
    }
    std::printf("\n");
  }
}

}  // namespace kedge::cli
