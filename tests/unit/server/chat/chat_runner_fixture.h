// A ChatRunner on a real engine with a fake executor, one thread for pictures and one for texts.
#ifndef LLAVA_TESTS_UNIT_SERVER_CHAT_CHAT_RUNNER_FIXTURE_H_
#define LLAVA_TESTS_UNIT_SERVER_CHAT_CHAT_RUNNER_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/field_error.h"
#include "base/file.h"
#include "base/mutex.h"
#include "server/chat/chat_runner.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/fake_executor.h"

namespace llava::api {

inline const Digest kVersion = Sha256Of("v1");

// A value that another thread sets once.
template <typename T>
class Promise {
 public:
  void Set(T value) {
    MutexLock lock(&mutex_);
    value_.emplace(std::move(value));
    set_.NotifyAll();
  }
  T Wait() {
    MutexLock lock(&mutex_);
    while (!value_) set_.Wait(&mutex_);
    return *std::move(value_);
  }
  // The same for several.
  void Peek() {
    MutexLock lock(&mutex_);
    while (!value_) set_.Wait(&mutex_);
  }

 private:
  Mutex mutex_;
  CondVar set_;
  std::optional<T> value_ ABSL_GUARDED_BY(mutex_);
};

// One model; or none while `swapping`.
class Directory final : public registry::ModelDirectory {
 public:
  absl::StatusOr<std::shared_ptr<const registry::ServedModel>> Find(absl::string_view name,
                                                                    absl::string_view) override {
    MutexLock lock(&mutex_);
    if (swapping_) return absl::UnavailableError("a swap is under way");
    if (!name.empty() && name != "llava") return absl::NotFoundError("there is only llava");
    return model;
  }
  std::vector<std::shared_ptr<const registry::ServedModel>> List() override { return {model}; }
  bool AfterSwap(std::function<void()> then) override {
    MutexLock lock(&mutex_);
    if (!swapping_) return false;
    then_.push_back(std::move(then));
    return true;
  }
  bool IsJudging() override { return false; }
  void Observe(const Digest&, const registry::Observation&) override {}

  void BeginSwap() {
    MutexLock lock(&mutex_);
    swapping_ = true;
  }
  void EndSwap() {
    std::vector<std::function<void()>> then;
    {
      MutexLock lock(&mutex_);
      swapping_ = false;
      then.swap(then_);
    }
    for (const auto& call : then) call();
  }

  std::shared_ptr<const registry::ServedModel> model;

 private:
  Mutex mutex_;
  bool swapping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::function<void()>> then_ ABSL_GUARDED_BY(mutex_);
};

class ChatRunnerFixture : public ::testing::Test {
 protected:
  ChatRunnerFixture()
      : metrics_(&registry_),
        log_(observe::Log::ToNowhere(&clock_)),
        admission_({.total = kBounds, .per_tenant = kBounds}, &clock_),
        pool_(1, 2),
        runner_({.limits = {.max_text_bytes = 4000}}, &directory_, &admission_, &pool_, &metrics_,
                log_.get(), &clock_) {
    engine::EngineOptions options;
    options.scheduler.num_blocks = 64;
    options.scheduler.max_running = 4;
    options.scheduler.max_context_tokens = 256;
    engine_ = std::make_unique<engine::Engine>(
        options, std::make_unique<testing::FakeExecutor>(options.scheduler.num_blocks), &clock_,
        nullptr);
    engine_->Start();
    Promise<absl::Status> added;
    engine_->AddVersion(std::make_shared<testing::FakeModel>(kVersion),
                        [&added](absl::Status status) { added.Set(std::move(status)); });
    EXPECT_TRUE(added.Wait().ok());
    auto served = std::make_shared<registry::ServedModel>();
    served->name = "llava";
    served->version = kVersion.Hex();
    served->digest = kVersion;
    served->processor = *registry::Processor::Load(model::GoldenCheckpointDir(), "");
    served->engines = {engine_.get()};
    directory_.model = std::move(served);
  }
  ~ChatRunnerFixture() override {
    pool_.Stop();
    engine_->Stop();
    EXPECT_TRUE(runner_.WaitUntilEmpty(TimePoint::max()));
    EXPECT_EQ(admission_.held().requests, 0);
  }

  // As gRPC's codec makes it.
  ChatCall Hello() {
    ChatCall call;
    call.protocol = "grpc";
    call.field_prefix = "request.";
    call.sampling_field = "sampling.";
    call.arrival = clock_.Now();
    call.sampling.max_tokens = 5;
    call.sampling.ignore_eos = true;
    call.messages = {{model::Role::kUser, {std::string("Hello")}}};
    return call;
  }

  absl::StatusOr<Answer> Ask(ChatCall call) {
    Promise<absl::StatusOr<Answer>> answer;
    runner_.Start(std::move(call),
                  [&answer](absl::StatusOr<Answer> got) { answer.Set(std::move(got)); });
    return answer.Wait();
  }

  void ExpectRefused(ChatCall call, const std::string& field) {
    const auto answer = Ask(std::move(call));
    EXPECT_TRUE(absl::IsInvalidArgument(answer.status())) << field;
    EXPECT_EQ(FieldOf(answer.status()), field);
    EXPECT_THAT(std::string(answer.status().message()), ::testing::StartsWith(field + ": "));
  }

  static engine::End ReadAll(Answer& answer) {
    for (;;) {
      Promise<bool> ready;
      auto event = answer.TryPop([&ready] { ready.Set(true); });
      if (!event) {
        ready.Wait();
        continue;
      }
      if (auto* end = std::get_if<engine::End>(&*event)) return *std::move(end);
    }
  }

  // Keeps prepare threads busy until the end of its life: both, or the one that does pictures.
  class Busy {
   public:
    explicit Busy(PreparePool& pool) : Busy() {
      for (Promise<bool>* done : {&done_, &other_done_}) {
        Promise<bool> begun;
        EXPECT_TRUE(pool.TrySubmit("mallory", [this, done, &begun] { Block(&begun, done); }));
        begun.Wait();
      }
    }
    static std::unique_ptr<Busy> WithAPicture(PreparePool& pool) {
      std::unique_ptr<Busy> busy(new Busy());
      Promise<bool> begun;
      EXPECT_TRUE(pool.TrySubmit("mallory", [&] {
        pool.SubmitPicture("mallory", [&] { busy->Block(&begun, &busy->done_); });
      }));
      begun.Wait();
      busy->other_done_.Set(true);
      return busy;
    }
    ~Busy() {
      go_on_.Set(true);
      done_.Wait();
      other_done_.Wait();
    }

   private:
    Busy() = default;
    void Block(Promise<bool>* begun, Promise<bool>* done) {
      begun->Set(true);
      go_on_.Peek();
      done->Set(true);
    }

    Promise<bool> go_on_, done_, other_done_;
  };

  // A picture and a question about it.
  ChatCall AboutAPicture() {
    ChatCall call = Hello();
    call.messages[0].parts.emplace_back(model::ImagePart{.index = 0});
    call.images.push_back({.bytes = picture_, .field = "request.messages[0].parts[1].image"});
    return call;
  }

  // How many pictures were decoded.
  std::uint64_t Decoded() { return metrics_.decode_image_seconds.Collect().histogram.sample_count; }

  static constexpr scheduling::AdmissionBounds kBounds{2, 1000, 50'000, 1'000'000};

  const std::string picture_ = ReadFile("tests/golden/data/images/rgba.png", 1 << 20).value();
  RealClock clock_;
  prometheus::Registry registry_;
  observe::Metrics metrics_;
  const std::unique_ptr<observe::Log> log_;
  Directory directory_;
  engine::AdmissionGate admission_;
  PreparePool pool_;
  std::unique_ptr<engine::Engine> engine_;
  ChatRunner runner_;
};

}  // namespace llava::api

#endif  // LLAVA_TESTS_UNIT_SERVER_CHAT_CHAT_RUNNER_FIXTURE_H_
