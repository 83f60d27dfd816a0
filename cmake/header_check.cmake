# Headers compile alone. A header with a .cc beside it is that file's first include (a repository
# rule); every other header is compiled here as a file of its own.

function(llava_check_headers name)
  set(sources)
  foreach(header ${ARGN})
    string(REGEX REPLACE "\\.h$" ".cc" twin ${header})
    if(NOT EXISTS ${CMAKE_SOURCE_DIR}/${twin})
      string(REPLACE "/" "_" flat ${header})
      set(source ${CMAKE_BINARY_DIR}/header_check/${flat}.cc)
      file(CONFIGURE OUTPUT ${source} CONTENT "#include \"${header}\"\n")
      list(APPEND sources ${source})
    endif()
  endforeach()
  if(sources)
    add_library(${name} OBJECT ${sources})
    target_link_libraries(${name} PRIVATE llava_options absl::statusor absl::strings Boost::headers)
  endif()
endfunction()

file(GLOB_RECURSE LLAVA_HEADERS RELATIVE ${CMAKE_SOURCE_DIR} CONFIGURE_DEPENDS
     ${CMAKE_SOURCE_DIR}/base/*.h ${CMAKE_SOURCE_DIR}/server/scheduling/*.h
     ${CMAKE_SOURCE_DIR}/server/engine/*.h ${CMAKE_SOURCE_DIR}/model/*.h)
llava_check_headers(llava_header_check ${LLAVA_HEADERS})
target_link_libraries(llava_header_check PRIVATE torch)
