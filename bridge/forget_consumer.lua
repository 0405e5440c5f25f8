-- Deletes a consumer that has long been silent and holds nothing. In one step: deleting one that holds entries loses them.
-- KEYS[1] stream; ARGV: group, consumer, least idle time in ms. Returns 1 if it was deleted.
for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local found = {}
  for i = 1, #info, 2 do
    found[info[i]] = info[i + 1]
  end
  if found['name'] == ARGV[2] and found['pending'] == 0 and found['idle'] >= tonumber(ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
    return 1
  end
end
return 0
