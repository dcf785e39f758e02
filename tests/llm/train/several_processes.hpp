// SPDX-License-Identifier: Apache-2.0
#pragma once

// Runs of kedge in several processes, as torchrun starts them, and what they leave.

#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kedge/llm/formats/safetensors.hpp>

#include "support/catch.hpp"
#include "support/free_port.hpp"
#include "support/json_lines.hpp"
#include "support/program.hpp"
#include "support/scratch_folder.hpp"

namespace kedge::testing {

namespace fs = std::filesystem;

inline fs::path const tiny = fs::path(KEDGE_TESTS_DIR) / "golden/tiny";

// Starts kedge in so many processes, as torchrun does, then runs `meanwhile`, a script that knows them as $p0, $p1, …, and what they say
// as the files ${said}0, ${said}1, …; exit codes and texts by rank.
inline std::vector<outcome> together(int processes, std::string const& arguments, std::string const& meanwhile = ":") {
  scratch_folder const folder;
  std::string script = "export WORLD_SIZE=" + std::to_string(processes) + " LOCAL_WORLD_SIZE=" + std::to_string(processes) +
                       " MASTER_ADDR=127.0.0.1 MASTER_PORT=" + std::to_string(free_port()) + "\nsaid=" + quoted(folder / "said") + "\n";
  for (int r = 0; r < processes; ++r) {
    std::string const rank = std::to_string(r);
    script += "RANK=" + rank + " LOCAL_RANK=" + rank + " " + quoted(KEDGE_PROGRAM) + " " + arguments + " > " + quoted(folder / ("said" + rank)) +
              " 2>&1 & p" + rank + "=$!\n";
  }
  script += meanwhile + "\n";
  for (int r = 0; r < processes; ++r) {
    std::string const rank = std::to_string(r);
    script += "wait $p" + rank + "; echo $? > " + quoted(folder / ("code" + rank)) + "\n";
  }
  write_file(folder / "script", script);
  shell("sh " + quoted(folder / "script"));
  std::vector<outcome> all;
  for (int r = 0; r < processes; ++r)
    all.push_back({std::stoi(read_file(folder / ("code" + std::to_string(r)))), read_file(folder / ("said" + std::to_string(r)))});
  return all;
}

// What is run in several ways, and compared.
struct kind_of_run {
  char const* name;
  std::string what;
  int batch;
  std::string more;
};

// A run of 16 / batch steps an epoch; `batch`: examples of a step over all processes.
inline std::string run(std::string const& what, fs::path const& output, int processes, int batch, std::string const& more) {
  return what + " --dataset " + quoted(tiny / "pairs.jsonl") + " --output_dir " + quoted(output) +
         " --learning_rate 1e-3 --lr_scheduler_type constant --logging_steps 1 --threads 1 --quiet --per_device_train_batch_size " +
         std::to_string(batch / processes) + " " + more;
}
inline std::string on_tiny(std::string const& command, std::string const& model = "tied") { return command + " --model_name_or_path " + quoted(tiny / model); }

inline void finish(int processes, std::string const& arguments) {
  if (processes == 1) {
    outcome const result = shell(quoted(KEDGE_PROGRAM) + " " + arguments);
    INFO(result.text);
    REQUIRE(result.code == 0);
    return;
  }
  for (outcome const& result : together(processes, arguments)) {
    INFO(result.text);
    REQUIRE(result.code == 0);
  }
}

inline std::vector<double> weights_of(fs::path const& run, int step) {
  std::vector<double> all;
  kedge::llm::safetensors_file const file(run / "checkpoints" / ("step-" + std::to_string(step)) / "theta.safetensors");
  for (auto const& tensor : file.tensors()) {
    bool const wide = tensor.type == kedge::llm::dtype::f64;
    std::vector<double> doubles(wide ? tensor.bytes.size() / sizeof(double) : 0);
    std::vector<float> floats(wide ? 0 : tensor.bytes.size() / sizeof(float));
    std::memcpy(wide ? static_cast<void*>(doubles.data()) : floats.data(), tensor.bytes.data(), tensor.bytes.size());
    all.insert(all.end(), doubles.begin(), doubles.end());
    all.insert(all.end(), floats.begin(), floats.end());
  }
  return all;
}

// Every number of every line of two runs' metrics.
inline void check_same_metrics(fs::path const& a, fs::path const& b, double tolerance) {
  std::vector<nlohmann::ordered_json> const one = lines(a / "metrics.jsonl"), other = lines(b / "metrics.jsonl");
  REQUIRE(one.size() == other.size());
  for (std::size_t i = 0; i < one.size(); ++i)
    for (auto const& [name, value] : one[i].items()) {
      INFO(name << " in line " << i + 1);
      REQUIRE(other[i].contains(name));
      CHECK(std::abs(value.get<double>() - other[i][name].get<double>()) < tolerance);
    }
}

// A script: `then`, once a run has three more lines in its metrics than now.
inline std::string once_it_trains(fs::path const& output, std::string const& then) {
  fs::path const metrics = output / "metrics.jsonl";
  std::size_t const now = fs::exists(metrics) ? lines(metrics).size() : 0;
  return "for i in $(seq 1200); do [ $(cat " + quoted(metrics) + " 2>/dev/null | wc -l) -ge " + std::to_string(now + 3) + " ] && break; sleep 0.05; done; " + then;
}

}  // namespace kedge::testing
