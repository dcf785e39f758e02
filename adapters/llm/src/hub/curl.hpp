// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>  // size_t
#include <string>   // string

namespace kedge::llm {

/// libcurl, loaded when it is first needed (docs/decisions/0013-hub.md). Its functions and numbers are part of a binary interface that hasn't changed
/// since version 7.32; where its header is there, the compiler holds them against it (curl.cpp).
struct curl {
  static constexpr std::size_t error_size = 256;
  static constexpr long http = 1, https = 2;

  struct option {
    static constexpr int url = 10002, fields = 10023, user_agent = 10018, protocols = 181, no_body = 44, no_signal = 99,
                         connect_milliseconds = 156, least_speed = 19, least_speed_seconds = 20, error_text = 10010,
                         write_function = 20011, write_to = 10001, head_function = 20079, head_to = 10029, no_progress = 43,
                         progress_function = 20219, progress_to = 10057, ca_file = 10065;
  };
  struct code {
    static constexpr int ok = 0, resolve_proxy = 5, resolve_host = 6, connect = 7, strange_reply = 8, http2 = 16,
                         partial_file = 18, timed_out = 28, ssl_connect = 35, aborted = 42, got_nothing = 52, send = 55,
                         receive = 56, http2_stream = 92;
  };
  static constexpr int redirect_url = 0x100000 + 31;

  /// A list of lines of a request's head.
  class list {
   public:
    list() = default;
    ~list();
    list(list const&) = delete;
    list& operator=(list const&) = delete;
    void add(std::string const& line);
    [[nodiscard]] void* get() const { return first_; }

   private:
    void* first_ = nullptr;
  };

  void* (*init)();
  void (*cleanup)(void*);
  int (*perform)(void*);
  char const* (*text)(int code);
  int (*set_option)(void*, int, ...);
  int (*get_info)(void*, int, ...);
  void* (*append)(void*, char const*);
  void (*free_list)(void*);

  template <class T>
  void set(void* handle, int option, T value) const {
    set_option(handle, option, value);
  }
  /// Where the last answer sends on to; empty: nowhere.
  [[nodiscard]] std::string redirect(void* handle) const;

  /// A code that says nothing against another try.
  [[nodiscard]] static bool is_broken(int code);

  /// throws  kedge::llm::error if it is missing
  static curl const& loaded();

 private:
  curl();
};

}  // namespace kedge::llm
