-- Keep a value, unless the rule forbids it.
-- KEYS: the key.  ARGV: the value, the rule, its life in ms (none: for ever).
-- No rule, or '': not where a later sequence is stored.  'was' and the first 48 bytes of
-- what was there: only where that is still so.
-- 1: kept, 0: a later one is there, 2: it is not as it was.
local old = redis.pcall('GETRANGE', KEYS[1], '0', '47')
if type(old) == 'table' then
  if string.sub(old.err, 1, 9) ~= 'WRONGTYPE' then return old end
  old = ''
end
local rule = ARGV[2]
if rule and rule ~= '' then
  if rule ~= 'was' .. old then return 2 end
elseif #old == 48 then
  -- A number of Lua holds 53 bits: the sequence is compared in two halves.
  local mark, a, b = struct.unpack('>c4xxxxI4I4', old)
  local c, d = struct.unpack('>I4I4', ARGV[1], 9)
  if mark == 'MKRV' and (a > c or (a == c and b > d)) then return 0 end
end
if ARGV[3] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[1])
end
return 1
