// SPDX-License-Identifier: Apache-2.0
#pragma once

// Of what build a libkedge-cuda.so is. It stands in the file as text, so that it is known before anything is loaded. KEDGE_GPU_INTERFACE is a hash
// of the headers that program and library share.

#include <kedge/version.hpp>
#include <torch/version.h>

#define KEDGE_TEXT_OF(x) #x
#define KEDGE_TEXT(x) KEDGE_TEXT_OF(x)

/// What program and library must have in common.
#define KEDGE_GPU_BUILD                                                                                                                       \
  "kedge " KEDGE_VERSION_STRING ", LibTorch " KEDGE_TEXT(TORCH_VERSION_MAJOR) "." KEDGE_TEXT(TORCH_VERSION_MINOR) "." KEDGE_TEXT(                \
      TORCH_VERSION_PATCH) ", interface " KEDGE_GPU_INTERFACE

/// What stands before and after it in the file. CUDA's version follows the first end.
#define KEDGE_GPU_BUILD_BEGIN "libkedge-cuda.so of "
#define KEDGE_GPU_BUILD_END ";"
