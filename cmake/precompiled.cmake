# Precompiled headers, each built once: what nearly every file includes (llava_pch), the same with
# GoogleTest (llava_test_pch), and the same with LibTorch (llava_torch_pch, see libtorch.cmake).
# Files must include what they use all the same: the preset `fuzz` builds without these.

function(llava_precompiled_header name)
  cmake_parse_arguments(arg "" "" "HEADERS;DEPS" ${ARGN})
  add_library(${name} OBJECT ${CMAKE_SOURCE_DIR}/cmake/pch.cc)
  target_link_libraries(${name} PRIVATE llava_options absl::statusor absl::strings ${arg_DEPS})
  target_precompile_headers(${name} PRIVATE
    <algorithm> <chrono> <cstdint> <functional> <map> <memory> <optional> <string>
    <string_view> <utility> <vector>
    <absl/status/status.h> <absl/status/statusor.h> <absl/strings/str_cat.h> ${arg_HEADERS})
endfunction()

llava_precompiled_header(llava_pch)
llava_precompiled_header(llava_test_pch HEADERS <gmock/gmock.h> <gtest/gtest.h> DEPS GTest::gmock)
