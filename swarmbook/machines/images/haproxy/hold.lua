-- A client that comes while no member is right, since one has just gone, is kept waiting: it would only come again, and HAProxy itself
-- turns it away at once. Where just one member may be right, two that seem to be are not believed either: one of them is not marked
-- down yet. The client says nothing until the server has greeted it, so there is nothing to read meanwhile.
local most_ms, step_ms = 10000, 20

core.register_action("hold", { "tcp-req" }, function(txn, backend, wanted)
    local waited = 0
    while waited < most_ms do
        local there = txn.f:nbsrv(backend)
        if there == 1 or (there > 1 and wanted == "any") then
            return
        end
        core.msleep(step_ms)
        waited = waited + step_ms
    end
end, 2)
