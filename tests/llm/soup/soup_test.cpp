// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/formats/safetensors.hpp>
#include <kedge/llm/soup/soup.hpp>

#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using namespace kedge::testing;
namespace fs = std::filesystem;

namespace {

fs::path const golden = fs::path(KEDGE_TESTS_DIR) / "golden/soup";

/// Recipes name their models relative to the working folder.
class working_folder {
 public:
  explicit working_folder(fs::path const& path) : before_(fs::current_path()) { fs::current_path(path); }
  ~working_folder() { fs::current_path(before_); }

 private:
  fs::path before_;
};

using numbers = std::vector<float>;

/// A tensor for a model to be written.
struct named_tensor {
  std::string name;
  std::vector<std::int64_t> shape;
  numbers values;
};

/// A folder with these weights and a config of so many layers.
fs::path write_model(fs::path const& folder, std::vector<named_tensor> const& tensors, dtype type = dtype::f32,
                     nlohmann::ordered_json const& settings = {{"model_type", "llama"}, {"hidden_size", 4}}) {
  fs::create_directories(folder);
  write_file(folder / "config.json", settings.dump());
  std::vector<std::vector<std::byte>> bytes;
  std::vector<tensor_to_write> plan;
  for (auto const& t : tensors) {
    auto& raw = bytes.emplace_back(t.values.size() * size_of(type));
    convert(dtype::f32, std::as_bytes(std::span{t.values}), type, raw);
    plan.push_back({t.name, type, t.shape, raw});
  }
  write_safetensors(folder / "model.safetensors", plan, {{"format", "pt"}});
  return folder;
}

numbers read(fs::path const& folder, std::string const& name) {
  auto const model = checkpoint::open(folder);
  numbers out(model.entry(name).elements());
  model.read(name, dtype::f32, std::as_writable_bytes(std::span{out}));
  return out;
}

/// Reproducible numbers around zero with many equal magnitudes.
numbers rough(std::size_t n, std::uint32_t seed) {
  numbers out(n);
  for (float& x : out) {
    seed = seed * 1664525U + 1013904223U;
    x = static_cast<float>(static_cast<int>(seed >> 22U) - 512) / 256.0F;
  }
  return out;
}

soup_settings to(fs::path const& folder) {
  soup_settings out;
  out.output_dir = folder;
  out.quiet = true;
  return out;
}

using texts = std::map<std::string, std::string>;

soup_recipe recipe(char const* method, std::vector<std::string> const& models, fs::path const& base = {}, texts const& parameters = {},
                   std::string const& format = "") {
  return make_recipe(soup_method_from_name(method), models, base, format, parameters, false);
}

/// All tensors of a folder, in the order of their names.
std::vector<std::byte> all_bytes(fs::path const& folder, dtype& type) {
  safetensors_file const file(folder / "model.safetensors");
  std::vector<safetensors_entry> tensors = file.tensors();
  std::sort(tensors.begin(), tensors.end(), [](auto const& a, auto const& b) { return a.name < b.name; });
  std::vector<std::byte> out;
  for (auto const& t : tensors) out.insert(out.end(), t.bytes.begin(), t.bytes.end());
  type = tensors.front().type.value();
  return out;
}

/// Place of a 16-bit float among all of them.
int order_of(std::byte const* at) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof bits);
  return (bits & 0x8000U) != 0 ? -static_cast<int>(bits & 0x7fffU) : static_cast<int>(bits);
}

int most_steps_apart(std::span<std::byte const> a, std::span<std::byte const> b) {
  int most = 0;
  for (std::size_t i = 0; i < a.size(); i += 2) most = std::max(most, std::abs(order_of(a.data() + i) - order_of(b.data() + i)));
  return most;
}

/// Largest distance of two lists of float32, in units of the second's largest magnitude.
double relative_distance(std::span<std::byte const> a, std::span<std::byte const> b) {
  numbers x(a.size() / sizeof(float)), y(x.size());
  std::memcpy(x.data(), a.data(), a.size());
  std::memcpy(y.data(), b.data(), b.size());
  double apart = 0, most = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    apart = std::max(apart, std::abs(static_cast<double>(x[i]) - static_cast<double>(y[i])));
    most = std::max(most, std::abs(static_cast<double>(y[i])));
  }
  return apart / most;
}

}  // namespace

TEST_CASE("recipes of linear and passthrough give mergekit's result bit for bit and all others within one step", "[soup]") {
  scratch_folder const folder;
  working_folder const there(golden);
  safetensors_file const expected("expected.safetensors");
  REQUIRE(expected.tensors().size() == 48);
  for (auto const& wanted : expected.tensors()) {
    INFO(wanted.name);
    make_soup(read_recipe(wanted.name + ".yml"), to(folder / wanted.name));
    dtype type = dtype::f64;
    auto const made = all_bytes(folder / wanted.name, type);
    REQUIRE(type == wanted.type);
    REQUIRE(made.size() == wanted.bytes.size());
    if (wanted.name.starts_with("linear") || wanted.name.starts_with("passthrough"))
      CHECK(std::memcmp(made.data(), wanted.bytes.data(), made.size()) == 0);
    else if (type == dtype::f32)
      CHECK(relative_distance(made, wanted.bytes) < 3e-7);
    else
      CHECK(most_steps_apart(made, wanted.bytes) <= 1);
  }
}

TEST_CASE("a soup of equal models is the model by every method that has no base", "[soup]") {
  scratch_folder const folder;
  auto const model = write_model(folder / "m", {{"model.layers.0.w", {50, 20}, rough(1000, 1)}, {"model.norm.weight", {20}, rough(20, 2)}}, dtype::bf16);
  for (char const* const method : {"linear", "nuslerp", "multislerp", "karcher", "slerp"}) {
    INFO(method);
    make_soup(recipe(method, {model, model}), to(folder / method));
    dtype type = dtype::f64;
    CHECK(all_bytes(folder / method, type) == all_bytes(model, type));
  }
}

TEST_CASE("the number of threads changes no bit of a soup", "[soup]") {
  scratch_folder const folder;
  constexpr std::size_t rows = 500, columns = 400;  // several pieces, the last one short
  auto const model = [&](char const* name, std::uint32_t seed) {
    return write_model(folder / name, {{"model.layers.0.w", {rows, columns}, rough(rows * columns, seed)}, {"model.norm.weight", {3}, rough(3, seed)}}, dtype::bf16);
  };
  std::string const a = model("a", 1), b = model("b", 2), base = model("base", 3);
  std::vector<std::pair<char const*, texts>> const methods{
      {"linear", {}},         {"slerp", {{"t", "0.3"}}},      {"karcher", {}},
      {"nuslerp", {{"nuslerp_flatten", "false"}, {"nuslerp_row_wise", "true"}}},
      {"ties", {{"density", "0.3"}}},    {"dare_ties", {{"density", "0.3"}}}, {"della", {{"density", "0.5"}}},
      {"breadcrumbs", {{"density", "0.5"}, {"gamma", "0.1"}}}, {"model_stock", {{"filter_wise", "true"}}},
      {"sce", {{"select_topk", "0.3"}}}, {"ramplus_tl", {{"epsilon", "0.5"}}}};
  for (auto const& [method, parameters] : methods) {
    INFO(method);
    bool const with_base = std::string(method) != "linear" && std::string(method) != "slerp" && std::string(method) != "karcher";
    std::vector<std::vector<std::byte>> results;
    for (unsigned const threads : {1U, 2U, 5U}) {
      auto settings = to(folder / (method + std::to_string(threads)));
      settings.threads = threads;
      make_soup(recipe(method, {a, b}, with_base ? base : "", parameters), settings);
      dtype type = dtype::f64;
      results.push_back(all_bytes(settings.output_dir, type));
    }
    CHECK(results[0] == results[1]);
    CHECK(results[0] == results[2]);
  }
}

TEST_CASE("ties keeps the largest entries and breadcrumbs those between as sorting would", "[soup]") {
  scratch_folder const folder;
  constexpr std::size_t n = 150'000;  // more than two pieces, with ties across them
  numbers const task = rough(n, 7);
  auto const base = write_model(folder / "base", {{"model.layers.0.w", {n}, numbers(n)}});
  auto const model = write_model(folder / "m", {{"model.layers.0.w", {n}, task}});
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  auto const kept = [&](std::size_t begin, std::size_t end) {
    numbers out(n);
    for (std::size_t k = begin; k < end; ++k) out[order[k]] = task[order[k]];
    return out;
  };
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return std::abs(task[a]) > std::abs(task[b]); });
  make_soup(recipe("ties", {model}, base, {{"density", "0.37"}}), to(folder / "ties"));
  CHECK(read(folder / "ties", "model.layers.0.w") == kept(0, n * 37 / 100));
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return std::abs(task[a]) < std::abs(task[b]); });
  make_soup(recipe("breadcrumbs", {model}, base, {{"density", "0.5"}, {"gamma", "0.125"}}), to(folder / "crumbs"));
  CHECK(read(folder / "crumbs", "model.layers.0.w") == kept(n * 3 / 8, n * 7 / 8));
}

TEST_CASE("dare keeps the share of entries that it is asked for and their sum", "[soup]") {
  scratch_folder const folder;
  constexpr std::size_t n = 200'000;
  constexpr double density = 0.3;
  auto const base = write_model(folder / "base", {{"w", {n}, numbers(n)}, {"v", {n}, numbers(n)}});
  auto const model = write_model(folder / "m", {{"w", {n}, numbers(n, 1)}, {"v", {n}, numbers(n, 1)}});
  auto const run = [&](char const* name, std::uint64_t seed, char const* rescale) {
    auto settings = to(folder / name);
    settings.seed = seed;
    make_soup(recipe("dare_linear", {model}, base, {{"density", "0.3"}, {"rescale", rescale}}), settings);
    return read(settings.output_dir, "w");
  };
  numbers const first = run("one", 1, "true"), again = run("again", 1, "true"), other = run("two", 2, "false");
  CHECK(first == again);
  auto const count = [](numbers const& x) { return static_cast<double>(std::count_if(x.begin(), x.end(), [](float v) { return v != 0; })); };
  double const sigma = std::sqrt(n * density * (1 - density));
  CHECK_THAT(count(first), WithinAbs(n * density, 5 * sigma));
  CHECK_THAT(count(other), WithinAbs(n * density, 5 * sigma));
  CHECK_THAT(std::accumulate(first.begin(), first.end(), 0.0), WithinRel(static_cast<double>(n), 1e-5));
  CHECK(*std::max_element(other.begin(), other.end()) == 1);  // not rescaled
  // Seeds, and tensors of one run, have masks of their own: both keep an entry with probability density².
  auto const both = [&](numbers const& x, numbers const& y) {
    double out = 0;
    for (std::size_t i = 0; i < n; ++i) out += x[i] != 0 && y[i] != 0 ? 1 : 0;
    return out;
  };
  double const square = density * density, spread = 5 * std::sqrt(n * square * (1 - square));
  CHECK_THAT(both(first, other), WithinAbs(n * square, spread));
  CHECK_THAT(both(first, read(folder / "one", "v")), WithinAbs(n * square, spread));
}

TEST_CASE("della keeps larger entries more often in the proportion of their rank", "[soup]") {
  scratch_folder const folder;
  constexpr std::size_t rows = 400, columns = 500;
  numbers task(rows * columns);
  for (std::size_t i = 0; i < task.size(); ++i) task[i] = static_cast<float>(1 + (i * 7) % columns);  // every row: 1 … 500 in some order
  auto const base = write_model(folder / "base", {{"w", {rows, columns}, numbers(task.size())}});
  auto const model = write_model(folder / "m", {{"w", {rows, columns}, task}});
  make_soup(recipe("della_linear", {model}, base, {{"density", "0.5"}, {"epsilon", "0.3"}, {"rescale", "false"}}), to(folder / "out"));
  numbers const kept = read(folder / "out", "w");
  std::array<double, 5> counts{};
  for (float const x : kept)
    if (x != 0) counts[static_cast<std::size_t>(x - 1) / (columns / 5)] += 1;
  for (std::size_t fifth = 0; fifth < counts.size(); ++fifth) {
    double const p = 0.2 + 0.6 * (0.1 + 0.2 * static_cast<double>(fifth)), n = rows * columns / 5.0;
    CHECK_THAT(counts[fifth], WithinAbs(n * p, 5 * std::sqrt(n * p * (1 - p))));
  }
  CHECK_THROWS_WITH(make_soup(recipe("della", {model}, base, {{"density", "0.9"}}), to(folder / "wide")), contains("epsilon has to lie"));
}

TEST_CASE("expo goes beyond the trained model by alpha of its way", "[soup]") {
  scratch_folder const folder;
  auto const before = write_model(folder / "before", {{"w", {3}, {1, 2, 3}}});
  auto const after = write_model(folder / "after", {{"w", {3}, {2, 2, 1}}});
  make_soup(recipe("expo", {after}, before, {{"alpha", "0.5"}}), to(folder / "out"));
  CHECK(read(folder / "out", "w") == numbers{2.5F, 2, 0});
  CHECK_THROWS_WITH(make_soup(recipe("expo", {after}, before), to(folder / "none")), contains("needs the parameter 'alpha'"));
}

TEST_CASE("LiNeS scales what is added to the base from alpha in the first layer to alpha + beta in the last", "[soup]") {
  scratch_folder const folder;
  std::vector<named_tensor> before, after;
  for (auto const& name : {"model.embed_tokens.weight", "model.layers.0.w", "model.layers.1.w", "model.layers.2.w", "model.norm.weight"}) {
    before.push_back({name, {2}, {1, 0}});
    after.push_back({name, {2}, {3, 4}});
  }
  auto const base = write_model(folder / "base", before), one = write_model(folder / "one", after);
  for (char const* const method : {"task_arithmetic", "ties", "sce", "ram"}) {
    INFO(method);
    make_soup(recipe(method, {one}, base, {{"lines_alpha", "0.5"}, {"lines_beta", "1"}}), to(folder / method));
    auto const got = [&](std::string const& name) { return read(folder / method, name); };
    CHECK(got("model.embed_tokens.weight") == numbers{2, 2});
    CHECK(got("model.layers.0.w") == numbers{2, 2});
    CHECK(got("model.layers.1.w") == numbers{3, 4});
    CHECK(got("model.layers.2.w") == numbers{4, 6});
    CHECK(got("model.norm.weight") == numbers{4, 6});
  }
}

TEST_CASE("buffers that transformers computes are left out, in some models or in all", "[soup]") {
  scratch_folder const folder;
  auto const with = write_model(folder / "with", {{"model.layers.0.w", {2}, {1, 2}}, {"model.layers.0.self_attn.rotary_emb.inv_freq", {2}, {1, 0.5F}},
                                                  {"transformer.h.0.attn.bias", {1, 1, 2, 2}, {1, 0, 1, 1}}, {"transformer.h.0.attn.masked_bias", {1}, {-1e4F}}});
  auto const without = write_model(folder / "without", {{"model.layers.0.w", {2}, {3, 4}}});
  make_soup(recipe("linear", {with, without}), to(folder / "out"));
  CHECK(checkpoint::open(folder / "out").tensors().size() == 1);
  CHECK(make_soup(recipe("linear", {with, with}), to(folder / "twice")).tensors == 1);
}

TEST_CASE("float64 is read, and written where it is asked for", "[soup]") {
  scratch_folder const folder;
  auto const wide = write_model(folder / "wide", {{"w", {2}, {1, 2}}}, dtype::f64), single = write_model(folder / "single", {{"w", {2}, {3, 4}}});
  make_soup(recipe("linear", {wide, single}), to(folder / "out"));
  CHECK(checkpoint::open(folder / "out").entry("w").stored_type == "F64");
  CHECK(read(folder / "out", "w") == numbers{2, 3});
  make_soup(recipe("linear", {single, single}, {}, {}, "float64"), to(folder / "asked"));
  CHECK(checkpoint::open(folder / "asked").config.at("dtype") == "float64");
}

TEST_CASE("shards in and shards out change no number", "[soup]") {
  scratch_folder const folder;
  std::vector<named_tensor> tensors;
  for (int layer = 0; layer < 6; ++layer) tensors.push_back({"model.layers." + std::to_string(layer) + ".w", {100}, rough(100, static_cast<std::uint32_t>(layer))});
  auto const model = write_model(folder / "m", tensors);
  auto settings = to(folder / "sharded");
  settings.max_shard_bytes = 1000;
  CHECK(make_soup(recipe("linear", {model, model}), settings).shards == 3);
  CHECK(names_in(folder / "sharded") ==
        "config.json model-00001-of-00003.safetensors model-00002-of-00003.safetensors model-00003-of-00003.safetensors model.safetensors.index.json");
  make_soup(recipe("linear", {folder / "sharded", model}), to(folder / "joined"));
  dtype type = dtype::f64;
  CHECK(all_bytes(folder / "joined", type) == all_bytes(model, type));
  CHECK(names_in(folder.path()) == "joined m sharded");
}

TEST_CASE("formats mix, and a result too large for its format is an error", "[soup]") {
  scratch_folder const folder;
  auto const wide = write_model(folder / "wide", {{"w", {2}, {70000, 1}}});
  auto const half = write_model(folder / "half", {{"w", {2}, {60000, 3}}}, dtype::f16);
  auto const brain = write_model(folder / "brain", {{"w", {2}, {60000, 3}}}, dtype::bf16);
  make_soup(recipe("linear", {half, brain}), to(folder / "mixed"));
  CHECK(checkpoint::open(folder / "mixed").entry("w").stored_type == "F32");  // neither format holds the other's numbers
  make_soup(recipe("linear", {wide, brain}, {}, {}, "bfloat16"), to(folder / "out"));
  CHECK(read(folder / "out", "w")[1] == 2);
  CHECK(checkpoint::open(folder / "out").config.at("dtype") == "bfloat16");
  CHECK_THROWS_WITH(make_soup(recipe("linear", {wide}, {}, {}, "float16"), to(folder / "over")), contains("tensor 'w' of the soup has numbers too large for float16"));
  CHECK_FALSE(fs::exists(folder / "over"));
}

TEST_CASE("a damaged number is named by its model and tensor", "[soup]") {
  scratch_folder const folder;
  auto const good = write_model(folder / "good", {{"w", {2}, {1, 2}}});
  for (float const bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    fs::remove_all(folder / "bad");
    auto const model = write_model(folder / "bad", {{"w", {2}, {1, bad}}});
    CHECK_THROWS_WITH(make_soup(recipe("linear", {good, model}), to(folder / "out")), contains("bad': tensor 'w' holds NaN or infinity"));
    CHECK_THROWS_WITH(make_soup(recipe("ties", {good}, model, {{"density", "0.5"}}), to(folder / "out")), contains("tensor 'w' holds NaN"));
  }
  CHECK(names_in(folder.path()) == "bad good");
}
