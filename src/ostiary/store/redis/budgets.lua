-- One worker's batch of budgets. Each budget and period is a hash: a field for each worker, which only it changes while it
-- lives, with what it spent and what it leases. Used is the sum of all.
--
-- KEYS[1]  the generation: "id lending-from". Without it everything here was lost, and nothing is lent for a while.
-- KEYS[2]  the accounts in which this worker has leases: a set
-- KEYS[n]  accounts: fields "w:<worker>" = "spent tokens lease tokens", and "told", the highest alert told
-- ARGV[1]  MessagePack of {worker, generation, rebuild seconds, share,
--          accounts {{mine, spent, tokens (as text), lease, tokens, held, tokens, budget or -1, tokens or -1, alerts,
--          expiry or 0, others {{worker, spent, tokens, lease, tokens (as text), final, its set}}, name, key}},
--          wants {{nano, tokens, {accounts}}}}
-- Returns MessagePack of {generation, rebuilding seconds, accounts {{lease, tokens, others, crossed, spent, tokens}},
--          wants {{refused, remaining, tokens}}}. Amounts of others are text, which no double rounds.

local batch = cmsgpack.unpack(ARGV[1])
local worker, known, rebuild, lent_share = batch[1], batch[2], batch[3], batch[4]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

local said = redis.call('GET', KEYS[1])
local generation, from
if said then
  generation, from = string.match(said, '^(%S+) (.+)$')
  from = tonumber(from)
end
if not generation then
  generation, from = time[1] .. '.' .. time[2] .. '.' .. worker, now + rebuild
  redis.call('SET', KEYS[1], generation .. ' ' .. string.format('%.6f', from))
end
local rebuilding = math.max(from - now, 0)

local function more(a, b) -- the greater of two texts, the second where they are alike
  if tonumber(a) > tonumber(b) then return a end
  return b
end
local function words(text)
  return string.match(text, '^(%S+) (%S+) (%S+) (%S+)$')
end

local accounts, own = {}, 'w:' .. worker
for n, one in ipairs(batch[5]) do
  local key = KEYS[one[14]]
  local fields, told = {}, 0
  local raw = redis.call('HGETALL', key)
  for i = 1, #raw, 2 do
    if raw[i] == 'told' then told = tonumber(raw[i + 1]) else fields[raw[i]] = raw[i + 1] end
  end
  for _, other in ipairs(one[12]) do
    local field = 'w:' .. other[1]
    local a, b, c, d = other[2], other[3], other[4], other[5]
    if fields[field] then
      local sa, sb, sc, sd = words(fields[field])
      a, b = more(sa, a), more(sb, b)
      if not other[6] then c, d = sc, sd end
    end
    fields[field] = a .. ' ' .. b .. ' ' .. c .. ' ' .. d
    redis.call('HSET', key, field, fields[field])
    if other[6] then redis.call('SREM', KEYS[other[7]], one[13]) end
  end
  local spent, tokens = one[2], one[3]
  local leased_before = false
  if fields[own] then
    local sa, sb, sc, sd = words(fields[own])
    spent, tokens = more(sa, spent), more(sb, tokens)
    leased_before = tonumber(sc) > 0 or tonumber(sd) > 0
  end
  local used, used_tokens = tonumber(spent), tonumber(tokens)
  local total, total_tokens = used, used_tokens
  local others = {}
  for field, text in pairs(fields) do
    if field ~= own then
      local a, b, c, d = words(text)
      total, total_tokens = total + tonumber(a), total_tokens + tonumber(b)
      used, used_tokens = used + tonumber(a) + tonumber(c), used_tokens + tonumber(b) + tonumber(d)
      others[#others + 1] = {string.sub(field, 3), a, b, c, d}
    end
  end
  local share = 0
  if one[8] > 0 then share = total / one[8] end
  if one[9] > 0 then share = math.max(share, total_tokens / one[9]) end
  local crossed = {}
  for _, at in ipairs(one[10]) do
    if told < at and at <= share then crossed[#crossed + 1] = at end
  end
  if #crossed > 0 then redis.call('HSET', key, 'told', string.format('%.17g', share)) end
  accounts[n] = {
    key = key, mine = one[1], spent = spent, tokens = tokens, lease = one[4], lease_tokens = one[5],
    free = one[4] - one[6], free_tokens = one[5] - one[7], limit = one[8], limit_tokens = one[9],
    used = used, used_tokens = used_tokens, others = others, crossed = crossed, expiry = one[11], name = one[13],
    leased_before = leased_before, total = total, total_tokens = total_tokens, field = fields[own],
  }
end

local function lack(need, free) -- what costs nothing needs no room
  if need > 0 then return math.max(need - free, 0) end
  return 0
end
local function lend(needed, room)
  if needed <= 0 then return 0 end
  return math.max(needed, math.floor(room * lent_share))
end

local wants = {}
for n, want in ipairs(batch[6]) do
  local refused, left, left_tokens = -1, 0, 0
  if rebuilding > 0 or known ~= generation then
    refused = -2
  else
    for _, place in ipairs(want[3]) do
      local one = accounts[place + 1]
      local room, room_tokens = one.limit - one.used - one.lease, one.limit_tokens - one.used_tokens - one.lease_tokens
      local short = one.limit >= 0 and lack(want[1], one.free) > math.max(room, 0)
      local short_tokens = one.limit_tokens >= 0 and lack(want[2], one.free_tokens) > math.max(room_tokens, 0)
      if short or short_tokens then
        refused = place
        left = math.max(room + one.free, 0)
        left_tokens = math.max(room_tokens + one.free_tokens, 0)
        break
      end
    end
  end
  if refused == -1 then
    for _, place in ipairs(want[3]) do
      local one = accounts[place + 1]
      if one.limit >= 0 then
        local more_lent = lend(lack(want[1], one.free), one.limit - one.used - one.lease)
        one.lease, one.free = one.lease + more_lent, one.free + more_lent - want[1]
      end
      if one.limit_tokens >= 0 then
        local more_lent = lend(lack(want[2], one.free_tokens), one.limit_tokens - one.used_tokens - one.lease_tokens)
        one.lease_tokens, one.free_tokens = one.lease_tokens + more_lent, one.free_tokens + more_lent - want[2]
      end
    end
  end
  wants[n] = {refused, left, left_tokens}
end

local answers = {}
for n, one in ipairs(accounts) do
  if one.mine then
    local text = one.spent .. ' ' .. one.tokens .. ' ' .. string.format('%.0f %.0f', one.lease, one.lease_tokens)
    if text ~= one.field then
      redis.call('HSET', one.key, own, text)
      local leases = one.lease > 0 or one.lease_tokens > 0
      if leases and not one.leased_before then redis.call('SADD', KEYS[2], one.name) end
      if not leases and one.leased_before then redis.call('SREM', KEYS[2], one.name) end
    end
  end
  if one.expiry > 0 then redis.call('EXPIREAT', one.key, one.expiry) end
  answers[n] = {one.lease, one.lease_tokens, one.others, one.crossed, one.total, one.total_tokens}
end
return cmsgpack.pack({generation, rebuilding, answers, wants})
