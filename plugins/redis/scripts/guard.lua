-- First in a transaction of many saves: put aside what is later than its save.
-- KEYS: the keys, then one to take notes in.  ARGV: the new sequences in one string, and a
-- suffix.
-- The numbers of the saves that are too late, and as negative numbers of those whose key
-- cannot be read; back.lua undoes them all.
local late, notes, n = {}, '', #KEYS - 1
local call, unpack = redis.pcall, struct.unpack
-- A number of Lua holds 53 bits: each sequence is two halves.
local new = {unpack('>' .. ('I4'):rep(2 * n), ARGV[1])}
for i = 1, n do
  local key, c, found = KEYS[i], new[2 * i - 1]
  local old = call('GETRANGE', key, '0', '15')
  if #old == 16 then
    local a, b = unpack('>I4I4', old, 9)
    if a >= c and (a > c or b > new[2 * i]) and old:sub(1, 4) == 'MKRV' then
      found = i
    end
  elseif old.err and old.err:sub(1, 9) ~= 'WRONGTYPE' then
    found = -i
  end
  if found then
    late[#late + 1] = found
    notes = notes .. key .. '\n'
    redis.call('RENAME', key, key .. ARGV[2])
  end
end
if notes ~= '' then
  redis.call('SET', KEYS[n + 1], notes)
end
return late
