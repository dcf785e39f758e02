// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace kedge::testing {

/// A file of the hub as a test has it.
struct hub_file {
  std::string content;
  std::string etag;         ///< what the hub says its hash is
  bool large = false;       ///< it lies on another host: the hub answers with a redirect, X-Linked-Etag and X-Linked-Size
  std::size_t claimed = 0;  ///< the size that X-Linked-Size claims; 0: the true one
};

/// What a request said.
struct hub_request {
  std::string method, path;
  std::map<std::string, std::string> head;  ///< names in lower case
  bool elsewhere = false;                   ///< it came to the other host, where large files lie
};

/// A server on the loopback that answers as the hub does: lists of files, heads and contents with ETags, ranges, redirects to another host (another
/// port), tokens, and every trouble that a test asks for. One thread a connection; each connection carries one request.
class hub_server {
 public:
  static constexpr char const* commit = "0123456789abcdef0123456789abcdef01234567";

  /// port  of the hub; 0: any that is free
  explicit hub_server(std::uint16_t port = 0);
  ~hub_server();
  hub_server(hub_server const&) = delete;
  hub_server& operator=(hub_server const&) = delete;

  [[nodiscard]] std::string endpoint() const { return "http://127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::vector<hub_request> requests() const;
  /// How many requests there were of a method whose path has this in it.
  [[nodiscard]] std::size_t count(std::string const& method, std::string const& part) const;

  /// "ORG/NAME" of a model, or "datasets/ORG/NAME", to path to file. To be filled before the first request.
  std::map<std::string, std::map<std::string, hub_file>> repositories;
  std::string token;                        ///< without it requests are answered 401; empty: none is needed
  std::string gated;                        ///< repository that answers 403 GatedRepo
  std::atomic<int> busy{0};                 ///< so many requests are answered 429, Retry-After 0
  std::atomic<int> broken{0};               ///< so many contents break off in the middle
  std::atomic<bool> ignores_ranges{false};  ///< contents are sent whole, status 200
  std::atomic<int> milliseconds{0};         ///< of each 64 KiB of content

 private:
  struct reply {
    int status = 200;
    std::map<std::string, std::string> head;
    std::string body;
    bool breaks = false;
  };

  void listen_at(int descriptor, bool elsewhere);
  void serve(int connection, bool elsewhere);
  [[nodiscard]] reply answer(hub_request const& request);
  [[nodiscard]] reply list(std::string const& repository) const;
  [[nodiscard]] reply content(hub_request const& request, hub_file const& file);
  void send(int connection, hub_request const& request, reply const& what) const;

  int hub_ = -1, other_ = -1;
  std::uint16_t port_ = 0, other_port_ = 0;
  std::atomic<bool> over_{false};
  mutable std::mutex guard_;
  std::vector<hub_request> requests_;
  std::vector<std::thread> connections_;
  std::thread hub_thread_, other_thread_;
};

}  // namespace kedge::testing
