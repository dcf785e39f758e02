// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <cctype>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <kedge/lab/drawing/plot.hpp>
#include <kedge/lab/fit.hpp>
#include <kedge/lab/harness/claims.hpp>
#include <kedge/lab/tabular.hpp>

// An experiment: options with defaults, a function from their values to an outcome, and what the outcome claims.

namespace kedge::lab {

/// Wrong use of the program: one line, exit code 2.
class usage_error : public std::runtime_error {
 public:
  using runtime_error::runtime_error;
};

struct option {
  std::string name, value, help;  ///< value: the default
};

/// The values of an experiment's options, by name.
class arguments {
 public:
  explicit arguments(std::vector<option> const& options) {
    for (option const& o : options) values_[o.name] = o.value;
  }
  /// throws  usage_error for a name that the experiment doesn't have
  void set(std::string const& name, std::string const& value) {
    auto const found = values_.find(name);
    if (found == values_.end()) {
      std::string known;
      for (auto const& [other, ignored] : values_) known += (known.empty() ? "--" : ", --") + other;
      throw usage_error("unknown option --" + name + "; this experiment takes " + (known.empty() ? "none" : known));
    }
    found->second = value;
  }
  /// throws  usage_error unless the value is a finite number
  [[nodiscard]] double number(std::string const& name) const {
    std::string const& s = values_.at(name);
    char* end = nullptr;  // libc++ 19 has no from_chars of double
    double const value = std::strtod(s.c_str(), &end);
    if (s.empty() || std::isspace(static_cast<unsigned char>(s.front())) != 0 || end != s.c_str() + s.size())
      throw usage_error("--" + name + " " + s + ": not a number");
    if (!std::isfinite(value)) throw usage_error("--" + name + " " + s + ": it must be finite");
    return value;
  }
  /// The same within [low, high], or above low where it is open.
  /// throws  usage_error outside
  [[nodiscard]] double number(std::string const& name, double low, double high, bool open = false) const {
    double const value = number(name);
    if (value < low || value > high || (open && value == low)) {
      std::string const least = kedge::detail::text(low);
      throw usage_error("--" + name + " " + values_.at(name) + ": it must be " +
                        (high >= 1e300 ? (open ? "above " + least : "at least " + least)
                                       : (open ? "above " : "from ") + least + (open ? " and at most " : " to ") + kedge::detail::text(high)));
    }
    return value;
  }
  [[nodiscard]] double positive(std::string const& name) const { return number(name, 0, 1e300, true); }
  /// throws  usage_error unless the value is a whole number of at least `least`
  [[nodiscard]] std::size_t count(std::string const& name, std::size_t least = 1) const {
    double const value = number(name);
    if (value < static_cast<double>(least) || value != std::floor(value) || value > 1e7)
      throw usage_error("--" + name + " " + values_.at(name) + ": it must be a whole number from " + std::to_string(least) + " to 1e7");
    return static_cast<std::size_t>(value);
  }
  /// throws  usage_error unless the value is one of the choices
  [[nodiscard]] std::string word(std::string const& name, std::vector<std::string> const& choices) const {
    std::string const& s = values_.at(name);
    std::string all;
    for (std::string const& choice : choices) {
      if (s == choice) return s;
      all += (all.empty() ? "" : ", ") + choice;
    }
    throw usage_error("--" + name + " " + s + ": choose one of " + all);
  }
  [[nodiscard]] std::map<std::string, std::string> const& all() const { return values_; }

 private:
  std::map<std::string, std::string> values_;
};

/// What an experiment found.
struct outcome : claims {
  std::vector<std::pair<std::string, vector>> series{};  ///< per round, t = 1 …
  std::string fitted{};                                  ///< what the fit is of
  line_fit fit{std::nan(""), std::nan(""), std::nan("")};
  std::vector<drawing::plot> plots{};
  std::vector<std::string> notes{};
};

struct experiment {
  std::string name, title, claim;  ///< claim: what is expected and why, in a few sentences
  std::vector<option> options;
  std::function<outcome(arguments const&)> run;
  std::string formula{};  ///< MathML, without its outermost element; empty: none
};

}  // namespace kedge::lab
