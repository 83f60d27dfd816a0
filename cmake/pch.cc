// Only here so that CMake builds each precompiled header once; see precompiled.cmake.
