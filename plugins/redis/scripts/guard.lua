-- First in a transaction of many saves: put aside what is later than its save.
-- KEYS: the keys, then one to take notes in.  ARGV: the new sequences in one string, and a
-- suffix.
-- The numbers of the saves that are too late, and as negative numbers of those whose key
-- cannot be read; back.lua undoes them all.
local late, names = {}, {}
local keys, count, suffix = KEYS, #KEYS - 1, ARGV[2]
local call, unpack = redis.pcall, struct.unpack
-- A number of Lua holds 53 bits: each sequence is two halves.
local halves = {unpack('>' .. string.rep('I4', 2 * count), ARGV[1])}
for i = 1, count do
  local found = 0
  local old = call('GETRANGE', keys[i], '0', '15')
  if #old == 16 then
    local a, b = unpack('>I4I4', old, 9)
    local c = halves[2 * i - 1]
    if a >= c and (a > c or b > halves[2 * i]) and string.sub(old, 1, 4) == 'MKRV' then
      found = i
    end
  elseif old.err and string.sub(old.err, 1, 9) ~= 'WRONGTYPE' then
    found = -i
  end
  if found ~= 0 then
    late[#late + 1] = found
    names[#names + 1] = keys[i]
    redis.call('RENAME', keys[i], keys[i] .. suffix)
  end
end
if #names > 0 then
  redis.call('SET', keys[#keys], table.concat(names, '\n'))
end
return late
