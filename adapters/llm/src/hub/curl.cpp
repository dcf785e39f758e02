// SPDX-License-Identifier: Apache-2.0
#include "curl.hpp"

#include <algorithm>
#include <array>

#include "shared_library.hpp"

#if __has_include(<curl/curl.h>)
#define CURL_DISABLE_DEPRECATION
#include <curl/curl.h>

namespace {
using kedge::llm::curl;
using option = curl::option;
using code = curl::code;
static_assert(option::url == CURLOPT_URL && option::fields == CURLOPT_HTTPHEADER && option::user_agent == CURLOPT_USERAGENT);
static_assert(option::protocols == CURLOPT_PROTOCOLS && option::no_body == CURLOPT_NOBODY &&
              option::no_signal == CURLOPT_NOSIGNAL);
static_assert(option::connect_milliseconds == CURLOPT_CONNECTTIMEOUT_MS && option::least_speed == CURLOPT_LOW_SPEED_LIMIT);
static_assert(option::least_speed_seconds == CURLOPT_LOW_SPEED_TIME && option::error_text == CURLOPT_ERRORBUFFER);
static_assert(option::write_function == CURLOPT_WRITEFUNCTION && option::write_to == CURLOPT_WRITEDATA);
static_assert(option::head_function == CURLOPT_HEADERFUNCTION && option::head_to == CURLOPT_HEADERDATA);
static_assert(option::no_progress == CURLOPT_NOPROGRESS && option::progress_function == CURLOPT_XFERINFOFUNCTION);
static_assert(option::progress_to == CURLOPT_XFERINFODATA && option::ca_file == CURLOPT_CAINFO);
static_assert(code::ok == CURLE_OK && code::resolve_proxy == CURLE_COULDNT_RESOLVE_PROXY &&
              code::resolve_host == CURLE_COULDNT_RESOLVE_HOST);
static_assert(code::connect == CURLE_COULDNT_CONNECT && code::strange_reply == CURLE_WEIRD_SERVER_REPLY &&
              code::http2 == CURLE_HTTP2);
static_assert(code::partial_file == CURLE_PARTIAL_FILE && code::timed_out == CURLE_OPERATION_TIMEDOUT &&
              code::ssl_connect == CURLE_SSL_CONNECT_ERROR);
static_assert(code::aborted == CURLE_ABORTED_BY_CALLBACK && code::got_nothing == CURLE_GOT_NOTHING &&
              code::send == CURLE_SEND_ERROR);
static_assert(code::receive == CURLE_RECV_ERROR && code::http2_stream == CURLE_HTTP2_STREAM &&
              curl::redirect_url == CURLINFO_REDIRECT_URL);
static_assert(curl::http == CURLPROTO_HTTP && curl::https == CURLPROTO_HTTPS && curl::error_size == CURL_ERROR_SIZE);
}  // namespace
#endif

namespace kedge::llm {

curl::curl() {
  static constexpr std::array names{"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl.so"};
  shared_library const library(names, "libcurl", "libcurl4");
  library.take(init, "curl_easy_init");
  library.take(cleanup, "curl_easy_cleanup");
  library.take(perform, "curl_easy_perform");
  library.take(text, "curl_easy_strerror");
  library.take(set_option, "curl_easy_setopt");
  library.take(get_info, "curl_easy_getinfo");
  library.take(append, "curl_slist_append");
  library.take(free_list, "curl_slist_free_all");
  int (*start)(long) = nullptr;
  library.take(start, "curl_global_init");
  start(3);  // SSL and sockets; before any thread uses the library
}

curl const& curl::loaded() {
  static curl const once;
  return once;
}

curl::list::~list() {
  if (first_ != nullptr) curl::loaded().free_list(first_);
}

void curl::list::add(std::string const& line) { first_ = curl::loaded().append(first_, line.c_str()); }

std::string curl::redirect(void* handle) const {
  char const* url = nullptr;
  get_info(handle, redirect_url, &url);
  return url == nullptr ? std::string() : std::string(url);
}

bool curl::is_broken(int outcome) {
  static constexpr std::array broken{code::resolve_proxy, code::resolve_host, code::connect,   code::strange_reply,
                                     code::http2,         code::partial_file, code::timed_out, code::ssl_connect,
                                     code::got_nothing,   code::send,         code::receive,   code::http2_stream};
  return std::find(broken.begin(), broken.end(), outcome) != broken.end();
}

}  // namespace kedge::llm
