#!/bin/sh
# Builds the image of the Dockerfile's last stage around a program that was built outside, and runs it as a plant would: made by
# init, served with a read-only root, asked whether it is well, stopped. Without Docker and without a registry, so not proof of
# all: the first stage, which builds the program in the image, is not tried here. Not part of tests/run.
#
#   packaging/image.sh BINARY FOLDER
#
# As root, with buildah, podman, runc and debootstrap of Debian 12. FOLDER keeps the base, which takes minutes to make.
set -eu
[ $# = 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
binary=$(realpath "$1")
mkdir -p "$2"
folder=$(realpath "$2")
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }
export CONTAINERS_STORAGE_CONF="$folder/storage.conf"
printf '[storage]\ndriver = "vfs"\ngraphroot = "%s/graph"\nrunroot = "%s/run"\n' "$folder" "$folder" > "$CONTAINERS_STORAGE_CONF"
printf '{"default":[{"type":"insecureAcceptAnything"}]}' > "$folder/policy.json"
base=docker.io/library/debian:bookworm-slim image=localhost/holdpoint:try

if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
    step "the base, as $base"
    [ -e "$folder/base.tar" ] || { debootstrap --variant=minbase bookworm "$folder/rootfs"; tar -C "$folder/rootfs" -cf "$folder/base.tar" .; }
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$folder/base.tar" /
    buildah commit --quiet --signature-policy "$folder/policy.json" "$container" "$base"
    buildah rm "$container" >/dev/null
fi

step "the image"
mkdir -p packaging/out
[ "$binary" = "$(realpath -m packaging/out/holdpoint)" ] || install -m 755 "$binary" packaging/out/holdpoint
buildah bud --signature-policy "$folder/policy.json" --isolation chroot --pull-never --format docker \
    --build-arg PROGRAM=outside -t "$image" .
podman images "$image"
podman inspect --format 'runs as {{.User}}, volumes {{.Config.Volumes}}, healthcheck {{.HealthCheck.Test}}' "$image"

in_container() {
    podman --cgroup-manager=cgroupfs --runtime "$(command -v runc)" run --signature-policy "$folder/policy.json" --network=none --no-healthcheck \
        --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --read-only --cap-drop ALL --security-opt no-new-privileges \
        --volume "$folder/volume:/var/lib/holdpoint" "$@"
}

step "an installation in its volume"
rm -rf "$folder/volume"
install -d -m 750 -o 990 -g 990 "$folder/volume"
in_container --rm "$image" init --dir /var/lib/holdpoint/gate --name mill-3 --json >/dev/null

step "serving, with a root that nobody writes"
in_container --detach --name holdpoint-try "$image"
trap 'podman rm --force --time 0 holdpoint-try >/dev/null' EXIT
well() { podman --cgroup-manager=cgroupfs --runtime "$(command -v runc)" exec holdpoint-try holdpoint status --local --config gate/holdpoint.toml; }
tries=0
until well; do
    tries=$((tries + 1))
    [ $tries -lt 30 ] || { podman logs holdpoint-try; exit 1; }
    sleep 1
done
process=$(podman inspect --format '{{.State.Pid}}' holdpoint-try)
grep -E '^(Uid|NoNewPrivs|Seccomp|CapEff):' "/proc/$process/status"

step "stopping"
podman --cgroup-manager=cgroupfs --runtime "$(command -v runc)" stop --time 60 holdpoint-try
podman logs holdpoint-try 2>&1 | tail -n 2
podman inspect --format 'exit code {{.State.ExitCode}}' holdpoint-try
