#include "client/load_generator.h"

#include <array>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/image.h"

namespace llava::client {
namespace {

constexpr std::array<const char*, 12> kWords = {"what",  "colour", "is",    "the",
                                                "large", "shape",  "under", "left",
                                                "edge",  "please", "tell",  "me"};

}  // namespace

// One request on the wire. Lives until gRPC is done with it; its sample lives longer.
class LoadGenerator::Call final : public grpc::ClientReadReactor<v1::ChatStreamResponse> {
 public:
  Call(LoadGenerator* generator, v1::ChatRequest request, Sample* sample)
      : generator_(generator), sample_(sample) {
    *request_.mutable_request() = std::move(request);
    generator->connection_->Identify(&context_);
    sample_->start = generator->clock_->Now();
    generator->stub_->async()->ChatStream(&context_, &request_, this);
    StartRead(&event_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (event_.token_ids_size() > 0) {
      sample_->arrivals.push_back({generator_->clock_->Now(), event_.token_ids_size()});
    }
    if (event_.has_usage()) {
      sample_->prompt_tokens = event_.usage().prompt_tokens();
      sample_->cached_tokens = event_.usage().cached_tokens();
    }
    StartRead(&event_);
  }

  void OnDone(const grpc::Status& status) override {
    sample_->end = generator_->clock_->Now();
    if (!status.ok()) {
      sample_->error = absl::StatusCodeToString(static_cast<absl::StatusCode>(status.error_code()));
    }
    LoadGenerator* const generator = generator_;
    delete this;
    generator->Ended();
  }

 private:
  LoadGenerator* const generator_;
  Sample* const sample_;
  grpc::ClientContext context_;
  v1::ChatStreamRequest request_;
  v1::ChatStreamResponse event_;
};

v1::ChatRequest LoadGenerator::MakeRequest(const LoadOptions& options, Rng* rng) const {
  v1::ChatRequest request;
  v1::ChatMessage* message = request.add_messages();
  message->set_role(v1::ROLE_USER);
  for (int i = 0; i < options.images; ++i) {
    Rng own(options.distinct_images > 0
                ? options.seed + rng->Below(static_cast<std::uint64_t>(options.distinct_images))
                : rng->Next());
    message->add_parts()->set_image(DrawImage(options.image_side, &own));
  }
  std::string text;
  for (int i = 0; i < options.prompt_words; ++i) {
    absl::StrAppend(&text, i == 0 ? "" : " ", kWords[rng->Below(kWords.size())]);
  }
  message->add_parts()->set_text(text);
  request.mutable_sampling()->set_max_tokens(options.max_tokens);
  request.mutable_sampling()->set_ignore_eos(true);
  request.mutable_sampling()->set_temperature(options.temperature);
  request.mutable_sampling()->set_top_p(options.top_p);
  request.set_return_token_ids(true);
  return request;
}

std::vector<Sample> LoadGenerator::Run(const LoadOptions& options) {
  Rng rng(options.seed);
  std::vector<Sample> samples(static_cast<std::size_t>(options.requests));
  const TimePoint begin = clock_->Now();
  double at_seconds = 0;
  for (Sample& sample : samples) {
    v1::ChatRequest request = MakeRequest(options, &rng);
    if (options.rate > 0) {
      at_seconds += rng.Exponential(1 / options.rate);
      sample.due =
          begin + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(at_seconds));
      WaitUntil(sample.due);
    } else {
      WaitForRoom(options.concurrency);
      sample.due = clock_->Now();
    }
    {
      MutexLock lock(&mutex_);
      ++under_way_;
    }
    new Call(this, std::move(request), &sample);
  }
  WaitForRoom(1);
  return samples;
}

// Fewer than `concurrency` requests are under way.
void LoadGenerator::WaitForRoom(int concurrency) {
  MutexLock lock(&mutex_);
  while (under_way_ >= concurrency) changed_.Wait(&mutex_);
}

void LoadGenerator::WaitUntil(TimePoint due) {
  MutexLock lock(&mutex_);
  while (changed_.WaitUntil(&mutex_, due)) {
  }
}

void LoadGenerator::Ended() {
  MutexLock lock(&mutex_);
  --under_way_;
  changed_.NotifyAll();
}

}  // namespace llava::client
