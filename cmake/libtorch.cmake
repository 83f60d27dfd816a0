# LibTorch as the imported target `torch`, and one precompiled header for every file that uses it.
# find_package(Torch) of the wheel insists on a CUDA toolkit, so the libraries are named here.

set(LLAVA_LIBTORCH_DIR ${LLAVA_DEPS}/torch
    CACHE PATH "A LibTorch to use (the folder with lib/ and include/)")
if(NOT EXISTS ${LLAVA_LIBTORCH_DIR}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "no LibTorch in ${LLAVA_LIBTORCH_DIR} (lib/libtorch_cpu.so is missing): "
                      "run scripts/setup, or set LLAVA_LIBTORCH_DIR")
endif()

add_library(torch INTERFACE)
target_include_directories(torch SYSTEM INTERFACE
  ${LLAVA_LIBTORCH_DIR}/include ${LLAVA_LIBTORCH_DIR}/include/torch/csrc/api/include)
# -fopenmp at compile time only: at::parallel_for is a template over it, and LibTorch brings its own
# libgomp.
target_compile_options(torch INTERFACE -fopenmp)
target_link_libraries(torch INTERFACE
  ${LLAVA_LIBTORCH_DIR}/lib/libtorch_cpu.so ${LLAVA_LIBTORCH_DIR}/lib/libc10.so)
file(GLOB LLAVA_GOMP ${LLAVA_LIBTORCH_DIR}/lib/libgomp*.so*)
target_link_libraries(torch INTERFACE ${LLAVA_GOMP})
target_link_options(torch INTERFACE -Wl,-rpath-link,${LLAVA_DEPS}/nvidia/cu13/lib)

llava_precompiled_header(llava_torch_pch HEADERS <ATen/ATen.h> DEPS torch)

# With CUDA the whole model runs on torch::kCUDA. libtorch_cuda is reached by static initialisers
# only, so the linker must keep it; its own needs (cuBLAS, cuDNN, NCCL ...) are looked up at run
# time on the GPU machine.
if(LLAVA_WITH_CUDA)
  target_link_options(torch INTERFACE -Wl,--unresolved-symbols=ignore-in-shared-libs)
  target_link_libraries(torch INTERFACE
    -Wl,--no-as-needed
    ${LLAVA_LIBTORCH_DIR}/lib/libtorch_cuda.so ${LLAVA_LIBTORCH_DIR}/lib/libc10_cuda.so
    -Wl,--as-needed)

  find_path(LLAVA_CUDA_HOME bin/nvcc HINTS ${LLAVA_DEPS}/nvidia/cu13 PATHS /usr/local/cuda)
  if(NOT LLAVA_CUDA_HOME)
    message(FATAL_ERROR "no bin/nvcc in .deps/nvidia/cu13 or /usr/local/cuda: "
      "run scripts/setup --cuda, or set LLAVA_CUDA_HOME")
  endif()
  find_library(LLAVA_CUDART cudart HINTS ${LLAVA_CUDA_HOME}/lib ${LLAVA_CUDA_HOME}/lib64 REQUIRED)
  set(LLAVA_CUDA_ARCHITECTURES 75 80 90
      CACHE STRING "Compute capabilities that the kernels are compiled for")
endif()

# llava_cuda_sources(<target> FILE.cu...): compiled by nvcc, not as a language of CMake's, whose
# flags are g++'s here.
function(llava_cuda_sources name)
  set(code)
  foreach(architecture ${LLAVA_CUDA_ARCHITECTURES})
    list(APPEND code -gencode arch=compute_${architecture},code=sm_${architecture})
  endforeach()
  list(GET LLAVA_CUDA_ARCHITECTURES -1 newest)
  list(APPEND code -gencode arch=compute_${newest},code=compute_${newest})  # for GPUs to come
  foreach(file ${ARGN})
    set(object ${CMAKE_CURRENT_BINARY_DIR}/${file}.o)
    get_filename_component(folder ${object} DIRECTORY)
    add_custom_command(OUTPUT ${object}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${folder}
      COMMAND ${LLAVA_CUDA_HOME}/bin/nvcc -c -O3 -std=c++20
              -Xcompiler -fPIC,-Wall,-Wextra -Werror all-warnings
              ${code} -I ${CMAKE_SOURCE_DIR} -MD -MF ${object}.d
              ${CMAKE_CURRENT_SOURCE_DIR}/${file} -o ${object}
      DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${file} DEPFILE ${object}.d VERBATIM)
    target_sources(${name} PRIVATE ${object})
  endforeach()
  target_link_libraries(${name} PRIVATE ${LLAVA_CUDART})
endfunction()
