# SPDX-License-Identifier: Apache-2.0
"""Parquet files with what column stores hold, and their rows as JSON lines.

    python tests/golden/make_parquet.py

Versions: requirements.txt. The files land in tests/golden/data/parquet, NAME.parquet by pyarrow and NAME.jsonl, the rows as pyarrow reads them,
written by json.dumps; what that refuses is written as the manual says (docs/data.md): dates and times by isoformat, decimals as numbers,
bytes as text where they are UTF-8 and else as {"bytes": how many}, maps as objects.
"""

import datetime
import decimal
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

OUT = Path(__file__).parent / "data" / "parquet"


def plain(value):
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"bytes": len(value)}
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value


def write(name, table, **how):
    pq.write_table(table, OUT / f"{name}.parquet", **how)
    rows = pq.read_table(OUT / f"{name}.parquet").to_pylist(maps_as_pydicts="strict")
    (OUT / f"{name}.jsonl").write_text("".join(json.dumps(plain(row)) + "\n" for row in rows))
    print(name, len(rows), (OUT / f"{name}.parquet").stat().st_size)


def message(role, text, **more):
    return {"role": role, "content": text, **more}


messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string()),
                               ("tool_calls", pa.list_(pa.struct([("name", pa.string()), ("arguments", pa.string())])))]))
pairs = pa.table({
    "prompt": pa.array([[message("user", "Où est le quai ?\n\"Là\" \\ 🙂")], [message("system", "Be kind."), message("user", "Hi")], [message("user", "c")]], messages),
    "chosen": pa.array([[message("assistant", "Ici.")], [message("assistant", None, tool_calls=[{"name": "f", "arguments": "{}"}])], [message("assistant", "\x01\t")]], messages),
    "rejected": pa.array([[message("assistant", "Non.")], [message("assistant", "")], [message("assistant", "d")]], messages),
    "score_chosen": pa.array([8.0, None, float("nan")]),
    "score_rejected": pa.array([float("-inf"), 0.1, 1e20]),
}).combine_chunks()

values = pa.table({
    "truth": pa.array([True, False, None]),
    "small": pa.array([-1, 127, None], pa.int8()),
    "large": pa.array([2**63 - 1, -2**63, 0], pa.int64()),
    "unsigned": pa.array([2**64 - 1, 0, 1], pa.uint64()),
    "float": pa.array([0.1, 1.5, 3.0], pa.float32()),
    "half": pa.array([0.5, 2.0, None], pa.float16()),
    "date": pa.array([datetime.date(2024, 2, 29), datetime.date(1969, 12, 31), None]),
    "time": pa.array([datetime.time(1, 2, 3), datetime.time(23, 59, 59, 250000), None]),
    "moment": pa.array([datetime.datetime(2024, 1, 2, 3, 4, 5), datetime.datetime(1960, 1, 2, 3, 4, 5, 678), None], pa.timestamp("us")),
    "zoned": pa.array([datetime.datetime(2024, 1, 2, 3, 4, 5, 1000, datetime.timezone.utc), None, None], pa.timestamp("ms", "UTC")),
    "decimal": pa.array([decimal.Decimal("8.50"), decimal.Decimal("-0.25"), None], pa.decimal128(5, 2)),
    "bytes": pa.array([b"text", b"\xff\xd8\xff", b""]),
    "word": pa.array(["a", "b", "a"]).dictionary_encode(),
    "numbers": pa.array([[1, 2, None], [], None]),
    "deep": pa.array([[[{"x": [1.5]}]], [], [[]]], pa.list_(pa.list_(pa.struct([("x", pa.list_(pa.float64()))])))),
    "map": pa.array([[("k", 1), ("l", None)], [], None], pa.map_(pa.string(), pa.int32())),
    "nothing": pa.nulls(3),
    "image": pa.array([{"bytes": b"\x89PNG\r\n\x1a\n", "path": "a.png"}, None, {"bytes": None, "path": None}],
                      pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
})

if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    write("pairs", pairs, compression="zstd")
    write("groups", pairs, compression="snappy", row_group_size=1, use_dictionary=False)
    write("values", values, compression="gzip")
    write("many", pa.table({"prompt": [f"p{i}" for i in range(600)], "chosen": ["c"] * 600, "rejected": ["r"] * 600}), row_group_size=250)
    write("none", pairs.slice(0, 0))
