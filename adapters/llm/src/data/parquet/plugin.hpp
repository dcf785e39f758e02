// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>  // size_t, ptrdiff_t

// What the library libkedge-parquet.so has. It is loaded once a Parquet file is read, so that nobody has to have Arrow who has no such file
// (docs/decisions/0012-parquet.md). Nothing but C types passes: the library may be built by another compiler.
extern "C" {

struct kedge_parquet_functions {
  /// Opens a file. returns null where that fails, and why in `problem`, at most `room` bytes with the zero at the end
  void* (*open)(char const* path, char* problem, std::size_t room);
  /// The next rows, a JSON object a line, valid until the next call.
  /// returns their bytes; 0 at the end, -1 where reading fails, and why in `problem`
  std::ptrdiff_t (*next)(void* file, char const** rows, char* problem, std::size_t room);
  void (*close)(void* file);
};

/// The one symbol that is looked up. Its name has the version of this interface.
kedge_parquet_functions const* kedge_parquet_1();
}
