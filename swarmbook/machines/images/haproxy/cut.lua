-- Cuts the sessions to a member that is down. HAProxy's own `on-marked-down shutdown-sessions` does it at once, and to those that are still
-- being connected as well: such a client is forgotten (3.0.11: a shutdown that is forced freezes the stream) and waits until it gives up.
-- So this waits for as long as an attempt to connect and the pause after it can take; a member that is down is given no new ones.
local wait_ms, step_ms = 1200, 50

core.register_task(function()
    local down_ms = {}
    while true do
        for _, backend in pairs(core.backends) do
            for name, server in pairs(backend.servers) do
                local before_ms = down_ms[name] or 0
                if server:get_stats().status:sub(1, 4) ~= "DOWN" then
                    down_ms[name] = 0
                elseif before_ms < wait_ms then
                    down_ms[name] = before_ms + step_ms
                    if down_ms[name] >= wait_ms then
                        server:shut_sess()
                    end
                end
            end
        end
        core.msleep(step_ms)
    end
end)
