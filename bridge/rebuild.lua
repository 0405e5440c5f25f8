-- Empties one stream so that the bridge fills it from the outbox, if it still ends where the operator saw it end.
-- KEYS[1] stream; ARGV[1] its last id. Its groups stay, from the first entry on. Returns 1 if it was emptied.
local function field(info, name)
  for i = 1, #info, 2 do
    if info[i] == name then
      return info[i + 1]
    end
  end
end
if field(redis.call('XINFO', 'STREAM', KEYS[1]), 'last-generated-id') ~= ARGV[1] then
  return 0
end
local groups = redis.call('XINFO', 'GROUPS', KEYS[1])
redis.call('DEL', KEYS[1])
for _, group in ipairs(groups) do
  redis.call('XGROUP', 'CREATE', KEYS[1], field(group, 'name'), '0', 'MKSTREAM')
end
return 1
