// SPDX-License-Identifier: Apache-2.0
#include <kedge/llm/soup/soup.hpp>

#include <algorithm>           // any_of, find, max, min
#include <chrono>              // steady_clock
#include <condition_variable>  // condition_variable
#include <cmath>               // lround
#include <cstring>             // memcmp, memcpy
#include <deque>               // deque
#include <functional>          // function
#include <mutex>               // mutex
#include <thread>              // thread
#include <utility>             // exchange

#include <kedge/llm/base/atomic.hpp>
#include <kedge/llm/base/error.hpp>

#include "cook.hpp"
#include "numbers.hpp"
#include "output_folder.hpp"

namespace kedge::llm {
namespace {

/// "\r12/272 tensors  3 s left" on a terminal, nothing in a pipe.
class progress_bar {
 public:
  progress_bar(screen to, std::size_t bytes) : screen_(to), bytes_(bytes) {}
  progress_bar(progress_bar const&) = delete;
  progress_bar& operator=(progress_bar const&) = delete;
  ~progress_bar() { screen_.wipe(); }

  void advance(std::size_t bytes) {
    done_ += bytes;
    if (!screen_.draws() || done_ == 0) return;
    double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    double const share = static_cast<double>(done_) / static_cast<double>(bytes_);
    auto const whole = [](double x) { return std::to_string(std::lround(x)); };
    screen_.draw("soup " + whole(100 * share) + " %  " + whole(seconds / share * (1 - share)) + " s left");
  }

 private:
  screen screen_;
  std::size_t bytes_, done_ = 0;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// FNV-1a: the same on every machine, so that a seed means the same everywhere.
std::uint64_t hash_of(std::string const& text) {
  std::uint64_t out = 0xcbf2'9ce4'8422'2325U;
  for (char const c : text) out = (out ^ static_cast<unsigned char>(c)) * 0x0000'0100'0000'01b3U;
  return out;
}

/// A thread for calls that only hint at the disk but may wait for it, one after the other. What has not begun at the end of
/// its life is left out.
class background {
 public:
  background() : thread_([this] { loop(); }) {}
  background(background const&) = delete;
  background& operator=(background const&) = delete;
  ~background() {
    {
      std::lock_guard const lock(mutex_);
      ending_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

  void post(std::function<void()> call) {
    {
      std::lock_guard const lock(mutex_);
      calls_.push_back(std::move(call));
    }
    wake_.notify_one();
  }

 private:
  void loop() {
    for (;;) {
      std::function<void()> call;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return ending_ || !calls_.empty(); });
        if (ending_) return;
        call = std::move(calls_.front());
        calls_.pop_front();
      }
      call();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> calls_;
  bool ending_ = false;
  std::thread thread_;
};

class cook {
 public:
  cook(soup_recipe const& recipe, soup_plan const& plan, soup_settings const& settings, thread_pool& workers, model_writer& writer)
      : recipe_(recipe), plan_(plan), settings_(settings), workers_(workers), writer_(writer) {}

  void run() {
    progress_bar bar(settings_.quiet ? screen() : settings_.tells, plan_.size(settings_.max_shard_bytes).bytes_out);
    auto const& order = writer_.order();
    if (order.empty()) return;
    background reader, flusher;  // the disk reads ahead and writes behind while a tensor is merged
    constexpr std::size_t worth_a_call = std::size_t{1} << 24U;  // bytes; threads that wake for less cost more than they give
    std::vector<std::size_t> written;
    std::size_t written_bytes = 0;
    for (std::size_t k = 0; k < order.size(); ++k) {
      if (k + 1 < order.size() && plan_.tensors[order[k + 1]].bytes_in >= worth_a_call)
        reader.post([this, next = order[k + 1]] {
          for (auto const& input : job_of(next).inputs) input.prefetch();
        });
      planned_tensor const& tensor = plan_.tensors[order[k]];
      if (tensor.copied) {
        copy(order[k], tensor);
      } else {
        tensor_job job = job_of(order[k]);
        merge(order[k], tensor, job);
      }
      written.push_back(order[k]);
      written_bytes += tensor.output.bytes();
      if (written_bytes >= worth_a_call || k + 1 == order.size()) {
        flusher.post([this, done = std::exchange(written, {})] {
          for (std::size_t const index : done) writer_.finish(index);
        });
        written_bytes = 0;
      }
      bar.advance(tensor.output.bytes());
    }
  }

 private:
  tensor_job job_of(std::size_t index) const {
    planned_tensor const& tensor = plan_.tensors[index];
    tensor_job job;
    job.name = tensor.output.name;
    job.shape = tensor.output.shape;
    job.elements = tensor.output.bytes() / size_of(tensor.output.type);
    job.method = recipe_.method;
    job.base = tensor.base;
    job.values = tensor.values;
    job.seed = settings_.seed * 0x9e37'79b9'7f4a'7c15U + hash_of(tensor.output.name);
    if (!tensor.copied) job.inputs = tensor.open_inputs(recipe_.input_dtype);
    return job;
  }

  void check_stop() const {
    if (settings_.stop && settings_.stop()) throw soup_interrupted{};
  }

  void merge(std::size_t index, planned_tensor const& tensor, tensor_job& job) {
    check_stop();
    dtype const type = tensor.output.type;
    bool const twice = recipe_.round_to_input_dtype && tensor.computed != dtype::f32 && tensor.computed != dtype::f64 && tensor.computed != type;
    merge_tensor(job, workers_, [&](std::size_t begin, std::span<float> values) {
      check_stop();
      std::vector<std::byte> bytes(values.size() * size_of(type));
      if (twice) {
        round(tensor, tensor.computed, values, bytes);
        widen(tensor.computed, std::span{bytes}.first(values.size() * size_of(tensor.computed)), values);
      }
      round(tensor, type, values, bytes);
      writer_.write(index, begin * size_of(type), bytes);
    });
  }

  /// Rounds into the front of `bytes`, which is made large enough.
  static void round(planned_tensor const& tensor, dtype type, std::span<float> values, std::vector<std::byte>& bytes) {
    std::size_t const size = values.size() * size_of(type);
    bytes.resize(std::max(bytes.size(), size));
    narrow(values, type, std::span{bytes}.first(size));
    if (all_finite(values) && fits(type, std::span{bytes}.first(size))) return;
    throw error("tensor " + in_quotes(tensor.output.name) + " of the soup has numbers too large for " + std::string{torch_name_of(type)} +
                "; choose a wider format, or smaller weights");
  }

  /// False if rounding has made an infinity.
  static bool fits(dtype type, std::span<std::byte const> bytes) {
    if (type == dtype::f32 || type == dtype::f64) return true;
    std::uint16_t const exponent = type == dtype::bf16 ? 0x7f80U : 0x7c00U;
    std::uint16_t bad = 0;
    for (std::size_t i = 0; i < bytes.size() / 2; ++i) {
      std::uint16_t bits = 0;
      std::memcpy(&bits, bytes.data() + 2 * i, sizeof bits);
      bad = static_cast<std::uint16_t>(bad | ((bits & exponent) == exponent ? 1U : 0U));
    }
    return bad == 0;
  }

  void copy(std::size_t index, planned_tensor const& tensor) {
    std::span<std::byte const> first;
    for (auto const& [opened, name] : tensor.inputs) {
      checkpoint const* const model = &opened->weights;
      auto const bytes = model->view(name, tensor.output.type);
      if (!bytes) throw error(in_quotes(model->path().string()) + ": tensor " + in_quotes(name) + " cannot be copied: it is not aligned");
      if (first.data() == nullptr) first = *bytes;
      if (std::memcmp(first.data(), bytes->data(), first.size()) != 0)
        throw error("tensor " + in_quotes(name) + " holds " + std::string{torch_name_of(tensor.output.type)} + " that differ between " +
                    in_quotes(tensor.inputs.front().first->weights.path().string()) + " and " + in_quotes(model->path().string()) +
                    "; only floating numbers are merged");
    }
    writer_.write(index, 0, first);
  }

  soup_recipe const& recipe_;
  soup_plan const& plan_;
  soup_settings const& settings_;
  thread_pool& workers_;
  model_writer& writer_;
};

/// What the recipe, the models and the plan have to tell, each once.
void print_notes(soup_recipe const& recipe, soup_models const& models, soup_plan const& plan, soup_settings const& settings) {
  if (settings.quiet) return;
  std::vector<std::string> all = recipe.notes;
  all.insert(all.end(), models.notes().begin(), models.notes().end());
  all.insert(all.end(), plan.notes.begin(), plan.notes.end());
  if (std::any_of(plan.tensors.begin(), plan.tensors.end(), [](auto const& tensor) { return tensor.output.type == dtype::f64 || tensor.computed == dtype::f64; }))
    all.emplace_back("float64: numbers are read and mixed as float32, norms and angles in float64, and the result is written in its format");
  for (std::size_t i = 0; i < all.size(); ++i)
    if (std::find(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(i), all[i]) == all.begin() + static_cast<std::ptrdiff_t>(i)) settings.tells.say("note: " + all[i]);
}

}  // namespace

soup_size cook_into(pending_directory& folder, soup_recipe const& recipe, soup_models const& models, soup_settings const& settings) {
  soup_plan const plan = kedge::llm::plan(recipe, models);
  std::vector<tensor_plan> outputs;
  for (auto const& tensor : plan.tensors) outputs.push_back(tensor.output);
  model_writer writer(folder.path(), outputs, settings.max_shard_bytes, provenance(recipe));
  thread_pool workers(settings.threads);
  cook(recipe, plan, settings, workers, writer).run();
  write_companions(folder.path(), recipe, models, plan);
  writer.commit();
  soup_size size = plan.size(settings.max_shard_bytes);
  size.shards = writer.shards();
  return size;
}

soup_size plan_soup(soup_recipe const& recipe, soup_settings const& settings) {
  soup_models const models(recipe, settings);
  soup_plan const all = plan(recipe, models);
  print_notes(recipe, models, all, settings);
  return all.size(settings.max_shard_bytes);
}

soup_size make_soup(soup_recipe const& recipe, soup_settings const& settings) {
  if_taken const taken = settings.overwrite_output_dir ? if_taken::replace : if_taken::refuse;
  check_output_folder(settings.output_dir, taken);
  soup_models const models(recipe, settings);
  print_notes(recipe, models, plan(recipe, models), settings);
  pending_directory folder(settings.output_dir, taken);
  soup_size const size = cook_into(folder, recipe, models, settings);
  folder.commit();
  return size;
}

}  // namespace kedge::llm
