-- First in a transaction of many saves: remove what they replace, where it is clear that all
-- of it may be replaced.  Behind it values are stored only where nothing is.
-- KEYS: the keys.  ARGV: the new sequences in one string.
local call, read = redis.pcall, struct.unpack
-- Without MULTI it would be by itself, and what it removes gone, whatever becomes of the
-- values behind it: a right that was there when the connection was made.  Without EXEC it
-- does not run.
local may = redis.acl_check_cmd
if may and not may('MULTI') then return 0 end
-- Read as floating point numbers, which they are not, integers keep their order, as long
-- as they are positive and numbers at all: the others are not clear.
local new = {read('>' .. ('d'):rep(#KEYS), ARGV[1])}
local found = false
for i = 1, #KEYS do
  local old = call('GETRANGE', KEYS[i], '8', '15')
  if old ~= '' then
    local seq = #old == 8 and read('>d', old) or 0
    if not (seq > 0 and seq <= new[i]) then return 0 end
    found = true
  end
end
if found then redis.call('UNLINK', unpack(KEYS)) end
return 1
