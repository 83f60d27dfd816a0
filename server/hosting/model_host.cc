#include "server/hosting/model_host.h"

#include <malloc.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <filesystem>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/attention_limits.h"
#include "base/check.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/machine/memory.h"
#include "base/status_macros.h"
#include "model/checkpoint/manifest.h"
#include "model/checkpoint/version_lease.h"
#include "model/image/image.h"
#include "model/text/chat_template.h"
#include "server/hosting/engine_options.h"
#include "server/registry/published.h"

namespace llava::server {
namespace {

using registry::LoadedVersion;
using registry::PreparedProbe;
using registry::Processor;

// Of the thread that loads; engines and sockets go first.
constexpr int kNice = 10;

Digest FromHex(const std::string& hex) {
  Digest digest;
  const std::string bytes = absl::HexStringToBytes(hex);
  LLAVA_CHECK_EQ(bytes.size(), digest.bytes.size());
  std::memcpy(digest.bytes.data(), bytes.data(), bytes.size());
  return digest;
}

// The manifest; nothing for a checkpoint that was not published, such as one from a hub.
absl::StatusOr<std::optional<model::CheckpointVersion>> ReadOptionalManifest(
    const std::string& dir) {
  auto manifest = model::ReadManifest(dir);
  if (manifest.ok()) return std::move(*manifest);
  if (absl::IsNotFound(manifest.status())) return std::nullopt;
  return manifest.status();
}

// A checkpoint without a manifest is named by what its files look like from outside: enough to tell
// versions apart, without reading gigabytes.
absl::StatusOr<Digest> DigestOfFiles(const std::string& dir) {
  std::error_code error;
  if (!std::filesystem::is_directory(dir, error)) {
    return absl::NotFoundError(absl::StrCat(dir, " is not a folder"));
  }
  return Sha256Of(registry::FolderFingerprint(dir));
}

std::string MiB(std::int64_t bytes) {
  return absl::StrFormat("%.1f MiB", static_cast<double>(bytes) / (1 << 20));
}

// Only the calling thread; a failure costs smoothness, nothing else.
void LowerPriority() {
  static_cast<void>(setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kNice));
}

// By its name, or the checkpoint's own that is executed, whatever the setting chat_template says.
absl::StatusOr<model::ChatTemplate> TemplateOfProbe(const std::string& dir,
                                                    const model::Probe& probe,
                                                    const model::LlavaConfig& config) {
  absl::StatusOr<model::ChatTemplate> named = model::ChatTemplate::ByName(probe.chat_template);
  if (named.ok()) return named;
  ASSIGN_OR_RETURN(model::ChatTemplate own, model::ChatTemplate::ForCheckpoint(dir, config));
  if (own.name() == probe.chat_template) return own;
  return named.status();
}

// An adapter is asked in the words of its model.
absl::StatusOr<model::ChatTemplate> TemplateOfProbe(const Processor& processor,
                                                    const model::Probe& probe) {
  if (probe.chat_template == processor.chat_template().name()) return processor.chat_template();
  return model::ChatTemplate::ByName(probe.chat_template);
}

absl::StatusOr<PreparedProbe> PrepareProbe(const std::string& dir, const model::Probe& probe,
                                           const Processor& processor,
                                           const model::ChatTemplate& chat_template) {
  const model::ImageLimits limits;
  std::vector<std::string> files;
  model::ChatMessage message;
  for (std::size_t i = 0; i < probe.images.size(); ++i) {
    ASSIGN_OR_RETURN(files.emplace_back(),
                     ReadFile(absl::StrCat(dir, "/", probe.images[i]), limits.max_bytes));
    message.parts.emplace_back(model::ImagePart{static_cast<int>(i)});
  }
  message.parts.emplace_back(probe.prompt);
  const std::vector<absl::string_view> images(files.begin(), files.end());
  int bad_image = -1;
  ASSIGN_OR_RETURN(registry::PreparedPrompt prompt,
                   processor.Prepare({&message, 1}, images, limits, &bad_image, &chat_template));
  PreparedProbe prepared;
  prepared.name = probe.prompt;
  prepared.request.prompt_ids = std::move(prompt.prompt_ids);
  prepared.request.images = std::move(prompt.images);
  prepared.request.sampling.temperature = 0;
  prepared.request.sampling.max_tokens = static_cast<int>(probe.greedy_ids.size());
  prepared.expected.assign(probe.greedy_ids.begin(), probe.greedy_ids.end());
  return prepared;
}

}  // namespace

ModelHost::ModelHost(const Config& config, Backend* backend, const Clock* clock,
                     const observe::Log* log, engine::Observer* observer)
    : config_(config), backend_(backend), clock_(clock), log_(log), observer_(observer) {}

ModelHost::~ModelHost() {
  StopEngines();
  jobs_.Close();
}

absl::StatusOr<registry::VersionIdentity> ModelHost::Identify(const std::string& dir) {
  ASSIGN_OR_RETURN(const auto manifest, ReadOptionalManifest(dir));
  registry::VersionIdentity identity;
  if (!manifest) {
    ASSIGN_OR_RETURN(identity.digest, DigestOfFiles(dir));
    return identity;
  }
  // The manifest's own name, so that answers and published folders call a version the same.
  identity.digest = FromHex(manifest->version);
  identity.parent = manifest->manifest.parent;
  identity.step = manifest->manifest.step;
  identity.evaluation = manifest->manifest.evaluation;
  for (const model::Evaluation& exam : manifest->manifest.evaluations) {
    const auto total = exam.scores.find("total");
    if (total == exam.scores.end()) continue;
    identity
        .exams[absl::StrCat(exam.benchmark, " ", exam.data_fingerprint, ", judge ", exam.judge)] =
        total->second;
  }
  return identity;
}

bool ModelHost::Serving() const {
  MutexLock lock(&mutex_);
  return !engines_.empty();
}

// Before anything is served: in a thread that ends with the work, as do those it computes with.
// Afterwards in one that gives way to all others, and that stays: new ones would each take another
// of malloc's arenas and leave there what they used last, because malloc_trim gives back what lies
// between an arena's chunks, not what lies behind the last one. (The thread that makes engines must
// not become nice: theirs would inherit it.)
absl::Status ModelHost::RunOnLoaderThread(std::function<absl::Status()> work) {
  const auto run = [work = std::move(work)]() -> absl::Status {
    try {
      return work();
    } catch (const std::bad_alloc&) {
      return absl::ResourceExhaustedError("out of memory while reading a version");
    } catch (const std::exception& error) {
      return absl::InternalError(
          absl::StrCat("unexpected while reading a version: ", error.what()));
    }
  };
  const auto serve = [this] {
    LowerPriority();
    while (auto next = jobs_.Pop()) results_.Push((*next)());
  };
  try {
    if (!Serving()) {
      std::jthread once([&] { results_.Push(run()); });
    } else {
      if (!loader_.joinable()) loader_ = std::jthread(serve);
      jobs_.Push(run);
    }
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no thread to read a version with: ", error.what()));
  }
  return *results_.Pop();
}

// A folder can be replaced at any time: what was identified, what is verified and what is loaded
// must be the same version.
absl::Status ModelHost::CheckIsThere(const std::string& dir, const Digest& version) {
  ASSIGN_OR_RETURN(const registry::VersionIdentity there, Identify(dir));
  if (there.digest == version) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat(dir, " was replaced while it was read: it holds version ",
                                         there.digest.Hex(), " now, expected ", version.Hex()));
}

absl::Status ModelHost::Verify(const std::string& dir, const Digest& version,
                               const registry::ShouldContinue& should_continue) {
  return RunOnLoaderThread([&]() -> absl::Status {
    RETURN_IF_ERROR(CheckIsThere(dir, version));
    RETURN_IF_ERROR(VerifyFolder(dir, should_continue));
    return CheckIsThere(dir, version);
  });
}

absl::Status ModelHost::VerifyFolder(const std::string& dir,
                                     const registry::ShouldContinue& should_continue) const {
  ASSIGN_OR_RETURN(const auto manifest, ReadOptionalManifest(dir));
  if (manifest) {
    RETURN_IF_ERROR(model::VerifyFiles(
        manifest->manifest, dir, [&should_continue](std::uint64_t) { return should_continue(); }));
  } else {
    log_->Warning("the checkpoint has no manifest.json: neither hashes nor probes can be checked",
                  {{"dir", dir}});
  }
  ASSIGN_OR_RETURN(const auto processor,
                   Processor::Load(dir, config_.vision_tower, config_.chat_template));
  for (const std::string& warning : processor->warnings()) log_->Warning(warning, {{"dir", dir}});
  RETURN_IF_ERROR(should_continue());
  return backend_->Verify(config_, dir, Serving() ? static_cast<int>(config_.load_threads) : 0);
}

absl::Status ModelHost::CheckMemory(const std::string& dir, bool beside) const {
  std::int64_t needed = config_.memory_reserve_bytes;
  for (const std::string& device : std::set(config_.devices.begin(), config_.devices.end())) {
    if (!IsCpu(device)) continue;  // says itself when its memory is full
    ASSIGN_OR_RETURN(const std::int64_t weights, backend_->MemoryFor(config_, dir, device));
    needed += weights;
  }
  // A KV cache of automatic size takes what is left.
  if (!beside) needed += EnginesThere(config_.devices, "cpu") * config_.kv_cache_bytes.value_or(0);
  const std::int64_t available = AvailableMemory();
  if (needed <= available) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      dir, " needs ", MiB(needed), " of memory",
      beside ? " beside the version that is served" : " with the KV cache", " (",
      MiB(config_.memory_reserve_bytes), " of it by memory_reserve_bytes), ", MiB(available),
      " are available", beside ? "; with `reload: swap` the old version would go first" : ""));
}

absl::StatusOr<std::vector<PreparedProbe>> ModelHost::ReadProbes(
    const std::string& dir, const Processor& processor, const TemplateOf& template_of) const {
  std::vector<PreparedProbe> probes;
  ASSIGN_OR_RETURN(const auto manifest, ReadOptionalManifest(dir));
  if (!manifest) return probes;
  for (const model::Probe& probe : manifest->manifest.probes) {
    if (probe.greedy_ids.empty()) continue;
    const auto prepare = [&]() -> absl::StatusOr<PreparedProbe> {
      ASSIGN_OR_RETURN(const model::ChatTemplate chat_template, template_of(probe));
      return PrepareProbe(dir, probe, processor, chat_template);
    };
    auto prepared = prepare();
    if (!prepared.ok()) {
      return Annotate(prepared.status(), absl::StrCat("probe \"", probe.prompt, "\""));
    }
    probes.push_back(*std::move(prepared));
  }
  return probes;
}

absl::StatusOr<LoadedVersion> ModelHost::Load(const std::string& dir, const Digest& version,
                                              bool beside) {
  LoadedVersion loaded;
  RETURN_IF_ERROR(RunOnLoaderThread([&]() -> absl::Status {
    ASSIGN_OR_RETURN(loaded, LoadModels(dir, version, beside));
    return CheckIsThere(dir, version);
  }));
  return loaded;
}

absl::StatusOr<LoadedVersion> ModelHost::LoadModels(const std::string& dir, const Digest& version,
                                                    bool beside) {
  RETURN_IF_ERROR(CheckMemory(dir, beside));
  LoadedVersion loaded;
  auto lease = model::VersionLease::Share(dir);  // not for a folder without a manifest
  if (lease.ok()) loaded.claim = std::make_shared<model::VersionLease>(*std::move(lease));
  ASSIGN_OR_RETURN(loaded.processor,
                   Processor::Load(dir, config_.vision_tower, config_.chat_template));
  const auto template_of = [&](const model::Probe& probe) {
    return TemplateOfProbe(dir, probe, loaded.processor->config());
  };
  ASSIGN_OR_RETURN(loaded.probes, ReadProbes(dir, *loaded.processor, template_of));
  last_.clear();
  for (const std::string& device : config_.devices) {
    const auto same = std::find(config_.devices.begin(), config_.devices.end(), device);
    const auto earlier = static_cast<std::size_t>(same - config_.devices.begin());
    if (earlier < last_.size()) {  // several engines on one device share the weights
      loaded.models.push_back(loaded.models[earlier]);
      last_.push_back(last_[earlier]);
      continue;
    }
    const int threads = beside ? static_cast<int>(config_.load_threads) : 0;
    ASSIGN_OR_RETURN(BackendModel model, backend_->Load(config_, {dir, version, device, threads}));
    loaded.models.push_back(std::exchange(model.model, nullptr));
    last_.push_back(std::move(model));
    ASSIGN_OR_RETURN(const std::int64_t weights, backend_->MemoryFor(config_, dir, device));
    loaded.bytes = std::max(loaded.bytes, weights);
  }
  std::set<std::string> formats;
  for (const BackendModel& model : last_) formats.insert(model.dtype);
  loaded.number_format = absl::StrJoin(formats, "+");
  return loaded;
}

absl::StatusOr<std::vector<engine::Engine*>> ModelHost::EnginesFor(const LoadedVersion& version,
                                                                   bool beside) {
  if (!beside) RETURN_IF_ERROR(MakeEngines(version));
  const int positions = version.processor->config().text.max_positions;
  if (positions < max_context_tokens_) {
    return absl::FailedPreconditionError(absl::StrCat("the model has a context of ", positions,
                                                      " tokens, requests of this daemon may have ",
                                                      max_context_tokens_));
  }
  MutexLock lock(&mutex_);
  dtype_ = last_.front().dtype;
  std::vector<engine::Engine*> engines;
  engines.reserve(engines_.size());
  for (const auto& engine : engines_) engines.push_back(engine.get());
  return engines;
}

absl::StatusOr<EngineDefaults> ModelHost::Choose(const LoadedVersion& version,
                                                 std::size_t index) const {
  const std::string& device = config_.devices[index];
  DeviceFacts facts = {.device = device,
                       .weights = version.bytes,
                       .block = last_[index].block_bytes,
                       .context_tokens = ContextTokens(config_, version.processor->config())};
  ASSIGN_OR_RETURN(facts.step,
                   backend_->MeasureStep(config_, *version.models[index],
                                         static_cast<int>(BatchTokens(config_, device))));
  ASSIGN_OR_RETURN(const DeviceMemory memory, backend_->MemoryOf(device));
  facts.free = memory.free;
  // Those of the list that have their KV cache by now have it in memory that is free no more, but
  // for CPUs, which give memory only as it is written.
  const auto rest =
      config_.devices.begin() + (IsCpu(device) ? 0 : static_cast<std::ptrdiff_t>(index));
  facts.engines_there = EnginesThere({rest, config_.devices.end()}, device);
  return ChooseDefaults(config_, facts);
}

void ModelHost::LogChoice(const EngineDefaults& chosen,
                          const engine::EngineOptions& options) const {
  log_->Info("engine", {{"device", options.name},
                        {"kv_cache_bytes", chosen.kv_cache_bytes},
                        {"kv_cache_tokens", options.scheduler.num_blocks * kKvBlockTokens},
                        {"kv_cache_why", chosen.kv_cache_why},
                        {"max_running", chosen.max_running},
                        {"max_batch_tokens", chosen.max_batch_tokens},
                        {"max_images_per_step", chosen.max_images_per_step},
                        {"threads", ChooseThreads(config_)}});
  const std::string warning = KvCacheWarning(options);
  if (!warning.empty()) log_->Warning(warning, {});
}

absl::Status ModelHost::MakeEngines(const LoadedVersion& version) {
  std::vector<std::unique_ptr<engine::Engine>> gone;
  {
    MutexLock lock(&mutex_);
    gone.swap(engines_);
  }
  gone.clear();  // their KV blocks, before there are new ones
  std::vector<std::unique_ptr<engine::Engine>> made;
  for (std::size_t i = 0; i < config_.devices.size(); ++i) {
    const std::string& device = config_.devices[i];
    ASSIGN_OR_RETURN(const EngineDefaults chosen, Choose(version, i));
    ASSIGN_OR_RETURN(
        const engine::EngineOptions options,
        ToEngineOptions(config_, device, chosen, last_[i], version.processor->config()));
    LogChoice(chosen, options);
    ASSIGN_OR_RETURN(auto executor, backend_->MakeExecutor(config_, device, *version.models[i],
                                                           options.scheduler.num_blocks));
    executor->set_warn([log = log_, name = options.name](const std::string& text) {
      log->Warning(text, {{"device", name}});
    });
    max_context_tokens_ = options.scheduler.max_context_tokens;
    made.push_back(
        std::make_unique<engine::Engine>(options, std::move(executor), clock_, observer_));
    made.back()->Start();
  }
  MutexLock lock(&mutex_);
  if (stopped_) return absl::CancelledError("the server is stopping");
  engines_.swap(made);
  return absl::OkStatus();
}

void ModelHost::Release(LoadedVersion version) {
  version = {};
  malloc_trim(0);  // what a version leaves behind is large, and lies between what others use
}

// Beside what is served on CPUs memory_reserve_bytes stay free; a GPU says itself when it is full.
absl::StatusOr<registry::LoadedAdapter> ModelHost::LoadAdapter(
    const std::string& dir, const Processor& processor, std::int64_t max_bytes,
    const registry::ShouldContinue& should_continue) {
  const bool on_cpu = EnginesThere(config_.devices, "cpu") > 0;
  const std::int64_t spare = AvailableMemory() - config_.memory_reserve_bytes;
  if (on_cpu && spare < max_bytes) max_bytes = std::max<std::int64_t>(0, spare);
  ASSIGN_OR_RETURN(const auto manifest, ReadOptionalManifest(dir));
  if (manifest) {
    RETURN_IF_ERROR(model::VerifyFiles(
        manifest->manifest, dir, [&should_continue](std::uint64_t) { return should_continue(); }));
  }
  ASSIGN_OR_RETURN(registry::LoadedAdapter loaded,
                   backend_->LoadAdapter(config_, dir, processor.config().text, max_bytes));
  const auto template_of = [&](const model::Probe& probe) {
    return TemplateOfProbe(processor, probe);
  };
  ASSIGN_OR_RETURN(loaded.probes, ReadProbes(dir, processor, template_of));
  return loaded;
}

void ModelHost::WithEngines(
    const std::function<void(const std::vector<engine::Engine*>&)>& look) const {
  MutexLock lock(&mutex_);
  std::vector<engine::Engine*> engines;
  engines.reserve(engines_.size());
  for (const auto& engine : engines_) engines.push_back(engine.get());
  look(engines);
}

std::string ModelHost::dtype() const {
  MutexLock lock(&mutex_);
  return dtype_;
}

void ModelHost::StopEngines() {
  MutexLock lock(&mutex_);
  stopped_ = true;
  for (const auto& engine : engines_) engine->Stop();
}

}  // namespace llava::server
