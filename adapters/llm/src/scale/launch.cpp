// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/scale/launch.hpp>

#include <charconv>
#include <cstdlib>
#include <string_view>

#include <kedge/llm/base/error.hpp>

#include "process_group.hpp"

namespace kedge::llm {
namespace {

constexpr int unset = -1;

std::string variable(char const* name) {
  char const* const value = std::getenv(name);
  return value ? value : "";
}

int number(char const* name, int least, int most, int otherwise) {
  std::string const text = variable(name);
  if (text.empty() && otherwise != unset) return otherwise;
  int value = 0;
  auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || problem != std::errc() || end != text.data() + text.size() || value < least || value > most)
    throw error(std::string("the environment variable ") + name + (text.empty() ? " is missing" : " is '" + text + "'") +
                ", though WORLD_SIZE is set; start the processes by torchrun --no-python");
  return value;
}

}  // namespace

launch launch::of_environment() {
  launch here;
  if (variable("WORLD_SIZE").empty()) return here;
  here.size = number("WORLD_SIZE", 1, 1 << 20, unset);
  if (here.size == 1) return here;
  here.rank = number("RANK", 0, here.size - 1, unset);
  here.local_size = number("LOCAL_WORLD_SIZE", 1, here.size, 1);
  here.local_rank = number("LOCAL_RANK", 0, here.size - 1, 0);
  here.port = static_cast<std::uint16_t>(number("MASTER_PORT", 1, 65535, unset));
  here.address = variable("MASTER_ADDR");
  if (here.address.empty()) throw error("the environment variable MASTER_ADDR is missing, though WORLD_SIZE is set; start the processes by torchrun --no-python");
  here.hosted = variable("TORCHELASTIC_USE_AGENT_STORE") == "True";
  here.interface = variable("GLOO_SOCKET_IFNAME");
  here.attempt = variable("TORCHELASTIC_RESTART_COUNT");
  here.met = std::make_shared<process_group>();
  return here;
}

}  // namespace kedge::llm
