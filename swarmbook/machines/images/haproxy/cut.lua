-- Cuts the sessions to a member that is down. HAProxy's own `on-marked-down shutdown-sessions` does it at once, and to those that are still
-- being connected as well: such a client is forgotten (3.0.11: a shutdown that is forced freezes the stream) and waits until it gives up.
-- So this waits for as long as an attempt to connect and the pause after it can take; a member that is down is given no new ones.
-- Where the member's agent has said itself that it is not right, its machine lives, and connects at once: that is soon over.
local wait_ms, alive_ms, step_ms = 1200, 100, 50

core.register_task(function()
    local down_ms = {}
    while true do
        for name, server in pairs(core.backends["members"].servers) do
            local stats, before_ms = server:get_stats(), down_ms[name] or 0
            local due_ms = (stats.check_status or ""):find("L7STS") and alive_ms or wait_ms
            if stats.status:sub(1, 4) ~= "DOWN" then
                down_ms[name] = 0
            elseif before_ms < wait_ms then
                down_ms[name] = before_ms + step_ms
                if down_ms[name] >= due_ms then
                    server:shut_sess()
                    down_ms[name] = wait_ms
                end
            end
        end
        core.msleep(step_ms)
    end
end)
