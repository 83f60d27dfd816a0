// Served turns for tests.
#ifndef LLAVA_TESTS_SUPPORT_CAPTURED_ROW_H_
#define LLAVA_TESTS_SUPPORT_CAPTURED_ROW_H_

#include <string>
#include <utility>

#include "capture/row.h"

namespace llava::test {

// A question without pictures, and its answer.
inline capture::Row CapturedRow(std::string tenant, std::string id, std::string question = "Why?",
                                std::string answer = "Because.") {
  capture::Row row;
  row.id = std::move(id);
  row.tenant = std::move(tenant);
  row.time = 1'700'000'000;
  row.model = "demo";
  row.version = std::string(64, 'a');
  row.finish = "stop";
  row.said = {std::move(question), std::move(answer)};
  return row;
}

// The same about a picture.
inline capture::Row CapturedPicture(std::string tenant, std::string id, std::string picture) {
  capture::Row row = CapturedRow(std::move(tenant), std::move(id), "<image>\nWhat is it?");
  row.pictures = {std::move(picture)};
  return row;
}

}  // namespace llava::test

#endif  // LLAVA_TESTS_SUPPORT_CAPTURED_ROW_H_
