# What someone who writes a store plugin needs from CMake: used by this project's own
# plugins, and installed with the package for those of others.
set(MAKO_PLUGIN_MAP ${CMAKE_CURRENT_LIST_DIR}/plugin.map) # also for tests of ours

# mako_add_store_plugin(NAME SOURCE...): the target mako-store-NAME, which is the file
# mako-store-NAME.so with its one exported symbol, installed into LIBDIR/mako-snapshot.  It
# links against nothing of ours; -z defs proves that it needs nothing of ours.
function(mako_add_store_plugin name)
  include(GNUInstallDirs)
  set(target mako-store-${name})
  set(map ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin.map)
  if(NOT MAKO_PLUGIN_SUBDIR) # not the scope in which the package was found
    set(MAKO_PLUGIN_SUBDIR mako-snapshot)
  endif()
  add_library(${target} MODULE ${ARGN})
  set_target_properties(${target} PROPERTIES PREFIX "" POSITION_INDEPENDENT_CODE ON
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    LINK_DEPENDS ${map})
  target_link_libraries(${target} PRIVATE MakoSnapshot::plugin)
  target_link_options(${target} PRIVATE "LINKER:--version-script=${map}")
  if(PROJECT_NAME STREQUAL "mako-snapshot") # one of ours: mako_flags has -z defs in it
    set_target_properties(${target} PROPERTIES INSTALL_RPATH ""
      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_LIBRARY_OUTPUT_DIRECTORY}/${MAKO_PLUGIN_SUBDIR})
    target_link_libraries(${target} PRIVATE mako_flags mako_measured
      Threads::Threads)
  elseif(NOT "${CMAKE_C_FLAGS} ${CMAKE_CXX_FLAGS}" MATCHES "-fsanitize")
    target_link_options(${target} PRIVATE LINKER:-z,defs)
  endif()
  install(TARGETS ${target}
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/${MAKO_PLUGIN_SUBDIR})
endfunction()

# mako_add_conformance_test(TEST CONFIG [PLUGIN target-or-file] [ARGS argument...]): a CTest
# test that runs mako-conformance on a configuration file; PLUGIN stands in for the binary
# that the file names.  With BUILD_TESTING off there is none.
function(mako_add_conformance_test test config)
  cmake_parse_arguments(A "" "PLUGIN" "ARGS" ${ARGN})
  if(DEFINED BUILD_TESTING AND NOT BUILD_TESTING)
    return()
  endif()
  if(NOT TARGET MakoSnapshot::mako-conformance)
    message(FATAL_ERROR "mako_add_conformance_test(${test}): there is no mako-conformance "
      "beside MakoSnapshot; on Debian it is in the package mako-snapshot")
  endif()
  set(plugin "")
  if(TARGET "${A_PLUGIN}")
    set(plugin --plugin $<TARGET_FILE:${A_PLUGIN}>)
  elseif(A_PLUGIN)
    set(plugin --plugin ${A_PLUGIN})
  endif()
  cmake_path(ABSOLUTE_PATH config BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
  add_test(NAME ${test}
    COMMAND MakoSnapshot::mako-conformance ${plugin} ${A_ARGS} ${config})
  set_tests_properties(${test} PROPERTIES TIMEOUT 900 LABELS conformance)
endfunction()
