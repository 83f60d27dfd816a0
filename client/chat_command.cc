#include "client/chat_command.h"

#include <unistd.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8_stream.h"
#include "client/connection.h"
#include "client/conversation.h"
#include "client/exit_code.h"
#include "client/interrupts.h"
#include "client/line_reader.h"
#include "client/terminal_graphics.h"
#include "client/thumbnail.h"

namespace llava::client {
namespace {

constexpr const char* kHelp =
    "  /image FILE  show a picture with the next question\n"
    "  /reset       forget the conversation\n"
    "  /quit        end (or Ctrl-D)\n"
    "  Ctrl-C stops an answer\n";

struct ChatOptions {
  Connection connection;
  std::vector<std::string> images;
  std::string question;
  std::string system;
  std::string model;
  std::optional<int> max_tokens;
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<std::uint64_t> seed;
  std::string save;
  std::string thumbnail = "auto";
  bool json = false;
};

Graphics GraphicsOf(const std::string& name) {
  const auto found = GraphicsNames().find(name);
  if (found != GraphicsNames().end()) return found->second;
  if (isatty(STDERR_FILENO) == 0) return Graphics::kNone;
  return DetectGraphics(
      [](const char* variable) {
        const char* value = std::getenv(variable);
        return std::string(value == nullptr ? "" : value);
      },
      AskForSixels);
}

struct Answer {
  grpc::Status status;
  std::string text;
  v1::ChatStreamResponse last;
};

class ChatCommand {
 public:
  explicit ChatCommand(const ChatOptions& options) : options_(options) {}

  int Run() {
    auto stub = options_.connection.Stub();
    if (!stub.ok()) return Fail(stub.status());
    stub_ = *std::move(stub);
    if (!options_.system.empty()) conversation_.SetSystem(options_.system);
    if (!options_.json) graphics_ = GraphicsOf(options_.thumbnail);
    for (const std::string& image : options_.images) {
      const absl::Status added = AddImage(image);
      if (!added.ok()) return Fail(added);
    }
    return options_.question.empty() ? Converse() : AskOnce();
  }

 private:
  int Fail(const absl::Status& status) {
    std::fprintf(stderr, "llava: %s\n", std::string(status.message()).c_str());
    return kRequestError;
  }

  absl::Status AddImage(const std::string& path) {
    RETURN_IF_ERROR(conversation_.AddImage(path));
    if (graphics_ == Graphics::kNone) return absl::OkStatus();
    const int side = MaxSide(graphics_);
    const auto thumbnail = MakeThumbnail(conversation_.newest_image(), side, side);
    if (!thumbnail.ok()) {
      std::fprintf(stderr, "(no thumbnail of %s: %s)\n", path.c_str(),
                   std::string(thumbnail.status().message()).c_str());
      return absl::OkStatus();
    }
    std::fputs(Render(*thumbnail, graphics_).c_str(), stderr);
    return absl::OkStatus();
  }

  // Into the conversation, and into the file that keeps it.
  void Keep(const Answer& answer) {
    conversation_.Answered(answer.text);
    if (options_.save.empty()) return;
    const absl::Status saved = conversation_.Save(options_.save);
    if (!saved.ok()) Fail(saved);
  }

  v1::ChatRequest Settings() const {
    v1::ChatRequest request;
    request.set_model(options_.model);
    v1::SamplingOptions* sampling = request.mutable_sampling();
    if (options_.max_tokens) sampling->set_max_tokens(*options_.max_tokens);
    if (options_.temperature) sampling->set_temperature(*options_.temperature);
    if (options_.top_p) sampling->set_top_p(*options_.top_p);
    if (options_.seed) sampling->set_seed(*options_.seed);
    return request;
  }

  Answer Ask(const std::string& question, bool print) {
    v1::ChatStreamRequest request;
    *request.mutable_request() = conversation_.Ask(question, Settings());
    grpc::ClientContext context;
    options_.connection.Identify(&context);
    interrupts_.Watch(&context);
    Answer answer;
    const auto reader = stub_->ChatStream(&context, request);
    v1::ChatStreamResponse event;
    while (reader->Read(&event)) {
      if (print) std::fputs(event.text_delta().c_str(), stdout);
      if (print) std::fflush(stdout);
      answer.text += event.text_delta();
      answer.last = event;
    }
    answer.status = reader->Finish();
    interrupts_.Watch(nullptr);
    return answer;
  }

  int AskOnce() {
    const Answer answer = Ask(options_.question, !options_.json);
    if (options_.json) {
      PrintJson(answer);
    } else {
      std::putchar('\n');
      PrintError(answer.status);
    }
    if (answer.status.ok() || !answer.text.empty()) Keep(answer);
    return ExitCodeOf(answer.status);
  }

  int Converse() {
    std::fprintf(stderr, "%s", kHelp);
    LineReader reader("> ", HistoryFile());
    while (const auto line = reader.Next()) {
      if (line->empty()) continue;
      if (*line == "/quit" || *line == "/exit") break;
      if (line->front() == '/') {
        RunCommand(*line);
        continue;
      }
      const Answer answer = Ask(*line, true);
      std::putchar('\n');
      std::fflush(stdout);  // whoever asks through a pipe sees that the answer has ended
      const bool stopped = answer.status.error_code() == grpc::CANCELLED;
      if (answer.status.ok() || stopped) {
        Keep(answer);
      } else {
        conversation_.Dropped();
        PrintError(answer.status);
      }
    }
    return kOk;
  }

  void RunCommand(const std::string& line) {
    if (line == "/reset") {
      conversation_.Reset();
      std::fprintf(stderr, "(forgotten)\n");
    } else if (line.rfind("/image ", 0) == 0) {
      const absl::Status added = AddImage(line.substr(7));
      if (!added.ok()) {
        Fail(added);
      } else {
        std::fprintf(stderr, "(%zu for the next question)\n", conversation_.waiting_images());
      }
    } else {
      std::fprintf(stderr, "%s", kHelp);
    }
  }

  static void PrintError(const grpc::Status& status) {
    if (status.ok()) return;
    std::fprintf(stderr, "llava: %s\n", status.error_message().c_str());
  }

  static void PrintJson(const Answer& answer) {
    const v1::Usage& usage = answer.last.usage();
    boost::json::object object = {{"text", Utf8Repair(answer.text)},
                                  {"model", answer.last.model()},
                                  {"model_version", answer.last.model_version()},
                                  {"usage",
                                   {{"prompt_tokens", usage.prompt_tokens()},
                                    {"image_tokens", usage.image_tokens()},
                                    {"cached_tokens", usage.cached_tokens()},
                                    {"generated_tokens", usage.generated_tokens()}}}};
    if (!answer.status.ok()) {
      object["error"] = {{"code", static_cast<int>(answer.status.error_code())},
                         {"message", Utf8Repair(answer.status.error_message())}};
    }
    std::puts(boost::json::serialize(object).c_str());
  }

  const ChatOptions options_;
  Interrupts interrupts_;
  std::unique_ptr<v1::ChatService::Stub> stub_;
  Conversation conversation_;
  Graphics graphics_ = Graphics::kNone;
};

}  // namespace

void AddChatCommand(CLI::App* app, int* exit_code) {
  CLI::App* command = app->add_subcommand("chat", "Ask about pictures; without a question: talk");
  auto options = std::make_shared<ChatOptions>();
  options->connection.AddFlags(command);
  command->add_option("--image", options->images, "Picture file; may be repeated")
      ->allow_extra_args(false);
  command->add_option("question", options->question, "What to ask");
  command->add_option("--system", options->system, "Instructions for the model");
  command->add_option("--model", options->model, "Name of the model; default: the server's");
  command->add_option("--max-tokens", options->max_tokens, "Tokens of the answer at most");
  command->add_option("--temperature", options->temperature, "0 is greedy");
  command->add_option("--top-p", options->top_p, "Nucleus sampling");
  command->add_option("--seed", options->seed, "The same seed gives the same answer");
  command->add_option("--save", options->save,
                      "File that keeps the conversation as a request of the HTTP API");
  command
      ->add_option("--thumbnail", options->thumbnail,
                   "How pictures are shown: auto, kitty, sixel, blocks or none")
      ->check(CLI::IsMember({"auto", "kitty", "sixel", "blocks", "none"}))
      ->capture_default_str();
  command->add_flag("--json", options->json, "Print one JSON object instead of the text");
  command->callback([options, exit_code] { *exit_code = ChatCommand(*options).Run(); });
}

}  // namespace llava::client
