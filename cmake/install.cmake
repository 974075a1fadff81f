# Where things go when they are installed, in four parts: library (it, and the plugins that
# need nothing else), development, tools, and redis.  Nothing knows the prefix: library,
# programs, CMake package and .pc file find the rest from where they stand themselves.
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME tools)
set(MAKO_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/MakoSnapshot)
set(MAKO_PLUGIN_INSTALL_DIR ${CMAKE_INSTALL_LIBDIR}/${MAKO_PLUGIN_SUBDIR})
file(RELATIVE_PATH MAKO_BIN_TO_LIB ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})

# Programs find the library beside them.  Where the loader looks by itself they need no
# help, and Debian wants none.
if(NOT CMAKE_INSTALL_FULL_LIBDIR IN_LIST CMAKE_C_IMPLICIT_LINK_DIRECTORIES)
  set(CMAKE_INSTALL_RPATH "$ORIGIN/${MAKO_BIN_TO_LIB}")
endif()

# The prefix is found from where the .pc file stands.
function(mako_install_pc)
  file(RELATIVE_PATH MAKO_PC_UP /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  string(REGEX REPLACE "/$" "" MAKO_PC_UP "${MAKO_PC_UP}")
  configure_file(cmake/mako-snapshot.pc.in mako-snapshot.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/mako-snapshot.pc
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
endfunction()

# The programs are in a set of targets of their own, since they may not be installed.
function(mako_install_config)
  configure_package_config_file(cmake/MakoSnapshotConfig.cmake.in MakoSnapshotConfig.cmake
    INSTALL_DESTINATION ${MAKO_PACKAGE_DIR}
    PATH_VARS CMAKE_INSTALL_INCLUDEDIR MAKO_PLUGIN_INSTALL_DIR)
  write_basic_package_version_file(MakoSnapshotConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
  install(EXPORT MakoSnapshotTargets NAMESPACE MakoSnapshot::
    DESTINATION ${MAKO_PACKAGE_DIR} COMPONENT development)
  install(EXPORT MakoSnapshotTools NAMESPACE MakoSnapshot::
    DESTINATION ${MAKO_PACKAGE_DIR} COMPONENT tools)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/MakoSnapshotConfig.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/MakoSnapshotConfigVersion.cmake
    cmake/plugin.cmake cmake/plugin.map
    DESTINATION ${MAKO_PACKAGE_DIR} COMPONENT development)
endfunction()

# bash-completion looks for a file with the program's name.
function(mako_install_completion)
  set(directory ${CMAKE_CURRENT_BINARY_DIR}/completion)
  configure_file(cli/completion/mako-snapshot.bash.in ${directory}/mako-snapshot @ONLY)
  file(CREATE_LINK mako-snapshot ${directory}/mako-conformance SYMBOLIC)
  install(FILES ${directory}/mako-snapshot ${directory}/mako-conformance
    DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT tools)
endfunction()

# What belongs to no folder of its own.
function(mako_install_package)
  mako_install_pc()
  mako_install_config()
  mako_install_completion()
  install(DIRECTORY conf/ DESTINATION ${CMAKE_INSTALL_DATADIR}/mako-snapshot/conf
    COMPONENT tools FILES_MATCHING PATTERN "*.json")
endfunction()
