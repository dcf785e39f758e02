// SPDX-License-Identifier: Apache-2.0
#include "support/hub_server.hpp"

#include <algorithm>
#include <chrono>
#include <stdexcept>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace kedge::testing {
namespace {

constexpr std::size_t piece = 65536;

// A listening socket of the loopback; `port` becomes the one it got.
int listening(std::uint16_t& port) {
  int const descriptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int const yes = 1;
  ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  socklen_t size = sizeof address;
  if (::bind(descriptor, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(descriptor, 64) != 0)
    throw std::runtime_error("no port of the loopback to listen at");
  ::getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &size);
  port = ntohs(address.sin_port);
  return descriptor;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// Reads a request's head; false if the connection ends before.
bool read_request(int connection, hub_request& request) {
  std::string text;
  char c = 0;
  while (!text.ends_with("\r\n\r\n")) {
    if (::recv(connection, &c, 1, 0) != 1) return false;
    text += c;
  }
  std::size_t begin = text.find("\r\n") + 2;
  request.method = text.substr(0, text.find(' '));
  request.path = text.substr(request.method.size() + 1, text.find(' ', request.method.size() + 1) - request.method.size() - 1);
  for (std::size_t end; (end = text.find("\r\n", begin)) != begin; begin = end + 2) {
    std::string const line = text.substr(begin, end - begin);
    std::size_t const colon = line.find(':');
    request.head[lower(line.substr(0, colon))] = line.substr(line.find_first_not_of(' ', colon + 1));
  }
  return true;
}

bool send_all(int connection, std::string_view text) {
  while (!text.empty()) {
    ssize_t const n = ::send(connection, text.data(), text.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

}  // namespace

hub_server::hub_server(std::uint16_t port) : port_(port) {
  hub_ = listening(port_);
  other_ = listening(other_port_);
  hub_thread_ = std::thread([this] { listen_at(hub_, false); });
  other_thread_ = std::thread([this] { listen_at(other_, true); });
}

hub_server::~hub_server() {
  over_ = true;
  hub_thread_.join();
  other_thread_.join();
  for (std::thread& one : connections_) one.join();
  ::close(hub_);
  ::close(other_);
}

std::vector<hub_request> hub_server::requests() const {
  std::lock_guard const lock(guard_);
  return requests_;
}

std::size_t hub_server::count(std::string const& method, std::string const& part) const {
  std::lock_guard const lock(guard_);
  return static_cast<std::size_t>(std::count_if(requests_.begin(), requests_.end(), [&](hub_request const& r) {
    return r.method == method && r.path.find(part) != std::string::npos;
  }));
}

void hub_server::listen_at(int descriptor, bool elsewhere) {
  while (!over_) {
    pollfd ready{descriptor, POLLIN, 0};
    if (::poll(&ready, 1, 20) <= 0) continue;
    int const connection = ::accept4(descriptor, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    std::lock_guard const lock(guard_);
    connections_.emplace_back([this, connection, elsewhere] { serve(connection, elsewhere); });
  }
}

void hub_server::serve(int connection, bool elsewhere) {
  hub_request request;
  request.elsewhere = elsewhere;
  if (read_request(connection, request)) {
    {
      std::lock_guard const lock(guard_);
      requests_.push_back(request);
    }
    send(connection, request, answer(request));
  }
  ::shutdown(connection, SHUT_RDWR);
  ::close(connection);
}

hub_server::reply hub_server::answer(hub_request const& request) {
  if (busy > 0 && busy-- > 0) return {429, {{"Retry-After", "0"}}, "{}"};
  auto const field = [&](std::string const& name) {
    return request.head.contains(name) ? request.head.at(name) : std::string();
  };
  std::string path = request.path.substr(0, request.path.find('?'));
  if (!request.elsewhere && !token.empty() && field("authorization") != "Bearer " + token)
    return {401, {{"X-Error-Code", "RepoNotFound"}}, "{}"};
  bool const lists = path.starts_with("/api/");
  path.erase(0, lists ? 5 : 1);
  if (path.starts_with("models/")) path.erase(0, 7);
  for (auto const& [repository, files] : repositories) {
    if (!path.starts_with(repository + "/")) continue;
    if (repository == gated) return {403, {{"X-Error-Code", "GatedRepo"}}, "{}"};
    std::string rest = path.substr(repository.size() + 1);
    bool const known =
        rest.ends_with("/main") || rest.find(commit) != std::string::npos || rest.find("/main/") != std::string::npos;
    if (!known) return {404, {{"X-Error-Code", "RevisionNotFound"}}, "{}"};
    if (lists) return list(repository);
    rest.erase(0, rest.find('/', rest.find('/') + 1) + 1);  // resolve/COMMIT/
    auto const file = files.find(rest);
    if (file == files.end()) return {404, {{"X-Error-Code", "EntryNotFound"}}, "{}"};
    return content(request, file->second);
  }
  return {token.empty() ? 401 : 404, {{"X-Error-Code", "RepoNotFound"}}, "{}"};
}

hub_server::reply hub_server::list(std::string const& repository) const {
  std::string text = std::string("{\"id\": \"") + repository + "\", \"sha\": \"" + commit + "\", \"siblings\": [";
  for (auto const& [path, file] : repositories.at(repository))
    text += (text.ends_with('[') ? "" : ", ") + std::string("{\"rfilename\": \"") + path + "\"}";
  return {200, {{"Content-Type", "application/json"}}, text + "]}"};
}

hub_server::reply hub_server::content(hub_request const& request, hub_file const& file) {
  std::map<std::string, std::string> head{{"X-Repo-Commit", commit}, {"Accept-Ranges", "bytes"}};
  if (file.large && !request.elsewhere) {
    head["X-Linked-Etag"] = "\"" + file.etag + "\"";
    head["X-Linked-Size"] = std::to_string(file.claimed > 0 ? file.claimed : file.content.size());
    head["Location"] = "http://127.0.0.1:" + std::to_string(other_port_) + request.path + "?signed";
    return {302, head, "Found. Redirecting"};
  }
  head["ETag"] = (file.large ? "\"" : "W/\"") + file.etag + "\"";
  std::size_t from = 0;
  if (auto const range = request.head.find("range"); range != request.head.end() && !ignores_ranges)
    from = std::stoul(range->second.substr(6));
  if (from > 0 && from >= file.content.size()) return {416, head, ""};
  if (from > 0)
    head["Content-Range"] = "bytes " + std::to_string(from) + "-" + std::to_string(file.content.size() - 1) + "/" +
                            std::to_string(file.content.size());
  bool const breaks = request.method == "GET" && broken > 0 && broken-- > 0;
  return {from > 0 ? 206 : 200, head, file.content.substr(from), breaks};
}

void hub_server::send(int connection, hub_request const& request, reply const& what) const {
  std::string head = "HTTP/1.1 " + std::to_string(what.status) +
                     " -\r\nConnection: close\r\nContent-Length: " + std::to_string(what.body.size()) + "\r\n";
  for (auto const& [name, value] : what.head) head.append(name).append(": ").append(value).append("\r\n");
  if (!send_all(connection, head + "\r\n") || request.method == "HEAD") return;
  std::string_view rest = what.body;
  if (what.breaks) rest = rest.substr(0, rest.size() / 2);
  for (; !rest.empty() && !over_; rest.remove_prefix(std::min(piece, rest.size()))) {
    if (!send_all(connection, rest.substr(0, piece))) return;
    if (milliseconds > 0) std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  }
}

}  // namespace kedge::testing
