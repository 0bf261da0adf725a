# shellcheck shell=bash disable=SC2016,SC2154
# The container file without a container engine: its RUN lines in a fresh root, then its CMD and HEALTHCHECK as its USER,
# with what it asks for: a root that is read only, no capability, no new privileges.
FILE=packaging/container/Containerfile
box=$work/box

# line_of WORD: what stands after it, continued lines joined.
line_of() { sed -e ':a' -e '/\\$/N; s/\\\n//; ta' "$FILE" | sed -n "s/^$1 //p"; }
words() { python3 -c 'import json, sys; print("\n".join(json.loads(sys.stdin.read().split("CMD ")[-1])))'; }
contained() {
    local user
    user=$(line_of USER)
    timeout --kill-after=10 180 systemd-nspawn -q -D "$box" --register=no --keep-unit --pipe --read-only --private-network \
        --user="${user%:*}" --capability= --drop-capability=all --no-new-privileges=yes --as-pid2 \
        --tmpfs="/run/bascule:mode=0700,uid=${user%:*},gid=${user#*:}" --bind="$work/state:/var/lib/bascule" \
        --bind-ro="$PWD/tests/packages:/mnt" /mnt/contained "${check[@]}" -- "${command[@]}" </dev/null
}
slim() { cached slim-bookworm.tar.zst bash -c 'mmdebstrap --quiet --variant=minbase bookworm "$0.tar.zst" && mv "$0.tar.zst" "$0"'; }
make_box() {
    mkdir "$box" && tar -C "$box" --zstd --numeric-owner -xpf "$(slim)" && cp "$BUILD"/packages/bascule_*_*.deb "$box/tmp/" && mkdir "$work/state" || return 1
    cp /etc/resolv.conf "$box/etc/resolv.conf"
    line_of RUN >"$box/run.sh"
    timeout 600 chroot "$box" sh -ec '. /run.sh' && chown 10001:10001 "$work/state"
}
box_results() {
    local line
    while read -r line; do
        case $line in
        ok\ *) good ;;
        FAIL\ *) bad "${line#FAIL }" ;;
        'the end') return ;;
        *) echo "$line" ;;
        esac
    done <"$1"
    bad "the container did not get to the end"
    tail -n 20 "$1"
}

if [[ $EUID -ne 0 ]]; then
    skip "the container: only root can make a root for it"
elif ! fetchable; then
    skip "the container: deb.debian.org does not answer"
elif expect what_the_container_file_runs_works make_box; then
    if boots "$box" >"$work/said" 2>&1; then
        mapfile -t check < <(line_of HEALTHCHECK | words)
        mapfile -t command < <(line_of CMD | words)
        contained >"$work/contained" 2>&1
        box_results "$work/contained"
    else
        skip "the container: systemd-nspawn does not work here: $(tail -n 1 "$work/said")"
    fi
fi
