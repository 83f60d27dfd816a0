#include "training/optim/state_store.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/mutex.h"
#include "tests/support/rank_threads.h"
#include "tests/support/temp_dir.h"

namespace llava::training {
namespace {

namespace fs = std::filesystem;

class StateStoreTest : public ::testing::Test {
 protected:
  static Progress At(std::int64_t step) {
    Progress progress;
    progress.stage = 1;
    progress.step = step;
    progress.total_steps = 100 + step;
    progress.optimizer_steps = step;
    progress.recipe_digest = "abc";
    progress.random = {1, 2, 3, ~std::uint64_t{0}};
    return progress;
  }

  std::size_t Entries() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  const test::TempDir temporary_;
  const std::string folder_ = temporary_.path() + "/state";
  Ranks alone_;
};

TEST_F(StateStoreTest, AFreshFolderHasNoState) {
  const auto saved = StateStore(folder_, 2, alone_).LoadNewest();
  ASSERT_TRUE(saved.ok());
  EXPECT_FALSE(saved->has_value());
}

TEST_F(StateStoreTest, KeepsTheNewestAndRoundTrips) {
  StateStore store(folder_, 2, alone_);
  for (std::int64_t step : {1, 2, 30, 4}) {
    const at::Tensor ids = at::arange(5, at::kLong) * step;
    const at::Tensor half = at::full({2, 3}, static_cast<double>(step), at::kBFloat16);
    ASSERT_TRUE(
        store.Save(At(step), {{"ids", ids}, {"half", half}, {"none", at::full({0}, 1.0)}}).ok());
  }
  EXPECT_EQ(Entries(), 2u);
  const auto saved = store.LoadNewest();
  ASSERT_TRUE(saved.ok() && saved->has_value()) << saved.status();
  EXPECT_EQ((*saved)->progress.step, 30);
  EXPECT_EQ((*saved)->progress.total_steps, 130);
  EXPECT_EQ((*saved)->progress.random, At(30).random);
  EXPECT_EQ((*saved)->progress.recipe_digest, "abc");
  for (const model::NamedTensor& tensor : (*saved)->tensors) {
    if (tensor.name == "ids") {
      EXPECT_TRUE(at::equal(tensor.tensor, at::arange(5, at::kLong) * 30));
    }
    if (tensor.name == "half") {
      EXPECT_TRUE(at::equal(tensor.tensor, at::full({2, 3}, 30.0, at::kBFloat16)));
    }
  }
}

TEST_F(StateStoreTest, AWriteThatWasCutShortIsNoState) {
  StateStore store(folder_, 2, alone_);
  ASSERT_TRUE(store.Save(At(1), {{"x", at::full({4}, 1.0)}}).ok());
  fs::create_directories(folder_ + "/unfinished-step-000000000105-001");
  std::ofstream(folder_ + "/unfinished-step-000000000105-001/tensors.safetensors") << "half";
  EXPECT_EQ((*store.LoadNewest())->progress.step, 1);
  ASSERT_TRUE(store.Save(At(5), {{"x", at::full({4}, 5.0)}}).ok());
  EXPECT_EQ((*store.LoadNewest())->progress.step, 5);
  EXPECT_EQ(Entries(), 2u);  // the leftovers are gone
}

TEST_F(StateStoreTest, TheOneBeforeADamagedStateIsTaken) {
  std::string said;
  StateStore store(folder_, 2, alone_, [&said](const std::string& line) { said += line + "\n"; });
  for (std::int64_t step : {1, 2}) {
    ASSERT_TRUE(
        store.Save(At(step), {{"x", at::full({400}, 1.0 * static_cast<double>(step))}}).ok());
  }
  // One bit of the weights, which no header notices.
  const std::string path = folder_ + "/step-000000000102-001/tensors.safetensors";
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-9, std::ios::end);
  file.put(1);
  file.close();
  const auto saved = store.LoadNewest();
  ASSERT_TRUE(saved.ok() && saved->has_value()) << saved.status();
  EXPECT_EQ((*saved)->progress.step, 1);
  EXPECT_NE(said.find("step-000000000102-001 is damaged"), std::string::npos) << said;
  // The step is done again, and its state takes the place of the damaged one.
  ASSERT_TRUE(store.Save(At(2), {{"x", at::full({400}, 2.0)}}).ok());
  EXPECT_EQ((*store.LoadNewest())->progress.step, 2);
  EXPECT_EQ(Entries(), 2u);
}

TEST_F(StateStoreTest, TheStateOfTheBestValidationIsKeptAndRead) {
  StateStore store(folder_, 1, alone_);
  Progress progress = At(1);
  progress.validation = {.last_step = 1,
                         .best_step = 1,
                         .best_total_steps = 101,
                         .best_loss = 0.1 + 0.2,
                         .since_best = 0};
  progress.kept_weights = {"stage align: its last ones"};
  ASSERT_TRUE(store.Save(progress, {{"x", at::full({4}, 1.0)}}).ok());
  for (const std::int64_t step : {2, 3, 4}) {
    Progress later = At(step);
    later.validation = progress.validation;
    ASSERT_TRUE(store.Save(later, {{"x", at::full({4}, 1.0 * static_cast<double>(step))}}).ok());
  }
  EXPECT_EQ(Entries(), 2u);
  EXPECT_EQ((*store.LoadNewest())->progress.step, 4);
  EXPECT_EQ((*store.LoadNewest())->progress.validation, progress.validation);
  const auto best = store.LoadAt(101, 1);
  ASSERT_TRUE(best.ok()) << best.status();
  EXPECT_TRUE(at::equal(best->tensors[0].tensor, at::full({4}, 1.0)));
  EXPECT_EQ(best->progress.kept_weights, progress.kept_weights);
  EXPECT_FALSE(store.LoadAt(102, 1).ok());
  ASSERT_TRUE(store.Save(At(5), {{"x", at::full({4}, 5.0)}}).ok());  // of the next stage: no best
  EXPECT_EQ(Entries(), 1u);
}

TEST_F(StateStoreTest, TheNewestProgressIsReadAlone) {
  EXPECT_FALSE(NewestProgress(folder_).has_value());
  StateStore store(folder_, 2, alone_);
  ASSERT_TRUE(store.Save(At(1), {{"x", at::full({4}, 1.0)}}).ok());
  ASSERT_TRUE(store.Save(At(2), {{"x", at::full({4}, 2.0)}}).ok());
  EXPECT_EQ(NewestProgress(folder_)->step, 2);
  EXPECT_EQ(StagesBegun(*NewestProgress(folder_)), 2);
  std::ofstream(folder_ + "/step-000000000102-001/state.json") << "{";
  EXPECT_EQ(NewestProgress(folder_)->step, 1);
}

// A disk that does nothing until it is told to.
class SlowDisk {
 public:
  StateStore::Before Wait() {
    return [this] {
      MutexLock lock(&mutex_);
      while (!works_) changed_.Wait(&mutex_);
      return absl::OkStatus();
    };
  }

  void Work() {
    MutexLock lock(&mutex_);
    works_ = true;
    changed_.NotifyAll();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool works_ ABSL_GUARDED_BY(mutex_) = false;
};

TEST_F(StateStoreTest, WhatIsBegunIsWhatTheTensorsWereThen) {
  SlowDisk disk;
  StateStore store(folder_, 2, alone_);
  EXPECT_TRUE(store.written());
  ASSERT_TRUE(store.Save(At(1), {{"x", at::full({4}, 1.0)}}).ok());
  const at::Tensor x = at::full({4}, 2.0);
  ASSERT_TRUE(store.Begin(At(2), {{"x", x}}, disk.Wait()).ok());
  EXPECT_FALSE(store.written());
  x.fill_(3.0);  // the next step
  EXPECT_EQ(NewestProgress(folder_)->step, 1) << "killed now, it goes on from the state before";
  ASSERT_TRUE(store.Advance(false).ok());
  disk.Work();
  ASSERT_TRUE(store.Finish().ok());
  EXPECT_TRUE(store.written());
  const auto saved = store.LoadNewest();
  EXPECT_EQ((*saved)->progress.step, 2);
  EXPECT_TRUE(at::equal((*saved)->tensors[0].tensor, at::full({4}, 2.0)));
}

TEST_F(StateStoreTest, OneIsWrittenAtATimeAndTheLastOneIsWaitedFor) {
  SlowDisk disk;
  std::atomic<int> writing = 0;
  const StateStore::Before alone_at_work = [&] {
    EXPECT_EQ(writing.fetch_add(1), 0);
    const absl::Status status = disk.Wait()();
    writing.fetch_sub(1);
    return status;
  };
  {
    StateStore store(folder_, 5, alone_);
    ASSERT_TRUE(store.Begin(At(1), {{"x", at::full({4}, 1.0)}}, alone_at_work).ok());
    ASSERT_TRUE(store.Begin(At(1), {{"x", at::full({4}, 1.0)}}, alone_at_work).ok()) << "the same";
    disk.Work();
    for (std::int64_t step : {2, 3, 4}) {
      ASSERT_TRUE(store.Begin(At(step), {{"x", at::full({4}, 1.0)}}, alone_at_work).ok());
    }
  }
  EXPECT_EQ(Entries(), 4u);
  EXPECT_EQ(NewestProgress(folder_)->step, 4);
}

// The device that is always full, in the place of the tensors' file.
TEST_F(StateStoreTest, AFullDiskIsToldByTheNextStepAndTheStateBeforeStays) {
  StateStore store(folder_, 2, alone_);
  ASSERT_TRUE(store.Save(At(1), {{"x", at::full({4}, 1.0)}}).ok());
  const auto full = [&] {
    fs::create_symlink("/dev/full",
                       folder_ + "/unfinished-step-000000000102-001/tensors.safetensors");
    return absl::OkStatus();
  };
  ASSERT_TRUE(store.Begin(At(2), {{"x", at::full({4}, 2.0)}}, full).ok());
  const absl::Status status = store.Finish();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_NE(status.message().find("tensors.safetensors"), std::string::npos) << status;
  EXPECT_EQ(store.Advance(true), status);
  EXPECT_FALSE(store.Begin(At(3), {{"x", at::full({4}, 3.0)}}).ok());
  EXPECT_EQ(NewestProgress(folder_)->step, 1);
}

TEST_F(StateStoreTest, OnRanksAStateIsCompleteOnceAllHaveWritten) {
  SlowDisk disk;
  test::OnRanks(2, [&](Ranks& ranks) {
    StateStore store(folder_, 2, ranks);
    const std::string mine = "x" + std::to_string(ranks.rank());
    const auto tensor = at::full({4}, 1.0 * ranks.rank());
    ASSERT_TRUE(store
                    .Begin(At(1), {{mine, tensor}},
                           ranks.is_first() ? [] { return absl::OkStatus(); } : disk.Wait())
                    .ok());
    ASSERT_TRUE(store.Advance(false).ok());
    EXPECT_FALSE(NewestProgress(folder_).has_value());
    ASSERT_TRUE(ranks.Barrier().ok());
    if (!ranks.is_first()) disk.Work();
    ASSERT_TRUE(store.Finish().ok());
    const auto saved = store.LoadNewest();
    ASSERT_TRUE(saved.ok() && saved->has_value()) << saved.status();
    EXPECT_EQ((*saved)->tensors.size(), 2u);
  });
}

TEST_F(StateStoreTest, WhatARankDidNotWriteIsNoState) {
  test::OnRanks(2, [&](Ranks& ranks) {
    StateStore store(folder_, 2, ranks);
    const auto fail = [&]() -> absl::Status {
      return ranks.is_first() ? absl::OkStatus() : absl::ResourceExhaustedError("full");
    };
    ASSERT_TRUE(store.Begin(At(1), {{"x", at::full({4}, 1.0)}}, fail).ok());
    // Both end without having heard that all have written.
  });
  EXPECT_FALSE(NewestProgress(folder_).has_value());
}

TEST_F(StateStoreTest, WhenAllAreDamagedThatIsAnError) {
  StateStore store(folder_, 1, alone_);
  ASSERT_TRUE(store.Save(At(1), {{"x", at::full({4}, 1.0)}}).ok());
  ASSERT_TRUE(store.Save(At(2), {{"x", at::full({4}, 2.0)}}).ok());
  fs::resize_file(folder_ + "/step-000000000102-001/tensors.safetensors", 40);
  EXPECT_EQ(Entries(), 1u);
  EXPECT_FALSE(store.LoadNewest().ok());
  EXPECT_NE(store.LoadNewest().status().message().find("step-000000000102"), std::string::npos);
}

}  // namespace
}  // namespace llava::training
