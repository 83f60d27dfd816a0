// What carries out steps on one device: LibTorch in the daemon (torch_executor), a small fake in
// the tests and the simulation. The engine owns it and calls it from the engine thread alone.
#ifndef LLAVA_SERVER_ENGINE_EXECUTOR_H_
#define LLAVA_SERVER_ENGINE_EXECUTOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/digest.h"
#include "server/scheduling/plan.h"
#include "server/scheduling/request.h"

namespace llava::engine {

// A model version that some loader has put into memory. Executors know the concrete type of their
// loader. Immutable and shared: by the registry, and by each engine that runs it.
class LoadedModel {
 public:
  virtual ~LoadedModel() = default;
  virtual const Digest& version() const = 0;
};

// Steps, and pictures through the encoder, that an executor has recorded on its device by their
// sizes, to do them again with one launch.
struct GraphCounts {
  std::int64_t held = 0;   // now
  std::int64_t bytes = 0;  // of the device's memory, that these take
  // Since the start.
  std::uint64_t captures = 0;
  std::uint64_t replays = 0;
  std::uint64_t failures = 0;  // sizes that the device could not record
};

// What a step has given.
struct Collected {
  scheduling::StepResult result;  // empty without a Launch
  // How long the device took to encode; none: as long as EncodeImages did, for it came back when
  // the device was ready.
  std::optional<Duration> encode;
};

// Engine thread only; no call may block on anything but the device. A step is EncodeImages if it
// has pictures, Launch if it has chunks, and Collect if these went well; no other call comes
// between them.
//
// Errors of the step calls: RESOURCE_EXHAUSTED for device memory (the step is cut smaller and
// tried again), INTERNAL for everything else (the requests of the step fail). After an error the
// content of the step's own blocks and features is undefined, and that of all others untouched.
class Executor {
 public:
  virtual ~Executor() = default;

  // The version may be used by the steps that follow. FAILED_PRECONDITION when its KV layout is not
  // that of the blocks (layers, heads, head size), RESOURCE_EXHAUSTED, or INTERNAL.
  virtual absl::Status AddVersion(std::shared_ptr<const LoadedModel> model) = 0;

  // No step will name it again. Frees what belongs to it; its features were dropped before.
  virtual void RemoveVersion(const Digest& version) = 0;

  // Forgets encoded and half-encoded images; unknown ids are skipped.
  virtual void DropFeatures(std::span<const scheduling::FeatureId> features) = 0;

  // plan.encodes: the slices of one picture in their order; those that are whole tiles may be one
  // batch. Keeps what is half encoded until its last slice or until it is dropped.
  virtual absl::Status EncodeImages(const scheduling::StepPlan& plan) = 0;

  // plan.copies, then the flattened batch, then plan.samples. `plan` stays as it is until Collect.
  virtual absl::Status Launch(const scheduling::StepPlan& plan) = 0;

  // Returns when the device has done all of the step, with the step's error if it has failed since.
  virtual absl::StatusOr<Collected> Collect() = 0;

  // Whether the device computes after Launch has come back, so that the engine's thread has time
  // for something else before Collect.
  virtual bool runs_behind() const { return false; }

  virtual GraphCounts graphs() const { return {}; }

  // Who is told, once for each cause, what an operator should know of steps that go well all the
  // same; nobody before this is called. Before the first step.
  void set_warn(std::function<void(const std::string&)> warn) { warn_ = std::move(warn); }

 protected:
  void Warn(const std::string& text) const {
    if (warn_) warn_(text);
  }

 private:
  std::function<void(const std::string&)> warn_;
};

}  // namespace llava::engine

#endif  // LLAVA_SERVER_ENGINE_EXECUTOR_H_
