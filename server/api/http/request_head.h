// What the head of a request must be like before anything of it is believed (RFC 9110, RFC 9112):
// where its body ends and whom it is for may have one reading only.
#ifndef LLAVA_SERVER_API_HTTP_REQUEST_HEAD_H_
#define LLAVA_SERVER_API_HTTP_REQUEST_HEAD_H_

#include <optional>
#include <span>

#include "server/api/http/exchange.h"

namespace llava::api {

// `chunked`: the parser reads the body so. The refusal, after which the connection must end, or
// nothing:
//   400  a Transfer-Encoding that does not end in chunked; no Host, or one that is none; a field
//        that may stand there once and stands there twice; a target that is no path or http(s) URL
//   415  a body that is encoded, as by gzip
//   417  an expectation other than 100-continue
//   501  transfer codings besides chunked
std::optional<HttpResponse> RefuseHead(const HttpRequest& head, bool chunked);

// A later minor version of HTTP/1 in the request line that `bytes` begin with becomes 1.1, the last
// that is known here (section 2.5 of RFC 9110). Returns whether there was one.
bool LowerMinorVersion(std::span<char> bytes);

// Whether the client waits to be told to send its body.
bool ExpectsContinue(const HttpRequest& head);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_REQUEST_HEAD_H_
