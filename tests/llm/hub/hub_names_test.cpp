// SPDX-License-Identifier: Apache-2.0

// Names of repositories, and which files of a data set are those of a split, as huggingface_hub and datasets have them.

#include <algorithm>
#include <set>
#include <string>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/hub/hub_name.hpp>

#include "../adapters/llm/src/hub/dataset_files.hpp"
#include "../adapters/llm/src/hub/layout.hpp"
#include "../adapters/llm/src/hub/model_files.hpp"
#include "support/catch.hpp"

using namespace kedge::llm;
using namespace kedge::testing;
using json = nlohmann::ordered_json;
using strings = std::vector<std::string>;

namespace {

std::string const golden = KEDGE_TESTS_DIR "/golden/hub/";

}  // namespace

TEST_CASE("names of repositories are those that huggingface_hub takes and their folders are called as it calls them", "[hub]") {
  for (json const& c : read_json_file(golden + "names.json")) {
    INFO(c.dump());
    auto const name = parse_hub_name(c.at("name").get<std::string>());
    CHECK(name.has_value() == !c.at("folder").is_null());
    if (name) CHECK(repository_folder(*name) == c.at("folder").get<std::string>());
  }
}

TEST_CASE("a name has a revision after @ and may go on to a file or a folder of the repository", "[hub]") {
  CHECK(parse_hub_name("org/name@v1.0") == hub_name{hub_kind::model, "org/name", "v1.0", ""});
  CHECK(parse_hub_name("org/name@refs/pr/1") == hub_name{hub_kind::model, "org/name", "refs/pr/1", ""});
  CHECK(parse_hub_name("org/name/sub/model-Q4.gguf@x") == hub_name{hub_kind::model, "org/name", "x", "sub/model-Q4.gguf"});
  CHECK(parse_hub_name("hf://org/name/") == hub_name{hub_kind::model, "org/name", "main", ""});
  CHECK(parse_hub_name("hf://datasets/org/name", hub_kind::dataset) == hub_name{hub_kind::dataset, "org/name", "main", ""});
  CHECK_FALSE(parse_hub_name("hf://datasets/org/name"));
  for (char const* const other :
       {"/org/name", "./org/name", "../org/name", "org/name/../x", "org/name@", "org/name@../x", "org/name@a b", "a.jsonl@/x"})
    CHECK_FALSE(parse_hub_name(other));
}

TEST_CASE("a path into a cache is called by the name of the hub and another path by itself", "[hub]") {
  std::string const commit(40, 'a'), cache = "/cache/models--org--name/snapshots/" + commit;
  CHECK(hub_name_of(cache) == hub_name{hub_kind::model, "org/name", commit, ""});
  CHECK(hub_name_of(cache + "/sub/m.gguf") == hub_name{hub_kind::model, "org/name", commit, "sub/m.gguf"});
  CHECK(portable_name(cache + "/") == "org/name");
  CHECK(portable_name("/models/mine/") == "/models/mine/");
  CHECK_FALSE(hub_name_of("/models/snapshots/" + commit));
}

TEST_CASE("files of a split are those that the package datasets reads", "[hub]") {
  for (json const& c : read_json_file(golden + "datasets.json")) {
    INFO(c.at("name") << ", config " << c.at("config"));
    strings const files = c.at("files").get<strings>();
    std::string const readme = c.at("readme").get<std::string>(), config = c.at("config").get<std::string>();
    if (c.at("splits").is_null()) {
      CHECK_THROWS_WITH(choose_dataset_files(files, readme, {config, "train"}, "org/name"), contains("has no configuration"));
      continue;
    }
    std::set<std::string> splits{"train", "validation", "test"};
    for (auto const& [split, of_split] : c.at("splits").items()) splits.insert(split);
    for (std::string const& split : splits) {
      INFO("split " << split);
      if (!c.at("splits").contains(split))
        CHECK_THROWS_WITH(choose_dataset_files(files, readme, {config, split}, "org/name"), contains("has no split"));
      else
        CHECK(choose_dataset_files(files, readme, {config, split}, "org/name") == c.at("splits").at(split).get<strings>());
    }
  }
}

TEST_CASE("a data set that the hub converted has a folder a configuration", "[hub]") {
  strings const files{"default/train/0000.parquet", "default/train/0001.parquet", "more/partial-train/0000.parquet",
                      "more/test/0000.parquet"};
  CHECK(choose_dataset_files(files, "", {"", "train"}, "org/name") ==
        strings{"default/train/0000.parquet", "default/train/0001.parquet"});
  CHECK(choose_dataset_files(files, "", {"more", "train"}, "org/name") == strings{"more/partial-train/0000.parquet"});
  CHECK_THROWS_WITH(choose_dataset_files({"train.csv", "load.py"}, "", {}, "org/name"), contains("refs/convert/parquet"));
}

TEST_CASE("patterns take what fsspec takes in time that hostile ones don't grow", "[hub]") {
  CHECK(fits("data/*", "data/a.jsonl"));
  CHECK_FALSE(fits("data/*", "data/a/b.jsonl"));
  CHECK(fits("**", "a/b/c"));
  CHECK(fits("**/c", "c"));
  CHECK(fits("**/c", "a/b/c"));
  CHECK_FALSE(fits("**/c", "a/bc"));
  CHECK(fits("a-[0-9].[!x]", "a-7.y"));
  CHECK_FALSE(fits("a-[0-9].[!x]", "a-7.x"));
  CHECK(fits("a?c", "abc"));
  CHECK_FALSE(fits("a?c", "a/c"));
  CHECK(fits("[", "["));
  std::string hostile;
  for (int i = 0; i < 2000; ++i) hostile += "*a";
  CHECK_FALSE(fits(hostile + "b", std::string(2000, 'a')));
}

TEST_CASE("of a model's repository only what kedge reads is chosen and only what it needs", "[hub]") {
  auto const chosen = [](strings const& listing, std::string const& path = "") {
    model_files const files = choose_model_files(listing, path, "org/name");
    strings all = files.first;
    if (!files.index.empty()) CHECK(std::find(all.begin(), all.end(), files.index) != all.end());
    std::sort(all.begin(), all.end());
    return all;
  };
  CHECK(chosen({"config.json", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "tokenizer.json",
                "merges.txt", "tokenizer.model", "modeling_x.py", "onnx/model.onnx", "onnx/config.json", "chat_template.jinja",
                "additional_chat_templates/rag.jinja", "consolidated.safetensors", "training_args.bin", ".gitattributes"}) ==
        strings{"additional_chat_templates/rag.jinja", "chat_template.jinja", "config.json", "merges.txt", "model.safetensors",
                "model.safetensors.index.json", "tokenizer.json", "tokenizer.model"});
  CHECK(chosen({"config.json", "model.safetensors.index.json", "model-00001-of-00001.safetensors"}) ==
        strings{"config.json", "model.safetensors.index.json"});
  CHECK(chosen({"adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"}) ==
        strings{"adapter_config.json", "adapter_model.safetensors"});
  CHECK(chosen({"m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "mmproj-f16.gguf"}) ==
        strings{"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"});
  CHECK(chosen({"a-Q4.gguf", "b-Q8.gguf", "config.json"}, "b-Q8.gguf") == strings{"b-Q8.gguf"});
  CHECK(chosen({"sub/config.json", "sub/model.safetensors", "config.json"}, "sub") ==
        strings{"sub/config.json", "sub/model.safetensors"});
  CHECK_THROWS_WITH(chosen({"a-Q4.gguf", "b-Q8.gguf"}), contains("several GGUF files; name one, as in org/name/a-Q4.gguf"));
  CHECK_THROWS_WITH(chosen({"config.json", "pytorch_model.bin"}), contains("pickled"));
  CHECK_THROWS_WITH(chosen({"config.json"}), contains("no weights"));
  CHECK_THROWS_WITH(chosen({"config.json"}, "none"), contains("no such folder"));
  CHECK_FALSE(may_be_fetched("a.py"));
  CHECK_FALSE(may_be_fetched("a.bin"));
  CHECK(may_be_fetched("data/train.jsonl.gz"));
}
