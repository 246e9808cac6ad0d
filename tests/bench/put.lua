-- wrk: PUT of one key, as JSON, so that a GET of it answers 64 bytes.
wrk.method = "PUT"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"content":"' .. string.rep("v", 52) .. '"}'
