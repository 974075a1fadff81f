-- Put the value of a temporary key in place, unless the rule forbids it.
-- KEYS: the key, the temporary key.  ARGV: the new sequence, the rule, life, as in
-- save.lua.
-- 1: kept, 0: a later one is there, 2: it is not as it was, -1: the temporary key is gone.
local old = redis.pcall('GETRANGE', KEYS[1], '0', '47')
if type(old) == 'table' then
  if string.sub(old.err, 1, 9) ~= 'WRONGTYPE' then return old end
  old = ''
end
local verdict = 1
local rule = ARGV[2]
if rule and rule ~= '' then
  if rule ~= 'was' .. old then verdict = 2 end
elseif #old == 48 then
  local mark, a, b = struct.unpack('>c4xxxxI4I4', old)
  local c, d = struct.unpack('>I4I4', ARGV[1])
  if mark == 'MKRV' and (a > c or (a == c and b > d)) then verdict = 0 end
end
if verdict ~= 1 then
  redis.call('UNLINK', KEYS[2])
  return verdict
end
-- It has a life of its own until now, so that 0 means it is not there.
local there
if ARGV[3] then
  there = redis.call('PEXPIRE', KEYS[2], ARGV[3])
else
  there = redis.call('PERSIST', KEYS[2])
end
if there == 0 then return -1 end
redis.call('RENAME', KEYS[2], KEYS[1])
return 1
