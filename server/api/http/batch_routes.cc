#include "server/api/http/batch_routes.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/field_error.h"
#include "base/lines/line_file.h"
#include "base/status_macros.h"
#include "server/api/http/awaiting.h"
#include "server/api/openai/batch_request.h"
#include "server/api/openai/json_body.h"

namespace llava::api {
namespace {

namespace http = boost::beast::http;
namespace json = boost::json;
using boost::asio::awaitable;

constexpr std::int64_t kPiece = std::int64_t{256} << 10;
constexpr std::int64_t kMaxFilePage = 10'000;
constexpr std::int64_t kMaxBatchPage = 100;  // each may name 100 faults
constexpr char kFilePath[] = "/v1/files/";
constexpr char kBatchPath[] = "/v1/batches/";
constexpr char kContent[] = "/content";
constexpr char kCancel[] = "/cancel";

// What is between the folder of a route and its end.
std::string Rest(const HttpRequest& request, absl::string_view folder, absl::string_view end = "") {
  const std::string path = *PathOf(request);
  return path.substr(folder.size(), path.size() - folder.size() - end.size());
}

// One request that the service's thread answers.
using Maker = std::function<absl::StatusOr<json::object>(
    batches::BatchService& service, const HttpRequest& request, const std::string& tenant)>;

absl::StatusOr<std::string> Tenant(const batches::BatchService* service, HttpExchange& exchange) {
  if (service == nullptr) {
    return absl::NotFoundError("files and batches are off: the server's option batch_dir is empty");
  }
  ASSIGN_OR_RETURN(std::string tenant, TenantOfHeader(exchange));
  return tenant.empty() ? "default" : tenant;
}

awaitable<void> AnswerJson(batches::BatchService* service, Maker make, HttpExchange& exchange) {
  absl::StatusOr<json::object> answer = json::object();
  const auto tenant = Tenant(service, exchange);
  if (tenant.ok()) {
    std::function<void(std::function<void()>)> start = [&](const std::function<void()>& done) {
      service->Post([&, done] {
        answer = make(*service, exchange.request(), *tenant);
        if (!answer.ok()) answer = service->ForClients(answer.status());
        done();
      });
    };
    co_await WaitFor(exchange.executor(), start);
  } else {
    answer = tenant.status();
  }
  exchange.DropBody();
  HttpResponse response =
      answer.ok() ? MakeResponse(http::status::ok, "application/json", json::serialize(*answer))
                  : ErrorResponse(answer.status());
  co_await exchange.Send(std::move(response));
}

absl::StatusOr<json::object> GetFile(batches::BatchService& service, const HttpRequest& request,
                                     const std::string& tenant) {
  ASSIGN_OR_RETURN(const batches::File* const file,
                   service.store().FindFile(tenant, Rest(request, kFilePath)));
  return ToObject(*file);
}

absl::StatusOr<json::object> DeleteFile(batches::BatchService& service, const HttpRequest& request,
                                        const std::string& tenant) {
  const std::string id = Rest(request, kFilePath);
  RETURN_IF_ERROR(service.store().DeleteFile(tenant, id));
  return json::object{{"id", id}, {"object", "file"}, {"deleted", true}};
}

absl::StatusOr<json::object> CreateBatch(batches::BatchService& service, const HttpRequest& request,
                                         const std::string& tenant) {
  ASSIGN_OR_RETURN(BatchRequest wanted, ParseBatchRequest(request.body()));
  batches::Batch batch{.id = "",
                       .tenant = tenant,
                       .endpoint = wanted.endpoint,
                       .window = wanted.window,
                       .input = wanted.input_file,
                       .lifetime = std::min(wanted.lifetime, service.store().retention()),
                       .metadata = std::move(wanted.metadata),
                       .expires = service.store().Now() + wanted.window_seconds};
  const auto created = service.Create(std::move(batch));
  if (absl::IsNotFound(created.status())) return WithField(created.status(), "input_file_id");
  RETURN_IF_ERROR(created.status());
  return ToObject(*created);
}

absl::StatusOr<json::object> GetBatch(batches::BatchService& service, const HttpRequest& request,
                                      const std::string& tenant) {
  ASSIGN_OR_RETURN(const batches::Batch* const batch,
                   service.store().FindBatch(tenant, Rest(request, kBatchPath)));
  return ToObject(*batch);
}

absl::StatusOr<json::object> CancelBatch(batches::BatchService& service, const HttpRequest& request,
                                         const std::string& tenant) {
  const std::string id = Rest(request, kBatchPath, kCancel);
  ASSIGN_OR_RETURN(const batches::Batch batch, service.Cancel(tenant, id));
  return ToObject(batch);
}

// What a list is asked for in the query. Other parameters say nothing.
struct Page {
  std::int64_t limit = 0;
  std::string after;
  std::string purpose;  // empty: any
  bool is_ascending = false;
};

absl::StatusOr<Page> PageOf(const HttpRequest& request, std::int64_t limit, std::int64_t most) {
  Page page{.limit = limit, .after = "", .purpose = "", .is_ascending = false};
  const auto url = boost::urls::parse_uri_reference(request.target());
  if (!url.has_value()) return page;
  for (const auto& parameter : url->params()) {
    const std::string value(parameter.value);
    if (parameter.key == "after") page.after = value;
    if (parameter.key == "purpose") page.purpose = value;
    if (parameter.key == "order") {
      if (value != "asc" && value != "desc") {
        return Wrong("order", json::value(value), "asc or desc");
      }
      page.is_ascending = value == "asc";
    }
    if (parameter.key != "limit") continue;
    if (!absl::SimpleAtoi(value, &page.limit) || page.limit < 1 || page.limit > most) {
      return Wrong("limit", json::value(value), absl::StrCat("a number in [1, ", most, "]"));
    }
  }
  return page;
}

// `entries`: by id, the oldest first; `want`: which of them are there for the client.
template <typename Entry, typename Want>
absl::StatusOr<json::object> List(const std::map<std::string, Entry>& entries, const Page& page,
                                  Want want) {
  const auto after = entries.find(page.after);
  if (!page.after.empty() && (after == entries.end() || !want(after->second))) {
    return Wrong("after", json::value(page.after), "the id of an entry of this list");
  }
  std::vector<const Entry*> found;
  for (const auto& [id, entry] : entries) {
    const bool comes =
        page.after.empty() || (page.is_ascending ? id > page.after : id < page.after);
    if (comes && want(entry)) found.push_back(&entry);
  }
  if (!page.is_ascending) std::reverse(found.begin(), found.end());
  const bool has_more = std::ssize(found) > page.limit;
  if (has_more) found.resize(static_cast<std::size_t>(page.limit));
  json::array data;
  for (const Entry* entry : found) data.push_back(ToObject(*entry));
  const auto id_or_null = [&](auto which) {
    return found.empty() ? json::value(nullptr) : json::value(which()->id);
  };
  return json::object{{"object", "list"},
                      {"first_id", id_or_null([&] { return found.front(); })},
                      {"last_id", id_or_null([&] { return found.back(); })},
                      {"has_more", has_more},
                      {"data", std::move(data)}};
}

absl::StatusOr<json::object> ListFiles(batches::BatchService& service, const HttpRequest& request,
                                       const std::string& tenant) {
  ASSIGN_OR_RETURN(const Page page, PageOf(request, kMaxFilePage, kMaxFilePage));
  return List(service.store().files(), page, [&](const batches::File& file) {
    return file.tenant == tenant && (page.purpose.empty() || file.purpose == page.purpose);
  });
}

absl::StatusOr<json::object> ListBatches(batches::BatchService& service, const HttpRequest& request,
                                         const std::string& tenant) {
  ASSIGN_OR_RETURN(const Page page, PageOf(request, 20, kMaxBatchPage));
  return List(service.store().batches(), page,
              [&](const batches::Batch& batch) { return batch.tenant == tenant; });
}

// A file's bytes, a piece at a time. Deleted meanwhile, it is sent to its end.
class Content {
 public:
  Content(batches::BatchService* service, std::string tenant, std::string id,
          HttpExchange* exchange)
      : service_(service), tenant_(std::move(tenant)), id_(std::move(id)), exchange_(exchange) {}

  awaitable<void> Run() {
    co_await Next();
    if (!piece_.ok()) {
      HttpResponse refusal = ErrorResponse(piece_.status());
      co_await exchange_->Send(std::move(refusal));
      co_return;
    }
    if (offset_ == bytes_) {
      HttpResponse whole = MakeResponse(http::status::ok, kType, *std::move(piece_));
      co_await exchange_->Send(std::move(whole));
      co_return;
    }
    HttpResponse head = MakeResponse(http::status::ok, kType, "");
    bool reached = co_await exchange_->StartStream(std::move(head));
    if (exchange_->request().method() == http::verb::head) co_return;
    while (reached && piece_.ok() && !piece_->empty()) {
      std::string piece = *std::move(piece_);
      reached = co_await exchange_->SendChunk(std::move(piece));
      if (reached && offset_ < bytes_) co_await Next();
    }
    if (piece_.ok() && offset_ == bytes_) {
      co_await exchange_->EndStream();
    } else {
      exchange_->request().keep_alive(false);  // its stream has no end
    }
  }

 private:
  static constexpr char kType[] = "application/jsonl";

  awaitable<void> Next() {
    std::function<void(std::function<void()>)> start = [&](const std::function<void()>& done) {
      service_->Post([this, done] {
        piece_ = Read();
        if (!piece_.ok()) piece_ = service_->ForClients(piece_.status());
        done();
      });
    };
    co_await WaitFor(exchange_->executor(), start);
  }

  absl::StatusOr<std::string> Read() {
    const std::string path = service_->store().DataPath(id_);
    if (!file_.is_open()) {
      ASSIGN_OR_RETURN(const batches::File* const file, service_->store().FindFile(tenant_, id_));
      bytes_ = file->bytes;
      auto opened = OpenRegularFile(path);
      if (!opened.ok()) return absl::InternalError(opened.status().message());
      file_ = *std::move(opened);
    }
    auto piece = ReadBytes(file_, path, offset_, std::min(kPiece, bytes_ - offset_));
    if (!piece.ok()) return absl::InternalError(piece.status().message());
    offset_ += static_cast<std::int64_t>(piece->size());
    return piece;
  }

  batches::BatchService* const service_;
  const std::string tenant_;
  const std::string id_;
  HttpExchange* const exchange_;
  FileDescriptor file_;
  std::int64_t bytes_ = 0;
  std::int64_t offset_ = 0;
  absl::StatusOr<std::string> piece_ = "";
};

// A file that comes, on the disk piece by piece. Memory holds one piece.
class Upload {
 public:
  Upload(batches::BatchService* service, std::string tenant, HttpExchange* exchange)
      : service_(service), tenant_(std::move(tenant)), exchange_(exchange) {}

  awaitable<void> Run() {
    auto form = FileUploadReader::Make(HeaderOf(exchange_->request(), "content-type"));
    status_ = form.status();
    if (form.ok()) co_await Receive(&*form);
    if (absl::IsCancelled(status_)) {
      exchange_->request().keep_alive(false);
      co_return;
    }
    HttpResponse response = status_.ok()
                                ? MakeResponse(http::status::ok, "application/json", answer_)
                                : ErrorResponse(status_);
    co_await exchange_->Send(std::move(response));
  }

 private:
  using Step = std::function<absl::Status(batches::BatchStore& store)>;

  // status_ says how it went.
  awaitable<void> Receive(FileUploadReader* form) {
    const Step begin = [this](batches::BatchStore& store) -> absl::Status {
      ASSIGN_OR_RETURN(id_, store.BeginFile(tenant_));
      return absl::OkStatus();
    };
    const Step append = [this](batches::BatchStore& store) {
      return store.AppendFile(id_, content_);
    };
    const Step end = [this](batches::BatchStore& store) { return End(store); };
    const Step drop = [this](batches::BatchStore& store) {
      store.DropFile(id_);
      return absl::OkStatus();
    };
    co_await Do(begin);
    for (bool has_more = true; status_.ok() && has_more;) {
      const absl::StatusOr<std::string> piece = co_await exchange_->ReadPiece();
      status_ = piece.status();
      if (!status_.ok()) break;
      has_more = !piece->empty();
      content_.clear();
      status_ = form->Read(*piece, &content_);
      if (status_.ok() && !content_.empty()) co_await Do(append);
    }
    if (status_.ok()) {
      auto upload = form->Finish();
      status_ = upload.status();
      if (upload.ok()) upload_ = *std::move(upload);
    }
    if (status_.ok()) co_await Do(end);
    if (!status_.ok()) co_await Do(drop);
  }

  absl::Status End(batches::BatchStore& store) {
    const batches::File said{
        .id = "", .tenant = tenant_, .name = upload_.name, .purpose = upload_.purpose};
    ASSIGN_OR_RETURN(const batches::File file,
                     store.EndFile(id_, said, std::min(upload_.lifetime, store.retention())));
    answer_ = json::serialize(ToObject(file));
    return absl::OkStatus();
  }

  // In the service's thread; what goes wrong first is what is said.
  awaitable<void> Do(const Step& step) {
    std::function<void(std::function<void()>)> start = [&](const std::function<void()>& done) {
      service_->Post([&, done] {
        absl::Status status = service_->ForClients(step(service_->store()));
        if (absl::IsInvalidArgument(status)) status = FieldError("file", status.message());
        status_.Update(status);
        done();
      });
    };
    co_await WaitFor(exchange_->executor(), start);
  }

  batches::BatchService* const service_;
  const std::string tenant_;
  HttpExchange* const exchange_;
  absl::Status status_;
  std::string id_;  // empty: it has not begun
  std::string content_;
  FileUpload upload_;
  std::string answer_;
};

awaitable<void> PostFile(batches::BatchService* service, HttpExchange& exchange) {
  const auto tenant = Tenant(service, exchange);
  if (!tenant.ok()) {
    HttpResponse refusal = ErrorResponse(tenant.status());
    co_await exchange.Send(std::move(refusal));
    co_return;
  }
  Upload upload(service, *tenant, &exchange);
  co_await upload.Run();
}

awaitable<void> GetContent(batches::BatchService* service, HttpExchange& exchange) {
  const auto tenant = Tenant(service, exchange);
  if (!tenant.ok()) {
    HttpResponse refusal = ErrorResponse(tenant.status());
    co_await exchange.Send(std::move(refusal));
    co_return;
  }
  Content content(service, *tenant, Rest(exchange.request(), kFilePath, kContent), &exchange);
  co_await content.Run();
}

}  // namespace

void AddBatchRoutes(batches::BatchService* service, HttpRouter* router) {
  const auto add = [&](http::verb method, const std::string& path, const Maker& make) {
    router->Add({method, path, rpc::Role::kChat,
                 [service, make](HttpExchange& exchange) -> awaitable<void> {
                   co_await AnswerJson(service, make, exchange);
                 }});
  };
  router->Add({http::verb::post, "/v1/files", rpc::Role::kChat,
               [service](HttpExchange& exchange) -> awaitable<void> {
                 co_await PostFile(service, exchange);
               },
               /*reads_body=*/true});
  add(http::verb::get, "/v1/files", ListFiles);
  add(http::verb::delete_, absl::StrCat(kFilePath, "{id}"), DeleteFile);
  add(http::verb::get, absl::StrCat(kFilePath, "{id}"), GetFile);
  router->Add({http::verb::get, absl::StrCat(kFilePath, "{id}", kContent), rpc::Role::kChat,
               [service](HttpExchange& exchange) -> awaitable<void> {
                 co_await GetContent(service, exchange);
               }});
  add(http::verb::post, "/v1/batches", CreateBatch);
  add(http::verb::get, "/v1/batches", ListBatches);
  add(http::verb::get, absl::StrCat(kBatchPath, "{id}"), GetBatch);
  add(http::verb::post, absl::StrCat(kBatchPath, "{id}", kCancel), CancelBatch);
}

}  // namespace llava::api
