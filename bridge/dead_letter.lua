-- Moves one pending entry to the group's dead letters and acknowledges it, or does neither.
-- KEYS: stream, dead letters; ARGV: group, id, then field and value of the dead letter in turn. Returns 1 if it was moved.
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1) == 0 then
  return 0
end
-- The XADD first: a full server refuses it, and the entry stays pending.
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 3))
return redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
