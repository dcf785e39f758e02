// SPDX-License-Identifier: Apache-2.0
#include "json_rows.hpp"

#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string_view>

#include <arrow/util/decimal.h>
#include <arrow/util/float16.h>
#include <arrow/util/utf8.h>

namespace kedge::llm::parquet_rows {
namespace {

void append_text(std::string_view text, std::string& out) {
  out += '"';
  for (char const c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
      out += escaped;
    } else {
      out += c;
    }
  }
  out += '"';
}

void append_number(double x, std::string& out) {
  if (std::isnan(x)) return void(out += "NaN");
  if (std::isinf(x)) return void(out += x > 0 ? "Infinity" : "-Infinity");
  char digits[32];
  auto const end = std::to_chars(digits, digits + sizeof digits, x).ptr;
  std::string_view const text(digits, static_cast<std::size_t>(end - digits));
  out += text;
  if (text.find_first_of(".e") == std::string_view::npos) out += ".0";
}

void append_bytes(std::string_view bytes, std::string& out) {
  if (arrow::util::ValidateUTF8(bytes)) return append_text(bytes, out);
  out += "{\"bytes\": " + std::to_string(bytes.size()) + "}";
}

// Microseconds where there are any, as Python's isoformat.
std::string fraction(std::int64_t nanoseconds) {
  char text[16] = "";
  if (nanoseconds % 1000 != 0)
    std::snprintf(text, sizeof text, ".%09d", static_cast<int>(nanoseconds));
  else if (nanoseconds != 0)
    std::snprintf(text, sizeof text, ".%06d", static_cast<int>(nanoseconds / 1000));
  return text;
}

std::string date_text(std::chrono::sys_days day) {
  std::chrono::year_month_day const date(day);
  char text[32];
  std::snprintf(text, sizeof text, "%04d-%02u-%02u", static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                static_cast<unsigned>(date.day()));
  return text;
}

std::string time_text(std::int64_t nanoseconds_of_day) {
  constexpr std::int64_t second = 1'000'000'000;
  std::int64_t const seconds = nanoseconds_of_day / second;
  char text[24];
  std::snprintf(text, sizeof text, "%02d:%02d:%02d", static_cast<int>(seconds / 3600), static_cast<int>(seconds / 60 % 60),
                static_cast<int>(seconds % 60));
  return text + fraction(nanoseconds_of_day % second);
}

std::int64_t per_second(arrow::TimeUnit::type unit) {
  switch (unit) {
    case arrow::TimeUnit::SECOND:
      return 1;
    case arrow::TimeUnit::MILLI:
      return 1'000;
    case arrow::TimeUnit::MICRO:
      return 1'000'000;
    case arrow::TimeUnit::NANO:
      break;
  }
  return 1'000'000'000;
}

std::string timestamp_text(std::int64_t value, arrow::TimestampType const& type) {
  std::int64_t const per_day = 86400 * per_second(type.unit());
  std::int64_t days = value / per_day, rest = value % per_day;
  if (rest < 0) rest += per_day, --days;
  std::string text = date_text(std::chrono::sys_days(std::chrono::days(days))) + "T" +
                     time_text(rest * (1'000'000'000 / per_second(type.unit())));
  return type.timezone().empty() ? text : text + "+00:00";  // what is stored is in UTC
}

void append_value(arrow::Array const& values, std::int64_t i, std::string& out);

void append_range(arrow::Array const& values, std::int64_t begin, std::int64_t size, std::string& out) {
  out += '[';
  for (std::int64_t i = 0; i < size; ++i) {
    if (i > 0) out += ", ";
    append_value(values, begin + i, out);
  }
  out += ']';
}

void append_map(arrow::MapArray const& map, std::int64_t i, std::string& out) {
  out += '{';
  for (std::int64_t k = 0; k < map.value_length(i); ++k) {
    if (k > 0) out += ", ";
    std::string key;
    append_value(*map.keys(), map.value_offset(i) + k, key);
    if (key.starts_with('"'))
      out += key;
    else
      append_text(key, out);
    out += ": ";
    append_value(*map.items(), map.value_offset(i) + k, out);
  }
  out += '}';
}

void append_struct(arrow::StructArray const& all, std::int64_t i, std::string& out) {
  out += '{';
  for (int field = 0; field < all.num_fields(); ++field) {
    if (field > 0) out += ", ";
    append_text(all.struct_type()->field(field)->name(), out);
    out += ": ";
    append_value(*all.field(field), i, out);
  }
  out += '}';
}

template <class Array>
Array const& as(arrow::Array const& values) {
  return static_cast<Array const&>(values);
}

// Numbers and truth values. returns false for other types
bool append_plain(arrow::Array const& values, std::int64_t i, std::string& out) {
  switch (values.type_id()) {
    case arrow::Type::BOOL:
      out += as<arrow::BooleanArray>(values).Value(i) ? "true" : "false";
      return true;
    case arrow::Type::INT8:
      out += std::to_string(as<arrow::Int8Array>(values).Value(i));
      return true;
    case arrow::Type::INT16:
      out += std::to_string(as<arrow::Int16Array>(values).Value(i));
      return true;
    case arrow::Type::INT32:
      out += std::to_string(as<arrow::Int32Array>(values).Value(i));
      return true;
    case arrow::Type::INT64:
      out += std::to_string(as<arrow::Int64Array>(values).Value(i));
      return true;
    case arrow::Type::UINT8:
      out += std::to_string(as<arrow::UInt8Array>(values).Value(i));
      return true;
    case arrow::Type::UINT16:
      out += std::to_string(as<arrow::UInt16Array>(values).Value(i));
      return true;
    case arrow::Type::UINT32:
      out += std::to_string(as<arrow::UInt32Array>(values).Value(i));
      return true;
    case arrow::Type::UINT64:
      out += std::to_string(as<arrow::UInt64Array>(values).Value(i));
      return true;
    case arrow::Type::HALF_FLOAT:
      append_number(arrow::util::Float16::FromBits(as<arrow::HalfFloatArray>(values).Value(i)).ToFloat(), out);
      return true;
    case arrow::Type::FLOAT:
      append_number(as<arrow::FloatArray>(values).Value(i), out);
      return true;
    case arrow::Type::DOUBLE:
      append_number(as<arrow::DoubleArray>(values).Value(i), out);
      return true;
    case arrow::Type::DECIMAL128:
      out += as<arrow::Decimal128Array>(values).FormatValue(i);
      return true;
    case arrow::Type::DECIMAL256:
      out += as<arrow::Decimal256Array>(values).FormatValue(i);
      return true;
    default:
      return false;
  }
}

// Texts, bytes and times. returns false for other types
bool append_worded(arrow::Array const& values, std::int64_t i, std::string& out) {
  constexpr std::int64_t day = 86'400'000;
  auto const quoted = [&](std::string const& text) {
    append_text(text, out);
    return true;
  };
  switch (values.type_id()) {
    case arrow::Type::STRING:
      append_text(as<arrow::StringArray>(values).GetView(i), out);
      return true;
    case arrow::Type::LARGE_STRING:
      append_text(as<arrow::LargeStringArray>(values).GetView(i), out);
      return true;
    case arrow::Type::STRING_VIEW:
      append_text(as<arrow::StringViewArray>(values).GetView(i), out);
      return true;
    case arrow::Type::BINARY:
      append_bytes(as<arrow::BinaryArray>(values).GetView(i), out);
      return true;
    case arrow::Type::LARGE_BINARY:
      append_bytes(as<arrow::LargeBinaryArray>(values).GetView(i), out);
      return true;
    case arrow::Type::BINARY_VIEW:
      append_bytes(as<arrow::BinaryViewArray>(values).GetView(i), out);
      return true;
    case arrow::Type::FIXED_SIZE_BINARY:
      append_bytes(as<arrow::FixedSizeBinaryArray>(values).GetView(i), out);
      return true;
    case arrow::Type::DATE32:
      return quoted(date_text(std::chrono::sys_days(std::chrono::days(as<arrow::Date32Array>(values).Value(i)))));
    case arrow::Type::DATE64:
      return quoted(date_text(std::chrono::sys_days(std::chrono::days(as<arrow::Date64Array>(values).Value(i) / day))));
    case arrow::Type::TIMESTAMP:
      return quoted(
          timestamp_text(as<arrow::TimestampArray>(values).Value(i), static_cast<arrow::TimestampType const&>(*values.type())));
    case arrow::Type::TIME32:
      return quoted(time_text(as<arrow::Time32Array>(values).Value(i) *
                              (1'000'000'000 / per_second(static_cast<arrow::Time32Type const&>(*values.type()).unit()))));
    case arrow::Type::TIME64:
      return quoted(time_text(as<arrow::Time64Array>(values).Value(i) *
                              (1'000'000'000 / per_second(static_cast<arrow::Time64Type const&>(*values.type()).unit()))));
    default:
      return false;
  }
}

// Values in values. returns false for other types
bool append_nested(arrow::Array const& values, std::int64_t i, std::string& out) {
  auto const list = [&](auto const& all) {
    append_range(*all.values(), all.value_offset(i), all.value_length(i), out);
    return true;
  };
  switch (values.type_id()) {
    case arrow::Type::STRUCT:
      append_struct(as<arrow::StructArray>(values), i, out);
      return true;
    case arrow::Type::MAP:
      append_map(as<arrow::MapArray>(values), i, out);
      return true;
    case arrow::Type::LIST:
      return list(as<arrow::ListArray>(values));
    case arrow::Type::LARGE_LIST:
      return list(as<arrow::LargeListArray>(values));
    case arrow::Type::FIXED_SIZE_LIST:
      return list(as<arrow::FixedSizeListArray>(values));
    case arrow::Type::DICTIONARY:
      append_value(*as<arrow::DictionaryArray>(values).dictionary(), as<arrow::DictionaryArray>(values).GetValueIndex(i), out);
      return true;
    case arrow::Type::EXTENSION:
      append_value(*as<arrow::ExtensionArray>(values).storage(), i, out);
      return true;
    default:
      return false;
  }
}

void append_value(arrow::Array const& values, std::int64_t i, std::string& out) {
  if (values.IsNull(i)) return void(out += "null");
  if (append_plain(values, i, out) || append_worded(values, i, out) || append_nested(values, i, out)) return;
  append_text(values.GetScalar(i).ValueOrDie()->ToString(), out);
}

}  // namespace

void append_rows(arrow::RecordBatch const& batch, std::string& out) {
  for (std::int64_t i = 0; i < batch.num_rows(); ++i) {
    out += '{';
    for (int column = 0; column < batch.num_columns(); ++column) {
      if (column > 0) out += ", ";
      append_text(batch.column_name(column), out);
      out += ": ";
      append_value(*batch.column(column), i, out);
    }
    out += "}\n";
  }
}

}  // namespace kedge::llm::parquet_rows
