#include "training/data/prefetcher.h"

#include <iterator>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/mutex.h"
#include "base/status_macros.h"

namespace llava::training {
namespace {

struct Outcome {
  absl::Status status;
  Batch batch;
};

}  // namespace

struct Prefetcher::Impl {
  Impl(const InstructionDataset& dataset_in, const SampleBuilder& builder_in, Plan plan_in,
       PrefetcherOptions options_in)
      : dataset(dataset_in),
        builder(builder_in),
        plan(std::move(plan_in)),
        options(std::move(options_in)) {}

  void Work();
  absl::Status LeaveOut(std::int64_t row, const Row& parsed, const absl::Status& why);
  Outcome Make(const std::vector<std::int64_t>& rows);
  absl::StatusOr<std::vector<Sample>> MakeSamples(std::int64_t row);

  const InstructionDataset& dataset;
  const SampleBuilder& builder;
  const Plan plan;
  const PrefetcherOptions options;

  Mutex mutex;
  CondVar changed;
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  std::int64_t planned ABSL_GUARDED_BY(mutex) = 0;  // batches that workers took
  std::int64_t taken ABSL_GUARDED_BY(mutex) = 0;    // batches that Next() returned
  std::optional<std::int64_t> end ABSL_GUARDED_BY(mutex);
  std::map<std::int64_t, Outcome> ready ABSL_GUARDED_BY(mutex);
  Mutex report_mutex;
  std::set<std::int64_t> bad_rows ABSL_GUARDED_BY(report_mutex);
  std::set<std::string> said ABSL_GUARDED_BY(report_mutex);  // why rows were bad
  std::vector<std::jthread> workers;  // the prefetch threads; joined by ~Prefetcher
};

// OK when the batch may go on without the row.
absl::Status Prefetcher::Impl::LeaveOut(std::int64_t row, const Row& parsed,
                                        const absl::Status& why) {
  const absl::Status named =
      Annotate(why, absl::StrCat(dataset.Describe(row), ": row '", parsed.id, "'"));
  if (absl::IsAborted(why) || options.on_bad_row == OnBadRow::kStop) return named;
  MutexLock lock(&report_mutex);
  if (said.insert(std::string(why.message())).second && options.on_bad) {
    options.on_bad(std::string(named.message()));
  }
  bad_rows.insert(row);
  if (std::ssize(bad_rows) <= options.most_bad) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      bad_rows.size(), " rows were read and are bad, more than max_bad_share allows; the last is ",
      named.message()));
}

absl::StatusOr<std::vector<Sample>> Prefetcher::Impl::MakeSamples(std::int64_t row) {
  ASSIGN_OR_RETURN(const Row parsed, dataset.Read(row));
  auto samples = builder.Build(parsed);
  if (samples.ok()) return samples;
  RETURN_IF_ERROR(LeaveOut(row, parsed, samples.status()));
  return std::vector<Sample>();
}

Outcome Prefetcher::Impl::Make(const std::vector<std::int64_t>& rows) {
  std::vector<Sample> samples;
  std::int64_t bad = 0;
  for (const std::int64_t row : rows) {
    auto made = MakeSamples(row);
    if (!made.ok()) return {made.status(), {}};
    if (made->empty()) ++bad;
    samples.insert(samples.end(), std::make_move_iterator(made->begin()),
                   std::make_move_iterator(made->end()));
  }
  Batch batch = Collate(std::move(samples));
  batch.stats.bad = bad;
  return {absl::OkStatus(), std::move(batch)};
}

void Prefetcher::Impl::Work() {
  for (;;) {
    std::int64_t number;
    std::optional<std::vector<std::int64_t>> rows;
    {
      MutexLock lock(&mutex);
      while (!stopping && !end && planned - taken >= options.ahead) changed.Wait(&mutex);
      if (stopping || end) return;
      number = planned++;
      rows = plan(number);
      if (!rows) {
        end = number;
        changed.NotifyAll();
        return;
      }
    }
    Outcome outcome = Make(*rows);
    MutexLock lock(&mutex);
    ready.emplace(number, std::move(outcome));
    changed.NotifyAll();
  }
}

Prefetcher::Prefetcher(const InstructionDataset& dataset, const SampleBuilder& builder, Plan plan,
                       PrefetcherOptions options)
    : impl_(std::make_unique<Impl>(dataset, builder, std::move(plan), std::move(options))) {
  LLAVA_CHECK_GT(impl_->options.workers, 0);
  LLAVA_CHECK_GT(impl_->options.ahead, 0);
  for (int i = 0; i < impl_->options.workers; ++i) {
    impl_->workers.emplace_back([impl = impl_.get()] { impl->Work(); });
  }
}

Prefetcher::~Prefetcher() {
  {
    MutexLock lock(&impl_->mutex);
    impl_->stopping = true;
    impl_->changed.NotifyAll();
  }
  impl_->workers.clear();
}

absl::StatusOr<Batch> Prefetcher::Next() {
  MutexLock lock(&impl_->mutex);
  for (;;) {
    const auto found = impl_->ready.find(impl_->taken);
    if (found != impl_->ready.end()) {
      Outcome outcome = std::move(found->second);
      impl_->ready.erase(found);
      ++impl_->taken;
      impl_->changed.NotifyAll();
      RETURN_IF_ERROR(outcome.status);
      return std::move(outcome.batch);
    }
    if (impl_->end && impl_->taken >= *impl_->end) {
      return absl::OutOfRangeError("there is no further batch");
    }
    impl_->changed.Wait(&impl_->mutex);
  }
}

}  // namespace llava::training
