# The smoke test of mako-bench: a quick run exits 0 and gives a number for every name.
# Never asks how fast anything was.
#   cmake -DBENCH=PROGRAM -DDIR=DIRECTORY -DREDIS=SERVER -P smoke.cmake
execute_process(COMMAND ${BENCH} --quick --json --dir ${DIR}
  OUTPUT_VARIABLE out ERROR_VARIABLE err RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "mako-bench: exit ${result}\n${out}${err}")
endif()
set(names
  core.noop_pair_ns
  memory.load_1k_us memory.save_1k_us
  file.save_1k_t1_vs_limit file.save_1k_t16_vs_limit
  file.save_1k_t1_per_s file.save_1k_t16_per_s
  file.load_1k_us file.save_nosync_1k_us file.open_10k_ms
  replay.262k_s replay.events_per_s)
if(REDIS)
  list(APPEND names
    redis.load_1k_vs_hiredis redis.save_1k_vs_hiredis
    redis.load_64k_vs_hiredis redis.save_64k_vs_hiredis redis.save_1m_vs_hiredis
    redis.load_many_64_vs_pipeline redis.save_many_64_vs_pipeline
    redis.save_many_64_always_vs_pipeline
    redis.save_always_t8_vs_t1 redis.refused_1m_bytes)
endif()
foreach(name ${names})
  string(JSON type ERROR_VARIABLE missing TYPE "${out}" "${name}")
  if(NOT type STREQUAL "NUMBER")
    message(FATAL_ERROR "mako-bench: no number for ${name}: ${missing}\n${out}")
  endif()
endforeach()
list(LENGTH names expected)
string(JSON found LENGTH "${out}")
if(NOT found EQUAL expected)
  message(FATAL_ERROR "mako-bench: ${found} figures, not ${expected}\n${out}")
endif()
file(GLOB left ${DIR}/mako-bench-*)
if(left)
  message(FATAL_ERROR "mako-bench left its files: ${left}")
endif()
