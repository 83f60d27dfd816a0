// CHECK: for our own bugs only, when the state can no longer be trusted. What a client, a file or
// the environment can cause is an absl::Status instead. A failed check prints and aborts.
#ifndef LLAVA_BASE_CHECK_H_
#define LLAVA_BASE_CHECK_H_

#include <sstream>
#include <string>

namespace llava {

[[noreturn]] void CheckFailed(const char* file, int line, const char* expression,
                              const std::string& detail);

template <typename A, typename B>
std::string CheckOpDetail(const A& a, const B& b) {
  std::ostringstream out;
  out << "(" << a << " vs. " << b << ")";
  return out.str();
}

}  // namespace llava

#define LLAVA_CHECK(condition)                                             \
  do {                                                                     \
    if (!(condition)) [[unlikely]]                                         \
      ::llava::CheckFailed(__FILE__, __LINE__, #condition, std::string()); \
  } while (false)

#define LLAVA_CHECK_OP(a, op, b)                                                    \
  do {                                                                              \
    const auto& llava_check_a_ = (a);                                               \
    const auto& llava_check_b_ = (b);                                               \
    if (!(llava_check_a_ op llava_check_b_)) [[unlikely]]                           \
      ::llava::CheckFailed(__FILE__, __LINE__, #a " " #op " " #b,                   \
                           ::llava::CheckOpDetail(llava_check_a_, llava_check_b_)); \
  } while (false)

#define LLAVA_CHECK_EQ(a, b) LLAVA_CHECK_OP(a, ==, b)
#define LLAVA_CHECK_NE(a, b) LLAVA_CHECK_OP(a, !=, b)
#define LLAVA_CHECK_LT(a, b) LLAVA_CHECK_OP(a, <, b)
#define LLAVA_CHECK_LE(a, b) LLAVA_CHECK_OP(a, <=, b)
#define LLAVA_CHECK_GT(a, b) LLAVA_CHECK_OP(a, >, b)
#define LLAVA_CHECK_GE(a, b) LLAVA_CHECK_OP(a, >=, b)

#endif  // LLAVA_BASE_CHECK_H_
