// SPDX-License-Identifier: Apache-2.0
#include <map>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/base/json.hpp>
#include <kedge/llm/formats/checkpoint.hpp>
#include <kedge/llm/model/sampling_settings.hpp>

#include "support/catch.hpp"
#include "support/scratch_folder.hpp"

using namespace kedge::llm;
using namespace kedge::testing;
using json = nlohmann::ordered_json;

namespace {

using ids = std::vector<std::int32_t>;

std::string const golden = KEDGE_TESTS_DIR "/golden/text/";

json base(std::string const& name) { return read_json_file(golden + "tokenizer_" + name + ".json").at("tokenizer"); }

void write(std::filesystem::path const& file, json const& content) { write_file(file, content.is_string() ? content.get<std::string>() : content.dump()); }

/// A folder without weights: a description, the tokenizer of a base, and further files.
void write_folder(std::filesystem::path const& folder, json const& tokenizer, json const& files) {
  write(folder / "config.json", json::object());
  if (!tokenizer.is_null()) write(folder / "tokenizer.json", tokenizer);
  for (auto const& [name, content] : files.items()) write(folder / name, content);
}

json const one_message = json::array({{{"role", "user"}, {"content", "hi"}}});

}  // namespace

TEST_CASE("Of facts that a folder states twice the one counts that AutoTokenizer takes", "[text-side]") {
  json const all = read_json_file(golden + "text_sides.json");
  auto const texts = all.at("texts").get<std::vector<std::string>>();
  for (json const& c : all.at("cases")) {
    INFO("base " << c.at("base") << ", changed " << c.at("changed").dump() << ", files " << c.at("files").dump());
    scratch_folder const folder;
    json tokenizer = base(c.at("base").get<std::string>());
    for (auto const& [key, value] : c.at("changed").items()) tokenizer[key] = value;
    write_folder(folder.path(), tokenizer, c.at("files"));
    auto const model = checkpoint::open_description(folder.path());
    auto const words = open_tokenizer(model);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      INFO("text " << i);
      CHECK(words.encode(texts[i], true) == c.at("ids")[i].get<ids>());
      CHECK(words.decode(c.at("ids")[i].get<ids>(), true) == c.at("skipped")[i].get<std::string>());
    }
    json const special = special_tokens(model.tokenizer_config);
    CHECK(special.size() == c.at("special").size());
    for (auto const& [name, content] : c.at("special").items()) CHECK(special.value(name, json()) == content);
    // What was made of the files is one file that says it all: it is written, and read again as it is.
    scratch_folder const again;
    write_folder(again.path(), model.tokenizer, {{"tokenizer_config.json", model.tokenizer_config}, {"config.json", c.at("files").value("config.json", json::object())}});
    auto const reopened = open_tokenizer(checkpoint::open_description(again.path()));
    for (std::size_t i = 0; i < texts.size(); ++i) CHECK(reopened.encode(texts[i], true) == c.at("ids")[i].get<ids>());
  }
}

TEST_CASE("A folder without tokenizer.json is read from tokenizer.model or vocab.json and merges.txt", "[text-side]") {
  json const all = read_json_file(golden + "older_files.json");
  auto const texts = all.at("texts").get<std::vector<std::string>>();
  for (json const& c : all.at("cases")) {
    INFO("files " << c.at("files").dump() << ", model " << c.value("model", std::string()));
    scratch_folder const folder;
    write_folder(folder.path(), nullptr, c.at("files"));
    if (c.contains("model")) std::filesystem::copy_file(golden + c.at("model").get<std::string>(), folder / "tokenizer.model");
    if (c.contains("base")) {
      json const model = base(c.at("base").get<std::string>()).at("model");
      std::string merges = "#version: 0.2\n";
      for (json const& pair : model.at("merges"))
        merges += (pair.is_string() ? pair.get<std::string>() : pair[0].get<std::string>() + " " + pair[1].get<std::string>()) + "\n";
      write(folder / "vocab.json", model.at("vocab"));
      write(folder / "merges.txt", merges);
    }
    auto const words = open_tokenizer(checkpoint::open_description(folder.path()));
    for (std::size_t i = 0; i < texts.size(); ++i) {
      INFO("text " << i);
      CHECK(words.encode(texts[i], true) == c.at("ids")[i].get<ids>());
      CHECK(words.decode(c.at("ids")[i].get<ids>(), true) == c.at("skipped")[i].get<std::string>());
    }
  }
}

TEST_CASE("A tokenizer that kedge does not build is refused where text is read, and says why", "[text-side]") {
  scratch_folder const folder;
  auto const refuses = [&](json const& files, std::string const& why) {
    write_folder(folder.path(), base("smollm"), files);
    auto const model = checkpoint::open_description(folder.path());
    CHECK(model.tokenizer.is_null());
    CHECK_THROWS_WITH(open_tokenizer(model), contains(why));
  };
  refuses({{"tokenizer_config.json", {{"tokenizer_class", "T5Tokenizer"}}}}, "tokenizer_class 'T5Tokenizer' is not supported");
  refuses({{"tokenizer_config.json", {{"auto_map", {{"AutoTokenizer", json::array({"a.B", nullptr})}}}, {"tokenizer_class", "Own"}}}}, "auto_map names code of the folder's own");
  refuses({{"tokenizer_config.json", {{"added_tokens_decoder", {{"x", json::object()}}}}}}, "'x' is not the id of a token");
  refuses({{"tokenizer_config.json", {{"added_tokens_decoder", json::array()}}}}, "added_tokens_decoder is not an object");
  refuses({{"tokenizer_config.json", {{"extra_special_tokens", json::array({5})}}}}, "extra_special_tokens holds 5");
  refuses({{"tokenizer_config.json", {{"tokenizer_class", 5}}}}, "tokenizer_class is not a text");
  scratch_folder const bare;
  write_folder(bare.path(), nullptr, json::object());
  CHECK_THROWS_WITH(open_tokenizer(checkpoint::open_description(bare.path())), contains("no tokenizer.json; kedge needs one to read text"));
  write(bare / "vocab.json", json{{"a", 0}});
  write(bare / "merges.txt", "#version: 0.2\n");
  CHECK_THROWS_WITH(open_tokenizer(checkpoint::open_description(bare.path())), contains("are read for the tokenizer_class GPT2Tokenizer"));
  write(bare / "tokenizer.model", "no protocol buffer");
  CHECK_THROWS_WITH(open_tokenizer(checkpoint::open_description(bare.path())), contains("is no SentencePiece model"));
  write(bare / "tekken.json", "{}");
  CHECK_THROWS_WITH(open_tokenizer(checkpoint::open_description(bare.path())), contains("tekken.json is not read"));
}

TEST_CASE("A class that replaces parts of tokenizer.json is told in one line", "[text-side]") {
  scratch_folder const folder;
  write_folder(folder.path(), base("smollm"), {{"tokenizer_config.json", {{"tokenizer_class", "GPT2Tokenizer"}}}});
  auto const model = checkpoint::open_description(folder.path());
  REQUIRE(model.notes.size() == 1);
  CHECK_THAT(model.notes[0], contains("tokenizer_class GPT2Tokenizer replaces the pre_tokenizer of tokenizer.json, as in transformers"));
  write_folder(folder.path(), base("smollm"), {{"tokenizer_config.json", {{"tokenizer_class", "PreTrainedTokenizerFast"}}}});
  CHECK(checkpoint::open_description(folder.path()).notes.empty());
}

TEST_CASE("A text that needs a token beyond the embedding is an error that names it, and others are not", "[text-side]") {
  json tokenizer = base("smollm");
  auto const size = static_cast<std::int64_t>(tokenizer::from_json(tokenizer).size());
  tokenizer["added_tokens"].push_back({{"id", size}, {"content", "<extra>"}, {"special", true}, {"normalized", false}});
  auto const words = tokenizer::from_json(tokenizer, {.rows = size});
  CHECK(words.first_beyond(size) == size);
  CHECK(words.first_beyond(size + 1) == std::nullopt);
  CHECK_NOTHROW(words.encode("plain", true));
  CHECK_THROWS_WITH(words.encode("a <extra> b", true), contains("the text needs token " + std::to_string(size) + ", '<extra>', but the model's embedding has"));
}

TEST_CASE("Templates have names: files before tokenizer_config, tool_use where there are tools, and no default is an error", "[text-side]") {
  scratch_folder const folder;
  auto const open = [&](json const& files) {
    write_folder(folder.path(), base("smollm"), files);
    return *open_chat_template(checkpoint::open_description(folder.path()));
  };
  json const named = json::array({{{"name", "default"}, {"template", "plain {{ tools is none }}"}}, {{"name", "tool_use"}, {"template", "tools {{ tools|length }}"}}});
  auto const two = open({{"tokenizer_config.json", {{"chat_template", named}}}});
  CHECK(two.render(one_message, false, json::object()) == "plain True");
  CHECK(two.render(one_message, false, {{"tools", nullptr}}) == "plain True");
  CHECK(two.render(one_message, false, {{"tools", json::array({json::object()})}}) == "tools 1");
  CHECK(two.render(one_message, false, {{"chat_template", "tool_use"}, {"tools", json::array()}}) == "tools 0");
  CHECK(two.render(one_message, false, {{"chat_template", "{{ messages[0].content }}"}}) == "hi");
  auto const none = open({{"tokenizer_config.json", {{"chat_template", json::array({{{"name", "rag"}, {"template", "x"}}, {{"name", "bad"}, {"template", "{% if"}}})}}}});
  CHECK_THROWS_WITH(none.render(one_message, false, json::object()), contains("none of them is the default: rag, bad"));
  CHECK(none.render(one_message, false, {{"chat_template", "rag"}}) == "x");
  CHECK_THROWS_WITH(none.render(one_message, false, {{"chat_template", "bad"}}), contains("the chat template 'bad'"));
  std::filesystem::create_directories(folder / "additional_chat_templates");
  write(folder / "additional_chat_templates" / "tool_use.jinja", "from a file");
  auto const files = open({{"chat_template.jinja", "the default"}, {"tokenizer_config.json", {{"chat_template", named}}}});
  CHECK(files.render(one_message, false, json::object()) == "the default");
  CHECK(files.render(one_message, false, {{"tools", json::array()}}) == "from a file");
}

TEST_CASE("A template of a processor is told to be none of a tokenizer's", "[text-side]") {
  scratch_folder const folder;
  write_folder(folder.path(), base("smollm"), {{"chat_template.json", {{"chat_template", "x"}}}, {"tokenizer_config.json", {{"chat_template", nullptr}}}});
  auto const model = checkpoint::open_description(folder.path());
  CHECK(model.chat_templates.empty());
  REQUIRE(model.notes.size() == 1);
  CHECK_THAT(model.notes[0], contains("copy its template to chat_template.jinja"));
}

TEST_CASE("Null keys of messages are absent, and parts of text are text to a template that reads no parts", "[text-side]") {
  chat_template const strict("{% for m in messages %}{% if 'tool_calls' in m or m.name is defined %}bad{% endif %}{{ m.content + '' }}{% endfor %}");
  json const parts = json::array({{{"type", "text"}, {"text", "a"}}, {{"type", "text"}, {"text", "b"}}});
  json const messages = json::array({{{"role", "user"}, {"content", parts}, {"tool_calls", nullptr}, {"name", nullptr}}});
  CHECK(strict.render(messages, false, json::object()) == "ab");
  chat_template const reads("{% for m in messages %}{% for p in m.content %}[{{ p.text }}]{% endfor %}{% endfor %}");
  CHECK(reads.render(messages, false, json::object()) == "[a][b]");
  json const picture = json::array({{{"role", "user"}, {"content", json::array({{{"type", "image"}}})}}});
  CHECK_THROWS_AS(strict.render(picture, false, json::object()), error);  // a list and a string don't add, as in Jinja
}

TEST_CASE("An adapter's tokenizer, templates and generation settings come before those of its base", "[text-side]") {
  scratch_folder const folder;
  std::filesystem::create_directories(folder / "base of tests");
  std::filesystem::create_directories(folder / "adapter");
  write_folder(folder / "base of tests", base("smollm"), {{"generation_config.json", {{"top_k", 1}}}});
  write(folder / "adapter" / "adapter_config.json", {{"base_model_name_or_path", "../base of tests"}, {"peft_type", "LORA"}});
  auto const bare = checkpoint::open_text(folder / "adapter");
  CHECK(bare.chat_templates.empty());
  CHECK(open_tokenizer(bare).id_of("<new>") == std::nullopt);
  CHECK(bare.generation_config.at("top_k") == 1);
  json own = base("smollm");
  own["added_tokens"].push_back({{"id", 5000}, {"content", "<new>"}});
  write(folder / "adapter" / "tokenizer.json", own);
  write(folder / "adapter" / "chat_template.jinja", "own");
  write(folder / "adapter" / "generation_config.json", {{"top_k", 2}});
  auto const full = checkpoint::open_text(folder / "adapter");
  CHECK(open_tokenizer(full).id_of("<new>") != std::nullopt);
  CHECK(full.chat_templates == template_sources{{"default", "own"}});
  CHECK(full.generation_config.at("top_k") == 2);
  write(folder / "adapter" / "adapter_config.json", {{"base_model_name_or_path", "nowhere"}});
  CHECK_THROWS_WITH(checkpoint::open_text(folder / "adapter"), contains("its base 'nowhere' is not there"));
  write(folder / "adapter" / "adapter_config.json", {{"base_model_name_or_path", nullptr}});
  CHECK_THROWS_WITH(checkpoint::open_text(folder / "adapter"), contains("base_model_name_or_path names no model"));
}

TEST_CASE("Every key of a folder's files is read or refused in one line, whatever JSON it holds", "[text-side]") {
  json const values = json::parse(R"([null, true, 0, -1, 1e300, 2147483648, "", "x", "</s>", [], [null], [[]], [{}], ["a"], {}, {"a": null}, {"content": 5}, {"content": "<s>", "lstrip": 1},
    {"__type": "AddedToken", "content": "<new>"}, [{"name": "default", "template": 5}], [{"name": "a", "template": "{{ x }}"}], {"AutoTokenizer": ["a", null]}, [[[[[[]]]]]]])");
  std::map<std::string, std::vector<std::string>> const keys{
      {"tokenizer_config.json",
       {"tokenizer_class", "bos_token", "eos_token", "unk_token", "pad_token", "image_token", "added_tokens_decoder", "additional_special_tokens", "extra_special_tokens",
        "model_specific_special_tokens", "add_bos_token", "add_eos_token", "add_prefix_space", "legacy", "split_special_tokens", "clean_up_tokenization_spaces", "chat_template", "auto_map",
        "padding_side", "model_max_length"}},
      {"special_tokens_map.json", {"bos_token", "eos_token", "additional_special_tokens", "extra_special_tokens", "x_token"}},
      {"added_tokens.json", {"<tool>", ""}},
      {"generation_config.json", {"eos_token_id", "temperature"}},
      {"adapter_config.json", {"base_model_name_or_path", "r"}},
      {"model.safetensors.index.json", {"weight_map", "metadata"}},
      {"tokenizer.json", {"added_tokens", "post_processor", "normalizer", "pre_tokenizer", "decoder", "model", "padding", "truncation", "version"}},
      {"config.json", {"model_type", "model_name", "tokenizer_class", "architectures", "eos_token_id"}}};
  std::size_t read = 0, refused = 0;
  json const tokenizer = json::parse(R"({"model": {"type": "BPE", "vocab": {"a": 0, "<s>": 1, "</s>": 2, "<unk>": 3}, "merges": []}, "added_tokens": [{"id": 2, "content": "</s>"}]})");
  for (auto const& [file, names] : keys)
    for (std::string const& name : names)
      for (char const* const kind : {"", "LlamaTokenizer", "Qwen2Tokenizer"})
        for (json const& value : values) {
          INFO(file << ": " << name << " = " << value.dump() << ", class " << kind);
          scratch_folder const folder;
          json files{{"tokenizer.json", tokenizer}, {"tokenizer_config.json", json::object()}};
          if (*kind != '\0') files["tokenizer_config.json"]["tokenizer_class"] = kind;
          files[file][name] = value;
          write_folder(folder.path(), nullptr, files);
          try {
            auto const model = checkpoint::open_text(folder.path());
            static_cast<void>(stop_tokens_of(model.config, model.generation_config, "m"));
            static_cast<void>(read_generation_config(model.generation_config, "m"));
            static_cast<void>(special_tokens(model.tokenizer_config));
            static_cast<void>(open_chat_template(model));
            static_cast<void>(base_of_adapter(folder.path()));
            static_cast<void>(open_tokenizer(model).encode("a </s> <tool>", true));
            ++read;
          } catch (error const& problem) {
            CHECK(std::string(problem.what()).find('\n') == std::string::npos);
            CHECK(std::string(problem.what()).find("exception") == std::string::npos);  // a library's word
            ++refused;
          }
        }
  CHECK(read > 0);
  CHECK(refused > 0);
}
