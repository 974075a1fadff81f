# mako_add_store_plugin(NAME SOURCE...): mako-store-NAME.so with its one exported symbol.
# It links against nothing of ours, so that -z defs proves it needs nothing of ours.
set(MAKO_PLUGIN_MAP ${CMAKE_CURRENT_LIST_DIR}/plugin.map)

function(mako_add_store_plugin name)
  set(target mako-store-${name})
  add_library(${target} MODULE ${ARGN})
  set_target_properties(${target} PROPERTIES PREFIX ""
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_LIBRARY_OUTPUT_DIRECTORY}/${MAKO_PLUGIN_SUBDIR}
    LINK_DEPENDS ${MAKO_PLUGIN_MAP})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/core/include)
  target_link_libraries(${target} PRIVATE mako_flags Threads::Threads)
  target_link_options(${target} PRIVATE "LINKER:--version-script=${MAKO_PLUGIN_MAP}")
  install(TARGETS ${target}
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/${MAKO_PLUGIN_SUBDIR})
endfunction()
