# Headers compile alone. A header with a .cc beside it is that file's first include (a repository
# rule); every other header is compiled here as a file of its own.

file(GLOB_RECURSE headers RELATIVE ${CMAKE_SOURCE_DIR} CONFIGURE_DEPENDS
     ${CMAKE_SOURCE_DIR}/base/*.h ${CMAKE_SOURCE_DIR}/capture/*.h ${CMAKE_SOURCE_DIR}/rpc/*.h
     ${CMAKE_SOURCE_DIR}/model/*.h ${CMAKE_SOURCE_DIR}/server/*.h
     ${CMAKE_SOURCE_DIR}/training/*.h ${CMAKE_SOURCE_DIR}/client/*.h)
set(sources)
foreach(header ${headers})
  string(REGEX REPLACE "\\.h$" ".cc" twin ${header})
  if(NOT EXISTS ${CMAKE_SOURCE_DIR}/${twin})
    string(REPLACE "/" "_" flat ${header})
    set(source ${CMAKE_BINARY_DIR}/header_check/${flat}.cc)
    file(CONFIGURE OUTPUT ${source} CONTENT "#include \"${header}\"\n")
    list(APPEND sources ${source})
  endif()
endforeach()
add_library(llava_header_check OBJECT ${sources})
target_link_libraries(llava_header_check PRIVATE
  llava_options llava_proto absl::statusor absl::strings Boost::headers CLI11::CLI11
  prometheus-cpp::core torch)
