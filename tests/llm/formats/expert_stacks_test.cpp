// SPDX-License-Identifier: Apache-2.0

// Experts that are stored as MXFP4 in a folder: against transformers (tests/golden/make_experts.py).

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/formats/safetensors.hpp>
#include <kedge/llm/model/config.hpp>

#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using kedge::testing::contains;
using kedge::testing::scratch_folder;

namespace {

namespace fs = std::filesystem;

fs::path const golden = fs::path(KEDGE_TESTS_DIR) / "golden/mxfp4";

// The golden folder, but for tensors whose names end with `without`.
void copy_without(fs::path const& folder, std::string const& without) {
  fs::copy_file(golden / "config.json", folder / "config.json");
  safetensors_file const source(golden / "model.safetensors");
  std::vector<tensor_to_write> all;
  for (auto const& t : source.tensors())
    if (!t.name.ends_with(without)) all.push_back({t.name, *t.type, t.shape, t.bytes});
  write_safetensors(folder / "model.safetensors", all, {{"format", "pt"}});
}

}  // namespace

TEST_CASE("experts in MXFP4 are read as the numbers that transformers makes of them", "[golden][files]") {
  checkpoint const source = checkpoint::open(golden);
  safetensors_file const expected(golden / "expected.safetensors");
  REQUIRE(expected.tensors().size() == 2);
  for (auto const& t : expected.tensors()) {
    INFO(t.name);
    CHECK(source.entry(t.name).shape == t.shape);
    CHECK(source.entry(t.name).stored_type == "MXFP4");
    CHECK_FALSE(source.view(t.name, dtype::bf16).has_value());
    std::vector<std::byte> read(t.bytes.size());
    source.read(t.name, dtype::bf16, read);
    CHECK(std::equal(read.begin(), read.end(), t.bytes.begin(), t.bytes.end()));
  }
  CHECK_FALSE(source.contains("model.layers.0.mlp.experts.down_proj_blocks"));
  CHECK_FALSE(source.contains("model.layers.0.mlp.experts.down_proj_scales"));
  for (parameter const& p : parameters_of(read_config(source))) CHECK(source.entry(p.name).shape == p.shape);
}

TEST_CASE("what is written of experts in MXFP4 says nothing of a quantisation", "[files]") {
  checkpoint const source = checkpoint::open(golden);
  CHECK_FALSE(source.config.contains("quantization_config"));
  REQUIRE(source.notes.size() == 1);
  CHECK_THAT(source.notes.front(), contains("2 tensors are stored as MXFP4"));
}

TEST_CASE("blocks of MXFP4 without their scales are refused by name", "[files]") {
  scratch_folder const folder;
  copy_without(folder.path(), "down_proj_scales");
  CHECK_THROWS_WITH(checkpoint::open(folder.path()), contains("down_proj_blocks") && contains("down_proj_scales"));
}
