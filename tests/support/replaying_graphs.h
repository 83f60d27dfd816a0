// Graphs without a GPU: a work is kept and done again.
#ifndef LLAVA_TESTS_SUPPORT_REPLAYING_GRAPHS_H_
#define LLAVA_TESTS_SUPPORT_REPLAYING_GRAPHS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "server/torch/step_graph.h"

namespace llava::engine {

// What a test sees of its graphs, and tells them.
struct GraphLog {
  int there = 0;  // graphs that are not destroyed
  int captures = 0, replays = 0;
  absl::Status next_capture;  // once: an error is its result
  std::int64_t bytes = 100;   // of each graph
  std::function<void()> before_replay = [] {};
};

class ReplayingGraphs final : public GraphBackend {
 public:
  // `log` outlives the graphs.
  explicit ReplayingGraphs(GraphLog* log) : log_(log) {}

  absl::StatusOr<std::unique_ptr<StepGraph>> Capture(const std::function<void()>& work) override {
    work();
    const absl::Status status = std::exchange(log_->next_capture, absl::OkStatus());
    if (!status.ok()) return status;
    ++log_->captures;
    return std::make_unique<Graph>(log_, work);
  }

 private:
  class Graph final : public StepGraph {
   public:
    Graph(GraphLog* log, std::function<void()> work) : log_(log), work_(std::move(work)) {
      ++log_->there;
    }
    ~Graph() override { --log_->there; }
    void Replay() override {
      log_->before_replay();
      ++log_->replays;
      work_();
    }
    std::int64_t bytes() const override { return bytes_; }

   private:
    GraphLog* const log_;
    const std::function<void()> work_;
    const std::int64_t bytes_ = log_->bytes;
  };

  GraphLog* const log_;
};

}  // namespace llava::engine

#endif  // LLAVA_TESTS_SUPPORT_REPLAYING_GRAPHS_H_
