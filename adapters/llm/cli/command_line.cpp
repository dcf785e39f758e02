// SPDX-License-Identifier: Apache-2.0
#include "command_line.hpp"

#include <algorithm>
#include <cstdio>

#include <CLI/CLI.hpp>

#include <kedge/detail/check.hpp>
#include <kedge/llm/hub/model_setting.hpp>

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

bool is_truth(std::string_view text) { return llm::setting_type<bool>::read(text, {}).has_value(); }

// Can it be said to be off? --no_NAME then does.
bool can_be_off(setting const& one) {
  std::vector<std::string> const choices = one.choices();
  return one.is_switch() || std::find(choices.begin(), choices.end(), "false") != choices.end();
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

}  // namespace

command_line::command_line(std::string program, std::string about)
    : program_(std::move(program)), about_(std::move(about)), command_(program_.substr(program_.rfind(' ') + 1)) {
  settings.group("");
  settings.add("config", config_, "file with the same keys as the flags: TOML, YAML or JSON; flags win").resumes(llm::on_resume::free);
}

void command_line::parse(arguments const& args) {
  for (std::string const& arg : args) {
    if (arg == "--help" || arg == "-h") {
      print_help();
      throw help_printed{};
    }
    if (arg == "--help=markdown" || (takes_trl_ && arg == "--help=trl")) {
      if (arg == "--help=trl")
        print_trl_tables();
      else
        print_table();
      throw help_printed{};
    }
  }
  read_flags(args);
  read_config();
  settings.check_given();
  settings.check_ranges();
  for (auto const& one : settings)
    if (auto* const models = dynamic_cast<llm::names_models*>(one.get())) models->locate();
}

// The arguments with each flag and its value in one: a switch takes a truth value after it and no other word, and what takes one value
// takes what follows, be it a negative number, unless that is a flag. Flags of TRL's are kept apart.
arguments command_line::joined(arguments const& args) {
  arguments all;
  auto const add = [&](std::string const& name, std::string const& value) {
    auto const before = std::find_if(all.begin(), all.end(), [&](std::string const& arg) { return arg.starts_with("--" + name + "="); });
    if (before != all.end() && !settings.at(name).takes_many()) {
      if (!takes_trl_) throw usage_error("--" + name + " is given twice; leave one of the two out");
      note("another value of it follows, which counts", before->replace(before->find('='), 1, " "));
      all.erase(before);
    }
    all.push_back("--" + name + "=" + value);
  };
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (!is_flag(args[i])) {
      all.push_back(args[i]);
      continue;
    }
    std::string const name = flag_name(args[i]);
    setting const* one = settings.find(name);
    bool const negated = one == nullptr && name.starts_with("no_") && (one = settings.find(name.substr(3))) != nullptr && can_be_off(*one);
    if (negated) {
      add(one->name(), "false");
      continue;
    }
    if (settings.find(name) == nullptr && (trl(name) != nullptr || (name.starts_with("no_") && trl(name.substr(3)) != nullptr))) {
      i = take_trl(args, i);
      continue;
    }
    one = &settings.known(name, "--");
    std::size_t const equals = args[i].find('=');
    bool const next_is_value = i + 1 < args.size() && !is_flag(args[i + 1]);
    if (equals != std::string::npos)
      add(one->name(), args[i].substr(equals + 1));
    else if (one->takes_many())
      all.push_back("--" + one->name());
    else if (one->is_switch() && !(next_is_value && (is_truth(args[i + 1]) || llm::means_none(args[i + 1]))))
      add(one->name(), "true");
    else if (next_is_value)
      add(one->name(), args[++i]);
    else if (!one->bare_value().empty())
      add(one->name(), one->bare_value());
    else
      throw usage_error("--" + one->name() + ": a value is missing; it takes " + one->form());
  }
  return all;
}

trl_flag const* command_line::trl(std::string const& name) const { return takes_trl_ ? find_trl_flag(name, command_) : nullptr; }

// Keeps the flag of TRL's at place i with its values. returns the place of the last of them
std::size_t command_line::take_trl(arguments const& args, std::size_t i) {
  std::string const name = flag_name(args[i]);
  std::size_t const equals = args[i].find('=');
  trl_flag const* flag = trl(name);
  if (flag == nullptr) {
    trl_flags_.push_back({trl(name.substr(3)), "false", ""});
    return i;
  }
  std::string value = equals == std::string::npos ? "" : args[i].substr(equals + 1);
  auto const next_is_value = [&] { return equals == std::string::npos && i + 1 < args.size() && !is_flag(args[i + 1]); };
  if (flag->form == trl_form::truth) {
    if (next_is_value() && (is_truth(args[i + 1]) || llm::means_none(args[i + 1]))) value = args[++i];
    if (value.empty()) value = "true";
  } else {
    bool const given = equals != std::string::npos || next_is_value();
    if (!given && flag->form == trl_form::one) throw usage_error("--" + name + ": a value is missing");
    if (!given) value = "true";
    if (next_is_value()) value = args[++i];
    while (flag->form == trl_form::many && next_is_value()) value += " " + args[++i];
  }
  trl_flags_.push_back({flag, value, ""});
  return i;
}

// What the table says of a value of a setting; null where it says nothing.
trl_case const* command_line::trl_case_of(setting const& one, std::string const& value) const {
  trl_flag const* const flag = trl(one.name());
  return flag == nullptr ? nullptr : case_of(*flag, value);
}

// Values of a list that the setting doesn't know and that change nothing are told and left out.
std::vector<std::string> command_line::without_idle(setting& one, std::vector<std::string> const& values) {
  std::vector<std::string> kept;
  for (std::string const& value : values) {
    trl_case const* const found = trl_case_of(one, value);
    bool idle = found != nullptr && found->fate == trl_fate::idle;
    if (idle) try {
        one.read({value});
        idle = false;
      } catch (usage_error const&) {
        note(std::string(found->text), "--" + one.name());
      }
    if (!idle) kept.push_back(value);
  }
  return kept;
}

// Where a value is refused that TRL has, the reason is told as well.
void command_line::read(setting& one, std::vector<std::string> values, std::string const& where) {
  if (one.takes_many()) {
    std::size_t const given = values.size();
    values = without_idle(one, values);
    if (given > 0 && values.empty()) return;
  }
  trl_case const* const found = values.empty() ? nullptr : trl_case_of(one, values.front());
  bool const refused = found != nullptr && found->fate == trl_fate::refused;
  if (refused && found->values != "*") throw usage_error(where + "--" + one.name() + " " + values.front() + ": " + std::string(found->text));
  try {
    one.read(values);
  } catch (usage_error const& e) {
    throw usage_error(where + e.what() + (refused ? "; " + std::string(found->text) : ""));
  }
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
  arguments reversed = joined(args);  // what CLI11 asks for
  std::reverse(reversed.begin(), reversed.end());
  try {
    app.parse(reversed);
  } catch (CLI::ParseError const& e) {
    std::string const text = e.what();
    throw usage_error(text.substr(0, text.find('\n')));
  }
  for (auto const& [one, option] : options)
    if (option->count() > 0) read(*one, option->results(), "");
  apply(trl_flags_, {});
}

void command_line::apply(std::vector<trl_given> const& all, std::vector<setting const*> const& by_flag) {
  for (trl_given const& given : all) {
    std::string const name(given.flag->name);
    trl_case const* const found = case_of(*given.flag, given.value);
    bool const bare = given.flag->form == trl_form::truth && is_truth(given.value) && *llm::setting_type<bool>::read(given.value, {});
    if (found == nullptr) throw usage_error(given.where + "--" + name + " " + given.value + ": " + (given.flag->form == trl_form::truth ? "it takes true or false" : "it isn't known"));
    if (found->fate == trl_fate::refused) throw usage_error(given.where + "--" + name + (bare ? "" : " " + given.value) + ": " + std::string(found->text));
    if (found->fate == trl_fate::mapped) map(given, found->text, by_flag);
    if (found->fate == trl_fate::mapped || found->text.empty()) continue;
    note(std::string(found->text), "--" + name);
  }
}

void command_line::note(std::string const& why, std::string const& flag) {
  auto const same = std::find_if(remarks_.begin(), remarks_.end(), [&](auto const& one) { return one.first == why; });
  (same == remarks_.end() ? remarks_.emplace_back(why, std::vector<std::string>{}) : *same).second.push_back(flag);
}

// Sets the setting that a flag of TRL's means: NAME=VALUE.
void command_line::map(trl_given const& given, std::string_view target, std::vector<setting const*> const& by_flag) {
  std::string const name(target.substr(0, target.find('=')));
  std::string value(target.substr(target.find('=') + 1));
  if (value == "{}") value = given.value;
  std::string const flag = given.where + "--" + std::string(given.flag->name);
  setting* const one = settings.find(name);
  if (one == nullptr) throw usage_error(flag + " is --" + name + " here, which " + program_ + " doesn't have");
  if (std::find(by_flag.begin(), by_flag.end(), one) != by_flag.end()) return;
  bool const twice = one->given();
  auto const before = one->value();
  read(*one, {value}, flag + ": ");
  if (twice && one->value() != before) throw usage_error(flag + " is --" + name + " " + value + " here, and --" + name + " " + value_text(before) + " is given; leave one of the two out");
}

void command_line::read_config() {
  if (config_.empty()) return;
  std::string const where = "--config " + config_.string() + ": ";
  std::vector<setting const*> by_flag;
  for (auto const& one : settings)
    if (one->given()) by_flag.push_back(one.get());
  std::vector<trl_given> of_trl;
  for (config_entry const& entry : read_config_file(config_)) {
    setting* const found = settings.find(entry.key);
    trl_flag const* const flag = found == nullptr ? trl(entry.key) : nullptr;
    if (flag != nullptr) {
      std::string value;
      for (std::string const& one : entry.values) value += (value.empty() ? "" : " ") + one;
      of_trl.push_back({flag, value, where});
      continue;
    }
    if (entry.nested && (found == nullptr || !found->takes_json())) refuse_nested(config_, entry.key);
    setting& one = settings.known(entry.key, where);
    if (std::find(by_flag.begin(), by_flag.end(), &one) == by_flag.end()) read(one, entry.values, where);
  }
  apply(of_trl, by_flag);
}

std::string command_line::remark() const {
  std::string text;
  for (auto const& [why, flags] : remarks_) {
    text += text.empty() ? "without effect here: " : "; ";
    for (std::size_t i = 0; i < flags.size(); ++i) text += (i == 0 ? "" : ", ") + flags[i];
    text += " (" + why + ")";
  }
  return text;
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
  if (takes_trl_) std::printf("\nTRL's other flags are taken, or refused with the reason: %s --help=trl\n", program_.c_str());
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
