// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>

#include <kedge/llm/files/error.hpp>
#include <kedge/llm/model/inspect.hpp>

#include "command.hpp"
#include "inspect_data.hpp"

namespace kedge::cli {

int run_inspect(arguments const& args) {
  if (std::any_of(args.begin(), args.end(), is_data)) return inspect_data(args);
  std::filesystem::path path;
  bool json = false;
  CLI::App app("What a checkpoint is: family, shapes, stored types, parameters, tokenizer, and problems. Reads no weights.", "kedge inspect");
  app.add_option("model,--model_name_or_path", path, "Hugging Face folder or GGUF file")->required();
  app.add_flag("--json", json, "print one JSON object");
  parse(app, args);
  nlohmann::ordered_json const about = llm::describe(llm::checkpoint::open(path));
  if (json) {
    std::printf("%s\n", about.dump().c_str());
  } else {
    for (auto const& [key, value] : about.items())
      if (key != "problems") std::printf("%-24s %s\n", key.c_str(), value.is_string() ? value.get<std::string>().c_str() : value.dump().c_str());
  }
  for (auto const& problem : about["problems"])
    if (!json) std::printf("%-24s %s\n", "problem", problem.get<std::string>().c_str());
  return about["problems"].empty() ? exit_done : exit_error;
}

}  // namespace kedge::cli
