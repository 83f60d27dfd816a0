// A body for Beast's parser that is charged to a budget as it arrives, and takes no memory for what
// has only been announced.
#ifndef LLAVA_SERVER_API_HTTP_CHARGED_BODY_H_
#define LLAVA_SERVER_API_HTTP_CHARGED_BODY_H_

#include <boost/beast/core/buffer_traits.hpp>
#include <boost/beast/core/buffers_range.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/optional.hpp>
#include <cstdint>
#include <string>

#include "server/api/http/body_budget.h"

namespace llava::api {

// Meets Beast's Body and BodyReader. Reading fails with not_enough_memory when the charge does.
struct ChargedBody {
  struct value_type {
    std::string bytes;
    BodyCharge charge;
  };

  class reader {
   public:
    template <bool is_request, typename Fields>
    reader(boost::beast::http::header<is_request, Fields>&, value_type& body) : body_(body) {}

    void init(const boost::optional<std::uint64_t>&, boost::beast::error_code& error) {
      error = {};
    }

    template <typename Buffers>
    std::size_t put(const Buffers& buffers, boost::beast::error_code& error) {
      const std::size_t more = boost::beast::buffer_bytes(buffers);
      if (!body_.charge.GrowTo(static_cast<std::int64_t>(body_.bytes.size() + more))) {
        error = make_error_code(boost::system::errc::not_enough_memory);
        return 0;
      }
      for (const auto buffer : boost::beast::buffers_range_ref(buffers)) {
        body_.bytes.append(static_cast<const char*>(buffer.data()), buffer.size());
      }
      error = {};
      return more;
    }

    void finish(boost::beast::error_code& error) { error = {}; }

   private:
    value_type& body_;
  };
};

}  // namespace llava::api

#endif  // LLAVA_SERVER_API_HTTP_CHARGED_BODY_H_
