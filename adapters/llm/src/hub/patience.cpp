// SPDX-License-Identifier: Apache-2.0
#include "patience.hpp"

#include <chrono>
#include <cmath>
#include <thread>

#include <kedge/llm/base/error.hpp>

namespace kedge::llm {
namespace {

constexpr double longest_wait = 300;  // seconds that a person would wait without being asked

}  // namespace

void patience::wait(std::string const& why, std::optional<double> seconds) {
  if (++failed_ >= settings_.tries)
    throw error(why + "; it was tried " + std::to_string(failed_) + " times; try again later, what was fetched is kept");
  if (seconds && *seconds > longest_wait)
    throw error(why + "; the server asks to come back in " + std::to_string(std::llround(*seconds / 60)) +
                " minutes; what was fetched is kept");
  double const long_enough = seconds.value_or(settings_.first_wait * std::ldexp(1.0, static_cast<int>(failed_) - 1));
  auto const end = std::chrono::steady_clock::now() + std::chrono::duration<double>(long_enough);
  while (std::chrono::steady_clock::now() < end) {
    if (settings_.stop && settings_.stop()) throw hub_interrupted();
    std::this_thread::sleep_for(
        std::min<std::chrono::duration<double>>(end - std::chrono::steady_clock::now(), std::chrono::milliseconds(50)));
  }
}

bool is_for_later(int status) {
  return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

std::optional<double> asked_to_wait(http_answer const& answer) {
  if (auto const seconds = answer.number("retry-after")) return static_cast<double>(*seconds);
  std::string const limit = answer.field("ratelimit");
  std::size_t const at = limit.find("t=");
  if (at == std::string::npos || (at > 0 && limit[at - 1] != ';' && limit[at - 1] != ' ')) return std::nullopt;
  return http_answer{0, {{"t", limit.substr(at + 2, limit.find_first_not_of("0123456789", at + 2) - at - 2)}}, ""}.number("t");
}

http_answer send_patiently(http_client& client, http_request const& request, hub_settings const& settings) {
  patience patient(settings);
  for (;;) {
    std::string why;
    std::optional<double> seconds;
    try {
      http_answer answer = client.send(request);
      if (!is_for_later(answer.status)) return answer;
      why = origin_of(request.url) + " answers " + std::to_string(answer.status) +
            (answer.status == 429 ? " (too many requests; a token, HF_TOKEN, raises the limit)" : "");
      seconds = asked_to_wait(answer);
    } catch (broken_connection const& e) {
      why = e.what();
    }
    patient.wait(why, seconds);
  }
}

}  // namespace kedge::llm
