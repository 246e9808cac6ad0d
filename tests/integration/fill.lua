-- wrk: PUTs of one short key after the other, 64 in a request; where to begin is its argument.
local BATCH = 64
local number = 0

function init(arguments)
  number = tonumber(arguments[1]) - BATCH -- what wrk asks for first, to look at it, is not sent
end

function request()
  local batch = {}
  for i = 1, BATCH do
    batch[i] = string.format("PUT /kv/%x HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n" ..
                             "Content-Length: 1\r\n\r\nv", number)
    number = number + 1
  end
  return table.concat(batch)
end
