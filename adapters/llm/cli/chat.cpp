// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <iostream>

#include <unistd.h>

#include <kedge/llm/base/error.hpp>
#include <kedge/llm/hub/model_setting.hpp>
#include <kedge/llm/train/chatting.hpp>

#include "command.hpp"
#include "sampling_flags.hpp"

namespace kedge::cli {
namespace {

void show(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw llm::error("the answer can't be written to standard output");
}

}  // namespace

int run_chat(arguments const& args) {
  llm::chat_settings settings;
  llm::generate_settings& s = settings.generate;
  command_line line("kedge chat",
                    "Talks with a model by its chat template: a line is a message, /help lists commands, Ctrl-C ends an "
                    "answer, Ctrl-D the conversation.");
  line.settings.add(llm::model_setting("model_name_or_path", s.model, "Hugging Face folder, adapter's folder or GGUF file"))
      .alias("model")
      .positional()
      .required();
  line.settings.add("system", settings.system, "message of the system before the conversation; none: the template's own");
  line.settings.add("prompt", settings.prompt,
                    "one message, which is answered, and that is all; none: messages are read from standard input");
  line.settings.add("max_new_tokens", s.max_new_tokens, "longest answer; none: the model's, else 2048")
      .at_least(1)
      .at_most(1 << 24);
  declare_sampling(line.settings, s);
  line.settings.group("Output");
  line.settings.add("quiet", s.quiet, "answers alone, no notes");
  declare(line.settings, s.compute);
  line.parse(args);
  s.tells = llm::screen(stderr);
  settings.terminal = !settings.prompt && isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0;
  llm::chat(settings, std::cin, show);
  return exit_done;
}

}  // namespace kedge::cli
