-- A client that comes while no member is right, since one has just gone, is kept waiting: it would only come again.
-- HAProxy itself turns it away at once. It says nothing until the server has greeted it, so there is nothing to read meanwhile.
local most_ms, step_ms = 10000, 20

core.register_action("hold", { "tcp-req" }, function(txn, backend)
    local waited = 0
    while waited < most_ms and txn.f:nbsrv(backend) == 0 do
        core.msleep(step_ms)
        waited = waited + step_ms
    end
end, 1)
