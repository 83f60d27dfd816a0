// One HTTP connection from its first byte to its last.
#ifndef LLAVA_SERVER_API_HTTP_SESSION_H_
#define LLAVA_SERVER_API_HTTP_SESSION_H_

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <memory>

#include "server/api/http/server.h"

namespace llava::api {

// Serves the socket, over TLS unless `tls` is null, until the client or a bound ends it; then calls
// server->Forget. The socket's executor is a strand.
std::shared_ptr<HttpConnection> StartHttpSession(boost::asio::ip::tcp::socket socket,
                                                 boost::asio::ssl::context* tls,
                                                 HttpServer* server);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_SESSION_H_
