// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <arrow/api.h>

namespace kedge::llm::parquet_rows {

/// Appends the rows of a batch as JSON, an object a line with all columns in their order, as json.dumps writes what pyarrow makes of them:
/// NaN and Infinity as they are, whole floating-point numbers with ".0", decimals as numbers. Beyond that, which json.dumps refuses: dates and
/// times as ISO 8601 writes them, durations and what else there is as Arrow prints it, maps as objects, bytes as text where they are
/// UTF-8 (as older writers store texts) and else as {"bytes": how many}.
void append_rows(arrow::RecordBatch const& batch, std::string& out);

}  // namespace kedge::llm::parquet_rows
