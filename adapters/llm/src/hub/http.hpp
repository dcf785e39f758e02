// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>      // uint64_t
#include <functional>   // function
#include <map>          // map
#include <optional>     // optional
#include <string>       // string
#include <string_view>  // string_view

#include <kedge/llm/hub/hub_settings.hpp>

namespace kedge::llm {

/// A request to the hub.
struct http_request {
  std::string url;
  bool head_only =
      false;  ///< the answer's head alone; redirects to other hosts are not followed, so that the hub's own head is the answer
  std::uint64_t from = 0;  ///< the content from this byte on
  /// Begins to take content, told the status (200: all of it, 206: from the byte asked for). Content of other statuses goes to the answer's body.
  std::function<void(int status)> begin{};
  /// Takes a piece of content. Without it content goes to the body.
  std::function<void(std::string_view)> take{};
};

/// The answer's status, its head with names in lower case, and what of its content nobody took.
struct http_answer {
  int status = 0;
  std::map<std::string, std::string> head;
  std::string body;

  [[nodiscard]] std::string field(std::string const& name) const;
  [[nodiscard]] std::optional<std::uint64_t> number(std::string const& name) const;
};

/// A connection broke, was never made, or fell silent: another try may bring more.
class broken_connection : public error {
 public:
  using error::error;
};

/// Sends requests by libcurl, which is loaded when it is first needed. The token goes to hosts of the endpoint alone, wherever redirects lead.
class http_client {
 public:
  /// throws  kedge::llm::error if libcurl is missing
  explicit http_client(hub_settings const& settings);
  ~http_client();
  http_client(http_client const&) = delete;
  http_client& operator=(http_client const&) = delete;

  /// throws  broken_connection; hub_interrupted; error for what no further try mends, and whatever `begin` and `take` throw
  [[nodiscard]] http_answer send(http_request const& request);

 private:
  [[nodiscard]] http_answer exchange(http_request const& request, std::string const& url);

  hub_settings const& settings_;
  void* handle_;
};

/// "https://HOST:PORT", lower case, of an address.
[[nodiscard]] std::string origin_of(std::string_view url);

/// A path for use in an address: all but letters, digits and -_.~/ as %XX.
[[nodiscard]] std::string percent_escaped(std::string_view path);

}  // namespace kedge::llm
