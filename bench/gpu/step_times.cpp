// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>

#include <kedge/llm/base/error.hpp>

#include "kit.hpp"

namespace kedge::gpu_kit {
namespace {

template <class T>
T read(std::string_view bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// Of an event's first fields: double wall_time = 1, int64 step = 2.
void note_time(std::string_view event, std::map<std::int64_t, double>& last) {
  constexpr char wall_time = 1 << 3 | 1, step_number = 2 << 3;
  if (event.size() < 10 || event[0] != wall_time || event[9] != step_number) return;
  std::int64_t step = 0;
  for (std::size_t i = 10, shift = 0; i < event.size(); ++i, shift += 7) {
    step |= static_cast<std::int64_t>(event[i] & 0x7F) << shift;
    if ((event[i] & 0x80) == 0) break;
  }
  last[step] = std::max(last[step], read<double>(event.substr(1)));
}

std::filesystem::path event_file_of(std::filesystem::path const& run) {
  std::filesystem::path found;
  if (std::filesystem::is_directory(run / "runs"))
    for (auto const& entry : std::filesystem::recursive_directory_iterator(run / "runs"))
      if (entry.path().filename().string().starts_with("events.out.tfevents.")) found = entry.path();
  if (found.empty()) throw llm::error(run.string() + ": no event file in runs/, so the steps have no times");
  return found;
}

}  // namespace

std::vector<double> seconds_of_steps(std::filesystem::path const& run) {
  std::ifstream in(event_file_of(run), std::ios::binary);
  std::string const bytes(std::istreambuf_iterator<char>(in), {});
  std::map<std::int64_t, double> last;
  constexpr std::size_t head = 12, tail = 4;  // length and its checksum in front of an event, its checksum behind
  std::string_view rest = bytes;
  while (rest.size() >= head) {
    auto const length = read<std::uint64_t>(rest);
    if (length > rest.size() - head || rest.size() - head - length < tail) break;  // a run that was ended while it wrote
    note_time(rest.substr(head, length), last);
    rest.remove_prefix(head + length + tail);
  }
  std::vector<double> seconds;
  for (auto at = last.begin(); at != last.end(); ++at)
    if (at != last.begin()) seconds.push_back((at->second - std::prev(at)->second) / static_cast<double>(at->first - std::prev(at)->first));
  return seconds;
}

}  // namespace kedge::gpu_kit
