#include "server/chat/chat_runner.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/field_error.h"
#include "base/status_macros.h"
#include "model/grammar/forced_tokens.h"
#include "server/chat/api_error.h"
#include "server/chat/cache_domain.h"
#include "server/chat/captured_turn.h"
#include "server/chat/feedback.h"
#include "server/chat/model_choice.h"

namespace llava::api {
namespace {

constexpr Duration kRetryWhenDraining = std::chrono::seconds(1);
constexpr Duration kRetryWhenPrepareIsFull = std::chrono::milliseconds(500);
// Of an image's file, so much at either end tells it from others well enough for a canary.
constexpr std::size_t kPictureEnd = 4096;

absl::Status Draining() {
  return scheduling::WithRetryAfter(absl::UnavailableError("the server is draining"),
                                    kRetryWhenDraining);
}

absl::Status PoolIsFull() {
  return scheduling::WithRetryAfter(
      absl::ResourceExhaustedError("too many requests wait to be prepared"),
      kRetryWhenPrepareIsFull);
}

// Equal for all requests of a conversation: its tenant and what was said first.
std::string ConversationKey(const ChatCall& call) {
  Sha256 key;
  key.Update(call.tenant);
  for (const model::ChatMessage& message : call.messages) {
    for (const model::MessagePart& part : message.parts) {
      if (const auto* text = std::get_if<std::string>(&part)) {
        key.Update("t").Update(*text);
        continue;
      }
      const auto index = static_cast<std::size_t>(std::get<model::ImagePart>(part).index);
      const absl::string_view bytes = call.images[index].bytes;
      const absl::string_view end =
          bytes.substr(bytes.size() - std::min(bytes.size(), kPictureEnd));
      key.Update(absl::StrCat("p", bytes.size(), bytes.substr(0, kPictureEnd), end));
    }
    if (message.role == model::Role::kUser) break;
  }
  return key.Finish().Hex();
}

// Whether the answer is the rest of what the assistant has begun to say. A form is that of what is
// generated, which stands alone then.
bool GoesOn(const ChatCall& call) {
  if (call.format.has_value() || call.tools.is_offered() || call.messages.empty()) return false;
  const model::ChatMessage& last = call.messages.back();
  if (last.role != model::Role::kAssistant || last.parts.empty()) return false;
  const auto* text = std::get_if<std::string>(&last.parts.back());
  return text != nullptr && !text->empty();
}

// What is wrong with a message names it; what is wrong without a name is so with all of them.
absl::Status InMessages(const ChatCall& call, const absl::Status& status) {
  if (!absl::IsInvalidArgument(status)) return status;
  if (!FieldOf(status).empty()) return UnderField(call.field_prefix, status);
  return FieldError(call.field_prefix + "messages", status.message());
}

// What the pictures will be once they are prepared; the engine keeps that until the request ends.
std::int64_t PreparedBytes(const registry::PreparedPrompt& prompt,
                           const model::LlavaConfig& config) {
  const std::int64_t side = config.vision.image_size;
  std::int64_t tiles = 0;
  for (const scheduling::ImageInput& image : prompt.images) tiles += image.tiles;
  return tiles * 3 * side * side;  // a byte each
}

// What is wrong with an image names it; that nobody waits for it is not its fault.
absl::Status InImage(const CallImage& image, const absl::Status& status) {
  if (!absl::IsInvalidArgument(status)) return status;
  return WithField(Annotate(status, image.field), image.field);
}

// Whether the model knows how to call functions where nothing forces it to.
absl::Status CheckCanCall(const ChatCall& call, model::CallFormat format) {
  if (!call.tools.is_offered() || call.tools.is_forced() || format != model::CallFormat::kUnknown) {
    return absl::OkStatus();
  }
  return FieldError(call.tools.choice_field,
                    "auto is not supported with this model, whose chat template has no functions: "
                    "expected none, required or a function");
}

}  // namespace

struct ChatRunner::Job {
  ChatCall call;
  Done done;
  std::unique_ptr<CallRecord> record;
  std::string key;                                     // of those who see the same version
  std::shared_ptr<const registry::ServedModel> model;  // null: waits for a swap
  std::int64_t bytes = 0;  // which the ticket holds until the call is prepared
  engine::AdmissionTicket ticket;
  std::optional<registry::PreparedPrompt> prompt;  // once the text is prepared
  std::size_t next_image = 0;                      // of the prompt's
  std::vector<int> scored_tokens;                  // of each continuation

  bool is_prepared() const { return next_image == prompt->images.size(); }
};

ChatRunner::ChatRunner(const Options& options, registry::ModelDirectory* models,
                       engine::AdmissionGate* admission, PreparePool* pool,
                       observe::Metrics* metrics, const observe::Log* log, const Clock* clock,
                       tracing::TraceExporter* traces)
    : options_(options),
      models_(models),
      admission_(admission),
      pool_(pool),
      metrics_(metrics),
      log_(log),
      clock_(clock),
      traces_(traces) {}

std::shared_ptr<ChatRunner::Job> ChatRunner::MakeJob(ChatCall call, Done done) {
  if (!in_flight_.Enter()) {
    metrics_->CountRejection("draining");
    metrics_->CountRequest(call.protocol, "UNAVAILABLE", "draining");
    done(Draining());
    return nullptr;
  }
  const Sinks sinks{metrics_, log_, clock_, &in_flight_, models_, traces_, recorder_};
  auto job = std::make_shared<Job>();
  job->record = std::make_unique<CallRecord>(sinks, call.protocol, call.request_id, call.arrival,
                                             call.traceparent);
  job->call = std::move(call);
  job->done = std::move(done);
  return job;
}

void ChatRunner::Start(ChatCall call, Done done) {
  const std::shared_ptr<Job> job = MakeJob(std::move(call), std::move(done));
  if (job == nullptr) return;
  absl::Status accepted = Accept(*job);
  if (accepted.ok() && job->model == nullptr) return WaitForSwap(job);
  if (accepted.ok()) accepted = SendToPool(job);
  if (!accepted.ok()) Refuse(*job, accepted);
}

void ChatRunner::StartInPool(ChatCall call, Done done) {
  const std::shared_ptr<Job> job = MakeJob(std::move(call), std::move(done));
  if (job == nullptr) return;
  const absl::Status accepted = Accept(*job);
  if (!accepted.ok()) return Refuse(*job, accepted);
  if (job->model == nullptr) return WaitForSwap(job);
  metrics_->preparing.Increment();
  Run(job);
}

absl::Status ChatRunner::RunBeside(const std::string& tenant, std::int64_t bytes,
                                   std::function<void()> work, std::function<void()> done) {
  if (!in_flight_.Enter()) return Draining();
  const std::string whose = NamedTenant(tenant);
  auto ticket = admission_->Enter(whose, {.requests = 1, .tokens = 0, .bytes = bytes, .pixels = 0});
  absl::Status status = ticket.status();
  if (status.ok()) {
    // A function object can be copied, a ticket cannot.
    auto held = std::make_shared<engine::AdmissionTicket>(*std::move(ticket));
    const auto run = [this, held, work = std::move(work), done = std::move(done)] {
      work();
      held->Release();
      done();
      in_flight_.Leave();
    };
    if (pool_->TrySubmit(whose, run)) return absl::OkStatus();
    status = PoolIsFull();
  }
  metrics_->CountRejection(ReasonOf(status));
  in_flight_.Leave();
  return status;
}

bool ChatRunner::ReadInPool(const std::string& tenant, std::function<void()> work) {
  return pool_->TrySubmit(NamedTenant(tenant), std::move(work));
}

absl::Status ChatRunner::SendToPool(const std::shared_ptr<Job>& job) {
  metrics_->preparing.Increment();
  if (pool_->TrySubmit(job->call.tenant, [this, job] { Run(job); })) return absl::OkStatus();
  metrics_->preparing.Decrement();
  return PoolIsFull();
}

// The old version has gone and the new one is not there yet.
void ChatRunner::WaitForSwap(const std::shared_ptr<Job>& job) {
  const auto should_continue = [this, job] {
    absl::Status status = CheckAlive(*job);
    if (status.ok()) status = Bind(*job);
    if (status.ok()) status = SendToPool(job);
    if (!status.ok()) Refuse(*job, status);
  };
  if (!models_->AfterSwap(should_continue)) should_continue();
}

// Everything that can be said without decoding or tokenizing.
absl::Status ChatRunner::Accept(Job& job) {
  ChatCall& call = job.call;
  call.tenant = NamedTenant(call.tenant);
  job.record->tenant = call.tenant;
  job.record->images = static_cast<int>(call.images.size());
  const TimePoint latest = call.arrival + options_.request_timeout;
  call.deadline = std::min(call.deadline.value_or(latest), latest);
  job.record->deadline = call.deadline;
  ASSIGN_OR_RETURN(const CallWeight weight, CheckCall(call, options_.limits));
  if (models_->IsJudging()) {
    job.key = options_.canary_by_tenant ? call.tenant : ConversationKey(call);
  }
  absl::Status bound = Bind(job);
  if (!bound.ok() && !absl::IsUnavailable(bound)) return bound;
  std::int64_t answer_tokens = call.sampling.max_tokens;
  if (job.model != nullptr) {  // the context ends an answer too
    answer_tokens =
        std::min<std::int64_t>(answer_tokens, job.model->processor->config().text.max_positions);
  }
  auto ticket = admission_->Enter(call.tenant, {.requests = 1,
                                                .tokens = call.n * answer_tokens,
                                                .bytes = weight.bytes,
                                                .pixels = weight.pixels});
  // No place to wait for the end of a swap: that one says how long it takes.
  if (!ticket.ok()) return bound.ok() ? InMessages(call, ticket.status()) : bound;
  job.ticket = *std::move(ticket);
  job.bytes = weight.bytes;
  return absl::OkStatus();
}

// To one version, from here to the last token.
absl::Status ChatRunner::Bind(Job& job) const {
  auto model = ChooseModel(*models_, job.call.model, job.key);
  if (!model.ok()) return WithField(model.status(), job.call.field_prefix + "model");
  job.model = *std::move(model);
  job.record->model = job.model->name;
  job.record->version = job.model->version;
  job.record->adapter = job.model->adapter_name;
  return absl::OkStatus();
}

// Before the engine has it.
absl::Status ChatRunner::CheckAlive(const Job& job) const {
  if (cut_off_.load()) return Draining();
  if (job.call.cancelled != nullptr && job.call.cancelled->load()) {
    return absl::CancelledError("the client has gone");
  }
  if (clock_->Now() >= *job.call.deadline) {
    return absl::DeadlineExceededError("the deadline passed before the request was prepared");
  }
  return absl::OkStatus();
}

// One visit to a prepare thread: the text, or one picture. Then it is the turn of others.
void ChatRunner::Run(const std::shared_ptr<Job>& job) {
  absl::Status status = CheckAlive(*job);
  if (status.ok()) status = job->prompt.has_value() ? PrepareImage(*job) : PrepareText(*job);
  if (status.ok() && !job->is_prepared()) {
    return pool_->SubmitPicture(job->call.tenant, [this, job] { Run(job); });
  }
  metrics_->preparing.Decrement();
  job->record->prepare_time = clock_->Now() - job->call.arrival;
  if (status.ok()) status = CheckAlive(*job);
  if (!status.ok()) return Refuse(*job, status);
  metrics_->prepare_seconds.Observe(Seconds(job->record->prepare_time));
  Submit(*job);
}

absl::Status ChatRunner::PrepareText(Job& job) const {
  ChatCall& call = job.call;
  RETURN_IF_ERROR(CheckTokenIds(call, job.model->processor->config().text.vocab_size));
  std::vector<absl::string_view> images;
  images.reserve(call.images.size());
  for (const CallImage& image : call.images) images.push_back(image.bytes);
  RETURN_IF_ERROR(CheckCanCall(call, job.model->processor->call_format()));
  if (!call.continuations.empty()) return PrepareScores(job, images);
  int bad_image = -1;
  const std::vector<model::ToolFunction> functions = Offered(call.tools);
  auto prompt =
      job.model->processor->PrepareText(call.messages, images, &bad_image, nullptr, functions);
  if (!prompt.ok() && bad_image < 0) return InMessages(call, prompt.status());
  if (!prompt.ok()) {
    return InImage(call.images[static_cast<std::size_t>(bad_image)], prompt.status());
  }
  job.prompt = *std::move(prompt);
  RETURN_IF_ERROR(Constrain(job));
  const auto tokens = static_cast<std::int64_t>(job.prompt->prompt_ids.size());
  const std::int64_t bytes = PreparedBytes(*job.prompt, job.model->processor->config());
  return InMessages(call, job.ticket.Add({.tokens = tokens, .bytes = bytes}));
}

// What is scored becomes the only answers that can be.
absl::Status ChatRunner::PrepareScores(Job& job,
                                       const std::vector<absl::string_view>& images) const {
  ChatCall& call = job.call;
  const registry::Processor& processor = *job.model->processor;
  int bad_image = -1;
  int bad_continuation = -1;
  std::vector<std::vector<std::int32_t>> forced;
  auto prompt = processor.PrepareContinuations(call.messages, call.continuations, images,
                                               &bad_image, &bad_continuation, &forced);
  if (!prompt.ok() && bad_image >= 0) {
    return InImage(call.images[static_cast<std::size_t>(bad_image)], prompt.status());
  }
  if (!prompt.ok() && bad_continuation >= 0 && absl::IsInvalidArgument(prompt.status())) {
    return FieldError(absl::StrCat("choices[", bad_continuation, "]"), prompt.status().message());
  }
  if (!prompt.ok()) return InMessages(call, prompt.status());
  job.prompt = *std::move(prompt);
  scheduling::Request request;
  request.sampling.seed = call.sampling.seed;
  model::TokensOfChoices tokens;
  call.sampling.max_tokens = 1;
  for (std::size_t i = 0; i < forced.size(); ++i) {
    const auto length = static_cast<int>(forced[i].size());
    call.sampling.max_tokens = std::max(call.sampling.max_tokens, length);
    job.scored_tokens.push_back(length);
    tokens.emplace(scheduling::ChoiceSeed(request, static_cast<int>(i)), std::move(forced[i]));
  }
  call.sampling.constraint = model::ForceTokens(std::move(tokens), processor.end_token_ids(),
                                                processor.config().text.vocab_size);
  const auto in_prompt = static_cast<std::int64_t>(job.prompt->prompt_ids.size());
  return InMessages(call, job.ticket.Add({.tokens = in_prompt}));
}

// To the form that the answer has to have.
absl::Status ChatRunner::Constrain(Job& job) const {
  ChatCall& call = job.call;
  if (call.tools.is_forced()) call.format = FormatOfCalls(call.tools);
  if (!call.format.has_value()) return absl::OkStatus();
  auto constraint =
      job.model->processor->Constrain(*call.format, [this, &job] { return CheckAlive(job); });
  if (absl::IsInvalidArgument(constraint.status())) {
    return FieldError(call.format->field, constraint.status().message());
  }
  RETURN_IF_ERROR(constraint.status());
  call.sampling.constraint = *std::move(constraint);
  return absl::OkStatus();
}

// The next one. A client that goes, or a deadline that passes, ends the decoding.
absl::Status ChatRunner::PrepareImage(Job& job) const {
  const std::size_t next = job.next_image++;
  const CallImage& file = job.call.images[static_cast<std::size_t>(job.prompt->files[next])];
  const model::ImageLimits limits{
      .max_bytes = static_cast<std::size_t>(options_.limits.max_image_bytes),
      .max_pixels = options_.limits.max_image_pixels,
      .stop = [this, &job] { return CheckAlive(job); }};
  const TimePoint start = clock_->Now();
  const absl::Status status =
      job.model->processor->PrepareImage(file.bytes, limits, &job.prompt->images[next]);
  if (!status.ok()) return InImage(file, status);
  metrics_->decode_image_seconds.Observe(Seconds(clock_->Now() - start));
  return absl::OkStatus();
}

// While the bytes of its pictures are still there.
void ChatRunner::Capture(Job& job) const {
  if (recorder_ == nullptr) return;
  std::unique_ptr<capture::PendingTurn> turn = CaptureTurn(job.call, *recorder_);
  if (turn == nullptr) return;
  turn->row.model = job.record->model;
  turn->row.version = job.model->digest.Hex();
  turn->row.adapter = job.record->adapter;
  job.record->Capture(std::move(turn));
}

void ChatRunner::Submit(Job& job) {
  Capture(job);
  // From here on the prompt's tokens stand for the bytes of text and images.
  job.ticket.GiveBack({.bytes = job.bytes});
  engine::Submission submission = ToSubmission(job);
  // Answers that are given say nothing of the version that gives them.
  if (job.scored_tokens.empty()) {
    const scheduling::Adapter* const adapter = job.model->adapter.get();
    job.record->Watch(job.model->digest,
                      adapter == nullptr ? std::nullopt : std::optional(adapter->digest()),
                      submission.request.sampling.top_logprobs >= 0);
  }
  auto stream = Route(job.model->engines, submission.request)->Submit(std::move(submission));
  if (!stream.ok()) return Refuse(job, InMessages(job.call, stream.status()));
  std::optional<ToolCallReader::Options> calls;
  if (job.call.tools.is_offered()) {
    calls = ReaderOptions(job.call.tools, job.model->processor->call_format());
  }
  job.done(Answer(std::move(job.model), *std::move(stream), std::move(job.record), std::move(calls),
                  std::move(job.scored_tokens)));
}

engine::Engine* ChatRunner::Route(const std::vector<engine::Engine*>& engines,
                                  const scheduling::Request& request) {
  return engines[router_.Pick(request, engines)];
}

engine::Submission ChatRunner::ToSubmission(Job& job) const {
  ChatCall& call = job.call;
  engine::Submission submission;
  scheduling::Request& request = submission.request;
  request.tenant = call.tenant;
  request.priority = call.priority;
  request.arrival = call.arrival;
  request.deadline = call.deadline;
  request.version = job.model->digest;
  request.adapter = job.model->adapter;
  request.cache_domain = CacheDomain(options_.caches_by_tenant ? call.tenant : "", call.cache_salt);
  request.prompt_ids = std::move(job.prompt->prompt_ids);
  request.images = std::move(job.prompt->images);
  submission.make_decoder =
      job.model->processor->MakeDecoderFactory(call.sampling.stop, GoesOn(call));
  request.sampling = std::move(call.sampling);
  if (models_->IsJudging()) {
    request.sampling.top_logprobs = std::max(0, request.sampling.top_logprobs);
  }
  request.n = call.n;
  request.end_token_ids = job.model->processor->end_token_ids();
  submission.ticket = std::move(job.ticket);
  return submission;
}

void ChatRunner::Refuse(Job& job, const absl::Status& status) {
  metrics_->CountRejection(ReasonOf(status));
  job.record->End(status, {});
  job.record.reset();
  job.done(status);
}

void ChatRunner::Drain() { in_flight_.Close(); }

void ChatRunner::CutOff() { cut_off_.store(true); }

}  // namespace llava::api
