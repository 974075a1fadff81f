# The smoke test of mako-bench: a quick run exits 0 and gives a number for every name.
# Never asks how fast anything was.
#   cmake -DBENCH=PROGRAM -DDIR=DIRECTORY -DREDIS=SERVER "-DPEERS=sqlite lmdb rocksdb"
#         -DFULL=BOOL -P smoke.cmake
# PEERS: the libraries that are in this build.  FULL: the whole matrix too.
cmake_minimum_required(VERSION 3.25)
separate_arguments(PEERS)
set(groups core memory file million space redis replay rehydrate scale)
if(FULL)
  list(APPEND groups peers)
endif()
execute_process(COMMAND ${BENCH} --quick --json --dir ${DIR} ${groups}
  OUTPUT_VARIABLE out ERROR_VARIABLE err RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "mako-bench: exit ${result}\n${out}${err}")
endif()

set(names
  core.noop_pair_ns
  memory.load_1k_us memory.save_1k_us
  file.save_1k_t1_vs_limit file.save_1k_t1_vs_best_peer file.save_1k_t16_vs_limit
  file.save_many_64_vs_limit
  file.load_1k_us file.save_nosync_1k_us file.open_10k_ms
  file.bytes_per_stream file.open_1m_clean_ms million.open_clean_ms_mako million.open_killed_ms_mako
  file.disk_ratio file.compaction_p99_ratio
  space.save_p99_us_idle space.save_p99_us_compacting
  space.save_p50_us_idle space.save_p50_us_compacting
  replay.262k_s replay.events_per_s
  rehydrate.full_ms rehydrate.snapshot_ms rehydrate.full_vs_snapshot
  scale.fill_per_s scale.open_10m_ms scale.memory_per_stream scale.disk_per_stream
  scale.descriptors)

# Ratios against a library, and what each contender gives for itself.
foreach(peer ${PEERS})
  list(APPEND names file.save_1k_t16_vs_${peer} file.load_1m_t2_vs_${peer}
    file.save_nosync_1m_t2_vs_${peer} million.open_clean_ms_${peer}
    million.open_killed_ms_${peer})
endforeach()
set(writemap)
if("lmdb" IN_LIST PEERS)
  list(APPEND names file.load_1m_map_t2_vs_lmdb)
  set(writemap lmdb_writemap)
endif()
if("rocksdb" IN_LIST PEERS)
  list(APPEND names file.open_1m_killed_vs_rocksdb)
endif()
foreach(one mako ${PEERS} files limit)
  list(APPEND names file.save_1k_t1_per_s_${one} file.save_1k_t16_per_s_${one}
    file.save_many_64_per_s_${one})
endforeach()
foreach(one mako mako_map ${PEERS} files)
  list(APPEND names file.load_10k_t1_us_${one} file.load_10k_t2_us_${one})
endforeach()
foreach(one mako mako_map ${PEERS} ${writemap})
  list(APPEND names million.load_t1_us_${one} million.load_t2_us_${one}
    million.save_nosync_t2_us_${one})
endforeach()
foreach(one mako ${PEERS})
  foreach(times x0 x1 x2 x3 x4 x5 x6 x7 x8 x9 x10 idle)
    list(APPEND names space.disk_${times}_${one})
  endforeach()
endforeach()
if(FULL)
  foreach(one mako ${PEERS} files limit)
    foreach(size 256 1k 16k 1m)
      foreach(threads 1 16)
        list(APPEND names peers.save_${size}_t${threads}_per_s_${one})
      endforeach()
    endforeach()
  endforeach()
  foreach(one mako ${PEERS} files)
    list(APPEND names peers.restart_load_us_${one})
  endforeach()
endif()
if(REDIS)
  list(APPEND names
    redis.load_1k_vs_hiredis redis.save_1k_vs_hiredis
    redis.load_64k_vs_hiredis redis.save_64k_vs_hiredis redis.save_1m_vs_hiredis
    redis.load_many_64_vs_pipeline redis.save_many_64_vs_pipeline
    redis.load_1k_asleep_vs_hiredis redis.save_1k_asleep_vs_hiredis
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
