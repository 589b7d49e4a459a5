#!/bin/bash
# A real S3 with Object Lock on loopback: Ceph's gateway over one node whose data lies in memory, for as long as its standard
# input is open. Everything is in the folder DIR, which must not be there; keep its name short, socket paths end at 107 bytes.
#
#   ceph.sh DIR GATEWAY_PORT MONITOR_PORT       prints `ready` when it answers (about 16 s)
#
# Debian: radosgw ceph-mon ceph-osd ceph-mgr uuid-runtime. Runs as root, in about half a gigabyte of memory.
# Keys are asked for (cephx), because with `auth = none` the gateway of Ceph 16.2 hangs.
set -euo pipefail
dir=$1 gateway=$2 monitor=$3

stop() {
    local file pid pids=()
    for file in "$dir"/run/*.pid; do
        [ -s "$file" ] || continue
        pid=$(cat "$file")
        kill -9 "$pid" 2>/dev/null && pids+=("$pid")
    done
    # What does not go within ten seconds is stuck in the kernel, and nobody gains by waiting.
    for pid in "${pids[@]}"; do
        for ((look = 0; look < 200; look++)); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.05
        done
    done
}
trap stop EXIT

# Runs a step of the start, which takes a minute and a half at most in all.
soon() { timeout -k 5 $((SECONDS < 90 ? 90 - SECONDS : 1)) "$@"; }

mkdir -p "$dir"/{mon,mgr,osd,rgw,run,log}
cd "$dir"
fsid=$(uuidgen)
cat > ceph.conf <<CONF
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$monitor]
public addr = 127.0.0.1
public network = 127.0.0.0/8
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = $dir/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd crush chooseleaf type = 0
osd objectstore = memstore
osd op num shards = 1
memstore device bytes = 1073741824
mon allow pool size one = true
mon warn on pool no redundancy = false
run dir = $dir/run
log file = $dir/log/\$name.log
admin socket = $dir/run/\$name.\$pid.asok
pid file = $dir/run/\$name.pid
mon data = $dir/mon
mgr data = $dir/mgr
osd data = $dir/osd
CONF
export CEPH_CONF=$dir/ceph.conf
{
    soon ceph-authtool --create-keyring keyring --gen-key -n mon. --cap mon 'allow *'
    soon ceph-authtool keyring --gen-key -n mgr.a --cap mon 'allow profile mgr' --cap osd 'allow *' --cap mds 'allow *'
    soon ceph-authtool keyring --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' --cap mds 'allow *'
    soon monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$monitor]" monmap
    soon ceph-mon --mkfs -i a --monmap monmap --keyring keyring
    soon ceph-mon -i a
    soon ceph-mgr -i a
    uuid=$(uuidgen)
    key=$(soon ceph-authtool --gen-print-key)
    osd=$(echo "{\"cephx_secret\": \"$key\"}" | soon ceph osd new "$uuid" -i -)
    soon ceph-authtool keyring -n "osd.$osd" --add-key "$key"
    soon ceph-osd -i "$osd" --mkfs --osd-uuid "$uuid"
    soon ceph-osd -i "$osd"
    soon radosgw -n client.admin --rgw-frontends="beast endpoint=127.0.0.1:$gateway" --rgw-data="$dir/rgw" \
        --pid-file="$dir/run/gateway.pid" --log-file="$dir/log/rgw.log"
    soon bash -c "until (exec 3<> /dev/tcp/127.0.0.1/$gateway); do sleep 0.2; done"
    soon radosgw-admin user create --uid=holdpoint --display-name=holdpoint --access-key=AK1 --secret-key=SK1secretSK1secret \
        --pid-file="$dir/run/admin.pid"
} >> "$dir/log/start" 2>&1 < /dev/null
echo ready
cat > /dev/null
