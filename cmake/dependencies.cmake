# Every outside library, as imported targets. LibTorch, sentencepiece and what is written in
# Rust come from scripts/setup (.deps/).

find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(ZLIB REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(yaml-cpp CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
find_package(OpenCV REQUIRED COMPONENTS core imgproc)
find_package(Boost 1.81 REQUIRED COMPONENTS json url)
find_package(GIF 5 REQUIRED)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(libedit REQUIRED IMPORTED_TARGET libedit)
pkg_check_modules(libpcre2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(libutf8proc REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(libwebp REQUIRED IMPORTED_TARGET libwebp)
find_package(SQLite3 REQUIRED)
find_package(GTest CONFIG REQUIRED)
find_package(benchmark CONFIG REQUIRED)

# OpenCV draws for the trainer; nothing that serves links it. Without imgcodecs, whose Debian
# package brings GDAL and 160 others: pictures are read and written by model/image.
# OpenCV's Debian package has no usage requirements that CMake calls SYSTEM.
add_library(llava_opencv INTERFACE)
target_include_directories(llava_opencv SYSTEM INTERFACE ${OpenCV_INCLUDE_DIRS})
target_link_libraries(llava_opencv INTERFACE opencv_core opencv_imgproc)

set(LLAVA_DEPS ${CMAKE_SOURCE_DIR}/.deps)

add_library(sentencepiece STATIC IMPORTED)
set_target_properties(sentencepiece PROPERTIES
  IMPORTED_LOCATION ${LLAVA_DEPS}/sentencepiece/lib/libsentencepiece.a
  INTERFACE_INCLUDE_DIRECTORIES ${LLAVA_DEPS}/sentencepiece/include)
target_link_libraries(sentencepiece INTERFACE protobuf::libprotobuf-lite Threads::Threads)
add_library(sentencepiece_train STATIC IMPORTED)
set_target_properties(sentencepiece_train PROPERTIES
  IMPORTED_LOCATION ${LLAVA_DEPS}/sentencepiece/lib/libsentencepiece_train.a)
target_link_libraries(sentencepiece_train INTERFACE sentencepiece)
if(NOT EXISTS ${LLAVA_DEPS}/sentencepiece/lib/libsentencepiece.a)
  message(FATAL_ERROR "sentencepiece is not in .deps/: run scripts/setup first")
endif()

# llguidance and the engine of chat templates (model/template/engine).
execute_process(COMMAND ${CMAKE_SOURCE_DIR}/scripts/crates/folder OUTPUT_VARIABLE crates
  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
cmake_path(GET crates FILENAME crates)
add_library(rust_crates STATIC IMPORTED)
set_target_properties(rust_crates PROPERTIES
  IMPORTED_LOCATION ${LLAVA_DEPS}/${crates}/lib/libllava_crates.a
  INTERFACE_INCLUDE_DIRECTORIES ${LLAVA_DEPS}/${crates}/include)
target_link_libraries(rust_crates INTERFACE Threads::Threads ${CMAKE_DL_LIBS})
if(NOT EXISTS ${LLAVA_DEPS}/${crates}/done)
  message(FATAL_ERROR "${crates} is not in .deps/: run scripts/setup first")
endif()

include(precompiled)
if(LLAVA_WITH_TORCH)
  include(libtorch)
endif()
