#!/bin/sh
# Builds the image of the Dockerfile without Docker and without a registry of images, and runs it as a plant would: made by init,
# served with a read-only root, asked whether it is well, stopped. Not part of tests/run.
#
#   packaging/image.sh FOLDER            # the whole Dockerfile: the program is built in the image
#   packaging/image.sh BINARY FOLDER     # its last stage, around a program that was built outside
#
# As root, on Debian 12 with buildah, podman, runc and debootstrap; the whole also wants the Rust that the Dockerfile names, Node
# with npm, 8 GB in FOLDER, and the registries of crates and npm. FOLDER keeps the bases, which take minutes to make.
#
# As with Docker: the Dockerfile, its stages and what goes into them, an empty cache of crates, the account, the run.
# In the place of the bases of Docker Hub stand
#   debian    debootstrap's smallest;
#   rust      such a Debian with a part of the packages of buildpack-deps, and none that it lacks; this machine's rustc, cargo and
#             library for Rust at the places of the official image, without rustup; and this machine's certificates of CAs;
#   node      this machine's node and npm, of whatever version, at the places of the official image.
# What sets cargo and npm up in the environment (CARGO_PROFILE_..., CARGO_BUILD_..., CARGO_HTTP_..., CARGO_NET_..., npm_config_...,
# NODE_EXTRA_CA_CERTS) counts for the cargo in the image, too, and the base of Rust has the config.toml of whoever runs this. None of
# it is in the image that is made.
set -eu
case $# in
    1) binary= folder=$1 ;;
    2) binary=$(realpath "$1") folder=$2 ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
mkdir -p "$folder"
folder=$(realpath "$folder")
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }
export CONTAINERS_STORAGE_CONF="$folder/storage.conf"
printf '[storage]\ndriver = "vfs"\ngraphroot = "%s/graph"\nrunroot = "%s/run"\n' "$folder" "$folder" > "$CONTAINERS_STORAGE_CONF"
printf '{"default":[{"type":"insecureAcceptAnything"}]}' > "$folder/policy.json"
image=localhost/holdpoint:try
trap 'podman rm --force --ignore --time 0 holdpoint-try >/dev/null; buildah rm --all >/dev/null' EXIT

base() {    # NAME: what the Dockerfile takes under this name
    named=$(sed -n "s|^FROM \(docker.io/library/$1:[^ ]*\).*|\1|p" Dockerfile)
    ! buildah inspect --type image "$named" >/dev/null 2>&1 || return 0
    step "the base, as $named"
    container=$(buildah from scratch)
    root=$(buildah mount "$container")
    "$1_files"
    buildah commit --quiet --rm --signature-policy "$folder/policy.json" "$container" "$named"
}

debian_files() {    # [PACKAGE,...]
    debootstrap --variant=minbase ${1:+"--include=$1"} bookworm "$root" > "$folder/debootstrap.log"
    rm -f "$root"/var/cache/apt/archives/*.deb
}

rust_files() {
    version=$(rustc --version | cut -d' ' -f2)
    case $named in *":${version%.*}-"*) ;; *) echo "this machine's Rust is $version" >&2; exit 1 ;; esac
    debian_files bzip2,ca-certificates,curl,dpkg-dev,file,g++,gcc,git,libc6-dev,make,openssh-client,patch,procps,unzip,wget,xz-utils
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"

    sysroot=$(rustc --print sysroot) host=$(rustc -vV | sed -n 's/^host: //p')
    toolchain=/usr/local/rustup/toolchains/$version-$host
    mkdir -p "$root$toolchain" "$root/usr/local/cargo/bin"
    for part in rustc rust-std cargo; do sed -n 's/^\(file\|dir\)://p' "$sysroot/lib/rustlib/manifest-$part-$host"; done |
        tar -C "$sysroot" -cf - -T - | tar -C "$root$toolchain" -xf -
    ln -s "$toolchain/bin/rustc" "$root/usr/local/cargo/bin/rustc"
    printf '#!/bin/sh\n. /mnt/environment\nexec %s/bin/cargo "$@"\n' "$toolchain" > "$root/usr/local/cargo/bin/cargo"
    chmod 755 "$root/usr/local/cargo/bin/cargo"
    settings=${CARGO_HOME:-$HOME/.cargo}/config.toml
    [ ! -e "$settings" ] || cp "$settings" "$root/usr/local/cargo/"
    buildah config --env RUSTUP_HOME=/usr/local/rustup --env CARGO_HOME=/usr/local/cargo --env "RUST_VERSION=$version" \
        --env PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
}

node_files() {
    install -D "$(node -p process.execPath)" "$root/usr/local/bin/node"
    mkdir -p "$root/usr/local/lib/node_modules"
    cp -a "$(npm root --global)/npm" "$root/usr/local/lib/node_modules/"
}

build() {    # [OPTION...]
    mkdir -p "$folder/environment"
    export -p | grep -E '^export (CARGO_(PROFILE|BUILD|HTTP|NET)_[A-Z0-9_]*|npm_config_[a-z_]*|NODE_EXTRA_CA_CERTS)=' > "$folder/environment/environment" || :
    buildah bud --signature-policy "$folder/policy.json" --isolation chroot --pull-never --format docker \
        --volume "$folder/environment:/mnt:ro" "$@" -t "$image" .
}

base debian
if [ -z "$binary" ]; then
    base node
    base rust
    step "the image, with the program"
    build --build-arg PROGRAM=built    # the default, which buildah 1.28 does not see
else
    step "the image, around $binary"
    mkdir -p packaging/out
    [ "$binary" = "$(realpath -m packaging/out/holdpoint)" ] || install -m 755 "$binary" packaging/out/holdpoint
    build --build-arg PROGRAM=outside
fi
podman images "$image"
podman inspect --format 'runs as {{.User}}, volumes {{.Config.Volumes}}, healthcheck {{.HealthCheck.Test}}, environment {{.Config.Env}}' "$image"

in_container() {
    podman --cgroup-manager=cgroupfs --runtime "$(command -v runc)" run --signature-policy "$folder/policy.json" --network=none --no-healthcheck \
        --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --read-only --cap-drop ALL --security-opt no-new-privileges \
        --volume "$folder/volume:/var/lib/holdpoint" "$@"
}

step "an installation in its volume"
rm -rf "$folder/volume"
install -d -m 750 -o 990 -g 990 "$folder/volume"
in_container --rm --entrypoint sha256sum "$image" /usr/bin/holdpoint
in_container --rm "$image" init --dir /var/lib/holdpoint/gate --name mill-3 --json >/dev/null

step "serving, with a root that nobody writes"
in_container --detach --name holdpoint-try "$image"
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
