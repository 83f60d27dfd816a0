#include "client/replay_command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
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

absl::StatusOr<Replay> Again(const Arguments& arguments, json::object request,
                             json::object response) {
  ASSIGN_OR_RETURN(const Recorded recorded, ReadRecorded(std::move(request), std::move(response)));
  ASSIGN_OR_RETURN(const json::object wanted, RequestToReplay(recorded));
  ASSIGN_OR_RETURN(const json::object again, Ask(arguments, json::serialize(wanted)));
  return CompareReplay(recorded.response, again);
}

// `row`: which it is, with a colon, where there are several.
int Report(const std::string& row, const absl::StatusOr<Replay>& replay) {
  if (!replay.ok()) {
    std::fprintf(stderr, "llava replay: %s%s\n", row.c_str(),
                 std::string(replay.status().message()).c_str());
    return absl::IsUnavailable(replay.status()) ? kNetworkError : kRequestError;
  }
  for (const std::string& cause : replay->causes) {
    std::printf("%s%s\n", row.c_str(), cause.c_str());
  }
  if (replay->is_same) {
    std::printf("%sthe same %s\n", row.c_str(),
                replay->has_tokens ? "tokens" : "text; the response has no token_ids to compare");
    return kOk;
  }
  std::printf("%snot the same: %s\n", row.c_str(), replay->difference.c_str());
  return replay->causes.empty() ? kServerError : kRequestError;
}

int ReplayOne(const Arguments& arguments) {
  absl::StatusOr<json::object> request = ReadJsonObject(arguments.request);
  if (!request.ok()) return Report("", request.status());
  absl::StatusOr<json::object> response = ReadJsonObject(arguments.response);
  if (!response.ok()) return Report("", response.status());
  return Report("", Again(arguments, *std::move(request), *std::move(response)));
}

// Calls `visit` with the id and the object of each line that is not blank, until it says false.
absl::Status ForEachRow(const std::string& path,
                        const std::function<bool(const std::string&, json::object)>& visit) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be opened"));
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    const std::string place = absl::StrCat(path, ": line ", number);
    ASSIGN_OR_RETURN(json::object row, ParseJsonObject(line, place));
    JsonReader reader(place, row);
    const std::string id = reader.String("custom_id", "");
    if (id.empty()) reader.Fail("custom_id", "the id of a batch's row");
    RETURN_IF_ERROR(reader.status());
    if (!visit(id, std::move(row))) return absl::OkStatus();
  }
  return absl::OkStatus();
}

// Whether it is a file of a batch with more rows than one.
bool HasRows(const std::string& path) {
  int rows = 0;
  const absl::Status status = ForEachRow(path, [&](const std::string&, const json::object&) {
    ++rows;
    return rows < 2;
  });
  return rows > 1 || (rows == 1 && !status.ok());
}

// Every answer is compared whose request is there too; the highest exit code of them is theirs.
int ReplayRows(const Arguments& arguments) {
  std::map<std::string, json::object> answers;
  absl::Status status =
      ForEachRow(arguments.response, [&](const std::string& id, json::object row) {
        answers.insert_or_assign(id, std::move(row));
        return true;
      });
  if (!status.ok()) return Report("", status);
  if (answers.empty()) {
    return Report("", absl::InvalidArgumentError(
                          absl::StrCat(arguments.response, ": has no answer to compare")));
  }
  int exit_code = kOk;
  status = ForEachRow(arguments.request, [&](const std::string& id, json::object row) {
    const auto answer = answers.find(id);
    if (answer == answers.end()) return true;
    const auto replay = Again(arguments, std::move(row), std::move(answer->second));
    answers.erase(answer);
    exit_code = std::max(exit_code, Report(absl::StrCat(id, ": "), replay));
    return !absl::IsUnavailable(replay.status());
  });
  if (!status.ok()) return std::max(exit_code, Report("", status));
  if (exit_code == kNetworkError) return exit_code;
  for (const auto& [id, answer] : answers) {
    const absl::Status missing =
        absl::NotFoundError(absl::StrCat("its request is not in ", arguments.request));
    exit_code = std::max(exit_code, Report(absl::StrCat(id, ": "), missing));
  }
  return exit_code;
}

int Run(const Arguments& arguments) {
  const bool rows = HasRows(arguments.response) || HasRows(arguments.request);
  return rows ? ReplayRows(arguments) : ReplayOne(arguments);
}

}  // namespace

void AddReplayCommand(CLI::App* app, int* exit_code) {
  CLI::App* command = app->add_subcommand("replay", "Ask again, and compare with an old answer");
  command->footer(
      "RESPONSE and the request are those of POST /v1/chat/completions, or a batch's files, whose\n"
      "rows belong together by custom_id; the exit code is then the highest of a row.\n"
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
  command->callback([arguments, exit_code] { *exit_code = Run(*arguments); });
}

}  // namespace llava::client
