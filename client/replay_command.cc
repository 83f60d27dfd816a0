#include "client/replay_command.h"

#include <CLI/CLI.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/http/client_tls.h"
#include "base/http/http_exchange.h"
#include "base/json_reader.h"
#include "base/status_macros.h"
#include "client/exit_code.h"
#include "client/replay/replay.h"

namespace llava::client {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

constexpr Duration kLongest = std::chrono::minutes(10);

struct Arguments {
  std::string response;
  std::string request;
  std::string http = "http://127.0.0.1:8080/v1";
  std::string ca;
  std::string token;
};

absl::StatusOr<asio::ssl::context> TlsOf(const std::string& ca) {
  asio::ssl::context tls = ClientTls();
  boost::system::error_code error;
  if (!ca.empty()) tls.load_verify_file(ca, error);
  if (error) return absl::InvalidArgumentError(absl::StrCat(ca, ": ", error.message()));
  return tls;
}

// The JSON of a 200. UNAVAILABLE: no answer came; FAILED_PRECONDITION: the server refuses it.
absl::StatusOr<json::object> Ask(const Arguments& arguments, const std::string& body) {
  ASSIGN_OR_RETURN(const HttpTarget target, ParseTarget(arguments.http));
  ASSIGN_OR_RETURN(asio::ssl::context tls, TlsOf(arguments.ca));
  const RealClock clock;
  const std::string authorization = arguments.token.empty() ? "" : "Bearer " + arguments.token;
  const std::string path = "/chat/completions";
  const HttpPost post{.user_agent = "llava",
                      .path = path,
                      .body = body,
                      .authorization = authorization,
                      .idle = kLongest,
                      .deadline = clock.Now() + kLongest};
  HttpResult result;
  asio::io_context context;
  asio::co_spawn(
      context,
      [&]() -> asio::awaitable<void> {
        result = co_await PostOnce(context.get_executor(), &tls, &target, &post, &clock);
      },
      asio::detached);
  context.run();
  if (!result.failure.status.ok()) {
    return absl::UnavailableError(
        absl::StrCat(arguments.http, ": ", result.failure.status.message()));
  }
  auto answer = ParseJsonObject(result.answer.body, arguments.http);
  if (result.answer.status == 200) return answer;
  std::string said = result.answer.body.substr(0, 300);
  if (answer.ok()) said = JsonReader("", *answer).Object("error").String("message", said);
  return absl::FailedPreconditionError(
      absl::StrCat("the server answers ", result.answer.status, ": ", said));
}

absl::StatusOr<Replay> Run(const Arguments& arguments) {
  ASSIGN_OR_RETURN(json::object request, ReadJsonObject(arguments.request));
  ASSIGN_OR_RETURN(json::object response, ReadJsonObject(arguments.response));
  ASSIGN_OR_RETURN(const Recorded recorded, ReadRecorded(std::move(request), std::move(response)));
  ASSIGN_OR_RETURN(const json::object wanted, RequestToReplay(recorded));
  ASSIGN_OR_RETURN(const json::object again, Ask(arguments, json::serialize(wanted)));
  return CompareReplay(recorded.response, again);
}

int Report(const absl::StatusOr<Replay>& replay) {
  if (!replay.ok()) {
    std::fprintf(stderr, "llava replay: %s\n", std::string(replay.status().message()).c_str());
    return absl::IsUnavailable(replay.status()) ? kNetworkError : kRequestError;
  }
  for (const std::string& cause : replay->causes) std::printf("%s\n", cause.c_str());
  if (replay->is_same) {
    std::printf("the same %s\n",
                replay->has_tokens ? "tokens" : "text; the response has no token_ids to compare");
    return kOk;
  }
  std::printf("not the same: %s\n", replay->difference.c_str());
  return replay->causes.empty() ? kServerError : kRequestError;
}

}  // namespace

void AddReplayCommand(CLI::App* app, int* exit_code) {
  CLI::App* command = app->add_subcommand("replay", "Ask again, and compare with an old answer");
  command->footer(
      "RESPONSE.json and the request are those of POST /v1/chat/completions, or lines of a batch.\n"
      "The version that answered then is asked; with return_token_ids in the request, tokens are\n"
      "compared, else texts. Exit code 0: the same; 1: it cannot be, or is not, for the reason "
      "that\n"
      "is said; 2: not the same though version, build and number format are.\n" +
      command->get_footer());
  auto arguments = std::make_shared<Arguments>();
  command->add_option("RESPONSE", arguments->response, "File with the response")->required();
  command->add_option("--request", arguments->request, "File with the request")->required();
  command->add_option("--http", arguments->http, "URL of the server's HTTP API, with /v1")
      ->capture_default_str();
  command->add_option("--ca", arguments->ca, "PEM file of the authority that signed the server");
  command->add_option("--token", arguments->token, "Bearer token")->envname("LLAVA_TOKEN");
  command->callback([arguments, exit_code] { *exit_code = Report(Run(*arguments)); });
}

}  // namespace llava::client
