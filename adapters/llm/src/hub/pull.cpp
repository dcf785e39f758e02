// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <exception>
#include <fstream>
#include <mutex>
#include <sstream>
#include <thread>

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>
#include <kedge/llm/hub/hub.hpp>

#include "cache.hpp"
#include "dataset_files.hpp"
#include "digest.hpp"
#include "fetch_file.hpp"
#include "layout.hpp"
#include "model_files.hpp"

namespace kedge::llm {
namespace {

namespace fs = std::filesystem;
using clock = std::chrono::steady_clock;

std::string size_text(double bytes) {
  std::array<char, 32> text{};
  char const* const unit = bytes >= 1e9 ? "GB" : bytes >= 1e6 ? "MB" : "kB";
  std::snprintf(text.data(), text.size(), "%.*f %s", bytes >= 1e6 ? 1 : 0,
                bytes / (bytes >= 1e9   ? 1e9
                         : bytes >= 1e6 ? 1e6
                                        : 1e3),
                unit);
  return text.data();
}

/// One pull: a commit's files, several at once, and the revision when all are there.
class pull {
 public:
  pull(hub_name name, hub_settings const& settings) : name_(std::move(name)), settings_(settings) {
    if (settings.offline) throw error(in_quotes(name_.text()) + ": nothing is fetched, because HF_HUB_OFFLINE says so");
    require_digests();
    client_.emplace(settings_);
    listing_ = list_repository(*client_, name_, settings_);
    repository_ = repository_in(settings_.cache, name_);
    snapshot_ = repository_ / snapshots_folder / listing_.commit;
  }

  [[nodiscard]] std::vector<std::string> const& listing() const { return listing_.files; }
  [[nodiscard]] fs::path const& snapshot() const { return snapshot_; }

  /// Fetches files that aren't there. The first error stops the others.
  void fetch(std::vector<std::string> const& files) {
    std::atomic<std::size_t> next{0};
    std::atomic<bool> over{false};
    hub_settings own = settings_;
    own.stop = [&] { return over.load() || (settings_.stop && settings_.stop()); };
    auto const work = [&] {
      try {
        http_client client(own);
        for (std::size_t i; !over && (i = next++) < files.size(); ++done_)
          fetch_file(client, name_, listing_.commit, files[i], repository_, own, progress_);
      } catch (...) {
        std::lock_guard const lock(guard_);
        if (!over.exchange(true)) problem_ = std::current_exception();
      }
    };
    files_ += files.size();
    std::size_t const count = std::clamp<std::size_t>(files.size(), 1, std::max<std::size_t>(1, settings_.parallel));
    std::atomic<std::size_t> running{count};
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < count; ++i)
      threads.emplace_back([&] {
        work();
        --running;
      });
    for (; running > 0; std::this_thread::sleep_for(std::chrono::milliseconds(50))) draw();
    threads.clear();
    settings_.tells.wipe();
    if (problem_) std::rethrow_exception(problem_);
    for (std::string const& file : files) result_.files.push_back(snapshot_ / file);
  }

  /// The revision is what it is today: all of it is there.
  [[nodiscard]] pulled finish() {
    if (!name_.is_commit()) {
      fs::path const ref = repository_ / refs_folder / name_.revision;
      fs::create_directories(ref.parent_path());
      write_file_atomically(ref, listing_.commit);
    }
    result_.folder = name_.path.empty() ? snapshot_ : snapshot_ / name_.path;
    result_.commit = listing_.commit;
    result_.fetched = progress_.fetched;
    result_.bytes = progress_.came;
    if (progress_.unchecked)
      result_.notes.emplace_back(
          "the server names no hash that kedge knows for some files: they were checked by their sizes alone");
    return std::move(result_);
  }

 private:
  void draw() {
    if (!settings_.tells.draws()) return;
    double const seconds = std::chrono::duration<double>(clock::now() - begin_).count();
    auto const came = static_cast<double>(progress_.came), there = static_cast<double>(progress_.there);
    auto const all = static_cast<double>(progress_.expected);
    double const rate = seconds > 0 ? came / seconds : 0;
    constexpr std::size_t width = 24;
    auto const filled = static_cast<std::size_t>(all > 0 ? std::min(1.0, there / all) * width : 0);
    std::string text = name_.repository + " [" + std::string(filled, '=') + std::string(width - filled, ' ') + "] " +
                       std::to_string(done_) + "/" + std::to_string(files_) + " files, " + size_text(there) + " of " +
                       size_text(all) + ", " + size_text(rate) + "/s";
    if (rate > 0 && all > there) text += ", " + std::to_string(static_cast<long>((all - there) / rate)) + " s left";
    settings_.tells.draw(text);
  }

  hub_name name_;
  hub_settings const& settings_;
  std::optional<http_client> client_;
  repository_listing listing_;
  fs::path repository_, snapshot_;
  fetch_progress progress_;
  pulled result_;
  std::mutex guard_;
  std::exception_ptr problem_;
  std::size_t files_ = 0;
  std::atomic<std::size_t> done_{0};
  clock::time_point begin_ = clock::now();
};

std::string text_of(fs::path const& file) {
  std::ostringstream text;
  text << std::ifstream(file, std::ios::binary).rdbuf();
  return text.str();
}

std::string folder_of(std::string const& file) {
  return file.substr(0, file.rfind('/') == std::string::npos ? 0 : file.rfind('/') + 1);
}

void tell_fetching(hub_name const& name, hub_settings const& settings) {
  settings.tells.say(name.text() + " is no path here and not in the cache; it is fetched from " + settings.endpoint + " into " +
                     repository_in(settings.cache, name).string());
}

[[noreturn]] void refuse_offline(hub_name const& name, hub_settings const& settings, std::string const& what) {
  throw error(in_quotes(name.text()) + " is no path here, and " + what + " " +
              in_quotes(repository_in(settings.cache, name).string()) +
              "; nothing is fetched, because HF_HUB_OFFLINE says so: kedge pull " + name.text() + (name.kind == hub_kind::dataset ? " --repo_type dataset" : "") +
              " fetches it where there is a network");
}

// The model of a name in a snapshot: a folder, or a GGUF file. Empty: something is missing, which `missing` says.
fs::path model_in(fs::path const& snapshot, hub_name const& name, std::string& missing) {
  fs::path const place = name.path.empty() ? snapshot : snapshot / name.path;
  std::error_code absent;
  if (place.extension() == ".gguf") {
    if (fs::is_regular_file(place, absent) && has_all_parts(place)) return place;
    missing = name.path;
    return {};
  }
  missing = missing_weights(place);
  if (missing.empty()) return place;
  fs::path const gguf = only_gguf_in(place);
  return !gguf.empty() && has_all_parts(gguf) ? gguf : fs::path();
}

}  // namespace

pulled pull_model(hub_name const& name, hub_settings const& settings) {
  pull fetching(name, settings);
  model_files const chosen = choose_model_files(fetching.listing(), name.path, name.repository);
  std::vector<std::string> first = chosen.first;
  fetching.fetch(first);
  if (!chosen.index.empty()) fetching.fetch(weights_of_index(fetching.snapshot() / chosen.index, folder_of(chosen.index)));
  pulled result = fetching.finish();
  std::string missing;
  if (fs::path const model = model_in(fetching.snapshot(), name, missing); !model.empty()) result.folder = model;
  return result;
}

pulled pull_dataset(hub_name const& name, dataset_part const& part, hub_settings const& settings) {
  pull fetching(name, settings);
  std::string readme;
  if (auto const& all = fetching.listing(); std::find(all.begin(), all.end(), "README.md") != all.end()) {
    fetching.fetch({"README.md"});
    readme = text_of(fetching.snapshot() / "README.md");
  }
  std::vector<std::string> const chosen = choose_dataset_files(fetching.listing(), readme, part, name.repository);
  fetching.fetch(chosen);
  pulled result = fetching.finish();
  result.files.erase(result.files.begin(), result.files.end() - static_cast<std::ptrdiff_t>(chosen.size()));
  return result;
}

fs::path find_hub_model(hub_name const& name, hub_settings const& settings) {
  std::string missing;
  auto const snapshot = cached_snapshot(name, settings.cache);
  if (snapshot)
    if (fs::path model = model_in(*snapshot, name, missing); !model.empty()) return model;
  if (settings.offline)
    refuse_offline(name, settings,
                   snapshot ? in_quotes(missing) + " of it is missing in" : "there is no such revision of it in");
  tell_fetching(name, settings);
  pulled const result = pull_model(name, settings);
  for (std::string const& note : result.notes) settings.tells.say(name.text() + ": " + note);
  return result.folder;
}

std::vector<fs::path> find_hub_dataset(hub_name const& name, dataset_part const& part, hub_settings const& settings) {
  auto const snapshot = cached_snapshot(name, settings.cache);
  if (snapshot && (settings.offline || fs::exists(*snapshot / "README.md"))) try {
      std::vector<std::string> const chosen =
          choose_dataset_files(files_under(*snapshot), text_of(*snapshot / "README.md"), part, name.repository);
      if (all_shards(chosen)) {
        std::vector<fs::path> files;
        for (std::string const& file : chosen) files.push_back(*snapshot / file);
        return files;
      }
      } catch (error const& e) {
      // Else the hub knows more of it than the cache.
      if (settings.offline) throw error(e.what() + std::string("; only the cache was looked at, because HF_HUB_OFFLINE says so"));
    }
  if (settings.offline)
    refuse_offline(name, settings, snapshot ? "not all files of its split " + part.split + " are in" : "there is no such revision of it in");
  tell_fetching(name, settings);
  pulled const result = pull_dataset(name, part, settings);
  for (std::string const& note : result.notes) settings.tells.say(name.text() + ": " + note);
  return result.files;
}

}  // namespace kedge::llm
