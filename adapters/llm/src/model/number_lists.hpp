// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <kedge/adapters/torch.hpp>

#include "on_device.hpp"

namespace kedge::llm {

/// Lists of whole numbers that go to a device in one copy.
class number_lists {
 public:
  /// `to`, which has to stay where it is, becomes the list once it is sent: [n], int64.
  template <class List>
  void add(List const& list, at::Tensor& to) {
    parts_.push_back({&to, all_.size(), std::size(list)});
    all_.insert(all_.end(), std::begin(list), std::end(list));
  }

  void send(at::Device device) const {
    at::Tensor const sent = on_device(at::tensor(at::ArrayRef<std::int64_t>(all_), at::kLong), device);
    for (part const& p : parts_) *p.to = sent.narrow(0, static_cast<std::int64_t>(p.begin), static_cast<std::int64_t>(p.size));
  }

 private:
  struct part {
    at::Tensor* to;
    std::size_t begin, size;
  };
  std::vector<std::int64_t> all_;
  std::vector<part> parts_;
};

}  // namespace kedge::llm
