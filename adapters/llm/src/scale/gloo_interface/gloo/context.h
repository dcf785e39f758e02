// SPDX-License-Identifier: Apache-2.0
#pragma once

// The names of gloo that c10d's ProcessGroupGloo.hpp mentions. LibTorch holds gloo and hides it: its wheels carry neither gloo's headers
// nor need a program to call it. The types here stand where c10d hands pointers through; nothing of them is ever made, called or
// destroyed by kedge.

#include <chrono>
#include <string>
#include <vector>

namespace gloo {

class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};

namespace transport {
class Device;
class UnboundBuffer {
 public:
  virtual ~UnboundBuffer();
};
}  // namespace transport

namespace rendezvous {

class Store {
 public:
  virtual ~Store();
  virtual void set(std::string const& key, std::vector<char> const& data) = 0;
  virtual std::vector<char> get(std::string const& key) = 0;
  virtual void wait(std::vector<std::string> const& keys) = 0;
  virtual void wait(std::vector<std::string> const& keys, std::chrono::milliseconds const& timeout) = 0;
};

}  // namespace rendezvous
}  // namespace gloo
