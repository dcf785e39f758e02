// SPDX-License-Identifier: Apache-2.0
#include "plugin.hpp"

#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include <arrow/api.h>
#include <arrow/util/utf8.h>
#include <parquet/arrow/reader.h>
#include <parquet/properties.h>

#include "json_rows.hpp"

namespace {

constexpr std::int64_t rows_at_a_time = 256;      // of a batch, which is in memory
constexpr std::int64_t read_at_a_time = 1 << 18;  // bytes of a column, instead of a whole row group of it

struct open_file {
  std::unique_ptr<parquet::arrow::FileReader> file;
  std::unique_ptr<arrow::RecordBatchReader> batches;
  std::string rows;
};

void tell(std::string const& why, char* problem, std::size_t room) {
  std::snprintf(problem, room, "%s", why.substr(0, why.find('\n')).c_str());
}

template <class T>
T checked(arrow::Result<T> result) {
  if (!result.ok()) throw parquet::ParquetException(result.status().message());
  return std::move(result).ValueUnsafe();
}

void check(arrow::Status const& status) {
  if (!status.ok()) throw parquet::ParquetException(status.message());
}

std::unique_ptr<open_file> opened(char const* path) {
  arrow::util::InitializeUTF8();  // bytes that are text are told from others by it
  auto out = std::make_unique<open_file>();
  parquet::ReaderProperties file(arrow::system_memory_pool());
  file.enable_buffered_stream();
  file.set_buffer_size(read_at_a_time);
  parquet::ArrowReaderProperties as_arrow(/*use_threads=*/false);
  as_arrow.set_batch_size(rows_at_a_time);
  as_arrow.set_pre_buffer(false);
  parquet::arrow::FileReaderBuilder builder;
  check(builder.OpenFile(path, /*memory_map=*/false, file));
  builder.memory_pool(arrow::system_memory_pool())->properties(as_arrow);
  out->file = checked(builder.Build());
  out->batches = checked(out->file->GetRecordBatchReader());
  return out;
}

void* open(char const* path, char* problem, std::size_t room) try {
  return opened(path).release();
} catch (std::exception const& e) {
  tell(e.what(), problem, room);
  return nullptr;
}

std::ptrdiff_t next(void* file, char const** rows, char* problem, std::size_t room) try {
  auto& self = *static_cast<open_file*>(file);
  self.rows.clear();
  while (self.rows.empty()) {
    std::shared_ptr<arrow::RecordBatch> const batch = checked(self.batches->Next());
    if (batch == nullptr) return 0;
    kedge::llm::parquet_rows::append_rows(*batch, self.rows);
  }
  *rows = self.rows.data();
  return static_cast<std::ptrdiff_t>(self.rows.size());
} catch (std::exception const& e) {
  tell(e.what(), problem, room);
  return -1;
}

void close(void* file) { delete static_cast<open_file*>(file); }

}  // namespace

extern "C" __attribute__((visibility("default"))) kedge_parquet_functions const* kedge_parquet_1() {
  static constexpr kedge_parquet_functions functions{open, next, close};
  return &functions;
}
