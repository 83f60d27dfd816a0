#include "server/api/http/batch_routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/json/parse.hpp>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/server/api/http/fake_exchange.h"

namespace llava::api {
namespace {

namespace http = boost::beast::http;
namespace json = boost::json;

class BatchRoutesTest : public ::testing::Test {
 protected:
  void Start() {
    service_ = batches::BatchService::Open({.store = {.dir = dir_.path() + "/b"}}, &clock_).value();
    service_->Start([](batches::RowCall, const auto&) { return [] {}; }, [] { return false; });
  }

  // The answer's status; its body is body_.
  unsigned Ask(http::verb method, const std::string& target, const std::string& body = "",
               const std::string& tenant = "ann") {
    HttpRouter router(&auth_);
    AddBatchRoutes(service_.get(), &router);
    boost::asio::io_context io;
    FakeExchange exchange(&io, method, target);
    exchange.set_caller({.name = tenant, .may_name_tenants = false});
    exchange.request().body() = body;
    exchange.request().set(http::field::content_type, "multipart/form-data; boundary=b");
    Answer(router, &io, &exchange);
    body_ = exchange.body;
    return exchange.status;
  }

  std::string Upload(const std::string& content) {
    const std::string form =
        absl::StrCat("--b\r\nContent-Disposition: form-data; name=purpose\r\n\r\nbatch\r\n",
                     "--b\r\nContent-Disposition: form-data; name=file; filename=rows\r\n\r\n",
                     content, "\r\n--b--");
    EXPECT_EQ(Ask(http::verb::post, "/v1/files", form), 200u) << body_;
    return std::string(json::parse(body_).at("id").as_string());
  }

  const test::TempDir dir_;
  const RealClock clock_;
  const rpc::Auth auth_;
  std::unique_ptr<batches::BatchService> service_;
  std::string body_;
};

TEST_F(BatchRoutesTest, OffTheySaySo) {
  for (const char* target : {"/v1/files", "/v1/files/a/content", "/v1/batches/b"}) {
    EXPECT_EQ(Ask(http::verb::get, target), 404u);
    EXPECT_THAT(body_, ::testing::HasSubstr("batch_dir"));
  }
}

TEST_F(BatchRoutesTest, ContentComesWholeOrInPieces) {
  Start();
  for (const std::size_t size : {std::size_t{0}, std::size_t{5}, std::size_t{1'000'000}}) {
    const std::string content(size, 'x');
    const std::string id = Upload(content);
    EXPECT_EQ(Ask(http::verb::get, absl::StrCat("/v1/files/", id, "/content")), 200u);
    EXPECT_EQ(body_, content);
    EXPECT_EQ(Ask(http::verb::get, absl::StrCat("/v1/files/", id, "/content"), "", "bob"), 404u);
  }
}

TEST_F(BatchRoutesTest, OfTheDiskNothingIsSaid) {
  Start();
  const std::string id = Upload("x");
  std::filesystem::remove_all(dir_.path() + "/b/files");
  EXPECT_EQ(Ask(http::verb::get, absl::StrCat("/v1/files/", id, "/content")), 500u);
  EXPECT_THAT(body_, ::testing::Not(::testing::HasSubstr(dir_.path())));
  const std::string form =
      "--b\r\nContent-Disposition: form-data; name=purpose\r\n\r\nbatch\r\n"
      "--b\r\nContent-Disposition: form-data; name=file; filename=r\r\n\r\nx\r\n--b--";
  EXPECT_EQ(Ask(http::verb::post, "/v1/files", form), 500u);
  EXPECT_THAT(body_, ::testing::Not(::testing::HasSubstr(dir_.path())));
}

TEST_F(BatchRoutesTest, OfAnUploadThatIsRefusedNothingStays) {
  Start();
  const std::string file = "--b\r\nContent-Disposition: form-data; name=file; filename=r\r\n\r\n" +
                           std::string(1000, 'x');
  for (const std::string end : {"", "\r\n--b--", "\r\n--b\r\n\r\n\r\nx\r\n--b--"}) {
    EXPECT_EQ(Ask(http::verb::post, "/v1/files", file + end), 400u) << end;
  }
  EXPECT_EQ(Ask(http::verb::get, "/v1/files"), 200u);
  EXPECT_TRUE(json::parse(body_).at("data").as_array().empty());
  EXPECT_TRUE(std::filesystem::is_empty(dir_.path() + "/b/files"));
}

TEST_F(BatchRoutesTest, ListsArePagedBothWays) {
  Start();
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(Upload("x"));
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(Ask(http::verb::get, "/v1/files?limit=2&order=asc"), 200u);
  json::value page = json::parse(body_);
  EXPECT_EQ(page.at("first_id"), json::value(ids[0]));
  EXPECT_EQ(page.at("has_more"), json::value(true));
  EXPECT_EQ(Ask(http::verb::get, absl::StrCat("/v1/files?limit=2&order=asc&after=", ids[1])), 200u);
  page = json::parse(body_);
  EXPECT_EQ(page.at("data").as_array().size(), 1u);
  EXPECT_EQ(page.at("has_more"), json::value(false));
  EXPECT_EQ(Ask(http::verb::get, "/v1/files?limit=1"), 200u);
  EXPECT_EQ(json::parse(body_).at("first_id"), json::value(ids[2]));
  EXPECT_EQ(Ask(http::verb::get, "/v1/files?limit=x"), 400u);
  EXPECT_EQ(Ask(http::verb::get, "/v1/batches?limit=101"), 400u);
  EXPECT_EQ(Ask(http::verb::get, "/v1/files?order=up"), 400u);
  EXPECT_EQ(Ask(http::verb::get, "/v1/files", "", "bob"), 200u);
  EXPECT_EQ(json::parse(body_).at("last_id"), json::value(nullptr));
}

TEST_F(BatchRoutesTest, BatchesAreMadeFoundAndCancelled) {
  Start();
  const auto wanted = [](const std::string& id) {
    return absl::StrCat(R"({"completion_window":"24h","endpoint":"/v1/score","input_file_id":")",
                        id, "\"}");
  };
  const std::string line = R"({"custom_id":"a","method":"POST","url":"/v1/score","body":{}})";
  EXPECT_EQ(Ask(http::verb::post, "/v1/batches", wanted("file-0")), 404u);
  EXPECT_THAT(body_, ::testing::HasSubstr(R"("param":"input_file_id")"));
  EXPECT_EQ(Ask(http::verb::post, "/v1/batches", wanted(Upload(line))), 200u);
  const std::string id(json::parse(body_).at("id").as_string());
  EXPECT_EQ(Ask(http::verb::get, "/v1/batches/" + id), 200u);
  EXPECT_EQ(Ask(http::verb::post, "/v1/batches/" + id), 405u);
  EXPECT_EQ(Ask(http::verb::get, absl::StrCat("/v1/batches/", id, "/cancel")), 405u);
  EXPECT_EQ(Ask(http::verb::get, absl::StrCat("/v1/batches/", id, "/x")), 404u);
  EXPECT_EQ(Ask(http::verb::post, absl::StrCat("/v1/batches/", id, "/cancel")), 200u);
  EXPECT_EQ(Ask(http::verb::delete_, "/v1/batches/" + id), 405u);
}

}  // namespace
}  // namespace llava::api
