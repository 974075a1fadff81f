-- Last in a transaction of many saves: bring back what guard.lua put aside.
-- KEYS: the notes.  ARGV: the suffix.
local names = redis.call('GET', KEYS[1])
if names then
  for name in string.gmatch(names, '[^\n]+') do
    redis.call('RENAME', name .. ARGV[1], name)
  end
  redis.call('UNLINK', KEYS[1])
end
return 1
