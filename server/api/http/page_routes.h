// The chat page and the API's description: the files of server/api/web, part of the program.
#ifndef LLAVA_SERVER_API_HTTP_PAGE_ROUTES_H_
#define LLAVA_SERVER_API_HTTP_PAGE_ROUTES_H_

#include "server/api/http/router.h"

namespace llava::api {

// GET / and one route a file, for anybody; with a Content-Security-Policy that allows nothing from
// elsewhere.
void AddPageRoutes(HttpRouter* router);

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_PAGE_ROUTES_H_
