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
  else()
    target_precompile_headers(${name} REUSE_FROM llava_pch)
  endif()
endfunction()

function(llava_use_torch name)
  target_link_libraries(${name} PRIVATE torch)
  target_precompile_headers(${name} REUSE_FROM llava_torch_pch)
endfunction()

# llava_executable(<name> SOURCES ... DEPS ... [TORCH] [PRECOMPILED <target>])
#   PRECOMPILED: whose precompiled header its files begin with, unless TORCH; llava_pch if not
# given.
function(llava_executable name)
  cmake_parse_arguments(arg "TORCH" "PRECOMPILED" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE llava_options ${arg_DEPS})
  if(NOT arg_PRECOMPILED)
    set(arg_PRECOMPILED llava_pch)
  endif()
  if(arg_TORCH)
    llava_use_torch(${name})
  else()
    target_precompile_headers(${name} REUSE_FROM ${arg_PRECOMPILED})
  endif()
endfunction()

# Seconds after which a test counts as hanging: many times what it takes on an idle machine, since
# one that only needs more time on a busy one must get it.
set(LLAVA_TEST_TIMEOUT 1500)

# llava_test(<name> LABEL <label> SOURCES ... DEPS ... [TORCH] [TIMEOUT s])
#   Labels: unit golden property simulation integration e2e chaos fuzz repo-rules deploy.
#   Tests find files of the repository by paths from its root, where they run.
function(llava_test name)
  cmake_parse_arguments(arg "TORCH" "LABEL;TIMEOUT" "SOURCES;DEPS" ${ARGN})
  if(arg_TORCH)
    set(torch TORCH)
  endif()
  llava_executable(${name} ${torch} PRECOMPILED llava_test_pch
    SOURCES ${arg_SOURCES} DEPS ${arg_DEPS} GTest::gmock_main)
  target_compile_options(${name} PRIVATE ${LLAVA_COLD})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT ${LLAVA_TEST_TIMEOUT})
  endif()
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  # OpenMP's threads do not spin while they wait: tests share the machine with others.
  set_tests_properties(${name} PROPERTIES LABELS ${arg_LABEL} TIMEOUT ${arg_TIMEOUT}
    ENVIRONMENT OMP_WAIT_POLICY=passive)
endfunction()

# llava_python_test(<name> LABEL <label> [SCRIPT <file>] [TIMEOUT s] [PROGRAMS VARIABLE=<target>...]
#                   [ARGS ...])
#   Runs SCRIPT (<name>_test.py) of this folder in the environment of tests/python-packages.lock.
#   The paths of the programs that it starts are environment variables.
function(llava_python_test name)
  cmake_parse_arguments(arg "" "LABEL;SCRIPT;TIMEOUT" "PROGRAMS;ARGS" ${ARGN})
  if(NOT arg_SCRIPT)
    set(arg_SCRIPT ${name}_test.py)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT ${LLAVA_TEST_TIMEOUT})
  endif()
  set(environment PYTHONDONTWRITEBYTECODE=1)
  foreach(program ${arg_PROGRAMS})
    string(REPLACE "=" ";" pair ${program})
    list(GET pair 0 variable)
    list(GET pair 1 target)
    list(APPEND environment "${variable}=$<TARGET_FILE:${target}>")
  endforeach()
  add_test(NAME ${name}
    COMMAND ${CMAKE_SOURCE_DIR}/scripts/with-test-venv ${CMAKE_CURRENT_SOURCE_DIR}/${arg_SCRIPT}
            ${arg_ARGS}
    WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS ${arg_LABEL} TIMEOUT ${arg_TIMEOUT}
    ENVIRONMENT "${environment}")
endfunction()

# llava_test_on_cuda(<test> <label>): the same program once more with its tensors on a GPU, where
# this build has CUDA; skipped (status 77) on a machine without one.
function(llava_test_on_cuda name label)
  if(LLAVA_WITH_CUDA)
    add_test(NAME ${name}_cuda COMMAND ${CMAKE_SOURCE_DIR}/scripts/with-gpu $<TARGET_FILE:${name}>
             WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name}_cuda PROPERTIES LABELS ${label} TIMEOUT 300 SKIP_RETURN_CODE 77
                         ENVIRONMENT LLAVA_TEST_DEVICE=cuda)
  endif()
endfunction()
