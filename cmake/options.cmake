# Language, output folders, warnings and sanitizers: the same for every target.

option(LLAVA_WITH_TORCH "Build what needs LibTorch (model, training, the daemon)" ON)
option(LLAVA_WITH_CUDA "Compile CUDA code (needs nvcc and the CUDA LibTorch libraries)" OFF)
option(LLAVA_WITH_FUZZERS "Build the libFuzzer targets (needs clang)" OFF)
set(LLAVA_SANITIZE "" CACHE STRING "Sanitizers for every target, for example address,undefined")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LINK_DEPENDS_NO_SHARED ON)

# -g1 keeps line tables and function names (stack traces, perf) at a fraction of the build time.
# What runs hot asks for -O3 itself (LLAVA_HOT). One flag for libraries and programs alike, because
# a precompiled header wants equal flags.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")
set(LLAVA_HOT $<$<CONFIG:Release>:-O3>)
# What waits for people and sockets (command lines, generated messages, tests) compiles nearly twice
# as fast this way.
set(LLAVA_COLD $<$<CONFIG:Release,Debug>:-O1>)
add_compile_options(-fPIC -pthread)
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1 -D_GLIBCXX_ASSERTIONS")
add_link_options(-fuse-ld=lld -Wl,--as-needed)

# What makes an overrun harder to use, in the builds that are shipped
# (tests/integration/hardening_test.py reads it from the files). Sanitizers find more, and do not go
# together with FORTIFY, which in turn wants optimisation.
if(CMAKE_BUILD_TYPE MATCHES "^(Release|RelWithDebInfo)$"
   AND NOT LLAVA_SANITIZE AND NOT LLAVA_WITH_FUZZERS)
  set(LLAVA_HARDENED ON)
  add_compile_options(-fstack-protector-strong -fstack-clash-protection
                      -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    add_compile_options(-fcf-protection=full)
  endif()
  add_link_options(-Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code)
endif()

add_library(llava_options INTERFACE)
target_compile_options(llava_options INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wnon-virtual-dtor -Wno-sign-conversion -Werror)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  # libstdc++ 12's std::stable_sort uses what it deprecates, and only clang says so.
  target_compile_options(llava_options INTERFACE -Wthread-safety -Wno-deprecated-declarations)
elseif(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 sees overlaps in std::string's operator+ that are not there (GCC bug 105651).
  target_compile_options(llava_options INTERFACE -Wno-restrict)
endif()
target_include_directories(llava_options INTERFACE ${CMAKE_SOURCE_DIR})

if(LLAVA_SANITIZE)
  add_compile_options(
    -fsanitize=${LLAVA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${LLAVA_SANITIZE})
  if(LLAVA_SANITIZE STREQUAL thread AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    # Asio's fences, which TSan does not see, come with locks that it does see.
    add_compile_options(-Wno-tsan)
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    # GCC bug 105562: what it says of <regex> under sanitizers is wrong.
    set(LLAVA_STD_REGEX -Wno-maybe-uninitialized)
  endif()
endif()

if(LLAVA_WITH_FUZZERS)
  add_compile_options(-fsanitize=fuzzer-no-link)  # what libFuzzer sees of our code's branches
endif()

find_program(LLAVA_CCACHE ccache)
if(LLAVA_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # The sloppiness settings let ccache reuse results that include the precompiled LibTorch header.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      ${LLAVA_CCACHE})
endif()
