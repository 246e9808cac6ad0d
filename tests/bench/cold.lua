-- wrk: GETs of KEYS keys (an argument), each as likely; see put_many() in bench.py.
local keys = 0

function init(args)
  keys = tonumber(args[1])
  math.randomseed(os.time())
end

function request()
  return wrk.format("GET", string.format("/kv/%016d", math.random(0, keys - 1)))
end
