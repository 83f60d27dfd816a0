# One line a target. The DEPS of a folder are its arrows in docs/architecture.md.

# llava_library(<name> SOURCES ... DEPS ... [PRIVATE_DEPS ...] [TORCH])
#   TORCH: the sources use LibTorch (privately linked; headers of the folder decide what leaks).
function(llava_library name)
  cmake_parse_arguments(arg "TORCH" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC ${arg_DEPS} PRIVATE llava_options ${arg_PRIVATE_DEPS})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  if(arg_TORCH)
    llava_use_torch(${name})
  endif()
endfunction()

function(llava_use_torch name)
  target_link_libraries(${name} PRIVATE torch)
  # Executables too are compiled with -fPIC (not -fPIE): the precompiled header wants equal flags.
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${name} PRIVATE -fPIC)
  target_precompile_headers(${name} REUSE_FROM llava_torch_pch)
endfunction()

# llava_executable(<name> SOURCES ... DEPS ... [TORCH])
function(llava_executable name)
  cmake_parse_arguments(arg "TORCH" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE llava_options ${arg_DEPS})
  if(arg_TORCH)
    llava_use_torch(${name})
  endif()
endfunction()

# llava_test(<name> LABEL <label> SOURCES ... DEPS ... [TORCH] [TIMEOUT s])
#   Labels: unit golden property simulation integration e2e chaos fuzz-smoke repo-rules.
#   Tests find files of the repository by paths from its root, where they run.
function(llava_test name)
  cmake_parse_arguments(arg "TORCH" "LABEL;TIMEOUT" "SOURCES;DEPS" ${ARGN})
  llava_executable(${name} SOURCES ${arg_SOURCES} DEPS ${arg_DEPS} GTest::gmock_main)
  if(arg_TORCH)
    llava_use_torch(${name})
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS ${arg_LABEL} TIMEOUT ${arg_TIMEOUT})
endfunction()
