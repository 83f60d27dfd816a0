// TLS towards services that others run.
#ifndef LLAVA_BASE_HTTP_CLIENT_TLS_H_
#define LLAVA_BASE_HTTP_CLIENT_TLS_H_

#include <boost/asio/ssl/context.hpp>

namespace llava {

// TLS 1.2 or later with the machine's authorities; where there are none, no certificate is good.
boost::asio::ssl::context ClientTls();

}  // namespace llava

#endif  // LLAVA_BASE_HTTP_CLIENT_TLS_H_
