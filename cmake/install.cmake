# What `cmake --install` lays out and `make dist` packs. The tree may be moved anywhere:
#   bin/        the programs, which look for libraries in ../lib/llava
#   lib/llava/  the shared libraries that they need and that a bare Debian 12 lacks
#   share/      manual pages, completions, and for each program its notices (licences, SBOM)
# Components are packages: each program is one, LibTorch is one, and `bundled` is what Debian has
# packages of, which only the archive carries.

set(LLAVA_PROGRAMS llavad llava-train llava)
set(LLAVA_LIBRARY_FOLDER lib/llava)

# The build folder has the same layout, so that programs are installed as they were linked (CMake
# would otherwise make room for a longer path with colons, which mean the current folder).
file(GLOB torch_libraries ${LLAVA_LIBTORCH_DIR}/lib/*.so* ${LLAVA_DEPS}/nvidia/*/lib/*.so*)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/${LLAVA_LIBRARY_FOLDER})
foreach(library ${torch_libraries})
  get_filename_component(name ${library} NAME)
  file(CREATE_LINK ${library} ${CMAKE_BINARY_DIR}/${LLAVA_LIBRARY_FOLDER}/${name} SYMBOLIC)
endforeach()

# RPATH instead of RUNPATH: libraries of libraries are found by it too.
foreach(program ${LLAVA_PROGRAMS})
  target_link_options(${program} PRIVATE -Wl,--disable-new-dtags)
  set_target_properties(${program} PROPERTIES
    BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "$ORIGIN/../${LLAVA_LIBRARY_FOLDER}")
  install(TARGETS ${program} RUNTIME_DEPENDENCY_SET llava_libraries
          DESTINATION bin COMPONENT ${program})
endforeach()

install(RUNTIME_DEPENDENCY_SET llava_libraries
  PRE_EXCLUDE_REGEXES "^ld-linux" "^lib(c|m|pthread|dl|rt|util|resolv|gcc_s|stdc\\+\\+)\\.so"
                      "^lib(torch|c10|caffe2|cu|nccl|nv)"
  POST_EXCLUDE_REGEXES "^${LLAVA_LIBTORCH_DIR}/" "^${LLAVA_DEPS}/"
  DIRECTORIES ${LLAVA_LIBTORCH_DIR}/lib ${LLAVA_DEPS}/nvidia/cu13/lib
  DESTINATION ${LLAVA_LIBRARY_FOLDER} COMPONENT bundled)

set(torch_libraries libtorch_cpu.so libc10.so)
if(LLAVA_WITH_CUDA)
  list(APPEND torch_libraries libtorch_cuda.so libc10_cuda.so libtorch_cuda_linalg.so)
endif()
list(TRANSFORM torch_libraries PREPEND ${LLAVA_LIBTORCH_DIR}/lib/)
install(FILES ${torch_libraries} ${LLAVA_GOMP} ${LLAVA_DEPS}/nvidia/cu13/lib/libcudart.so.13
              ${LLAVA_DEPS}/nvidia/cu13/lib/libcupti.so.13
        DESTINATION ${LLAVA_LIBRARY_FOLDER} COMPONENT llava-libtorch)

# What the programs say of themselves, asked of the build that is installed.
foreach(program ${LLAVA_PROGRAMS})
  set(said ${CMAKE_BINARY_DIR}/share/${program})
  install(CODE "
    file(MAKE_DIRECTORY ${said})
    foreach(what \"man;${program}.1\" \"completion;bash\" \"completion;zsh\" \"completion;fish\")
      list(GET what 0 option)
      list(GET what 1 name)
      set(arguments --\${option})
      if(option STREQUAL completion)
        list(APPEND arguments \${name})
      endif()
      execute_process(COMMAND $<TARGET_FILE:${program}> \${arguments}
                      OUTPUT_FILE ${said}/\${name} COMMAND_ERROR_IS_FATAL ANY)
    endforeach()
    execute_process(COMMAND ${CMAKE_SOURCE_DIR}/scripts/notices $<TARGET_FILE:${program}>
                            ${PROJECT_VERSION} ${said}/notices COMMAND_ERROR_IS_FATAL ANY)"
    COMPONENT ${program})
  install(FILES ${said}/${program}.1 DESTINATION share/man/man1 COMPONENT ${program})
  install(FILES ${said}/bash RENAME ${program} COMPONENT ${program}
          DESTINATION share/bash-completion/completions)
  install(FILES ${said}/zsh RENAME _${program} COMPONENT ${program}
          DESTINATION share/zsh/site-functions)
  install(FILES ${said}/fish RENAME ${program}.fish COMPONENT ${program}
          DESTINATION share/fish/vendor_completions.d)
  install(DIRECTORY ${said}/notices/ DESTINATION share/doc/${program} COMPONENT ${program})
  install(FILES LICENSE RENAME copyright DESTINATION share/doc/${program} COMPONENT ${program})
  install(FILES CHANGELOG.md DESTINATION share/doc/${program} COMPONENT ${program})
endforeach()

# Units, and an example with every option.
foreach(program llavad llava-train)
  install(FILES deploy/systemd/${program}.service DESTINATION lib/systemd/system
          COMPONENT ${program})
endforeach()
install(FILES deploy/systemd/sysusers.conf RENAME llava-train.conf DESTINATION lib/sysusers.d
        COMPONENT llava-train)
install(CODE "execute_process(COMMAND $<TARGET_FILE:llavad> --print-config
                OUTPUT_FILE ${CMAKE_BINARY_DIR}/share/llavad/llavad.yaml
                COMMAND_ERROR_IS_FATAL ANY)" COMPONENT llavad)
install(FILES ${CMAKE_BINARY_DIR}/share/llavad/llavad.yaml
        DESTINATION share/doc/llavad/examples COMPONENT llavad)

set(CPACK_GENERATOR TZST DEB)
set(CPACK_PACKAGE_NAME llava)
set(CPACK_PACKAGE_VENDOR "the llavad authors")
set(CPACK_PACKAGE_CONTACT "the llavad authors <llavad@invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "LLaVA: a daemon that chats about pictures, its trainer")
set(CPACK_PACKAGE_FILE_NAME "llava-${PROJECT_VERSION}-linux-${CMAKE_SYSTEM_PROCESSOR}")
set(CPACK_PACKAGE_CHECKSUM SHA256)
set(CPACK_STRIP_FILES ON)
set(CPACK_THREADS 0)
set(CPACK_PROJECT_CONFIG_FILE ${CMAKE_SOURCE_DIR}/cmake/packages.cmake)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS
    ${LLAVA_LIBTORCH_DIR}/lib ${LLAVA_DEPS}/nvidia/cu13/lib)
set(LLAVA_COMPONENTS ${LLAVA_PROGRAMS} llava-libtorch)
include(CPack)
