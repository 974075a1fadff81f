# The Debian packages, one a component: "cpack -G DEB" in a build that was configured with
# the prefix /usr ("./dev packages" does both).  What Debian wants besides the files
# themselves is put beside them by prepare.cmake.
set(MAKO_MAINTAINER "mako-snapshot authors <mako-snapshot@example.org>" CACHE STRING
  "who answers for the Debian packages")
set(MAKO_HOMEPAGE "https://example.org/mako-snapshot" CACHE STRING
  "page of the project, for the Debian packages")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME mako-snapshot)
set(CPACK_PACKAGE_CONTACT "${MAKO_MAINTAINER}")
set(CPACK_PACKAGE_HOMEPAGE_URL "${MAKO_HOMEPAGE}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "") # each package has its own
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_COMPONENTS_ALL library development tools redis)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SOURCE mako-snapshot)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_LIBRARY_OUTPUT_DIRECTORY})
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_ENABLE_COMPONENT_DEPENDS ON)

# mako_debian_package(COMPONENT NAME SECTION SUMMARY TEXT): its names and what is said of it.
macro(mako_debian_package component name section summary text)
  string(TOUPPER ${component} key)
  set(CPACK_DEBIAN_${key}_PACKAGE_NAME ${name})
  set(CPACK_DEBIAN_${key}_PACKAGE_SECTION ${section})
  set(CPACK_DEBIAN_${key}_DESCRIPTION "${summary}\n${text}")
endmacro()

set(about "mako-snapshot keeps snapshots for programs that store their data as
streams of events, so that only the events after a snapshot need replaying.
A configuration file names the store plugin that holds them.
")
mako_debian_package(library libmako-snapshot0 libs
  "snapshots of event streams: library"
  "${about}
This package has the shared library, and the plugins that keep snapshots in
files, in memory, or not at all.")
mako_debian_package(development libmako-snapshot-dev libdevel
  "snapshots of event streams: development files"
  "${about}
This package has what programs and store plugins are built with: headers,
CMake package and pkg-config file.")
mako_debian_package(tools mako-snapshot database
  "snapshots of event streams: tools"
  "${about}
This package has the program mako-snapshot, which looks into stores and
replays event logs, and mako-conformance, which finds out whether a store
plugin keeps to its contract.")
mako_debian_package(redis mako-snapshot-redis database
  "snapshots of event streams: Redis plugin"
  "${about}
This package has the plugin that keeps snapshots on a Redis server, behind
Sentinel, or in a cluster.")

set(CPACK_COMPONENT_DEVELOPMENT_DEPENDS library)
set(CPACK_COMPONENT_TOOLS_DEPENDS library)
set(CPACK_COMPONENT_REDIS_DEPENDS library)
# Of what mako/json.h includes.
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS libjansson-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SUGGESTS mako-snapshot)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SUGGESTS mako-snapshot-redis)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA
  ${CMAKE_CURRENT_LIST_DIR}/shlibs ${CMAKE_CURRENT_LIST_DIR}/symbols
  ${CMAKE_CURRENT_LIST_DIR}/triggers)

foreach(component ${CPACK_COMPONENTS_ALL}) # for prepare.cmake
  string(TOUPPER ${component} key)
  list(APPEND MAKO_DEBIAN_PACKAGES ${CPACK_DEBIAN_${key}_PACKAGE_NAME})
endforeach()
configure_file(${CMAKE_CURRENT_LIST_DIR}/prepare.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/debian/prepare.cmake @ONLY)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_BINARY_DIR}/debian/prepare.cmake)
include(CPack)
