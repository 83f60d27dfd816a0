// Rows of batches as requests: each goes to the route that a client's request would go to, and what
// that one sends is the row's answer.
#ifndef LLAVA_SERVER_API_HTTP_ROW_ASKER_H_
#define LLAVA_SERVER_API_HTTP_ROW_ASKER_H_

#include "server/api/http/router.h"
#include "server/batches/service.h"
#include "server/chat/io_pool.h"

namespace llava::api {

// Both outlive what it asks. Rows run in the io threads.
batches::RowAsker MakeRowAsker(IoPool* io, const HttpRouter* router);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_ROW_ASKER_H_
