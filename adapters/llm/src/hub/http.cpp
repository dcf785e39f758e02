// SPDX-License-Identifier: Apache-2.0
#include "http.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <exception>
#include <memory>

#include <kedge/version.hpp>

#include "curl.hpp"

namespace kedge::llm {
namespace {

constexpr std::size_t longest_body = std::size_t{64} << 20U;  // of answers that are read at once: lists of files
constexpr int most_redirects = 10;

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c); });
  return out;
}

std::string_view trimmed(std::string_view text) {
  std::size_t const begin = text.find_first_not_of(" \t\r\n"), end = text.find_last_not_of(" \t\r\n");
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin, end - begin + 1);
}

// What an exchange gathers. Exceptions don't pass through libcurl: they wait here.
struct exchange_state {
  http_request const& request;
  hub_settings const& settings;
  http_answer answer;
  bool begun = false;
  std::exception_ptr problem;

  [[nodiscard]] bool takes() const { return request.take && (answer.status == 200 || answer.status == 206); }
};

std::size_t on_head(char* data, std::size_t size, std::size_t count, void* to) {
  auto& state = *static_cast<exchange_state*>(to);
  std::string_view const line(data, size * count);
  if (line.starts_with("HTTP/")) {  // of a proxy's answer before, or the answer itself
    state.answer.head.clear();
    std::size_t const blank = line.find(' ');
    std::string_view const number = blank == std::string_view::npos ? "" : line.substr(blank + 1, 3);
    std::from_chars(number.data(), number.data() + number.size(), state.answer.status);
  } else if (std::size_t const colon = line.find(':'); colon != std::string_view::npos) {
    state.answer.head[lower(trimmed(line.substr(0, colon)))] = trimmed(line.substr(colon + 1));
  }
  return size * count;
}

std::size_t on_content(char* data, std::size_t size, std::size_t count, void* to) {
  auto& state = *static_cast<exchange_state*>(to);
  std::string_view const piece(data, size * count);
  try {
    if (!state.takes()) {
      if (state.answer.body.size() + piece.size() > longest_body)
        throw error(state.request.url + ": the answer is longer than an answer can be");
      state.answer.body += piece;
      return piece.size();
    }
    if (!state.begun && state.request.begin) state.request.begin(state.answer.status);
    state.begun = true;
    state.request.take(piece);
    return piece.size();
  } catch (...) {
    state.problem = std::current_exception();
    return 0;
  }
}

int on_progress(void* from, std::int64_t, std::int64_t, std::int64_t, std::int64_t) {
  auto const& state = *static_cast<exchange_state*>(from);
  return state.settings.stop && state.settings.stop() ? 1 : 0;
}

bool is_redirect(int status) { return status == 301 || status == 302 || status == 303 || status == 307 || status == 308; }

}  // namespace

std::string http_answer::field(std::string const& name) const {
  auto const found = head.find(name);
  return found == head.end() ? std::string() : found->second;
}

std::optional<std::uint64_t> http_answer::number(std::string const& name) const {
  std::string const text = field(name);
  std::uint64_t value = 0;
  auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

std::string origin_of(std::string_view url) {
  std::size_t const scheme = url.find("://");
  if (scheme == std::string_view::npos) return {};
  std::size_t const end = url.find_first_of("/?#", scheme + 3);
  std::string_view host = url.substr(scheme + 3, end == std::string_view::npos ? end : end - scheme - 3);
  if (std::size_t const at = host.rfind('@'); at != std::string_view::npos) host.remove_prefix(at + 1);
  return lower(url.substr(0, scheme + 3)) + lower(host);
}

std::string percent_escaped(std::string_view path) {
  static constexpr std::string_view digits = "0123456789ABCDEF", plain = "-_.~/";
  std::string out;
  for (char const c : path) {
    auto const byte = static_cast<unsigned char>(c);
    bool const letter = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
    if (letter || plain.find(c) != std::string_view::npos)
      out += c;
    else
      out += std::string("%") + digits[byte >> 4U] + digits[byte & 15U];
  }
  return out;
}

http_client::http_client(hub_settings const& settings) : settings_(settings), handle_(curl::loaded().init()) {
  if (handle_ == nullptr) throw error("nothing can be fetched: libcurl gives no handle; is there memory left?");
}

http_client::~http_client() { curl::loaded().cleanup(handle_); }

http_answer http_client::exchange(http_request const& request, std::string const& url) {
  curl const& library = curl::loaded();
  exchange_state state{request, settings_, {}, false, nullptr};
  std::array<char, curl::error_size> words{};
  curl::list fields;
  fields.add("Accept-Encoding: identity");  // sizes and hashes are those of the content itself
  if (request.from > 0) fields.add("Range: bytes=" + std::to_string(request.from) + "-");
  if (!settings_.token.empty() && origin_of(url) == origin_of(settings_.endpoint))
    fields.add("Authorization: Bearer " + settings_.token);
  library.set(handle_, curl::option::url, url.c_str());
  library.set(handle_, curl::option::fields, fields.get());
  library.set(handle_, curl::option::user_agent, "kedge/" KEDGE_VERSION_STRING);
  library.set(handle_, curl::option::protocols, curl::http | curl::https);
  library.set(handle_, curl::option::no_body, request.head_only ? 1L : 0L);
  library.set(handle_, curl::option::no_signal, 1L);
  library.set(handle_, curl::option::connect_milliseconds, static_cast<long>(std::min(settings_.silence, 20.0) * 1000));
  library.set(handle_, curl::option::least_speed, 1L);
  library.set(handle_, curl::option::least_speed_seconds, std::max(1L, static_cast<long>(settings_.silence)));
  library.set(handle_, curl::option::error_text, words.data());
  library.set(handle_, curl::option::write_function, on_content);
  library.set(handle_, curl::option::write_to, static_cast<void*>(&state));
  library.set(handle_, curl::option::head_function, on_head);
  library.set(handle_, curl::option::head_to, static_cast<void*>(&state));
  library.set(handle_, curl::option::no_progress, 0L);
  library.set(handle_, curl::option::progress_function, on_progress);
  library.set(handle_, curl::option::progress_to, static_cast<void*>(&state));
  if (!settings_.ca_file.empty()) library.set(handle_, curl::option::ca_file, settings_.ca_file.c_str());
  int const outcome = library.perform(handle_);
  library.set(handle_, curl::option::error_text, static_cast<char*>(nullptr));
  if (state.problem) std::rethrow_exception(state.problem);
  if (outcome == curl::code::aborted) throw hub_interrupted();
  if (outcome != curl::code::ok) {
    std::string const why = words[0] != '\0' ? words.data() : library.text(outcome);
    std::string const text = origin_of(url) + ": " + why;
    if (curl::is_broken(outcome)) throw broken_connection(text);
    throw error(text);
  }
  // An empty file has no piece.
  if (state.takes() && !state.begun && request.begin) request.begin(state.answer.status);
  return state.answer;
}

http_answer http_client::send(http_request const& request) {
  std::string url = request.url;
  for (int i = 0; i <= most_redirects; ++i) {
    if (settings_.stop && settings_.stop()) throw hub_interrupted();
    http_answer answer = exchange(request, url);
    std::string const to = is_redirect(answer.status) ? curl::loaded().redirect(handle_) : std::string();
    if (to.empty() || (request.head_only && origin_of(to) != origin_of(url))) return answer;
    if (origin_of(url).starts_with("https:") && !origin_of(to).starts_with("https:"))
      throw error(origin_of(url) + ": a redirect leads to an address that isn't encrypted (" + origin_of(to) +
                  "); nothing is fetched from there");
    url = to;
  }
  throw error(origin_of(request.url) + ": more than " + std::to_string(most_redirects) + " redirects after each other");
}

}  // namespace kedge::llm
