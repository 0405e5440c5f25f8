-- Appends a batch to one stream only if the stream ends where the batch begins.
-- KEYS[1] stream; ARGV: id of the entry before the batch, then id and envelope of each entry in turn.
-- Returns {appended, last id}; {-1, last id} with nothing written if the stream ends elsewhere.
local last = '0-0'
if redis.call('TYPE', KEYS[1]).ok ~= 'none' then
  -- The last id ever generated, not the last entry present: it survives trims, and a group made on no stream has 0-0.
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      last = info[i + 1]
    end
  end
end

local first = nil
if last == ARGV[1] then
  first = 2
else
  -- An earlier try got this far: its reply was lost, or another bridge is at the same batch.
  for i = 2, #ARGV, 2 do
    if ARGV[i] == last then
      first = i + 2
    end
  end
end
if not first then
  return { -1, last }
end

local appended = 0
for i = first, #ARGV, 2 do
  -- An error here ends the script: what is written stays, and the next try goes on after it.
  last = redis.call('XADD', KEYS[1], ARGV[i], 'e', ARGV[i + 1])
  appended = appended + 1
end
return { appended, last }
