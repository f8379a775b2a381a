# What a node says of itself; run by swarmbook/logs.py as root, which sets MARK, TAIL, GALERA, DATA, SINCE. Reads only.
# Every command is bounded in time, every section in lines and bytes. Lines are left out whole, never cut: half a secret
# would not be known as one.

bound() {
    awk '{ if (length($0) > 8000) $0 = "[a line of " length($0) " characters left out]"; line[NR] = $0 }
         END { size = 0
               for (first = NR; first > 0 && NR - first < 1500; first--) { size += length(line[first]) + 1; if (size > 131072) break }
               if (first > 0) print "[" first " earlier lines left out]"
               for (at = first + 1; at <= NR; at++) print line[at] }'
}

# section NAME COMMAND: the command as a person would type it.
section() {
    printf '%s %s\t%s\n' "$MARK" "$1" "$(printf %s "$2" | tr '\n' '\t')"
    { timeout -k 2 8 sh -c "$2" 2>&1; code=$?; [ "$code" -eq 0 ] || echo "[exit $code]"; } | bound
}

say() { printf '%s %s\t\n%s\n' "$MARK" "$1" "$2"; }

section 'system: load, memory, processes' "uptime; free -m; echo; ps -eo pid,rss,pcpu,stat,etime,comm --sort=-rss | head -n 16; echo; systemctl --failed --no-legend --plain"
section 'disk: free space, mounts' "df -h / /var/lib/docker; df -i / /var/lib/docker; lsblk -o NAME,SIZE,FSTYPE,LABEL,MOUNTPOINT 2>/dev/null | grep -v ^loop; findmnt -n /var/lib/docker || echo '/var/lib/docker is not mounted'; grep -v '^#' /etc/fstab"
section 'network: addresses, routes, listeners' "ip -br addr; ip route; ss -Hltnp; cat /etc/resolv.conf"
section 'kernel: last messages' "dmesg --time-format iso | tail -n 60"

if ! command -v docker >/dev/null; then
    say 'engine: none' 'Docker is not installed (03 does that); so there is no swarm, no Consul, no member.'
    exit 0
fi
if [ -n "$SINCE" ]; then from="--since @$SINCE"; since="--since $SINCE"; else from=""; since=""; fi
section 'engine: state, settings' 'systemctl status --no-pager --lines 0 docker.service; cat /etc/docker/daemon.json'
section 'engine: journal' "journalctl --no-pager --utc -o short-iso -u docker.service -u containerd.service -n $TAIL $from"

if ! answer=$(timeout -k 2 6 docker version --format '{{.Server.Version}}' 2>&1); then
    say 'engine: does not answer' "docker version: ${answer:-no answer within 6 s, so it does not answer}"
else
    section 'engine: info, images, containers' 'docker info; docker images; docker ps -a --no-trunc --format "{{.ID}} {{.Names}} {{.Status}}"'
    section 'swarm: nodes, services, tasks' '
        if [ "$(docker info --format "{{.Swarm.ControlAvailable}}")" = true ]; then
            docker node ls; docker service ls
            for s in $(docker service ls -q); do
                docker service ps --no-trunc --format "{{.Name}} on {{.Node}}: {{.DesiredState}}, {{.CurrentState}} {{.Error}}" "$s"
            done
        else
            docker info --format "this node is {{.Swarm.LocalNodeState}}, no manager {{.Swarm.Error}}"
        fi'
    section 'swarm: networks, overlay peers' 'docker network ls; docker network inspect $(docker network ls -q --filter driver=overlay) --format "{{.Name}} {{json .IPAM.Config}} {{json .Options}} peers {{json .Peers}}"'
    ask_consul='export CONSUL_HTTP_TOKEN_FILE=/run/consul/agent-token CONSUL_CACERT=/run/consul/ca.pem
        export CONSUL_HTTP_ADDR=https://127.0.0.1:$(grep -o "\"https\": *[0-9]*" /run/consul/node.json | grep -o "[0-9]*$" | head -n 1)
        export CONSUL_TLS_SERVER_NAME=$(sed -n "s/.*\"node_name\": *\"\([^\"]*\)\".*/\1/p" /run/consul/node.json)
        consul members; ! grep -q "\"server\": *true" /run/consul/node.json || consul operator raft list-peers'
    count=0
    # Only ids are taken into commands: an image chooses its labels itself, and they are shown, never run.
    for id in $(timeout -k 2 6 docker ps -aq --filter label=com.docker.swarm.service.name); do
        case $id in *[!0-9a-f]*) continue ;; esac
        count=$((count + 1)); [ "$count" -le 14 ] || { say 'swarm: more containers' 'only the 14 newest are read'; break; }
        service=$(timeout -k 2 6 docker inspect --format '{{index .Config.Labels "com.docker.swarm.service.name"}}' "$id" | tr -cd 'A-Za-z0-9_.-' | cut -c1-80)
        stack=$(timeout -k 2 6 docker inspect --format '{{index .Config.Labels "com.docker.stack.namespace"}}' "$id" | tr -cd 'A-Za-z0-9_.-')
        state=$(timeout -k 2 6 docker inspect --format '{{.State.Status}}' "$id" | tr -cd a-z)
        case $stack in consul) kind=consul ;; *) kind=galera ;; esac
        section "$kind: $service, $state $id" "docker inspect --format 'exit {{.State.ExitCode}}, oom={{.State.OOMKilled}}, began {{.State.StartedAt}}, ended {{.State.FinishedAt}} {{.State.Error}}' $id
            docker inspect --format '{{if .State.Health}}health {{.State.Health.Status}}, {{.State.Health.FailingStreak}} failures in a row: {{range .State.Health.Log}}{{.Output}}{{end}}{{end}}' $id
            docker logs -t --tail $TAIL $since $id"
        if [ "$kind:$state" = galera:running ]; then section "galera: $service, wsrep" "docker exec $id galera-status"; fi
        if [ "$kind:$state" = consul:running ]; then 
            # The token is named by its file over there: no command line and no environment from here holds it.
            section "consul: $service, members and raft" "docker exec $id bash -c '$ask_consul'"
        fi
    done
fi
for folder in "$DATA" /var/lib/docker/volumes/*/_data; do
    [ -e "$folder/data/grastate.dat" ] || [ -e "$folder/failed-start.log" ] || [ -e "$folder/bootstrap.used" ] || continue
    case " $done " in *" $folder "*) continue ;; esac
    done="$done $folder"
    export folder
    section "galera: data in $folder" 'ls -la "$folder" "$folder/data"; cat "$folder/data/grastate.dat"'
    if [ -e "$folder/failed-start.log" ]; then section "galera: founding that failed, $folder" "tail -n $TAIL \"\$folder/failed-start.log\""; fi
done
exit 0
