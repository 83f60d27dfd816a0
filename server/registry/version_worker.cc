#include "server/registry/version_worker.h"

#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "server/registry/published.h"

namespace llava::registry {
namespace {

// The status that an engine's thread gives to a Done.
class EngineReply {
 public:
  engine::Done Done() {
    return [this](absl::Status status) {
      MutexLock lock(&mutex_);
      status_ = std::move(status);
      given_.NotifyAll();
    };
  }
  absl::Status Wait() {
    MutexLock lock(&mutex_);
    while (!status_) given_.Wait(&mutex_);
    return *status_;
  }

 private:
  Mutex mutex_;
  CondVar given_;
  std::optional<absl::Status> status_ ABSL_GUARDED_BY(mutex_);
};

// What has come of work that did not end by itself.
WorkResult Failed(const Work& work, const absl::Status& status) {
  if (std::holds_alternative<IdentifyWork>(work)) return Identified{status, std::nullopt};
  if (const auto* free = std::get_if<FreeWork>(&work)) return Freed{free->version};
  if (const auto* note = std::get_if<NoteWork>(&work)) return Noted{note->version, status};
  if (std::holds_alternative<ListWork>(work)) return Listed{};
  return StageDone{status, 0, nullptr};
}

}  // namespace

VersionWorker::VersionWorker(const RegistryOptions& options, ModelLoader* loader,
                             const Clock* clock, ShouldContinue should_continue,
                             OnLastUser on_last_user)
    : model_name_(options.model_name),
      model_aliases_(options.model_aliases),
      published_(options.published),
      loader_(loader),
      clock_(clock),
      should_continue_(std::move(should_continue)),
      probes_(clock_, &should_continue_),
      on_last_user_(std::move(on_last_user)) {}

WorkResult VersionWorker::Perform(const Work& work) {
  try {
    return std::visit([this](const auto& of_its_kind) { return Do(of_its_kind); }, work);
  } catch (const std::bad_alloc&) {
    return Failed(work, absl::ResourceExhaustedError("out of memory"));
  } catch (const std::exception& error) {
    return Failed(work, absl::InternalError(absl::StrCat("unexpected: ", error.what())));
  }
}

WorkResult VersionWorker::Do(const IdentifyWork& work) {
  const absl::Status stopping = should_continue_();
  if (!stopping.ok()) return Identified{stopping, std::nullopt};
  Identified result{loader_->Identify(work.dir), std::nullopt};
  if (!result.identity.ok() || published_.empty()) return result;
  if (work.forget_rollback) {
    DeleteRollbackNote(published_, result.identity->digest);
  } else {
    result.rollback_note = ReadRollbackNote(published_, result.identity->digest);
  }
  return result;
}

WorkResult VersionWorker::Do(const StageWork& work) {
  const auto loaded = loaded_.find(work.version);
  switch (work.stage) {
    case VersionState::kVerifying:
      return StageDone{loader_->Verify(work.dir, work.version, should_continue_), 0, nullptr};
    case VersionState::kLoading: {
      Loaded fresh;
      const absl::Status status = LoadIntoEngines(work, &fresh);
      if (!status.ok()) {
        loader_->Release(std::move(fresh.version));
        return StageDone{status, 0, nullptr};
      }
      const std::int64_t bytes = fresh.version.bytes;
      loaded_[work.version] = std::move(fresh);
      return StageDone{absl::OkStatus(), bytes, nullptr};
    }
    case VersionState::kWarming:
      return StageDone{WarmUp(work.version, loaded->second), 0, nullptr};
    default: {
      LLAVA_CHECK(work.stage == VersionState::kProbing);
      const absl::Status status = probes_.Run(loaded->second.version.probes, loaded->second.engines,
                                              work.version, /*adapter=*/nullptr);
      return StageDone{status, 0, status.ok() ? MakeServed(work.version, loaded->second) : nullptr};
    }
  }
}

absl::Status VersionWorker::LoadIntoEngines(const StageWork& work, Loaded* loaded) {
  RETURN_IF_ERROR(should_continue_());
  ASSIGN_OR_RETURN(loaded->version, loader_->Load(work.dir, work.version, work.beside));
  RETURN_IF_ERROR(should_continue_());
  ASSIGN_OR_RETURN(loaded->engines, loader_->EnginesFor(loaded->version, work.beside));
  return AddToEngines(work.version, loaded);
}

// All engines or none.
absl::Status VersionWorker::AddToEngines(const Digest& version, Loaded* loaded) {
  const auto& models = loaded->version.models;
  LLAVA_CHECK_EQ(models.size(), loaded->engines.size());
  for (std::size_t i = 0; i < models.size(); ++i) {
    LLAVA_CHECK(models[i]->version() == version);
    EngineReply reply;
    loaded->engines[i]->AddVersion(models[i], reply.Done());
    const absl::Status status = reply.Wait();
    if (status.ok()) continue;
    loaded->engines.resize(i);
    RemoveFromEngines(version, loaded);
    return status;
  }
  return absl::OkStatus();
}

void VersionWorker::RemoveFromEngines(const Digest& version, Loaded* loaded) {
  for (engine::Engine* engine : loaded->engines) {
    EngineReply reply;
    engine->RemoveVersion(version, reply.Done());
    reply.Wait().IgnoreError();  // UNAVAILABLE: the engine has stopped, and holds nothing
  }
  loaded->engines.clear();
}

// The first step of a version allocates; nobody should wait for that.
absl::Status VersionWorker::WarmUp(const Digest& version, const Loaded& loaded) {
  for (engine::Engine* engine : loaded.engines) {
    scheduling::Request request;
    request.version = version;
    request.prompt_ids = {1};
    request.sampling.max_tokens = 2;
    RETURN_IF_ERROR(probes_.RunGreedy(*engine, std::move(request)).status());
  }
  return absl::OkStatus();
}

std::shared_ptr<const ServedModel> VersionWorker::MakeServed(const Digest& version,
                                                             const Loaded& loaded) const {
  auto model = std::make_unique<ServedModel>();
  model->name = model_name_;
  model->aliases = model_aliases_;
  model->version = version.Hex();
  model->digest = version;
  model->number_format = loaded.version.number_format;
  model->processor = loaded.version.processor;
  model->engines = loaded.engines;
  const auto last_user = [on_last_user = on_last_user_, version](const ServedModel* unused) {
    delete unused;
    on_last_user(version);
  };
  return std::shared_ptr<const ServedModel>(model.release(), last_user);
}

// The engines forget it at once. Its memory goes in this thread, not in theirs.
WorkResult VersionWorker::Do(const FreeWork& work) {
  const auto found = loaded_.find(work.version);
  LLAVA_CHECK(found != loaded_.end());
  Loaded loaded = std::move(found->second);
  loaded_.erase(found);
  RemoveFromEngines(work.version, &loaded);
  loader_->Release(std::move(loaded.version));
  return Freed{work.version};
}

WorkResult VersionWorker::Do(const NoteWork& work) {
  return Noted{work.version, WriteRollbackNote(published_, work.version, work.reason)};
}

WorkResult VersionWorker::Do(const ListWork&) { return Listed{ListVersions(published_)}; }

}  // namespace llava::registry
