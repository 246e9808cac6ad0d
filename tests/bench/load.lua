-- wrk: PUTs of one key after the other, 0 and up; the value is 48 bytes long.
wrk.method = "PUT"
wrk.headers["Content-Type"] = "text/plain"
wrk.body = string.rep("v", 48)
local number = -1 -- what wrk asks for first, to look at it, is not sent

function request()
  local path = string.format("/kv/%016d", number)
  number = number + 1
  return wrk.format(nil, path)
end
