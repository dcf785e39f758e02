// SPDX-License-Identifier: Apache-2.0

// A driver of NVIDIA's as the tests of kedge's loader want it: KEDGE_FAKE_INIT, KEDGE_FAKE_CUDA and KEDGE_FAKE_GPUS say what cuInit answers, which CUDA
// it knows, and how many GPUs there are.

#include <cstddef>
#include <cstdio>
#include <cstdlib>

namespace {

int variable(char const* name, int otherwise) {
  char const* const text = std::getenv(name);
  return text != nullptr ? std::atoi(text) : otherwise;
}

}  // namespace

extern "C" {

int cuInit(unsigned) { return variable("KEDGE_FAKE_INIT", 0); }

int cuDriverGetVersion(int* version) {
  *version = variable("KEDGE_FAKE_CUDA", 13020);
  return 0;
}

int cuDeviceGetCount(int* count) {
  *count = variable("KEDGE_FAKE_GPUS", 2);
  return 0;
}

int cuDeviceGet(int* device, int ordinal) {
  *device = 40 + ordinal;
  return 0;
}

int cuDeviceGetName(char* name, int room, int device) {
  std::snprintf(name, static_cast<std::size_t>(room), "Fake %d", device);
  return 0;
}

int cuDeviceTotalMem_v2(std::size_t* bytes, int device) {
  *bytes = static_cast<std::size_t>(device) << 30;
  return 0;
}

int cuDeviceGetAttribute(int* value, int attribute, int) {
  *value = attribute == 75 ? 9 : attribute == 76 ? 1 : 0;
  return 0;
}
}
