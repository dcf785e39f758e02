// SPDX-License-Identifier: Apache-2.0

// Fetching into the cache, from a server on the loopback that answers as the hub does, and finding again. The hashes are Python's hashlib's.

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/hub/hub.hpp>

#include "support/catch.hpp"
#include "support/hub_server.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using namespace kedge::testing;
namespace fs = std::filesystem;

namespace {

// Byte i is (i · step) mod modulus.
std::string bytes(std::size_t count, std::size_t step, std::size_t modulus) {
  std::string out(count, '\0');
  for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<char>((i * step) % modulus);
  return out;
}

std::string const weights_hash = "b1cf7538cf80d01efe3e0b8e45dc930048a138c7b6f8c4aff08f478e4695e631";
std::string const weights = bytes(300000, 7, 251);

hub_file description() { return {"{\"model_type\": \"llama\"}\n", "9eddb62b076f586b2186445e7872e5a05f0dfe06"}; }
hub_file tokenizer() { return {"{\"version\": \"1.0\"}\n", "92bdb0aff34a95a7c00546c3d608c984294164ed"}; }
hub_file large() { return {weights, weights_hash, true}; }

/// A hub with one model, and a cache.
struct hub {
  hub_server server;
  scratch_folder home;
  hub_settings settings;
  hub_name const name{hub_kind::model, "org/name", "main", ""};

  hub() {
    server.repositories["org/name"] = {
        {"config.json", description()}, {"tokenizer.json", tokenizer()},
        {"model.safetensors", large()}, {"pytorch_model.bin", {"pickle", "x"}},
        {"run.py", {"code", "y"}},      {"empty.txt", {"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"}}};
    settings.endpoint = server.endpoint();
    settings.cache = home / "hub";
    settings.first_wait = 0.01;
    settings.silence = 10;
  }

  [[nodiscard]] fs::path repository() const { return settings.cache / "models--org--name"; }
  [[nodiscard]] fs::path snapshot() const { return repository() / "snapshots" / hub_server::commit; }
  [[nodiscard]] bool whole() const {
    return read_file(snapshot() / "model.safetensors") == weights &&
           read_file(snapshot() / "config.json") == description().content;
  }
};

}  // namespace

TEST_CASE("a model lies in the cache as huggingface_hub lays it and a second pull fetches nothing", "[hub]") {
  hub h;
  h.settings.token = h.server.token = "secret";
  pulled const first = pull_model(h.name, h.settings);
  CHECK(first.folder == h.snapshot());
  CHECK(first.commit == hub_server::commit);
  CHECK(first.fetched == 4);
  CHECK(first.bytes == weights.size() + description().content.size() + tokenizer().content.size());
  CHECK(h.whole());
  CHECK(names_in(h.snapshot()) == "config.json empty.txt model.safetensors tokenizer.json");
  CHECK(fs::read_symlink(h.snapshot() / "model.safetensors") == "../../blobs/" + weights_hash);
  CHECK(read_file(h.repository() / "blobs" / description().etag) == description().content);
  CHECK(read_file(h.repository() / "refs/main") == hub_server::commit);
  CHECK(h.server.count("GET", "pytorch_model.bin") + h.server.count("HEAD", "pytorch_model.bin") +
            h.server.count("GET", "run.py") ==
        0);
  for (hub_request const& request : h.server.requests()) CHECK(request.head.contains("authorization") == !request.elsewhere);
  CHECK(pull_model(h.name, h.settings).fetched == 0);
  CHECK(h.server.count("GET", "model.safetensors") == 2);  // at the hub and where it leads to, once each
}

TEST_CASE("a content that breaks off goes on where it ended", "[hub]") {
  hub h;
  h.settings.parallel = 1;
  bool const whole_again = GENERATE(false, true);
  h.server.ignores_ranges = whole_again;
  fs::create_directories(h.repository() / "blobs");
  write_file(h.repository() / "blobs" / (weights_hash + ".incomplete"), weights.substr(0, 1000));
  h.server.repositories["org/name"] = {{"config.json", description()}, {"model.safetensors", large()}};
  h.server.broken = whole_again ? 1 : 4;
  pulled const result = pull_model(h.name, h.settings);
  CHECK(h.whole());
  bool ranged = false;
  for (hub_request const& request : h.server.requests())
    ranged |= request.head.contains("range") && request.head.at("range") == "bytes=1000-";
  CHECK(ranged);
  if (!whole_again) CHECK(result.bytes == weights.size() - 1000 + description().content.size());
  CHECK_FALSE(fs::exists(h.repository() / "blobs" / (weights_hash + ".incomplete")));
}

TEST_CASE("what an earlier fetch left damaged is fetched anew", "[hub]") {
  hub h;
  fs::create_directories(h.repository() / "blobs");
  std::string const left = GENERATE(std::string(1000, 'x'), std::string(300000, 'x'), std::string(400000, 'x'));
  write_file(h.repository() / "blobs" / (weights_hash + ".incomplete"), left);
  CHECK_FALSE(pull_model(h.name, h.settings).files.empty());
  CHECK(h.whole());
}

TEST_CASE("content that isn't what the hub promised never gets its name", "[hub]") {
  hub h;
  std::string const file = GENERATE("model.safetensors", "config.json");
  h.server.repositories["org/name"][file].content[5] ^= 1;
  CHECK_THROWS_WITH(pull_model(h.name, h.settings), contains("isn't what the hub promised") && contains(file));
  CHECK_FALSE(fs::exists(h.snapshot() / file));
  CHECK_FALSE(fs::exists(h.repository() / "refs/main"));
}

TEST_CASE("what is missing and what isn't allowed are told apart", "[hub]") {
  hub h;
  auto const refused = [&](hub_name name, std::string const& words) {
    INFO(words);
    CHECK_THROWS_WITH(pull_model(name, h.settings), contains(words));
  };
  refused({hub_kind::model, "org/none", "main", ""}, "there is no model 'org/none'");
  refused({hub_kind::model, "org/name", "v7", ""}, "has no revision 'v7'");
  refused({hub_kind::model, "org/name", "main", "none.gguf"}, "no such file");
  h.server.gated = "org/name";
  refused(h.name, "is gated: accept its terms at " + h.settings.endpoint + "/org/name");
  h.server.gated.clear();
  h.server.token = "secret";
  refused(h.name, "set HF_TOKEN");
  h.settings.token = "wrong";
  refused(h.name, "isn't allowed to read it");
  CHECK_FALSE(fs::exists(h.snapshot()));
}

TEST_CASE("a busy server is asked again and a silent one is given up in a line", "[hub]") {
  hub h;
  h.server.busy = 3;
  CHECK(pull_model(h.name, h.settings).fetched == 4);
  h.server.busy = 1000;
  CHECK_THROWS_WITH(pull_model(h.name, h.settings), contains("answers 429") && contains("tried 5 times"));
  h.settings.endpoint = "http://127.0.0.1:9";
  h.settings.tries = 2;
  CHECK_THROWS_WITH(pull_model(h.name, h.settings), contains("127.0.0.1:9") && contains("tried 2 times"));
}

TEST_CASE("a file that doesn't fit on the disk is refused before it is fetched", "[hub]") {
  hub h;
  h.server.repositories["org/name"]["model.safetensors"].claimed = std::size_t{1} << 60U;
  CHECK_THROWS_WITH(pull_model(h.name, h.settings), contains("bytes left") || contains(" left; free some space"));
  CHECK(h.server.count("GET", "model.safetensors") == 0);
  h.settings.cache = "/proc/kedge";
  CHECK_THROWS_WITH(pull_model(h.name, h.settings), contains("cannot write '/proc/kedge"));
}

TEST_CASE("an interrupted pull keeps what came and the next one goes on", "[hub]") {
  hub h;
  h.server.milliseconds = 30;
  fs::path const partial = h.repository() / "blobs" / (weights_hash + ".incomplete");
  h.settings.stop = [&] {
    std::error_code absent;
    return fs::file_size(partial, absent) > 60000 && !absent;
  };
  CHECK_THROWS_AS(pull_model(h.name, h.settings), hub_interrupted);
  REQUIRE(fs::exists(partial));
  std::size_t const kept = fs::file_size(partial);
  CHECK_FALSE(fs::exists(h.repository() / "refs/main"));
  h.server.milliseconds = 0;
  h.settings.stop = {};
  CHECK(pull_model(h.name, h.settings).bytes <=
        weights.size() - kept + description().content.size() + tokenizer().content.size());
  CHECK(h.whole());
}

TEST_CASE("pulls at once fetch a file once", "[hub]") {
  hub h;
  h.server.milliseconds = 10;
  std::atomic<std::size_t> fetched{0};
  {
    std::vector<std::jthread> pulls;
    for (int i = 0; i < 3; ++i) pulls.emplace_back([&] { fetched += pull_model(h.name, h.settings).fetched; });
  }
  CHECK(fetched == 4);
  CHECK(h.server.count("GET", "model.safetensors") == 2);
  CHECK(h.whole());
}

TEST_CASE("a name is found in the cache without asking anybody and is fetched where it isn't", "[hub]") {
  hub h;
  h.settings.offline = true;
  CHECK_THROWS_WITH(find_hub_model(h.name, h.settings), contains("HF_HUB_OFFLINE"));
  h.settings.offline = false;
  CHECK(find_hub_model(h.name, h.settings) == h.snapshot());
  std::size_t const asked = h.server.requests().size();
  CHECK(asked > 0);
  CHECK(find_hub_model(h.name, h.settings) == h.snapshot());
  h.settings.offline = true;
  CHECK(find_hub_model(h.name, h.settings) == h.snapshot());
  CHECK(find_hub_model({hub_kind::model, "org/name", hub_server::commit, ""}, h.settings) == h.snapshot());
  CHECK(h.server.requests().size() == asked);
  fs::remove(h.snapshot() / "model.safetensors");
  CHECK_THROWS_WITH(find_hub_model(h.name, h.settings), contains("model.safetensors") && contains("missing"));
  h.settings.offline = false;
  CHECK(find_hub_model(h.name, h.settings) == h.snapshot());
  CHECK(h.server.count("GET", "model.safetensors") == 2);  // the blob was there
}

TEST_CASE("of a model in several files those are fetched that its index names", "[hub]") {
  hub h;
  std::string const index =
      "{\"weight_map\": {\"a\": \"part-1.safetensors\", \"b\": \"part-2.safetensors\", \"c\": \"part-1.safetensors\"}}";
  hub_file const second{bytes(200000, 11, 241), "f8b304cda9eb5995098944a35a5445e8c7da7d6444a964e07279144c23bf26d4", true};
  h.server.repositories["org/name"] = {
      {"config.json", description()},        {"tokenizer.json", tokenizer()},
      {"part-1.safetensors", large()},       {"part-2.safetensors", second},
      {"consolidated.safetensors", large()}, {"model.safetensors.index.json", {index, "unhashed"}}};
  pulled const result = pull_model(h.name, h.settings);
  CHECK(names_in(h.snapshot()) ==
        "config.json model.safetensors.index.json part-1.safetensors part-2.safetensors tokenizer.json");
  REQUIRE(result.notes.size() == 1);
  CHECK_THAT(result.notes[0], contains("checked by their sizes alone"));
  CHECK(missing_weights(h.snapshot()).empty());
  fs::remove(h.snapshot() / "part-2.safetensors");
  CHECK(missing_weights(h.snapshot()) == "part-2.safetensors");
}

TEST_CASE("of a data set the files of the split are fetched and found again", "[hub]") {
  hub h;
  hub_name const data{hub_kind::dataset, "org/data", "main", ""};
  std::string const readme =
      "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n  - split: test\n    "
      "path: data/test-*\n---\n# Data\n";
  h.server.repositories["datasets/org/data"] = {{"README.md", {readme, "ee5f2679dde9b240375b56a681b43875d8df1161"}},
                                                {"data/train-00000-of-00001.jsonl", large()},
                                                {"data/test-00000-of-00001.jsonl", tokenizer()}};
  auto const train = find_hub_dataset(data, {"", "train"}, h.settings);
  REQUIRE(train.size() == 1);
  CHECK(train[0] ==
        h.settings.cache / "datasets--org--data/snapshots" / hub_server::commit / "data/train-00000-of-00001.jsonl");
  CHECK(read_file(train[0]) == weights);
  CHECK(h.server.count("GET", "test-") == 0);
  h.settings.offline = true;
  CHECK(find_hub_dataset(data, {"", "train"}, h.settings) == train);
  CHECK_THROWS_WITH(find_hub_dataset(data, {"", "test"}, h.settings), contains("test"));
  h.settings.offline = false;
  CHECK(find_hub_dataset(data, {"", "test"}, h.settings).size() == 1);
  CHECK_THROWS_WITH(find_hub_dataset(data, {"", "valid"}, h.settings),
                    contains("has no split 'valid'; there are: train, test"));
  CHECK_THROWS_WITH(find_hub_dataset(data, {"more", "train"}, h.settings), contains("has no configuration 'more'"));
}
