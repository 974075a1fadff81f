-- First in a transaction of many saves: put aside what is later than its save.
-- KEYS: the keys, then one to take notes in.  ARGV: the new sequences in one string, and a
-- suffix.
-- The numbers of the saves that are too late, and as negative numbers of those whose key
-- cannot be read; back.lua undoes them all.
local late, names = {}, {}
local seqs, suffix = ARGV[1], ARGV[2]
local call, unpack = redis.pcall, struct.unpack
for i = 1, #KEYS - 1 do
  local found = 0
  local old = call('GETRANGE', KEYS[i], '0', '15')
  if #old == 16 then
    local a, b = unpack('>I4I4', old, 9)
    local c, d = unpack('>I4I4', seqs, 8 * i - 7)
    if (a > c or (a == c and b > d)) and string.sub(old, 1, 4) == 'MKRV' then
      found = i
    end
  elseif old.err and string.sub(old.err, 1, 9) ~= 'WRONGTYPE' then
    found = -i
  end
  if found ~= 0 then
    late[#late + 1] = found
    names[#names + 1] = KEYS[i]
    redis.call('RENAME', KEYS[i], KEYS[i] .. suffix)
  end
end
if #names > 0 then
  redis.call('SET', KEYS[#KEYS], table.concat(names, '\n'))
end
return late
