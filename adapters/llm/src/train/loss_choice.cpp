// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <utility>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/nearest.hpp>

#include "../base/listed.hpp"
#include "loss_registry.hpp"

namespace kedge::llm {
namespace {

// Names that were taken for whole methods and are regressions of one kind.
struct not_a_loss {
  std::string_view name, what_it_is;
};
constexpr not_a_loss methods[] = {
    {"inpo",
     "loss_type inpo is the regression ipo_sum with beta = eta: say --loss_type ipo_sum; the whole method fits it against a "
     "reference of its own, --reference inpo"},
    {"onpo",
     "loss_type onpo is the regression ipo_sum with beta = 1/eta: say --loss_type ipo_sum; the whole method fits it twice a "
     "round, which the core's mirror steps do with optimism"}};

registered_loss const& find_loss(std::string const& name) {
  for (registered_loss const& row : registered_losses())
    if (row.name.name == name) return row;
  for (not_a_loss const& method : methods)
    if (method.name == name) throw error(std::string(method.what_it_is));
  std::vector<std::string> known;
  for (registered_loss const& row : registered_losses()) known.push_back(row.name.name);
  throw error("unknown loss_type " + in_quotes(name) + "; did you mean '" + nearest(name, known) + "'? Known are " + listed(known));
}

void check_weights(loss_settings const& s) {
  if (s.loss_type.empty()) throw error("no loss_type; name at least one");
  if (!s.loss_weights.empty() && s.loss_weights.size() != s.loss_type.size())
    throw error(std::to_string(s.loss_weights.size()) + " loss_weights for " + std::to_string(s.loss_type.size()) +
                " loss_type; give one weight a loss");
  for (double const weight : s.loss_weights)
    if (!std::isfinite(weight)) throw error("loss_weights: " + kedge::detail::text(weight) + "; weights must be finite");
  if (!(s.beta > 0 && std::isfinite(s.beta))) throw error("beta = " + kedge::detail::text(s.beta) + "; it must be positive");
}

// Every parameter that was given is read by one of the losses.
void check_parameters_are_read(loss_settings const& s) {
  for (auto const& [name, value] : s.parameters) {
    auto const& known = loss_parameters();
    auto const row = std::find_if(known.begin(), known.end(), [&](loss_parameter const& p) { return p.name == name; });
    if (row == known.end()) {
      std::vector<std::string> all;
      for (loss_parameter const& p : known) all.push_back(p.name);
      throw error("unknown parameter of losses " + in_quotes(name) + "; did you mean '" + nearest(name, all) + "'?");
    }
    if (row->losses.empty()) {
      if (s.f_divergence_type != f_divergence::alpha_divergence)
        throw error(name + " is given, but f_divergence_type " + std::string(name_of(s.f_divergence_type)) +
                    " doesn't read it; leave it out, or choose alpha_divergence");
      continue;
    }
    auto const reads = [&](std::string const& loss) {
      return std::find(s.loss_type.begin(), s.loss_type.end(), loss) != s.loss_type.end();
    };
    if (std::none_of(row->losses.begin(), row->losses.end(), reads))
      throw error(name + " is given, but loss_type " + listed(s.loss_type) +
                  " doesn't read it; leave it out, or choose one of " + listed(row->losses));
  }
}

void check_divergence(loss_settings const& s) {
  if (s.f_divergence_type == f_divergence::reverse_kl) return;
  std::string const type(name_of(s.f_divergence_type));
  bool taken = false;
  for (std::string const& name : s.loss_type) {
    registered_loss const& row = find_loss(name);
    if (row.needs_reference && !row.takes_divergence)
      throw error("loss_type " + name + " has no form for f_divergence_type " + type + "; use reverse_kl");
    taken = taken || row.takes_divergence;
  }
  if (!taken)
    throw error("loss_type " + listed(s.loss_type) + " reads no reference, so that f_divergence_type " + type +
                " says nothing; use reverse_kl");
}

// Σ_k w_k L_k of losses that are chosen one by one at run time.
loss_choice weighted_sum(std::vector<loss_choice> parts, std::vector<double> const& weights) {
  loss_choice sum;
  sum.shift_invariant = true;
  sum.beta = parts.front().beta;
  for (std::size_t k = 0; k < parts.size(); ++k) {
    sum.name += (k ? " + " : "") + kedge::detail::text(weights[k]) + " " + parts[k].name;
    sum.shift_invariant = sum.shift_invariant && parts[k].shift_invariant;
    sum.needs_reference = sum.needs_reference || parts[k].needs_reference;
    sum.reads_tokens = sum.reads_tokens || parts[k].reads_tokens;
    sum.reads_scores = sum.reads_scores || parts[k].reads_scores;
    sum.compares_pairs = sum.compares_pairs || parts[k].compares_pairs;
    sum.has_cross_entropy = sum.has_cross_entropy || parts[k].has_cross_entropy;
  }
  auto const shared = std::make_shared<std::vector<loss_choice> const>(std::move(parts));
  sum.evaluate = [shared, weights](pair_batch const& batch, std::size_t total) {
    loss_and_cotangent result = shared->front().evaluate(batch, total);
    kedge::axpby(weights[0], pair_log_probs(result.cotangent), 0, result.cotangent);
    result.value *= weights[0];
    for (std::size_t k = 1; k < shared->size(); ++k) {
      loss_and_cotangent const part = (*shared)[k].evaluate(batch, total);
      kedge::axpby(weights[k], part.cotangent, 1, result.cotangent);
      result.value += weights[k] * part.value;
    }
    return result;
  };
  return sum;
}

// The range takes in that of another loss; equal ends are open where both are.
void widen(loss_parameter& known, loss_parameter const& other) {
  if (other.least < known.least || (other.least == known.least && known.open_least)) {
    known.least = other.least;
    known.open_least = other.open_least;
  }
  if (other.most > known.most || (other.most == known.most && known.open_most)) {
    known.most = other.most;
    known.open_most = other.open_most;
  }
  known.losses.insert(known.losses.end(), other.losses.begin(), other.losses.end());
}

// "0.5", or "0.1 (cdpo), 0 (robust, aot)".
std::string defaults_of(std::string const& name) {
  std::vector<std::pair<std::string, std::string>> readers;  // a default, and the losses that have it
  for (registered_loss const& row : registered_losses())
    for (loss_parameter const& own : row.parameters) {
      if (own.name != name) continue;
      auto const at = std::find_if(readers.begin(), readers.end(), [&](auto const& r) { return r.first == own.defaults; });
      if (at == readers.end())
        readers.emplace_back(own.defaults, row.name.name);
      else
        at->second += ", " + row.name.name;
    }
  if (readers.size() == 1) return readers.front().first;
  std::string text;
  for (auto const& [value, losses] : readers) text += (text.empty() ? "" : ", ") + value + " (" + losses + ")";
  return text;
}

}  // namespace

loss_choice make_loss(loss_settings const& settings) try {
  check_weights(settings);
  std::vector<registered_loss const*> rows;
  for (std::string const& name : settings.loss_type) rows.push_back(&find_loss(name));
  check_parameters_are_read(settings);
  check_divergence(settings);
  std::vector<loss_choice> parts;
  for (registered_loss const* const row : rows) {
    parts.push_back(row->make(settings));
    parts.back().has_cross_entropy = row->is_cross_entropy;
  }
  if (parts.size() == 1 && (settings.loss_weights.empty() || settings.loss_weights[0] == 1)) return parts.front();
  std::vector<double> const weights =
      settings.loss_weights.empty() ? std::vector<double>(parts.size(), 1) : settings.loss_weights;
  return weighted_sum(std::move(parts), weights);
} catch (std::invalid_argument const& refused) {
  throw error(refused.what());
}

std::vector<loss_name> const& loss_names() {
  static std::vector<loss_name> const names = [] {
    std::vector<loss_name> found;
    for (registered_loss const& row : registered_losses()) found.push_back(row.name);
    return found;
  }();
  return names;
}

std::vector<loss_parameter> const& loss_parameters() {
  static std::vector<loss_parameter> const parameters = [] {
    std::vector<loss_parameter> found;
    for (registered_loss const& row : registered_losses())
      for (loss_parameter const& own : row.parameters) {
        auto const at = std::find_if(found.begin(), found.end(), [&](loss_parameter const& p) { return p.name == own.name; });
        if (at == found.end())
          found.push_back(own);
        else
          widen(*at, own);
      }
    for (loss_parameter& each : found) each.defaults = defaults_of(each.name);
    for (loss_parameter const& own : registry::listed(alpha_divergence{}, {})) found.push_back(own);
    return found;
  }();
  return parameters;
}

}  // namespace kedge::llm
