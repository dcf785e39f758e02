// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"

namespace kedge::cli {

int run_dpo(arguments const& args) {
  llm::training_settings settings;
  bool json = false;
  CLI::App app("Trains a model on preference pairs, in one round against the model it starts from.", "kedge dpo");
  add_training_options(app, settings);
  app.add_flag("--json", json, "print the summary as one JSON object");
  parse(app, args);
  if (settings.dataset.size() != 1) throw CLI::ValidationError("--dataset", "dpo takes one file; for several rounds use sdpo or apo");
  return train(settings, {}, json);
}

}  // namespace kedge::cli
