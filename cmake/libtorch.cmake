# LibTorch as the imported target `torch`, and one precompiled header for every file that uses it.
# find_package(Torch) of the wheel insists on a CUDA toolkit, so the libraries are named here.

set(LLAVA_LIBTORCH_DIR ${LLAVA_DEPS}/torch CACHE PATH "A LibTorch to use (the folder with lib/ and include/)")
if(NOT EXISTS ${LLAVA_LIBTORCH_DIR}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "no LibTorch in ${LLAVA_LIBTORCH_DIR} (lib/libtorch_cpu.so is missing): "
                      "run scripts/setup, or set LLAVA_LIBTORCH_DIR")
endif()

add_library(torch INTERFACE)
target_include_directories(torch SYSTEM INTERFACE
  ${LLAVA_LIBTORCH_DIR}/include ${LLAVA_LIBTORCH_DIR}/include/torch/csrc/api/include)
# -fopenmp at compile time only: at::parallel_for is a template over it, and LibTorch brings its own libgomp.
target_compile_options(torch INTERFACE -fopenmp)
target_link_libraries(torch INTERFACE
  ${LLAVA_LIBTORCH_DIR}/lib/libtorch_cpu.so ${LLAVA_LIBTORCH_DIR}/lib/libc10.so)
file(GLOB LLAVA_GOMP ${LLAVA_LIBTORCH_DIR}/lib/libgomp*.so*)
target_link_libraries(torch INTERFACE ${LLAVA_GOMP})
target_link_options(torch INTERFACE -Wl,-rpath-link,${LLAVA_DEPS}/nvidia/cu13/lib)

llava_precompiled_header(llava_torch_pch HEADERS <ATen/ATen.h> DEPS torch)

# With CUDA the whole model runs on torch::kCUDA. libtorch_cuda is reached by static initialisers only, so
# the linker must keep it; its own needs (cuBLAS, cuDNN, NCCL ...) are looked up at run time on the GPU machine.
if(LLAVA_WITH_CUDA)
  target_link_options(torch INTERFACE -Wl,--unresolved-symbols=ignore-in-shared-libs)
  target_link_libraries(torch INTERFACE
    -Wl,--no-as-needed ${LLAVA_LIBTORCH_DIR}/lib/libtorch_cuda.so ${LLAVA_LIBTORCH_DIR}/lib/libc10_cuda.so
    -Wl,--as-needed)
endif()
