// SPDX-License-Identifier: Apache-2.0
#include <cctype>
#include <cstdlib>

#include "experiment.hpp"

namespace kedge_lab {
namespace {

std::string number(double x) { return std::isfinite(x) ? kedge::detail::text(x) : "null"; }

std::string quoted(std::string const& s) {
  std::string out = "\"";
  for (char const c : s) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

template <class Items, class Write>
std::string joined(Items const& items, Write const& write) {
  std::string out;
  for (auto const& item : items) out += (out.empty() ? "" : ", ") + write(item);
  return out;
}

bool is_number(std::string const& s) {
  // libc++ 19 has no from_chars of double.
  char* end = nullptr;
  std::strtod(s.c_str(), &end);
  return !s.empty() && std::isspace(static_cast<unsigned char>(s.front())) == 0 && end == s.c_str() + s.size();
}

}  // namespace

void arguments::set(std::string const& name, std::string const& value) {
  auto const found = values_.find(name);
  if (found == values_.end())
    throw usage_error("unknown option --" + name + "; this experiment takes " +
                      joined(values_, [](auto const& o) { return "--" + o.first; }));
  found->second = value;
}

double arguments::number(std::string const& name) const {
  std::string const& s = values_.at(name);
  if (!is_number(s)) throw usage_error("--" + name + " " + s + ": not a number");
  double const value = std::stod(s);
  if (!std::isfinite(value)) throw usage_error("--" + name + " " + s + ": it must be finite");
  return value;
}

std::size_t arguments::count(std::string const& name) const {
  double const value = number(name);
  if (value < 1 || value != std::floor(value) || value > 1e7)
    throw usage_error("--" + name + " " + values_.at(name) + ": it must be a whole number from 1 to 1e7");
  return static_cast<std::size_t>(value);
}

std::string arguments::word(std::string const& name, std::vector<std::string> const& choices) const {
  std::string const& s = values_.at(name);
  for (std::string const& choice : choices)
    if (s == choice) return s;
  throw usage_error("--" + name + " " + s + ": choose one of " + joined(choices, [](std::string const& c) { return c; }));
}

std::string to_json(experiment const& e, arguments const& a, outcome const& r) {
  std::string out = "{\"experiment\": " + quoted(e.name) + ", \"settings\": {";
  out += joined(a.all(),
                [](auto const& o) { return quoted(o.first) + ": " + (is_number(o.second) ? o.second : quoted(o.second)); });
  out += "}, \"series\": {";
  out += joined(r.series, [](auto const& s) {
    return quoted(s.first) + ": [" + joined(s.second, [](double x) { return number(x); }) + "]";
  });
  out += "}, \"fit\": {\"of\": " + quoted(r.fitted) + ", \"slope\": " + number(r.fit.slope) +
         ", \"stderr\": " + number(r.fit.stderr_slope);
  out += "}, \"expected\": {";
  out += joined(r.checks, [](check const& c) {
    return quoted(c.what) + ": {\"expected\": " + number(c.expected) + ", \"measured\": " + number(c.measured) +
           ", \"relation\": " + quoted(c.relation) + ", \"holds\": " + (c.holds ? "true" : "false") + "}";
  });
  return out + "}, \"notes\": [" + joined(r.notes, quoted) + "], \"holds\": " + (r.holds() ? "true" : "false") + "}\n";
}

std::string to_text(experiment const& e, arguments const& a, outcome const& r) {
  std::string out = e.name + ": " + e.title + "\n" + e.claim + "\n\nsettings  ";
  out += joined(a.all(), [](auto const& o) { return o.first + " " + o.second; }) + "\n";
  for (auto const& [name, values] : r.series) {
    out += "series    " + name + ":";
    for (std::size_t t = 1; t <= values.size(); t = t < values.size() && t * 10 > values.size() ? values.size() : t * 10)
      out += " t=" + std::to_string(t) + " " + text(values[t - 1]);
    out += "\n";
  }
  if (!r.fitted.empty()) out += "fit       " + r.fitted + ": " + text(r.fit.slope) + " ± " + text(r.fit.stderr_slope) + "\n";
  for (check const& c : r.checks)
    out += std::string(c.holds ? "holds     " : "FAILS     ") + c.what + ": expected " +
           (c.relation[0] == '=' ? kedge::detail::text(c.expected) + " ± " + c.relation.substr(2)
                                 : c.relation + " " + text(c.expected)) +
           ", measured " + kedge::detail::text(c.measured) + "\n";
  for (std::string const& note : r.notes) out += "note      " + note + "\n";
  return out;
}

}  // namespace kedge_lab
