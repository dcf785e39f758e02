// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include <kedge/llm/base/interrupt.hpp>
#include <kedge/llm/hub/model_setting.hpp>
#include <kedge/llm/model/gguf_export.hpp>

#include "command.hpp"

namespace kedge::cli {

int run_export(arguments const& args) {
  llm::gguf_export_settings settings;
  bool json = false;
  command_line line("kedge export", "A model as one GGUF file, for llama.cpp and what is built on it.");
  line.settings.add(llm::model_setting("model_name_or_path", settings.model, "Hugging Face folder or GGUF file")).alias("model").positional().required();
  line.settings.add("gguf", settings.output, "file to write").required();
  line.settings.add("type", settings.type, "how matrices are stored; with 4 bits, embedding and head are Q8_0");
  line.settings.add("threads", settings.threads, "0: all cores; changes no byte").at_most(4096);
  line.settings.add("overwrite", settings.overwrite, "replace a file that is there");
  line.settings.add("json", json, "print the summary as one JSON object");
  line.settings.add("quiet", settings.quiet, "no progress, no notes");
  line.parse(args);
  settings.tells = llm::screen(stderr);
  llm::interrupt_guard const interrupt;
  settings.stop = [&] { return interrupt.requested(); };
  try {
    llm::gguf_export_result const result = llm::export_gguf(settings);
    if (json)
      std::printf("%s\n", nlohmann::ordered_json{{"output", settings.output.string()}, {"type", name_of(settings.type)}, {"tensors", result.tensors},
                                                 {"bytes", result.bytes}, {"notes", result.notes}}.dump().c_str());
    else if (!settings.quiet)
      std::printf("%s: %zu tensors, %zu bytes\n", settings.output.string().c_str(), result.tensors, result.bytes);
    return exit_done;
  } catch (llm::gguf_export_interrupted const&) {
    std::fprintf(stderr, "kedge export: interrupted; nothing was written\n");
    return exit_interrupted;
  }
}

}  // namespace kedge::cli
