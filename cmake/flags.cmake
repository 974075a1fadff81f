# Warnings, hardening and sanitizers, as one interface library that is never exported.
add_library(mako_flags INTERFACE)

set(warnings -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion
  -Wstrict-prototypes -Wmissing-prototypes -Wmissing-declarations -Wold-style-definition
  -Wvla -Wcast-qual -Wcast-align -Wformat=2 -Wundef -Wwrite-strings -Wpointer-arith
  -Wnull-dereference -Wdouble-promotion -Wswitch-enum -Wimplicit-fallthrough
  -Wunused-macros -Wredundant-decls)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  list(APPEND warnings -Wlogical-op -Wduplicated-cond -Wduplicated-branches
    -Wjump-misses-init -Walloca -Wformat-overflow=2 -Wformat-truncation=1 -Wtrampolines)
elseif(CMAKE_C_COMPILER_ID MATCHES "Clang")
  list(APPEND warnings -Wcomma -Wassign-enum -Wloop-analysis -Wunreachable-code
    -Wnewline-eof)
endif()
target_compile_options(mako_flags INTERFACE ${warnings}
  $<$<BOOL:${MAKO_WERROR}>:-Werror> -fno-common
  # Where the sources were built is nobody's business, and makes builds differ.
  -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=)
target_compile_definitions(mako_flags INTERFACE _GNU_SOURCE)

if(MAKO_HARDEN AND NOT MAKO_SANITIZE)
  target_compile_options(mako_flags INTERFACE -fstack-protector-strong
    -fstack-clash-protection
    $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE>
    $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=3>)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|amd64")
    target_compile_options(mako_flags INTERFACE -fcf-protection=full)
  endif()
  target_link_options(mako_flags INTERFACE LINKER:-z,relro,-z,now,-z,noexecstack
    LINKER:--as-needed $<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:-pie>)
endif()

# Undefined symbols in a shared object are an error; clang's sanitizers leave theirs to
# the executable.
if(NOT (MAKO_SANITIZE AND CMAKE_C_COMPILER_ID MATCHES "Clang"))
  target_link_options(mako_flags INTERFACE LINKER:-z,defs)
endif()
if(MAKO_SANITIZE)
  target_compile_options(mako_flags INTERFACE -fsanitize=${MAKO_SANITIZE}
    -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(mako_flags INTERFACE -fsanitize=${MAKO_SANITIZE})
endif()
# What is measured when the tests run: the library, our plugins and the tool, also where
# their sources are built into a test.
add_library(mako_measured INTERFACE)
if(MAKO_COVERAGE)
  target_compile_options(mako_measured INTERFACE --coverage -fprofile-update=atomic)
  target_link_options(mako_flags INTERFACE --coverage)
endif()
if(MAKO_FUZZ)
  target_compile_options(mako_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
