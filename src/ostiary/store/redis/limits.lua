-- One worker's batch of limits. Everything is decided here, in order, by this server's clock.
--
-- KEYS[1]  the workers that are there: a sorted set, scored by when they are taken for gone
-- KEYS[n]  rates: the theoretical arrival time as a number; slots: a hash of "count until" for each worker
-- ARGV[1]  MessagePack of {worker, beat, silence seconds, slot lease seconds,
--          corrections {{key, seconds}}, open {{key, count}},
--          takes {{slots {{key, limit}}, cells {{key, interval, burst, cost}}}}}
-- Returns MessagePack of {verdicts {{refused, wait, resets}}, workers}.

local batch = cmsgpack.unpack(ARGV[1])
local worker, beat, silence, lease = batch[1], batch[2], batch[3], batch[4]
local time = redis.call('TIME')
-- From 2026 on, so that a double tells nanoseconds apart for years to come.
local now = tonumber(time[1]) - 1767225600 + tonumber(time[2]) / 1000000

local tats, moved = {}, {}
local function tat_of(key)
  local found = tats[key]
  if not found then
    local said = redis.pcall('GET', KEYS[key]) -- what is no number of ours is written over
    found = (type(said) == 'string' and tonumber(said)) or 0
    tats[key] = found
  end
  return found
end

local slots, stated = {}, {}
local function slot_of(key)
  local found = slots[key]
  if not found then
    found = {others = 0, mine = 0}
    local said = redis.pcall('HGETALL', KEYS[key])
    if said.err then
      redis.call('DEL', KEYS[key])
      said = {}
    end
    for i = 1, #said, 2 do
      local count, till = string.match(said[i + 1], '^(%d+) (.+)$')
      if not count or tonumber(till) <= now then
        redis.call('HDEL', KEYS[key], said[i])
      elseif said[i] == worker then
        found.mine = tonumber(count)
      else
        found.others = found.others + tonumber(count)
      end
    end
    slots[key] = found
  end
  return found
end

for _, one in ipairs(batch[5]) do
  local tat = tat_of(one[1])
  if tat > now or one[2] > 0 then
    tats[one[1]] = math.max(tat, now) + one[2]
    moved[one[1]] = true
  end
end
for _, one in ipairs(batch[6]) do
  slot_of(one[1]).mine = one[2]
  stated[one[1]] = true
end

local verdicts = {}
for n, take in ipairs(batch[7]) do
  local refused, wait = -1, 0
  for i, slot in ipairs(take[1]) do
    local found = slot_of(slot[1])
    if found.others + found.mine >= slot[2] then
      refused, wait = i - 1, 1
      break
    end
  end
  local after = {}
  if refused < 0 then
    for i, cell in ipairs(take[2]) do
      local interval, burst, cost = cell[2], cell[3], cell[4]
      local earliest = math.max(now, tat_of(cell[1]))
      -- More than a burst is let through alone, once nothing else is owed, and pays afterwards.
      local over = earliest + math.min(cost, burst) * interval - burst * interval - now
      if over > 1e-7 and over > wait then
        refused, wait = #take[1] + i - 1, over
      end
      after[i] = earliest + cost * interval
    end
  end
  local resets = {}
  if refused < 0 then
    for i, cell in ipairs(take[2]) do
      tats[cell[1]] = after[i]
      moved[cell[1]] = true
      resets[i] = after[i] - now
    end
    for _, slot in ipairs(take[1]) do
      slot_of(slot[1]).mine = slot_of(slot[1]).mine + 1
      stated[slot[1]] = true
    end
  end
  verdicts[n] = {refused, wait, resets}
end

for key in pairs(moved) do
  local left = tats[key] - now
  if left > 0 then
    redis.call('SET', KEYS[key], string.format('%.17g', tats[key]), 'PX', math.ceil(left * 1000) + 1000)
  else
    redis.call('DEL', KEYS[key])
  end
end
for key in pairs(stated) do
  local mine = slots[key].mine
  if mine > 0 then
    redis.call('HSET', KEYS[key], worker, string.format('%d %.17g', mine, now + lease))
    redis.call('PEXPIRE', KEYS[key], lease * 2000)
  else
    redis.call('HDEL', KEYS[key], worker)
  end
end

local workers = 0
if beat then
  redis.call('ZADD', KEYS[1], now + silence, worker)
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
  workers = redis.call('ZCARD', KEYS[1])
end
return cmsgpack.pack({verdicts, workers})
