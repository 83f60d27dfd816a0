// Only here so that CMake builds the precompiled LibTorch header once; see cmake/libtorch.cmake.
