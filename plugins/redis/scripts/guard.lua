-- First in a transaction of many saves: put aside what is not clearly to be replaced.
-- KEYS: the keys, then one to take notes in.  ARGV: the new sequences in one string, and a
-- suffix.
-- The numbers of those keys; back.lua undoes it for all of them.
local aside, notes, n = {}, '', #KEYS - 1
local call, unpack = redis.pcall, struct.unpack
-- Read as floating point numbers, which they are not, integers keep their order, as long
-- as they are positive and numbers at all: the others are not clear.
local new = {unpack('>' .. ('d'):rep(n), ARGV[1])}
for i = 1, n do
  local key = KEYS[i]
  local old = call('GETRANGE', key, '8', '15')
  local seq = #old == 8 and unpack('>d', old) or 0
  if old ~= '' and not (seq > 0 and seq <= new[i]) then
    aside[#aside + 1] = i
    notes = notes .. key .. '\n'
    redis.call('RENAME', key, key .. ARGV[2])
  end
end
if notes ~= '' then
  redis.call('SET', KEYS[n + 1], notes)
end
return aside
