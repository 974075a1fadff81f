-- Last in a transaction of many saves: bring back what guard.lua put aside.
-- KEYS: the notes.  ARGV: the suffix.
local notes = redis.call('GET', KEYS[1])
if notes then
  for key in notes:gmatch('[^\n]+') do
    redis.call('RENAME', key .. ARGV[1], key)
  end
  redis.call('UNLINK', KEYS[1])
end
return 1
