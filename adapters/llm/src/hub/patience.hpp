// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>   // size_t
#include <optional>  // optional
#include <string>    // string

#include "http.hpp"

namespace kedge::llm {

/// How often, and after which waits, something that failed is tried again.
class patience {
 public:
  explicit patience(hub_settings const& settings) : settings_(settings) {}

  /// Waits before the next try.
  /// seconds  that the server asked for; nothing: twice as long as before
  /// throws   error with this reason if there have been enough tries or the server wants a longer wait than a person does; hub_interrupted
  void wait(std::string const& why, std::optional<double> seconds = std::nullopt);

  /// The last try brought something: tries are counted anew.
  void reset() { failed_ = 0; }

 private:
  hub_settings const& settings_;
  std::size_t failed_ = 0;
};

/// Statuses that mean "not now": 408, 429 and those of servers in trouble.
[[nodiscard]] bool is_for_later(int status);

/// Seconds that the answer asks to wait: Retry-After, else the rest of the period in RateLimit ("…;r=0;t=55").
[[nodiscard]] std::optional<double> asked_to_wait(http_answer const& answer);

/// Sends a request until it is answered by something that isn't for later.
[[nodiscard]] http_answer send_patiently(http_client& client, http_request const& request, hub_settings const& settings);

}  // namespace kedge::llm
